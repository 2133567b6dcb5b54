from typing import Any

import pytest
import trio
from trio.testing import MockClock

from mesh.standalone import Router, RouterConfig, RouterReady
from sdk import Client
from sdk.config import ClientConfig
from sdk.errors import BadRequest, Conflict, Forbidden, NotFound
from sdk.registry.memory import MemoryRegistry
from tests.mesh.network import greeter, until, world


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"address": "nowhere"}, r"--address \(MICRO_ROUTER_ADDRESS\)"),
        ({"network": ""}, r"--network \(MICRO_NETWORK\)"),
        ({"network": "a\nb"}, "not printable"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(values: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        RouterConfig(**values)


async def test_a_port_that_is_taken_is_named(nursery: trio.Nursery) -> None:
    first = Router(RouterConfig(address="127.0.0.1:0"), registry=MemoryRegistry("taken"))
    ready: RouterReady = await nursery.start(first.run)
    with pytest.raises(Conflict, match=r"--address \(MICRO_ROUTER_ADDRESS\)"):
        await Router(RouterConfig(address=ready.address[0]), registry=MemoryRegistry("taken")).run()


async def test_draining_takes_it_out_of_the_registry_and_ends_the_watches(nursery: trio.Nursery) -> None:
    router = Router(RouterConfig(address="127.0.0.1:0"), registry=MemoryRegistry("drained"))
    ready: RouterReady = await nursery.start(router.run)
    async with (
        MemoryRegistry("drained") as registry,
        Client(proxy=ready.address[0]) as client,
        client.stream("go.micro.router", "Router.Watch", {}) as stream,
    ):
        assert (await stream.receive())["route"]["service"] == "go.micro.router"
        assert await registry.get("go.micro.router")
        with trio.fail_after(20):
            await router.drain()
            assert [event["route"]["service"] async for event in stream] in ([], ["go.micro.router"])  # that it goes
        assert not await registry.get("go.micro.router")


async def test_it_follows_the_registry_is_found_there_and_calls_nobody(fast_clock: MockClock) -> None:
    async with world() as all_:
        place = await all_.open("here")
        router = Router(RouterConfig(address="127.0.0.1:0"), registry=MemoryRegistry("here"))
        stop, ended = trio.CancelScope(), trio.Event()

        async def run(*, task_status: trio.TaskStatus[RouterReady]) -> None:
            with stop:
                await router.run(task_status=task_status)
            ended.set()

        ready: RouterReady = await all_.nursery.start(run)
        await place.serve(greeter(place))
        async with Client(registry=place.registry) as client, Client(proxy=ready.address[0]) as near:

            async def routes() -> list[str]:
                found = await client.call("go.micro.router", "Router.Lookup", {"service": "greeter"})
                return [route["router"] for route in found["routes"]]

            async def known() -> bool:
                return await routes() == [ready.id]

            await until(known, within=5)
            await client.call("go.micro.router", "Table.Create", {"service": "z", "address": "z:1", "ttl": 3})
            listed = await client.call("go.micro.router", "Table.Query", {"service": "z"})
            assert [route["network"] for route in listed["routes"]] == ["go.micro"]

            async def gone() -> bool:
                return not (await client.call("go.micro.router", "Table.Query", {"service": "z"}))["routes"]

            await until(gone, within=5)
            with pytest.raises(NotFound, match="calls nobody"):
                await near.call("greeter", "Greeter.Hello", {"name": "John"})
        stop.cancel()
        await ended.wait()
        assert "go.micro.router" not in {service.name for service in await place.registry.list()}


async def test_a_node_answers_for_its_own_table_which_cannot_be_written(fast_clock: MockClock) -> None:
    async with world() as all_:
        a, b = await all_.line("a", "b")
        await b.serve(greeter(b))
        async with a.client() as client:

            async def known() -> bool:
                reply = await client.call("go.micro.router", "Router.Lookup", {"service": "greeter"})
                return [route["hops"] for route in reply["routes"]] == [1]

            await until(known, within=5)
            with pytest.raises(NotFound, match=r"no endpoint Table\.Create"):
                await client.call("go.micro.router", "Table.Create", {"service": "z", "address": "z:1"})


async def test_programs_of_other_hosts_read_the_table_and_only_those_with_the_token_write_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    route = {"service": "z", "address": "z:1"}
    async with trio.open_nursery() as nursery:
        for tokens, shown, may in (((), "", False), (("secret",), "secret", True)):
            config = RouterConfig(address="127.0.0.1:0", proxy_tokens=tokens)
            router = Router(config, registry=MemoryRegistry(f"elsewhere {may}"))
            ready: RouterReady = await nursery.start(router.run)
            monkeypatch.setattr("proxy.doorkeeper.is_loopback", lambda host: False)
            async with Client(ClientConfig(proxy=ready.address[0], proxy_token=shown)) as client:
                assert await client.call("go.micro.router", "Router.Lookup", {"service": "z"}) == {"routes": []}
                if may:
                    assert await client.call("go.micro.router", "Table.Create", route) == {}
                else:
                    for endpoint in ("Table.Create", "Table.Update", "Table.Delete"):
                        with pytest.raises(Forbidden, match=endpoint):
                            await client.call("go.micro.router", endpoint, route)
        nursery.cancel_scope.cancel()
