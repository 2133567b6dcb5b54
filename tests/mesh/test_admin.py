import re
from contextlib import suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from mesh.admin import tree
from mesh.testing import Network
from router.table import GraphNode
from sdk.errors import BadRequest, Forbidden, NotFound, Unavailable, Unimplemented
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


async def hello(request: Any) -> dict[str, str]:
    return {"msg": "hello"}


async def register(net: Network, at: str, name: str, **metadata: str) -> None:
    """Puts into an environment's registry what nobody answers for."""
    instance = Instance(id=name, address=f"{name}:1", metadata=metadata)
    place = net._places[at]
    place.records[name] = Service(name=name, instances=(instance,))
    await place.registry.register(place.records[name])


async def reasons(net: Network, at: str, service: str = "greeter") -> dict[str, tuple[str, bool, str]]:
    """What is said of each candidate, by name: standing, whether it takes calls, and why."""
    reply = await net.call(at, NODE, "Network.Why", {"service": service})
    return {each["name"]: (each["standing"], each["chosen"], each["why"]) for each in reply["candidates"]}


async def test_why_tells_who_takes_calls_over_which_path_and_at_which_cost(autojump_clock: MockClock) -> None:
    async with Network() as net:
        prices = (("b", 7), ("c", 2), ("d", 40))
        await net.node("a", link_prices=prices)
        for name in "bcd":
            await net.node(name, nodes=["a"])
        far = await net.node("e", nodes=["b", "c"])
        await net.offer("d", "greeter", {"Greeter.Hello": hello})
        await net.offer("e", "greeter", {"Greeter.Hello": hello})
        await net.converged()
        await trio.sleep(60)
        assert await reasons(net, "a") == {
            "e": ("network", True, "none is cheaper"),
            "d": (
                "network", False, "it costs 37 more than the cheapest: it is called when no cheaper one is left"
            ),
        }  # fmt: skip
        [e, _] = (await net.call("a", NODE, "Network.Why", {"service": "greeter"}))["candidates"]
        assert (e["node"], e["path"][-1], e["names"], e["spare"], e["cost"]) == (
            far.id,
            far.id,
            ["c", "e"],
            ["b", "e"],
            4,
        )
        assert e["links"] == [
            {"from": "a", "to": "c", "cost": 3, "delay": 0, "loss": 0, "price": 2},
            {"from": "c", "to": "e", "cost": 1, "delay": 0, "loss": 0, "price": 0},
        ]
        assert 60 <= e["changed_s"] < 70
        assert (e["versions"], e["protocols"], e["instances"], e["weight"]) == (["latest"], ["grpc"], 1, 1)

        await net.offer("a", "greeter", {"Greeter.Hello": hello})
        await net.converged()
        found = await reasons(net, "a")
        assert found["a"] == ("local", True, "instances of this environment come first")
        assert not any(chosen for _, chosen, _ in (found["d"], found["e"]))


async def test_why_tells_who_is_known_but_not_called(autojump_clock: MockClock) -> None:
    async with Network() as net:
        await net.node("a", imports=("!private",), gateway="b")
        await net.node("b", nodes=["a"], advertise_strategy="local")
        await net.node("c", nodes=["b"])
        for name, service in (("c", "greeter"), ("b", "private"), ("b", "gone")):
            await net.offer(name, service, {"Greeter.Hello": hello})
        await register(net, "b", "old", protocol="mucp")
        await register(net, "a", "plain", protocol="smtp")
        await net.converged()
        closed = "every way of at most three links leads through nodes that carry no calls"
        assert await reasons(net, "a") == {"c": ("too_far", False, closed)}
        mucp = "its instances speak nothing that nodes can call (mucp only)"
        assert await reasons(net, "a", "old") == {"b": ("not_callable", False, mucp)}
        imports = "--import of this node keeps the service out"
        assert await reasons(net, "a", "private") == {"b": ("not_imported", False, imports)}
        speaks = "its instances speak smtp only, which this node cannot call yet"
        assert await reasons(net, "a", "plain") == {"a": ("local", False, speaks)}
        for service in (NODE, "go.micro.router"):
            assert await reasons(net, "a", service) == {"a": ("local", True, "every node answers that itself")}
        await net.kill("b")
        await trio.sleep(10)
        assert await reasons(net, "a", "gone") == {"b": ("unreachable", False, "no links lead there at present")}


async def test_why_tells_who_has_failed_and_for_how_long_it_waits(fast_clock: MockClock) -> None:
    async with world() as all_:
        a, b, c = [await all_.open(name) for name in "abc"]
        for place in (a, b, c):
            await place.start(nodes=("mem://a",) if place is not a else ())
        nobody = Instance(id="nobody", address="127.0.0.1:1", metadata={"protocol": "grpc", "native": "1"})
        for place in (b, c):
            await place.registry.register(Service(name="greeter", instances=(nobody,)))

        async def why() -> dict[str, tuple[bool, str]]:
            if "greeter" not in await a.services():
                return {}
            reply = await a.ask("Network.Why", {"service": "greeter"})
            return {each["name"]: (each["chosen"], each["why"]) for each in reply["candidates"]}

        async def known() -> bool:
            return [chosen for chosen, _ in (await why()).values()] == [True, True]

        async def failed() -> bool:
            async with a.client() as client:
                with suppress(Unavailable):
                    await client.call("greeter", "Greeter.Hello", {"name": "John"})
            waiting[:] = [reason for chosen, reason in (await why()).values() if not chosen]
            return bool(waiting)

        waiting: list[str] = []
        await until(known, within=5)
        await until(failed, within=30)
        [reason] = waiting
        assert re.fullmatch(r"it failed several times in a row: it is tried again in \d+ s", reason)


async def test_why_tells_what_becomes_of_calls_that_nobody_here_takes(autojump_clock: MockClock) -> None:
    async with Network() as net:
        await net.node("a", imports=("!private",), gateway="b")
        await net.node("b", nodes=["a"], gateway="b")
        await net.offer("b", "private", {"Greeter.Hello": hello})
        await net.offer("b", "public", {"Greeter.Hello": hello})
        await net.converged()

        async def gateway(at: str, service: str) -> object:
            return (await net.call(at, NODE, "Network.Why", {"service": service}))["gateway"]

        assert await gateway("a", "nobody") == await gateway("a", "private") == {"node": "b", "reachable": True}
        assert await net.call("a", "private", "Greeter.Hello") == {"msg": "hello"}
        assert await gateway("a", "public") is None
        # Neither for what every node has of its own, nor does a node ask itself.
        for at, service in (("a", "go.micro.tunnel"), ("b", "nobody")):
            with pytest.raises(NotFound, match=f"nobody offers '{service}'"):
                await gateway(at, service)
        await net.kill("b")
        await trio.sleep(10)
        assert await gateway("a", "nobody") == {"node": "b", "reachable": False}
        assert await gateway("a", "public") is None, "it is not unknown, only out of reach"


async def test_links_are_shown_with_all_that_is_known_of_them(autojump_clock: MockClock) -> None:
    async with Network(delay=0.02) as net:
        await net.node("a", link_prices=(("*", 3),))
        b = await net.node("b", nodes=["a"])
        await net.converged()
        await trio.sleep(30)
        [link] = (await net.call("a", NODE, "Network.Links"))["links"]
        assert (link["node"], link["name"], link["transport"], link["state"]) == (b.id, "b", "mem", "up")
        assert link["delay_ms"] == pytest.approx(40, abs=1)
        assert link["loss"] == link["queued"] == link["streams"] == 0
        assert 0 < link["rate_in"] < 1000
        assert 0 < link["rate_out"] < 1000
        assert link["terms"]["price"] == 3
        assert link["terms"]["delay"] > 0
        assert link["cost"] == 1 + sum(link["terms"].values())
        assert 30 <= link["up_s"] < 32
        assert not link["dialled"]


async def test_status_says_how_the_node_takes_part_in_the_network(autojump_clock: MockClock) -> None:
    async with Network() as net:
        await net.node("a", advertise_strategy="local", gateway="b")
        await net.node("b", nodes=["a"])
        await net.converged()
        a, b = [await net.call(name, NODE, "Network.Status") for name in "ab"]
        assert (a["strategy"], a["gateway"], a["twin"], a["nodes"]) == ("local", "b", None, 2)
        assert (b["strategy"], b["gateway"]) == ("all", "")
        assert a["link_state_root"] == b["link_state_root"] == net.running()["a"].gossip.link_state_root.hex()[:16]
        assert a["revision"] == net.running()["a"].table.revision > 0
        assert all(count > 0 for count in a["gossip"].values())
        await net.offer("b", "greeter", {"Greeter.Hello": hello})
        await net.converged()
        assert (await net.call("a", NODE, "Network.Status"))["revision"] > a["revision"]


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
        assert status["registry"].pop("for_s") >= 0
        assert status["registry"].pop("address")
        assert status["registry"] == {"kind": "memory", "state": "current", "error": ""}
        assert status["uptime_s"] > 0
        assert status["loop_lag_ms"] >= 0
        assert status["version"]
        assert status["calls"].keys() == {"calls", "refused", "retried", "open"}
        assert status["calls"]["open"] == 1, "this one"
        assert status["programs"] == {"open": 1, "refused": 0}
        assert status["forwards"] == {"refused": 0}
        b = await all_.open("nobody")
        await b.start()

        async def linked() -> bool:
            return [(seed["state"], seed["error"]) for seed in (await a.ask("Network.Status"))["seeds"]] == [
                ("linked", "")
            ]

        await until(linked, within=5)


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
        ("Network.Why", {}, "Network.Why takes"),
        ("Network.Why", {"service": 5}, "Network.Why takes"),
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


async def test_a_program_of_another_host_may_ask_but_not_change_the_node(
    fast_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world() as all_:
        a = await all_.open("a")
        await a.start()
        assert await a.ask("Network.Connect", {"address": "mem://b"}) == {}
        monkeypatch.setattr("proxy.doorkeeper.is_loopback", lambda host: False)  # from here on everybody is elsewhere
        assert len((await a.ask("Network.Nodes"))["nodes"]) == 1
        for endpoint in ("Network.Connect", "Network.Reload"):
            with pytest.raises(Forbidden, match=f"{endpoint} changes this node"):
                await a.ask(endpoint, {"address": "mem://c"})
        assert [seed["address"] for seed in (await a.ask("Network.Status"))["seeds"]] == ["mem://b"]
