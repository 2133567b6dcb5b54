import pytest
import trio
from trio.testing import MockClock

from mesh.admin import tree
from router.table import GraphNode
from sdk.errors import BadRequest, Unimplemented
from sdk.types import Instance, Service
from tests.mesh.network import greeter, until, world

NODE = "go.micro.network"


def graph(*edges: str) -> dict[str, GraphNode]:
    names = sorted({name for edge in edges for name in edge})
    return {
        name: GraphNode(
            id=name,
            name=f"the {name}",
            addresses=(f"{name}:8085",),
            network="go.micro",
            links=tuple((edge.replace(name, ""), 1) for edge in edges if name in edge),
        )
        for name in names
    }


def drawn(record: dict[str, object]) -> str:
    """`a(b(c)d)`: a has the peers b and d, b has the peer c."""
    node, peers = record["node"], record["peers"]
    assert isinstance(node, dict)
    assert isinstance(peers, list)
    return str(node["id"]) + (f"({''.join(map(drawn, peers))})" if peers else "")


def test_a_line_is_a_branch_of_three_links_at_most() -> None:
    nodes = graph("ab", "bc", "cd", "de")
    assert drawn(tree(nodes, "a")) == "a(b(c(d)))"
    assert drawn(tree(nodes, "c")) == "c(b(a)d(e))"


def test_in_a_ring_each_link_is_shown_once() -> None:
    assert drawn(tree(graph("ab", "bc", "ca"), "a")) == "a(b(c)c)"


def test_where_everybody_is_linked_the_tree_grows_with_the_links_only() -> None:
    names = "abcdefghij"
    edges = [one + two for one in names for two in names if one < two]
    text = drawn(tree(graph(*edges), "a"))
    assert sum(letter in names for letter in text) == len(edges) + 1


def test_a_node_alone_has_a_graph() -> None:
    alone = {"a": GraphNode(id="a", name="", addresses=(), network="go.micro", links=())}
    assert tree(alone, "a") == {"node": {"id": "a", "address": "", "name": ""}, "peers": []}


async def test_a_node_shows_the_network_as_it_sees_it(fast_clock: MockClock) -> None:
    async with world() as all_:
        a, b, c = await all_.line("a", "b", "c")
        await c.serve(greeter(c))

        async def known() -> bool:
            return "greeter" in await a.services()

        await until(known, within=2)
        ids = {place.name: place.running.ready.id for place in (a, b, c) if place.running}

        nodes = (await a.ask("Network.Nodes"))["nodes"]
        assert nodes == [{"id": ids[name], "address": f"mem://{name}", "name": name} for name in "abc"]

        root = (await a.ask("Network.Graph"))["root"]
        assert root["node"]["name"] == "a"
        assert root["peers"][0]["node"]["name"] == "b"
        assert root["peers"][0]["peers"][0]["node"]["name"] == "c"

        [route] = (await a.ask("Network.Routes", {"service": "greeter"}))["routes"]
        assert route == {
            "service": "greeter",
            "version": "latest",
            "protocol": "grpc",
            "address": ids["c"],
            "gateway": ids["b"],
            "router": ids["c"],
            "network": "go.micro",
            "metric": 2,
            "link": "network",
            "hops": 2,
            "labels": {},
        }
        [local] = (await c.ask("Network.Routes", {"service": "greeter", "link": "local"}))["routes"]
        assert (local["router"], local["gateway"], local["hops"]) == (ids["c"], "", 0)
        assert (await a.ask("Network.Routes", {"gateway": ids["c"]}))["routes"] == []

        [connection] = (await c.ask("Network.Connections"))["connections"]
        assert connection == {
            "node": ids["b"],
            "address": "mem://b",
            "name": "b",
            "transport": "mem",
            "delay_ms": connection["delay_ms"],
            "state": "up",
        }


async def test_status_says_how_the_node_is(fast_clock: MockClock) -> None:
    async with world() as all_:
        a = await all_.open("a")
        await a.start(nodes=("mem://nobody",))

        async def tried_twice() -> bool:
            return bool((await a.ask("Network.Status"))["seeds"][0]["attempts"] > 1)

        await until(tried_twice, within=5)
        status = await a.ask("Network.Status")
        assert status["name"] == "a"
        assert status["network"] == "go.micro"
        assert status["addresses"] == ["mem://a"]
        assert status["proxy"] == [a.proxy]
        assert status["links"] == []
        [seed] = status["seeds"]
        assert (seed["address"], seed["state"]) == ("mem://nobody", "waiting")
        assert "nobody listens" in seed["error"]
        assert status["registry"] == {"state": "current", "error": ""}
        assert status["uptime_s"] > 0
        assert status["loop_lag_ms"] >= 0
        assert status["version"]


async def test_a_node_can_be_told_of_another_while_it_runs(fast_clock: MockClock) -> None:
    async with world() as all_:
        a, b = await all_.open("a"), await all_.open("b")
        await a.start()
        await b.start()
        assert await a.ask("Network.Connect", {"address": "mem://b"}) == {}

        async def linked() -> bool:
            return len((await b.ask("Network.Nodes"))["nodes"]) == 2

        await until(linked, within=2)


@pytest.mark.parametrize(
    ("endpoint", "request_", "message"),
    [
        ("Network.Connect", {}, "address"),
        ("Network.Connect", {"address": 5}, "address"),
        ("Network.Connect", {"address": "nonsense"}, "address"),
        ("Network.Connect", {"address": "ftp://a:1"}, "ftp://a:1"),
        ("Network.Connect", ["a:1"], "takes records"),
        ("Network.Routes", {"colour": "red"}, "colour"),
        ("Network.Routes", {"service": 5}, "service"),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused_with_the_reason(
    fast_clock: MockClock, endpoint: str, request_: object, message: str
) -> None:
    async with world() as all_:
        a = await all_.open("a")
        await a.start()
        with pytest.raises(BadRequest, match=message):
            await a.ask(endpoint, request_)


async def test_an_endpoint_that_is_not_there_is_refused_naming_those_that_are(fast_clock: MockClock) -> None:
    async with world() as all_:
        a = await all_.open("a")
        await a.start()
        with pytest.raises(Unimplemented, match=r"Network\.Graph"):
            await a.ask("Network.Weather")


async def test_whoever_follows_the_routes_is_told_until_the_node_drains(fast_clock: MockClock) -> None:
    async with world() as all_:
        a, b = await all_.line("a", "b")
        tell, told = trio.open_memory_channel[tuple[str, str]](10)

        async def follow(*, task_status: trio.TaskStatus[None]) -> None:
            async with (
                tell,
                a.client() as client,
                client.stream(NODE, "Network.Watch", {"service": "greeter"}) as stream,
            ):
                await stream.send_eof()
                task_status.started()
                async for change in stream:
                    await tell.send((change["change"], change["route"]["link"]))

        async def next_is(change: str, link: str) -> None:
            with trio.fail_after(5):
                assert await told.receive() == (change, link)

        await all_.nursery.start(follow)
        await b.serve(greeter(b))
        await next_is("create", "network")
        await a.serve(greeter(a))
        await next_is("create", "local")
        assert b.running is not None
        await b.running.kill()
        await next_is("delete", "network")
        assert a.running is not None
        with trio.fail_after(1):
            await a.running.node.drain()
            assert [left async for left in told] == [], "it ended, and well"


async def test_a_watcher_that_reads_nothing_does_not_hold_up_a_node_that_drains(fast_clock: MockClock) -> None:
    async with world() as all_:
        a = await all_.open("a")
        await a.start()
        many = tuple(Instance(id=f"{number}", address=f"x:{number + 1}") for number in range(100))
        await a.registry.register(Service(name="many", metadata={"about": "x" * 2000}, instances=many))

        async def known() -> bool:
            return "many" in await a.services()

        await until(known, within=5)
        async with a.client() as client, client.stream(NODE, "Network.Watch", {}) as stream:
            await stream.send_eof()
            await stream.receive()
            await trio.sleep(1)
            assert a.running is not None
            with trio.fail_after(1):
                await a.running.node.drain()


async def test_the_best_routes_cannot_be_followed(fast_clock: MockClock) -> None:
    async with world() as all_:
        a = await all_.open("a")
        await a.start()
        with pytest.raises(BadRequest, match="cannot be watched"):
            await a.ask("Network.Watch", {"strategy": "best"})
