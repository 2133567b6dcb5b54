"""What only a registry that is called can do: fail over, be away and come back, and answer with rubbish."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from sdk.errors import BadRequest, Forbidden, Unauthorized, Unavailable
from sdk.rawsocket import bound_address, listen_tcp
from sdk.registry import Event, open_registry
from sdk.registry.service import ServiceRegistry
from sdk.server import Server
from sdk.types import Instance, Service, service_to_json
from tests.sdk.registry.registryserver import RegistryServer


def greeter(*ids: str) -> Service:
    return Service(name="greeter", instances=tuple(Instance(id=id, address="10.0.0.1:80") for id in ids))


async def next_of(events: AsyncIterator[Event]) -> tuple[str, str]:
    with trio.fail_after(30):
        event = await anext(events)
    return event.action.value, event.service.instances[0].id


@asynccontextmanager
async def serving(**handlers: Any) -> AsyncIterator[str]:
    """A registry of the test's own making, by endpoint; where it listens."""
    server = Server("go.micro.registry")
    for name, handler in handlers.items():
        server.add(f"Registry.{name}", handler)
    listeners = await listen_tcp("127.0.0.1:0")
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, listeners)
        yield bound_address(listeners[0])
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("address", "becomes"),
    [
        ("", "127.0.0.1:8000"),
        (":1", "127.0.0.1:1"),
        ("a:1, b:2", "a:1,b:2"),
        ("service://a:1,[::1]:2/", "a:1,[::1]:2"),
    ],
)
def test_an_address_is_a_host_and_a_port_or_several(address: str, becomes: str) -> None:
    assert open_registry("service", address).address == becomes


@pytest.mark.parametrize("address", ["nowhere", "a:0", "a:1,b"])
def test_an_address_that_is_none_is_refused_naming_the_flag(address: str) -> None:
    with pytest.raises(BadRequest, match=r"--registry-address \(MICRO_REGISTRY_ADDRESS\)"):
        ServiceRegistry(address)


async def test_nobody_there_is_said_with_the_addresses_that_were_tried() -> None:
    async with ServiceRegistry("127.0.0.1:1,127.0.0.1:2") as registry:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1: .*127\.0\.0\.1:2: .*start `micro registry`"):
            await registry.list()
        with pytest.raises(Unavailable, match="no registry answers"):
            async with registry.watch():
                pytest.fail("there is nobody to watch")


async def test_a_server_that_says_nothing_is_given_up_in_time_and_can_be_left_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    [listener] = await listen_tcp("127.0.0.1:0")
    async with listener, ServiceRegistry(bound_address(listener)) as registry:

        async def follow() -> None:
            async with registry.watch():
                pytest.fail("there is nobody to watch")

        uses = (registry.list, follow, partial(registry.register, greeter("1")), partial(registry.get, "greeter"))
        for use in (*uses, partial(registry.deregister, greeter("1"))):
            with trio.move_on_after(1) as scope:
                await use()
            assert scope.cancelled_caught
            with pytest.raises(Unavailable, match="no answer within 5 s"), trio.fail_after(60):
                await use()


async def test_an_address_that_says_nothing_keeps_no_other_from_being_asked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    [listener] = await listen_tcp("127.0.0.1:0")

    async def there(request: Any) -> Any:
        return {"services": []}

    async with (
        listener,
        serving(ListServices=there) as address,
        ServiceRegistry(f"{bound_address(listener)},{address}") as registry,
    ):
        with trio.fail_after(30):
            assert await registry.list() == ()


async def test_another_address_takes_over_and_is_kept() -> None:
    with RegistryServer() as one, RegistryServer() as two:
        async with ServiceRegistry(f"127.0.0.1:1,{one.address},{two.address}") as registry:
            await registry.register(greeter("1"))
            async with ServiceRegistry(one.address) as direct:
                assert await direct.list() == (greeter("1"),)
            assert await registry.get("greeter") == (greeter("1"),)
            async with ServiceRegistry(two.address) as direct:
                assert await direct.list() == ()


async def test_a_watch_goes_on_at_another_address_and_tells_the_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.registry.service.SHORT", 0.0)
    with RegistryServer() as one, RegistryServer() as two:
        async with ServiceRegistry(two.address) as direct:
            await direct.register(greeter("stays"))
            await direct.register(greeter("new"))
        async with ServiceRegistry(f"{one.address},{two.address}") as registry, registry.watch() as events:
            await registry.register(greeter("stays"))
            await registry.register(greeter("goes"))
            assert [await next_of(events) for _ in range(2)] == [("create", "stays"), ("create", "goes")]
            one.stop()
            assert [await next_of(events) for _ in range(2)] == [("delete", "goes"), ("create", "new")]


async def test_a_watch_of_a_registry_that_is_away_says_so_and_goes_on_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sdk.registry.service.SHORT", 0.0)
    with RegistryServer() as server:
        async with ServiceRegistry(server.address) as registry, registry.watch() as events:
            await registry.register(greeter("1"))
            assert await next_of(events) == ("create", "1")
            server.stop()
            for _ in range(2):
                with pytest.raises(Unavailable, match="no registry answers"):
                    await next_of(events)
            with server:
                await registry.register(greeter("2"))
                assert [await next_of(events) for _ in range(2)] == [("delete", "1"), ("create", "2")]


async def test_a_watch_that_is_lost_at_once_is_not_begun_again_for_ever() -> None:
    async def watch(request: Any, stream: Any) -> None:
        await stream.send({"action": "ready"})

    async with serving(Watch=watch) as address, ServiceRegistry(address) as registry, registry.watch() as events:
        with pytest.raises(Unavailable, match="it ended the watch"):
            await next_of(events)


async def test_half_of_the_records_are_rubbish_and_the_other_half_works(caplog: pytest.LogCaptureFixture) -> None:
    good, bad = service_to_json(greeter("1")), {"name": "greeter", "nodes": [{"id": "x", "address": "nowhere"}]}

    async def listed(request: Any) -> Any:
        return {"services": [bad, good, 3]}

    async def got(request: Any) -> Any:
        return "rubbish"

    async def watch(request: Any, stream: Any) -> None:
        for message in (
            {"action": "ready"},
            {"action": "create", "service": bad},
            {"action": "create", "service": good},
        ):
            await stream.send(message)
        await trio.sleep_forever()

    async with (
        serving(ListServices=listed, GetService=got, Watch=watch) as address,
        ServiceRegistry(address) as registry,
    ):
        for _ in range(2):
            assert await registry.list() == (greeter("1"),)
        with pytest.raises(Unavailable, match="no list of services"):
            await registry.get("greeter")
        async with registry.watch() as events:
            assert await next_of(events) == ("create", "1")
    named = [record.getMessage() for record in caplog.records if record.name == "sdk.registry.service"]
    assert len(named) == 2
    assert "'nowhere' is not host:port" in named[0]


async def test_registering_from_another_host_needs_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.doorkeeper.is_loopback", lambda host: False)
    with RegistryServer() as server, RegistryServer(proxy_tokens=("secret",)) as guarded:
        async with ServiceRegistry(server.address) as registry:
            assert await registry.list() == ()
            with pytest.raises(Forbidden, match=r"Registry\.Register"):
                await registry.register(greeter("1"))
        async with ServiceRegistry(guarded.address) as registry:
            with pytest.raises(Unauthorized, match="MICRO_PROXY_TOKEN"):
                await registry.list()
        monkeypatch.setenv("MICRO_PROXY_TOKEN", "secret")
        async with ServiceRegistry(guarded.address) as registry:
            await registry.register(greeter("1"))
            assert await registry.list() == (greeter("1"),)
