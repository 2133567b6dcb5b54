from dataclasses import replace

import pytest

from router.route import Link, Query, Route

ROUTE = Route(
    service="greeter", version="latest", protocol="grpc", labels=(), address="c", gateway="b", network="go.micro",
    router="c", link=Link.NETWORK, metric=2, hops=2,
)  # fmt: skip


def test_a_query_that_says_nothing_matches_every_route() -> None:
    assert Query().matches(ROUTE)


@pytest.mark.parametrize("name", ["service", "address", "gateway", "router", "network", "link"])
def test_each_field_of_a_query_must_be_equal(name: str) -> None:
    assert Query(**{name: getattr(ROUTE, name)}).matches(ROUTE)
    assert not Query(**{name: "other"}).matches(ROUTE)
    assert not Query(**{name: ""}).matches(ROUTE)


def test_a_link_is_its_own_text() -> None:
    assert f"{ROUTE.link}" == "network"
    assert Query(link="local").matches(replace(ROUTE, link=Link.LOCAL))
