import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import trio
from trio.testing import MockClock

from mesh.config import NodeConfig, PublicAddress
from mesh.node import Node
from mesh.presence import TTL
from sdk.errors import Conflict, Forbidden, NotFound, Status, Unavailable
from sdk.head import CallHead, pack_call_head
from sdk.pool import Pool
from sdk.rawsocket import bound_address, listen_tcp
from sdk.registry.memory import MemoryRegistry
from sdk.types import Instance
from sdk.types import Service as Record
from tests.mesh.network import Environment, greeter, until, world
from tunnel.identity import DEFAULT_TOKEN, NodeKey


async def knows(place: Environment, *names: str) -> bool:
    return await place.services() == sorted(names)


async def test_a_call_crosses_three_environments(fast_clock: MockClock) -> None:
    async with world() as all_:
        a, _, c = await all_.line("a", "b", "c")
        await c.serve(greeter(c))
        await until(lambda: knows(a, "greeter"), within=2)
        async with a.client() as client:
            reply = await client.call("greeter", "Greeter.Hello", {"name": "John"})
            assert reply == {"msg": "Hello John from c"}
            async with client.stream("greeter", "Greeter.Count", {"to": 3}) as stream:
                assert [message async for message in stream] == [{"n": 0}, {"n": 1}, {"n": 2}]


async def test_the_same_over_tcp_and_websocket() -> None:
    async with world() as all_:
        a, b, c = [await all_.open(name) for name in "abc"]
        there = await b.start(address="127.0.0.1:0")
        await a.start(address="127.0.0.1:0", nodes=(f"tcp://{there.ready.link[0]}",))
        await c.start(address="127.0.0.1:0", nodes=(f"ws://{there.ready.link[0]}",))
        await c.serve(greeter(c))
        await until(lambda: knows(a, "greeter"), within=10)
        async with a.client() as client:
            reply = await client.call("greeter", "Greeter.Hello", {"name": "John"})
            assert reply == {"msg": "Hello John from c"}
            async with client.stream("greeter", "Greeter.Count", {"to": 1000}) as stream:
                assert [message["n"] async for message in stream] == list(range(1000))
        links = (await b.ask("Network.Connections"))["connections"]
        assert sorted((link["name"], link["transport"], link["state"]) for link in links) == [
            ("a", "tcp", "up"),
            ("c", "ws", "up"),
        ]


async def test_a_call_for_the_node_itself_that_is_pinned_reaches_the_other_node_and_changes_nothing_there(
    fast_clock: MockClock,
) -> None:
    async with world() as all_:
        a, _, c = await all_.line("a", "b", "c")
        assert c.running is not None
        await until(lambda: reaches(a, "c"), within=2)
        async with a.client() as client:
            for name in ("c", c.running.ready.id):
                there = await client.call("go.micro.network", "Network.Status", {}, metadata={"Micro-Router": name})
                assert there["name"] == "c"
            here = await client.call("go.micro.network", "Network.Status", {}, metadata={"Micro-Router": "a"})
            assert here["name"] == "a"
            pins = {"Micro-Router": "c"}
            with pytest.raises(Forbidden, match=r"Network\.Connect changes this node"):
                await client.call("go.micro.network", "Network.Connect", {"address": "mem://x"}, metadata=pins)


async def reaches(place: Environment, name: str) -> bool:
    return any(node["name"] == name for node in (await place.ask("Network.Nodes"))["nodes"])


async def test_a_service_that_stops_is_soon_forgotten_everywhere(fast_clock: MockClock) -> None:
    async with world() as all_:
        a, _, c = await all_.line("a", "b", "c")
        service = greeter(c)
        await c.serve(service)
        await until(lambda: knows(a, "greeter"), within=2)
        service.stop()
        assert await until(lambda: knows(a), within=2) < 0.5
        async with a.client() as client:
            with pytest.raises(NotFound, match=r"a: no service called 'greeter'"):
                await client.call("greeter", "Greeter.Hello", {"name": "John"})


async def test_without_the_middle_the_far_end_is_unavailable_and_with_it_back_calls_work_again(
    fast_clock: MockClock,
) -> None:
    async with world() as all_:
        a, b, c = [await all_.open(name) for name in "abc"]
        middle = await b.start()
        await a.start(nodes=("mem://b",))
        await c.start(nodes=("mem://b",))
        await c.serve(greeter(c))
        await until(lambda: knows(a, "greeter"), within=2)
        async with a.client() as client:
            await middle.kill()

            async def fails() -> bool:
                with pytest.raises(Unavailable, match=r"offered at c.*cannot be reached") as caught:
                    await client.call("greeter", "Greeter.Hello", {"name": "John"})
                return not caught.value.may_have_run

            assert await fails()
            await b.start()

            async def works() -> bool:
                try:
                    reply = await client.call("greeter", "Greeter.Hello", {"name": "John"})
                except Unavailable:
                    return False
                return bool(reply == {"msg": "Hello John from c"})

            await until(works, within=3)


async def test_a_node_that_lost_all_links_still_serves_its_own_environment(fast_clock: MockClock) -> None:
    async with world() as all_:
        a, b = await all_.line("a", "b")
        await a.serve(greeter(a))
        assert b.running is not None
        await b.running.kill()
        await until(lambda: knows(a, "greeter"), within=2)
        async with a.client() as client:
            assert await client.call("greeter", "Greeter.Hello", {"name": "Eve"}) == {"msg": "Hello Eve from a"}


async def test_a_call_on_its_way_over_a_node_that_dies_may_have_run(fast_clock: MockClock) -> None:
    async with world() as all_:
        a, b, c = await all_.line("a", "b", "c")
        service = greeter(c)
        called = trio.Event()

        @service.handle("Greeter.Sleep")
        async def sleep(request: None) -> None:
            called.set()
            await trio.sleep_forever()

        await c.serve(service)
        await until(lambda: knows(a, "greeter"), within=2)

        async def call() -> None:
            async with a.client() as client:
                with pytest.raises(Unavailable) as caught:
                    await client.call("greeter", "Greeter.Sleep")
                assert caught.value.may_have_run

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await called.wait()
            assert b.running is not None
            await b.running.kill()


async def test_a_draining_node_is_forgotten_at_once_and_ends_its_calls_first(fast_clock: MockClock) -> None:
    async with world() as all_:
        a, c = await all_.line("a", "c")
        service = greeter(c)
        called, go_on = trio.Event(), trio.Event()

        @service.handle("Greeter.Wait")
        async def wait(request: None) -> str:
            called.set()
            await go_on.wait()
            return "done"

        await c.serve(service)
        await until(lambda: knows(a, "greeter"), within=2)
        answers: list[object] = []

        async def call() -> None:
            async with a.client() as client:
                answers.append(await client.call("greeter", "Greeter.Wait"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await called.wait()
            assert c.running is not None
            drained = trio.Event()

            async def drain(node: Environment) -> None:
                assert node.running is not None
                await node.running.node.drain()
                drained.set()

            nursery.start_soon(drain, c)
            assert await until(lambda: knows(a), within=1) < 0.5
            assert await c.registry.get("go.micro.network") == ()
            await c.serve(greeter(c, "late"))
            await trio.sleep(2)
            assert await knows(a)
            async with c.client() as client:
                with pytest.raises(Unavailable, match="draining"):
                    await client.call("greeter", "Greeter.Hello", {"name": "John"})
            assert not drained.is_set()
            go_on.set()
            with trio.fail_after(1):
                await drained.wait()
        assert answers == ["done"]


async def test_calls_of_others_go_by_another_node_when_one_on_their_way_drains(fast_clock: MockClock) -> None:
    async with world() as all_:
        a, b, c, d = [await all_.open(name) for name in "abcd"]
        for between in (b, d):
            await between.start()
        for end in (a, c):
            await end.start(nodes=("mem://b", "mem://d"), link_prices=(("mem://d", 9),))
        await c.serve(greeter(c))
        await until(lambda: knows(a, "greeter"), within=5)
        await trio.sleep(5)
        assert b.running is not None
        switch = b.running.node._switch
        going = True

        async def keep_calling() -> None:
            async with a.client() as client:
                while going:
                    await client.call("greeter", "Greeter.Hello", {"name": "John"})
                    await trio.sleep(0.005)

        before = switch.calls
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(keep_calling)
            await trio.sleep(0.1)
            assert switch.calls > before
            with trio.fail_after(3):
                await b.running.node.drain()
            carried = switch.calls
            await trio.sleep(0.1)
            assert switch.calls == carried
            going = False


async def test_a_node_that_is_drained_before_it_has_started_has_nothing_to_do() -> None:
    async with world() as all_:
        a = await all_.open("a")
        running = await a.start()
        await running.kill()
        await running.node.drain()


@pytest.mark.parametrize(("strategy", "carries"), [("all", True), ("best", True), ("local", False), ("none", False)])
def test_who_does_not_carry_refuses_what_others_send_all_the_same(strategy: str, carries: bool) -> None:
    node = Node(NodeConfig(advertise_strategy=strategy), registry=MemoryRegistry("a"))
    assert node._switch._transit is carries


async def test_of_two_nodes_with_one_key_the_older_gives_way_and_serves_its_own_environment_on(
    fast_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with world() as all_:
        older, middle, far, newer = [await all_.open(name) for name in ("older", "middle", "far", "newer")]
        await middle.start()
        await far.start(nodes=("mem://middle",))
        key = NodeKey(b"k" * 32)
        monkeypatch.setattr("mesh.datadir.NodeKey", lambda seed: key)
        await older.start(nodes=("mem://middle",))
        started = datetime.now(UTC)
        while datetime.now(UTC) - started < timedelta(milliseconds=2):
            pass  # a later start has a later epoch, which counts milliseconds
        await newer.start(nodes=("mem://far",))
        await older.serve(greeter(older, "of.older"))
        await newer.serve(greeter(newer, "of.newer"))

        async def told() -> bool:
            return sum("the key of this one" in message for message in caplog.messages) == 2

        await until(told, within=90)
        await trio.sleep(15)
        assert await told()
        assert await older.services() == ["of.older"]
        assert await middle.services() == await far.services() == ["of.newer"]
        for place, service in ((older, "of.older"), (middle, "of.newer")):
            async with place.client() as client:
                reply = await client.call(service, "Greeter.Hello", {"name": "John"})
                assert reply == {"msg": f"Hello John from {service.removeprefix('of.')}"}


async def test_nodes_of_one_registry_find_each_other_and_part_when_one_leaves(fast_clock: MockClock) -> None:
    async with world() as all_:
        a = await all_.open("one")
        first = await a.start(address="mem://first", name="first")
        second = await a.start(address="mem://second", name="second")

        async def linked() -> bool:
            return len((await a.ask("Network.Nodes"))["nodes"]) == 2

        await until(linked, within=2)
        status = await a.ask("Network.Status")
        assert [seed["address"] for seed in status["seeds"]] == ["mem://first"]
        await first.kill()

        async def alone() -> bool:
            return not (await a.ask("Network.Status"))["seeds"]

        await until(alone, within=2)
        await second.kill()
        assert await a.registry.get("go.micro.network") == ()


async def test_a_node_that_left_the_registry_keeps_its_link_while_it_runs(fast_clock: MockClock) -> None:
    async with world() as all_:
        a = await all_.open("one")
        first = await a.start(address="mem://first", resolver="static")
        await a.start(address="mem://second", name="second")

        async def linked() -> bool:
            return len((await a.ask("Network.Connections"))["connections"]) == 1

        await until(linked, within=2)
        await first.node.drain()

        async def not_dialled() -> bool:
            return not (await a.ask("Network.Status"))["seeds"]

        await until(not_dialled, within=2)
        await trio.sleep(5)
        assert await linked()


async def test_with_static_seeds_nodes_of_one_registry_stay_apart(fast_clock: MockClock) -> None:
    async with world() as all_:
        a = await all_.open("one")
        await a.start(address="mem://first", resolver="static")
        await a.start(address="mem://second", resolver="static")
        await trio.sleep(5)
        assert len((await a.ask("Network.Nodes"))["nodes"]) == 1
        assert (await a.ask("Network.Status"))["seeds"] == []


async def test_a_node_stands_in_its_registry_while_it_runs(fast_clock: MockClock) -> None:
    async with world() as all_:
        a = await all_.open("a")
        running = await a.start()
        await trio.sleep(2 * TTL)
        [record] = await a.registry.get("go.micro.network")
        [instance] = record.instances
        assert instance.address == running.ready.proxy[0]
        assert dict(instance.metadata) == {
            "protocol": "grpc",
            "native": "1",
            "network": "go.micro",
            "id": running.ready.id,
            "link": "mem://a",
        }
        assert {endpoint.name for endpoint in record.endpoints} >= {"Network.Nodes", "Network.Routes"}
        await running.kill()
        assert await a.registry.get("go.micro.network") == ()


async def test_a_node_says_first_that_everybody_knows_its_token(caplog: pytest.LogCaptureFixture) -> None:
    async with world() as all_:
        a, b = await all_.open("a"), await all_.open("b")
        await a.start()
        first = caplog.records[0]
        assert first.levelno == logging.WARNING
        assert "only loopback and private peers are let in" in first.message
        assert "MICRO_NETWORK_TOKEN" in first.message
        caplog.clear()
        await b.start(token="a secret of ours")
        assert caplog.records == []


@pytest.mark.parametrize("port", ["address", "proxy_address"])
async def test_a_port_that_is_taken_is_named(port: str) -> None:
    async with world() as all_:
        a, b = await all_.open("a"), await all_.open("b")
        ready = (await a.start(address="127.0.0.1:0")).ready
        taken = ready.link[0] if port == "address" else ready.proxy[0]
        with pytest.raises(BaseExceptionGroup) as caught:
            await b.start(nodes=(), **{port: taken})
        conflict, _ = caught.value.split(Conflict)
        assert conflict is not None
        assert taken in repr(conflict.exceptions)
        flag = {
            "address": "--address (MICRO_NETWORK_ADDRESS)",
            "proxy_address": "--proxy-address (MICRO_PROXY_ADDRESS)",
        }
        assert f"{flag[port]}: port" in repr(conflict.exceptions)
        assert await b.registry.get("go.micro.network") == ()


async def test_a_name_that_turns_out_to_be_a_public_address_is_refused_with_the_default_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mesh.reload.is_public", lambda host: host == "127.0.0.1")
    async with world() as all_:
        a = await all_.open("a")
        with pytest.raises(BaseExceptionGroup) as caught:
            await a.start(address="localhost:0")
        assert caught.value.split(PublicAddress)[0] is not None


async def test_garbage_in_the_registry_keeps_no_node_from_running(
    fast_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with world() as all_:
        a = await all_.open("a")
        metadata = {"network": "go.micro", "id": "x", "link": "ftp://nowhere"}
        instance = Instance(id="garbage", address="127.0.0.1:1", metadata=metadata)
        await a.registry.register(Record(name="go.micro.network", instances=(instance,)))
        await a.start()
        assert await knows(a)
        assert any("a node in the registry cannot be dialled" in message for message in caplog.messages)
        await a.registry.deregister(Record(name="go.micro.network", instances=(instance,)))
        await a.serve(greeter(a))
        await until(lambda: knows(a, "greeter"), within=2)


async def test_an_instance_that_died_without_a_word_is_known_as_not_reached(
    fast_clock: MockClock,
) -> None:
    async with world() as all_:
        a, c = await all_.line("a", "c")
        gone = Instance(id="greeter-gone", address="127.0.0.1:1", metadata={"native": "1"})
        await c.registry.register(Record(name="greeter", instances=(gone,)))
        await until(lambda: knows(a, "greeter"), within=2)
        async with a.client() as client:
            with pytest.raises(Unavailable) as caught:
                await client.call("greeter", "Greeter.Hello", {"name": "John"})
            assert not caught.value.may_have_run


@asynccontextmanager
async def mute_instance(place: Environment, name: str) -> AsyncIterator[tuple[Record, trio.Event, trio.Event]]:
    """A registered instance that takes connections and never says a word; events tell of a connection and its end."""
    connected, ended = trio.Event(), trio.Event()

    async def listen(stream: trio.SocketStream) -> None:
        connected.set()
        async for _ in stream:
            pass
        ended.set()

    async with trio.open_nursery() as nursery:
        listener = (await listen_tcp("127.0.0.1:0"))[0]
        nursery.start_soon(trio.serve_listeners, listen, [listener])
        instance = Instance(id=f"{name}-1", address=bound_address(listener), metadata={"native": "1"})
        record = Record(name=name, instances=(instance,))
        await place.registry.register(record)
        yield record, connected, ended
        nursery.cancel_scope.cancel()


async def test_the_connection_to_an_instance_ends_when_its_record_is_gone(fast_clock: MockClock) -> None:
    async with world() as all_:
        a = await all_.open("a")
        await a.start()
        async with mute_instance(a, "mute") as (record, connected, ended), a.client() as client:
            await until(lambda: knows(a, "mute"), within=2)
            with trio.move_on_after(1):
                await client.call("mute", "Mute.Speak")
            assert connected.is_set()
            await trio.sleep(1)
            assert not ended.is_set()
            await a.registry.deregister(record)
            with trio.fail_after(1):
                await ended.wait()


async def test_a_call_whose_time_is_up_is_ended_by_the_node_even_if_its_caller_forgot_it(fast_clock: MockClock) -> None:
    async with world() as all_:
        a = await all_.open("a")
        await a.start()
        async with mute_instance(a, "mute"), trio.open_nursery() as nursery:
            await until(lambda: knows(a, "mute"), within=2)
            mux = Pool(nursery).connection_to(a.proxy).mux
            stream = mux.open(pack_call_head(CallHead("mute", "Mute.Speak")), end=True, ms=500)
            changed = trio.Event()
            stream.on_change = changed.set
            with trio.fail_after(1):
                await changed.wait()
            assert stream.reset_by_peer is not None
            assert stream.reset_by_peer.status == Status.DEADLINE_EXCEEDED
            nursery.cancel_scope.cancel()


async def test_with_the_default_token_peers_from_outside_are_refused_and_with_a_secret_they_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tunnel.tunnel.is_private", lambda host: False)
    for token, admitted in ((DEFAULT_TOKEN, False), ("a secret of ours", True)):
        async with world() as all_:
            a, b = await all_.open("a"), await all_.open("b")
            ready = (await a.start(address="127.0.0.1:0", token=token)).ready
            await b.start(address="127.0.0.1:0", token=token, nodes=ready.link)

            async def tried(place: Environment = b) -> bool:
                [seed] = (await place.ask("Network.Status"))["seeds"]
                return bool(seed["state"] == "linked" or seed["error"])

            await until(tried, within=10)
            assert len((await b.ask("Network.Connections"))["connections"]) == admitted


async def test_status_tells_how_long_the_loop_was_held_up(fast_clock: MockClock) -> None:
    async with world() as all_:
        a = await all_.open("a")
        await a.start()
        assert (await a.ask("Network.Status"))["loop_lag_ms"] < 100
        fast_clock.jump(1)
        assert (await a.ask("Network.Status"))["loop_lag_ms"] >= 900
