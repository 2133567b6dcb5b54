from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mesh import registry_service
from mesh.registry_program import MAX_BYTES
from mesh.registry_service import RegistryService, Shelf
from sdk import Client
from sdk.codec import JSON, encode
from sdk.errors import BadRequest, Forbidden, TooManyRequests, Unavailable
from sdk.rawsocket import bound_address, listen_tcp
from sdk.registry.memory import MemoryRegistry
from sdk.registry.remote import MAX_RELAYS
from sdk.registry.service import ServiceRegistry
from sdk.types import Instance, Service, parse_service, service_to_json
from sdk.wire.message import MAX_MESSAGE
from tests.mesh.network import greeter, until, world


def record(name: str, *ids: str, **more: Any) -> dict[str, Any]:
    instances = tuple(Instance(id=id, address="h:1") for id in ids)
    return {**service_to_json(Service(name=name, instances=instances)), **more}


class Caller:
    """Takes what a watch sends."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str]] = []

    async def send(self, message: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.got.append((message["action"], message["service"]["name"] if "service" in message else ""))


async def test_what_fills_a_registry_fits_the_message_in_which_it_is_listed() -> None:
    async with MemoryRegistry("full") as registry:
        shelf = Shelf(instances=100, size=MAX_BYTES)
        service = RegistryService(registry, shelf=shelf)
        for name in ("ascii", "größer", "日本", "🦊"):
            await service.register(
                record(name, *(f"{name}-{number}" for number in range(10)), metadata={"x": name * 99})
            )
        listed = len(encode(JSON, await service.list(None)))
        assert 0 < listed < shelf._bytes
    assert MAX_BYTES < MAX_MESSAGE


async def test_records_are_kept_listed_and_taken_out_and_go_when_their_time_is_up(autojump_clock: MockClock) -> None:
    async with MemoryRegistry("x") as registry:
        service = RegistryService(registry)
        await service.register(record("a", "1", options={"ttl": 5}))
        await service.register(record("b", "1", "2", options={"ttl": 0}))
        assert await service.list(None) == {"services": [record("a", "1"), record("b", "1", "2")]}
        await service.deregister(record("b", "1"))
        assert await service.get({"service": "b"}) == {"services": [record("b", "2")]}
        await trio.sleep(6)
        assert await service.list({}) == {"services": [record("b", "2")]}


async def test_a_watch_says_that_it_began_and_tells_of_one_service_or_all(autojump_clock: MockClock) -> None:
    async with MemoryRegistry("x") as registry, trio.open_nursery() as nursery:
        service, one, all_ = RegistryService(registry), Caller(), Caller()
        await service.register(record("a", "1"))
        nursery.start_soon(service.watch, {"service": "b"}, one)
        nursery.start_soon(service.watch, None, all_)
        await wait_all_tasks_blocked()
        await service.register(record("b", "1"))
        await service.deregister(record("b", "1"))
        await wait_all_tasks_blocked()
        assert one.got == [("ready", ""), ("create", "b"), ("delete", "b")]
        assert all_.got == [("ready", ""), ("create", "a"), ("create", "b"), ("delete", "b")]
        service.end()  # or the nursery would never end
        late = Caller()
        await service.watch(None, late)
        assert late.got == []


async def test_so_many_callers_watch_and_no_more(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_service, "MAX_WATCHERS", 1)
    async with MemoryRegistry("x") as registry, trio.open_nursery() as nursery:
        service = RegistryService(registry)
        nursery.start_soon(service.watch, None, Caller())
        await wait_all_tasks_blocked()
        with pytest.raises(TooManyRequests, match="1 callers follow"):
            await service.watch(None, Caller())
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("endpoint", "request_", "says"),
    [
        ("get", {}, "takes"),
        ("get", [], "takes records"),
        ("watch", {"service": 3}, "or {} for all"),
        ("register", {"name": "a"}, "no instance"),
        ("register", record("a", "1", options={"ttl": -1}), r"options\.ttl"),
        ("register", record("a", "1", options={"ttl": float("inf")}), r"options\.ttl"),
        ("register", record("a", "1", options=[1]), r"options\.ttl"),
        ("deregister", {"name": 3}, "name is missing"),
        ("list", {"relays": MAX_RELAYS}, "in a circle"),
        ("list", {"relays": "x"}, "in a circle"),
    ],
)
async def test_what_makes_no_sense_is_refused(endpoint: str, request_: Any, says: str) -> None:
    async with MemoryRegistry("x") as registry:
        arguments = (request_, Caller()) if endpoint == "watch" else (request_,)
        with pytest.raises(BadRequest, match=says):
            await getattr(RegistryService(registry), endpoint)(*arguments)


async def test_registries_that_ask_each_other_in_a_circle_say_so_at_once(nursery: trio.Nursery) -> None:
    one, two = [await listen_tcp("127.0.0.1:0") for _ in range(2)]
    for listeners, [other] in ((one, two), (two, one)):
        registry = ServiceRegistry(bound_address(other))
        await registry.__aenter__()
        await nursery.start(RegistryService(registry).server.serve, listeners)
    async with ServiceRegistry(bound_address(one[0])) as registry:
        with pytest.raises(BadRequest, match=r"^this was passed on by 4 registries already, .* a store of its own$"):
            await registry.list()
        with pytest.raises(BadRequest, match=r"^this was passed on by 4 registries already, .* a store of its own$"):
            async with registry.watch():
                pytest.fail("there is nothing to watch")


async def test_a_full_shelf_takes_no_more_until_something_goes(autojump_clock: MockClock) -> None:
    async with MemoryRegistry("x") as registry, trio.open_nursery() as nursery:
        await registry.register(Service(name="before", instances=(Instance(id="1", address="h:1"),)))
        shelf = Shelf(instances=3, size=1000)
        nursery.start_soon(shelf.follow, registry)
        await wait_all_tasks_blocked()
        service = RegistryService(registry, shelf=shelf)
        await service.register(record("a", "1", "2", options={"ttl": 5}))
        with pytest.raises(TooManyRequests, match="3 instances of 3"):
            await service.register(record("b", "1"))
        await service.register(record("a", "1", options={"ttl": 5}))  # a renewal needs no room
        await trio.sleep(6)
        await service.register(record("b", "1"))
        with pytest.raises(TooManyRequests, match="bytes of 1000"):
            await service.register(record("b", "1", metadata={"text": "x" * 1000}))
        nursery.cancel_scope.cancel()


class Broken(MemoryRegistry):
    """Stores nothing more."""

    async def register(self, service: Service, *, ttl: float | None = None) -> None:
        await trio.lowlevel.checkpoint()
        raise Unavailable("the disk is full")


async def test_what_could_not_be_stored_takes_no_room() -> None:
    async with MemoryRegistry("x") as registry, Broken("x") as broken:
        shelf = Shelf(instances=2, size=1000)
        good, bad = (RegistryService(each, shelf=shelf) for each in (registry, broken))
        await good.register(record("a", "1"))
        for _ in range(3):
            with pytest.raises(Unavailable):
                await bad.register(record("a", "1", "2"))
        await good.register(record("b", "1"))
        with pytest.raises(TooManyRequests, match="2 instances of 2"):
            await good.register(record("c", "1"))


async def test_what_ran_out_while_it_could_not_be_renewed_takes_no_room(autojump_clock: MockClock) -> None:
    async with MemoryRegistry("x") as registry, trio.open_nursery() as nursery:
        shelf = Shelf(instances=1, size=1000)
        nursery.start_soon(shelf.follow, registry)
        service = RegistryService(registry, shelf=shelf)
        await wait_all_tasks_blocked()
        await service.register({**record("a", "1"), "options": {"ttl": 1}})
        await wait_all_tasks_blocked()

        async def renew() -> None:
            with shelf.taking(parse_service(record("a", "1"))):
                await trio.sleep(2)
                raise Unavailable("the disk is full")

        with pytest.raises(Unavailable):
            await renew()
        await service.register(record("b", "1"))
        nursery.cancel_scope.cancel()


async def test_every_node_answers_for_its_registry_which_only_trusted_callers_change(
    monkeypatch: pytest.MonkeyPatch, fast_clock: MockClock
) -> None:
    async with world() as all_:
        place = await all_.open("here")
        await place.start()
        await place.serve(greeter(place))
        async with ServiceRegistry(place.proxy) as registry, registry.watch() as events:
            seen = {(await anext(events)).service.name for _ in range(2)}
            assert seen == {"go.micro.network", "greeter"}
            mine = Service(name="mine", instances=(Instance(id="1", address="127.0.0.1:9"),))
            await registry.register(mine, ttl=60)
            assert await place.registry.get("mine") == (mine,)

            async def known() -> bool:
                return "mine" in await place.services()

            await until(known, within=5)
        monkeypatch.setattr("proxy.doorkeeper.is_loopback", lambda host: False)
        async with Client(proxy=place.proxy) as client:
            assert (await client.call("go.micro.registry", "Registry.GetService", {"service": "mine"}))["services"]
            for endpoint in ("Registry.Register", "Registry.Deregister", "/go.micro.registry.Registry/Deregister"):
                with pytest.raises(Forbidden):
                    await client.call("go.micro.registry", endpoint, record("mine", "1"))
        assert await place.registry.get("mine") == (mine,)
