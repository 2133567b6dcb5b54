import pytest

from mesh.router_service import ROUTER_SERVICE, RouterService
from router.table import RoutingTable
from sdk.errors import BadRequest, NotFound
from sdk.types import Instance, Service
from tests.router.network import Key, gossip


def service(*, writable: bool = True) -> RouterService:
    table = RoutingTable(gossip=gossip(Key("a")), format_id=bytes.hex)
    table.settle(0.0)
    table.set_local([Service(name="x", instances=(Instance(id="1", address="x:1"),))], 0.0)
    return RouterService(table, network="n", router="me", writable=writable)


async def test_routes_are_looked_up() -> None:
    routes = service()
    assert [route["address"] for route in (await routes.lookup({"service": "x"}))["routes"]] == ["x:1"]
    assert (await routes.lookup({"service": "y"}))["routes"] == []
    assert len((await routes.lookup(None))["routes"]) == 1
    with pytest.raises(BadRequest, match=r"Router\.Lookup has no 'name'"):
        await routes.lookup({"name": "x"})


async def test_a_route_is_put_in_and_taken_out() -> None:
    routes = service()
    asked: list[None] = []
    routes._changed = lambda: asked.append(None)
    await routes.put({"service": "z", "address": "z:1", "metric": 3, "labels": {"zone": "eu"}, "ttl": 5})
    assert asked
    [route] = (await routes.lookup({"service": "z"}))["routes"]
    assert (route["router"], route["network"], route["metric"], route["labels"]) == ("me", "n", 3, {"zone": "eu"})
    assert (route["version"], route["protocol"], route["link"]) == ("latest", "grpc", "network")
    await routes.put({"service": "z", "address": "z:1", "metric": 8, "labels": {"zone": "eu"}})
    assert [route["metric"] for route in (await routes.lookup({"service": "z"}))["routes"]] == [8]
    await routes.delete({"service": "z", "address": "z:1", "labels": {"zone": "eu"}})
    assert (await routes.lookup({"service": "z"}))["routes"] == []
    with pytest.raises(NotFound, match="no route to 'z' at z:1"):
        await routes.delete({"service": "z", "address": "z:1"})
    with pytest.raises(NotFound, match="come from the registry"):
        await routes.delete({"service": "x", "address": "x:1"})


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (None, "as a record"),
        ({"address": "z:1"}, "needs its service"),
        ({"service": "z"}, "needs its address"),
        ({"service": "z", "address": "z:1", "colour": "red"}, "has no 'colour'"),
        ({"service": "z", "address": 5}, "address of a route is short"),
        ({"service": "z", "address": "z\x1b[2J"}, "printable"),
        ({"service": "z", "address": "z:1", "metric": -1}, "metric of a route"),
        ({"service": "z", "address": "z:1", "hops": True}, "hops of a route"),
        ({"service": "z", "address": "z:1", "link": "wire"}, "local or network"),
        ({"service": "z", "address": "z:1", "labels": ["a"]}, "labels of a route"),
        ({"service": "z", "address": "z:1", "ttl": 0}, "ttl of a route"),
        ({"service": "z", "address": "z:1", "ttl": "5"}, "ttl of a route"),
    ],
)
async def test_what_is_no_route_is_refused_with_the_reason(request_: object, says: str) -> None:
    routes = service()
    with pytest.raises(BadRequest, match=says):
        await routes.put(request_)
    assert len((await routes.lookup(None))["routes"]) == 1


def test_only_a_writable_table_offers_to_be_written() -> None:
    read = {endpoint.name for endpoint in service(writable=False).server.endpoints}
    written = {endpoint.name for endpoint in service().server.endpoints}
    assert read == {"Router.Lookup", "Router.Watch", "Table.Query"}
    assert written - read == {"Table.Create", "Table.Update", "Table.Delete"}
    assert service().server.name == ROUTER_SERVICE
