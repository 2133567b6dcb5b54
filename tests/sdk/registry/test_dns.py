"""DNS as a registry: names that were said, asked for again and again."""

import pytest
import trio
import trio.testing

import sdk.registry.dns
from sdk.errors import BadRequest, Forbidden, Unavailable
from sdk.registry import Registry, open_registry
from sdk.registry.dns import bounded
from sdk.types import Instance, Service
from tests.mesh.resolver.servers import DnsServer, dns_server
from tests.sdk.registry.test_registry import a, next_of


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk.registry.dns, "SHORTEST", 0.01)
    monkeypatch.setattr(sdk.registry.dns, "LONGEST", 0.05)


def opened(server: DnsServer, services: str = "web,db:5432") -> Registry:
    return open_registry(f"dns://{server.address}/example.?services={services}")


def record(name: str, *places: str, **metadata: str) -> Service:
    return Service(name=name, instances=tuple(Instance(id=one, address=one, metadata=metadata) for one in places))


async def test_services_that_were_named_are_listed_and_any_can_be_asked_for() -> None:
    async with dns_server() as server:
        server.zone |= {
            ("_web._tcp.example", "SRV"): ["1 1 81 a.example."],
            ("_more._tcp.example", "SRV"): ["1 1 82 a.example."],
            ("a.example", "A"): ["10.0.0.1"],
            ("db.example", "A"): ["10.0.0.3", "10.0.0.2"],
        }
        async with opened(server) as registry:
            assert await registry.list() == (
                record("db", "10.0.0.2:5432", "10.0.0.3:5432"),
                record("web", "10.0.0.1:81"),
            )
            assert await registry.get("more") == (record("more", "10.0.0.1:82"),)
            assert await registry.get("gone") == ()
            assert registry.address == f"dns://{server.address}/example"


async def test_what_the_instances_speak_can_be_said() -> None:
    async with dns_server() as server:
        server.zone["db.example", "A"] = ["10.0.0.2"]
        async with opened(server, "db:5432&protocol=tcp") as registry:
            assert await registry.list() == (record("db", "10.0.0.2:5432", protocol="tcp"),)


async def test_a_watcher_is_told_what_changes() -> None:
    async with dns_server() as server:
        server.zone["db.example", "A"] = ["10.0.0.2"]
        async with opened(server) as registry, registry.watch() as events:
            assert (await next_of(events))[:2] == ("create", "10.0.0.2:5432")
            server.zone["db.example", "A"] = ["10.0.0.3"]
            assert (await next_of(events))[:2] == ("delete", "10.0.0.2:5432")
            assert (await next_of(events))[:2] == ("create", "10.0.0.3:5432")
            del server.zone["db.example", "A"]
            assert (await next_of(events))[:2] == ("delete", "10.0.0.3:5432")


async def test_a_server_that_fails_takes_nothing_away() -> None:
    async with dns_server() as server:
        server.zone["db.example", "A"] = ["10.0.0.2"]
        async with opened(server) as registry, registry.watch() as events:
            assert (await next_of(events))[:2] == ("create", "10.0.0.2:5432")
            server.zone["db.example", "A"] = None
            for _ in range(2):
                with pytest.raises(Unavailable, match=registry.address):
                    await next_of(events)
            server.zone["db.example", "A"] = ["10.0.0.2", "10.0.0.3"]
            assert (await next_of(events))[:2] == ("create", "10.0.0.3:5432")


async def test_a_wait_that_was_cancelled_loses_nothing() -> None:
    async with dns_server() as server, opened(server, "db:5432") as registry, registry.watch() as events:
        for number in range(1, 11):
            with trio.move_on_after(0.002):
                await anext(events)
                pytest.fail("there is nothing to be told")
            server.zone["db.example", "A"] = [f"10.0.0.{one}" for one in range(1, number + 1)]
            assert (await next_of(events))[:2] == ("create", f"10.0.0.{number}:5432")


@pytest.mark.parametrize(("good_for", "seconds"), [(0, 5), (30, 30), (86400, 60)])
def test_times_to_live_are_kept_within_bounds(monkeypatch: pytest.MonkeyPatch, good_for: float, seconds: float) -> None:
    monkeypatch.undo()
    assert bounded(good_for) == seconds


async def test_nothing_is_registered_in_dns() -> None:
    async with open_registry("dns", "dns://127.0.0.1/example?services=web") as registry:
        for change in (registry.register, registry.deregister):
            with pytest.raises(Forbidden, match="DNS is written elsewhere"):
                await change(a("1"))


async def test_a_registry_that_is_closed_says_so_to_whoever_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    async with dns_server() as server:
        registry = opened(server, "db:5432")
        with pytest.raises(trio.ClosedResourceError):
            await registry.list()
        await registry.__aenter__()
        async with registry.watch() as events, trio.open_nursery() as nursery:

            async def close_once_it_waits() -> None:
                while not server.asked:
                    await trio.testing.wait_all_tasks_blocked()
                await trio.testing.wait_all_tasks_blocked(0.05)
                await registry.__aexit__(None, None, None)

            nursery.start_soon(close_once_it_waits)
            with pytest.raises(trio.ClosedResourceError):
                await next_of(events)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "dns://10.0.0.1/example",
        "dns://10.0.0.1?services=a",
        "dns://ns.example/example?services=a",
        "dns://10.0.0.1:x/example?services=a",
        "dns:///example?services=a:0",
        "dns:///example?services=:1",
        "dns:///example?services=a&color=red",
    ],
)
def test_an_address_that_cannot_be_used_says_what_one_is(address: str) -> None:
    with pytest.raises(BadRequest, match="dns://SERVER/DOMAIN"):
        open_registry("dns", address)


def test_the_server_may_be_the_systems() -> None:
    assert open_registry("dns:///example?services=a,b:1").address == "dns:///example"
