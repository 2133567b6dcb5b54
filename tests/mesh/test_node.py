import pytest
import trio
from trio.testing import MockClock

from sdk.errors import NotFound, Unavailable
from tests.mesh.network import Environment, greeter, until, world


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
            assert not drained.is_set()
            go_on.set()
            with trio.fail_after(1):
                await drained.wait()
        assert answers == ["done"]


async def test_a_node_that_is_drained_before_it_has_started_has_nothing_to_do() -> None:
    async with world() as all_:
        a = await all_.open("a")
        running = await a.start()
        await running.kill()
        await running.node.drain()


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
        await trio.sleep(60)
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
