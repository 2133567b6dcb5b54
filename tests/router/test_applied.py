from math import inf

import pytest

from router.applied import MAX_APPLIED, Applied
from router.route import Link, Route
from sdk.errors import TooManyRequests


def route(address: str = "a:1", metric: int = 0) -> Route:
    return Route(
        service="x", version="", protocol="tcp", labels=(), address=address, gateway="", network="n", router="r",
        link=Link.NETWORK, metric=metric, hops=0,
    )  # fmt: skip


def test_a_route_takes_the_place_of_one_that_differs_in_metric_only() -> None:
    applied = Applied()
    assert applied.put(route(), inf) == []
    assert applied.put(route(metric=5), inf) == [route()]
    assert list(applied) == [route(metric=5)]
    assert applied.remove(route()) == [route(metric=5)]
    assert applied.remove(route()) == []


def test_routes_go_when_their_time_is_over() -> None:
    applied = Applied()
    assert applied.due == inf
    applied.put(route("a:1"), 10.0)
    applied.put(route("b:1"), 20.0)
    applied.put(route("c:1"), inf)
    assert len(applied) == 3
    assert applied.due == 10.0
    assert applied.expire(9.9) == []
    assert applied.expire(10.0) == [route("a:1")]
    assert applied.due == 20.0
    applied.put(route("b:1"), inf)
    assert applied.expire(20.0) == [], "its time was taken from it"
    assert applied.due == inf
    assert list(applied) == [route("c:1"), route("b:1")]


def test_what_was_learned_hides_what_was_put_in_and_is_the_same() -> None:
    applied = Applied()
    applied.put(route(metric=9), inf)
    other = route("b:1")
    assert applied.beneath([], [route(), other]) == ([route(metric=9)], [route(), other])
    assert applied.beneath([route(), other], []) == ([route(), other], [route(metric=9)])
    assert applied.beneath([route(metric=1)], [route(metric=2)]) == ([route(metric=1)], [route(metric=2)])


def test_there_is_room_for_so_many() -> None:
    applied = Applied()
    for number in range(MAX_APPLIED):
        applied.put(route(str(number)), inf)
    with pytest.raises(TooManyRequests):
        applied.put(route("more"), inf)
    applied.put(route("0", metric=3), inf)
    assert len(list(applied)) == MAX_APPLIED
