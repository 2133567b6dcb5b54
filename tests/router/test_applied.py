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
    assert applied.due() == inf
    applied.put(route("a:1"), 10.0)
    applied.put(route("b:1"), 20.0)
    applied.put(route("c:1"), inf)
    assert applied.due() == 10.0
    assert applied.expire(9.9) == []
    assert applied.expire(10.0) == [route("a:1")]
    assert applied.due() == 20.0
    applied.put(route("b:1"), inf)
    assert applied.due() == inf


def test_there_is_room_for_so_many() -> None:
    applied = Applied()
    for number in range(MAX_APPLIED):
        applied.put(route(str(number)), inf)
    with pytest.raises(TooManyRequests):
        applied.put(route("more"), inf)
    applied.put(route("0", metric=3), inf)
    assert len(list(applied)) == MAX_APPLIED
