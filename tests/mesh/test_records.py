import pytest

from mesh.records import node_record, query_of, record_of, route_record, terms_record
from router.linkstate import LinkTerms
from router.route import Link, Query, Route
from router.table import GraphNode
from sdk.errors import BadRequest


def test_a_route_is_told_with_all_it_has() -> None:
    route = Route(
        service="x", version="1", protocol="grpc", labels=(("zone", "eu"),), address="a:1", gateway="g", network="n",
        router="r", link=Link.NETWORK, metric=5, hops=2,
    )  # fmt: skip
    record = route_record(route)
    assert record["link"] == "network"
    assert record["labels"] == {"zone": "eu"}
    assert set(record) == set(Route.__dataclass_fields__)


def test_a_node_may_have_no_address() -> None:
    node = GraphNode(id="i", name="a", addresses=(), network="n", links=())
    assert node_record(node) == {"id": "i", "address": "", "name": "a"}


def test_terms_are_told_by_name() -> None:
    assert terms_record(LinkTerms(1, 2, 3)) == {"delay": 1, "loss": 2, "price": 3}


def test_a_query_takes_the_fields_of_one_and_nothing_else() -> None:
    assert query_of(None, "E") == query_of({}, "E") == Query()
    assert query_of({"service": "x", "link": None, "strategy": "best"}, "E") == Query(service="x", strategy="best")
    for request, says in (
        ({"servicee": "x"}, "E has no 'servicee'"),
        ({"service": 5}, "takes text for 'service'"),
        ({"strategy": "worst"}, "no strategy"),
        ("x", "takes records"),
    ):
        with pytest.raises(BadRequest, match=says):
            query_of(request, "E")


def test_nothing_is_an_empty_record() -> None:
    assert record_of(None, "s") == {}
    with pytest.raises(BadRequest, match="s takes records"):
        record_of([1], "s")
