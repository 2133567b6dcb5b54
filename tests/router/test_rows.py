from dataclasses import replace

from router.choice import Way
from router.paths import Path
from router.route import Link, Route
from router.rows import Rows, best
from sdk.types import Instance, Service
from tests.router.network import entry

ROW = Route(
    service="x", version="1", protocol="grpc", labels=(("zone", "eu"),), address="c", gateway="b", network="n",
    router="c", link=Link.NETWORK, metric=7, hops=2,
)  # fmt: skip


ROWS = Rows(me=b"me", network="n", format_id=bytes.decode)


def test_each_instance_of_this_environment_has_a_row() -> None:
    one = Instance(id="1", address="one:80", metadata={"protocol": "http"})
    two = Instance(id="2", address="two:80")
    service = Service(name="x", version="1", instances=(one, two), metadata={"zone": "eu", "a": "b"})
    row = replace(ROW, labels=(("a", "b"), ("zone", "eu")), gateway="", router="me", link=Link.LOCAL, metric=0, hops=0)
    assert list(ROWS.local([service])) == [
        replace(row, protocol="http", address="one:80"),
        replace(row, protocol="grpc", address="two:80"),
    ]


def test_each_version_and_protocol_of_another_node_has_a_row_with_the_way_there() -> None:
    one = replace(entry("x", "1"), labels=(("zone", "eu"),))
    two = replace(entry("x", "2"), protocols=("grpc", "http"))
    way = Way(Path((b"b", b"c"), 7), None, 0.0)
    assert list(ROWS.remote(b"c", way, (one, two))) == [
        ROW,
        replace(ROW, version="2", labels=()),
        replace(ROW, version="2", labels=(), protocol="http"),
    ]
    assert list(ROWS.remote(b"c", way, ())) == []
    assert list(ROWS.remote(b"c", None, (one, two))) == []


def test_of_each_service_the_cheapest_rows_stay_in_their_order() -> None:
    cheap, dear, alone = replace(ROW, address="a"), replace(ROW, metric=8), replace(ROW, service="y", metric=99)
    assert best(iter([cheap, ROW, dear, alone])) == [cheap, ROW, alone]
