"""DNS as a registry: names that were said, asked for again and again."""

import logging
from collections.abc import Callable

import dns.message
import dns.rcode
import pytest
import trio
import trio.testing

from sdk.errors import BadRequest, Forbidden, Unavailable
from sdk.registry import Registry, open_registry
from sdk.registry.dns import LONGEST, SHORTEST, bounded
from sdk.types import Instance, Service
from tests.sdk.registry.dnsserver import DnsServer
from tests.sdk.registry.test_registry import a, next_of

pytestmark = pytest.mark.usefixtures("eager")


def opened(server: DnsServer, services: str = "web,db:5432") -> Registry:
    return open_registry(f"dns://{server.address}/example.?services={services}")


def record(name: str, *places: str, version: str = "latest", **metadata: str) -> Service:
    instances = tuple(Instance(id=one, address=one, metadata=metadata) for one in places)
    return Service(name=name, version=version, instances=instances)


def silent(answer: dns.message.Message, most: int) -> list[bytes]:
    return []


async def test_services_that_were_named_are_listed_and_any_can_be_asked_for(dns_server: DnsServer) -> None:
    dns_server.zone |= {
        ("_web._tcp.example", "SRV"): ["1 1 81 a.example."],
        ("_more._tcp.example", "SRV"): ["1 1 82 a.example."],
        ("a.example", "A"): ["10.0.0.1"],
        ("db.example", "A"): ["10.0.0.3", "10.0.0.2"],
    }
    async with opened(dns_server) as registry:
        assert await registry.list() == (
            record("db", "10.0.0.2:5432", "10.0.0.3:5432"),
            record("web", "10.0.0.1:81"),
        )
        assert await registry.get("more") == (record("more", "10.0.0.1:82"),)
        assert await registry.get("gone") == ()
        assert registry.address == f"dns://{dns_server.address}/example"


async def test_names_in_another_case_are_nobodys(dns_server: DnsServer) -> None:
    dns_server.zone |= {("_db._tcp.example", "SRV"): ["1 1 1 a.example."], ("a.example", "A"): ["10.0.0.2"]}
    async with opened(dns_server, "Db") as registry:
        assert await registry.get("Db") == (record("Db", "10.0.0.2:1"),)
        assert await registry.get("db") == await registry.get("DB") == ()


async def test_what_the_instances_speak_and_their_version_can_be_said(dns_server: DnsServer) -> None:
    dns_server.zone |= {
        ("db.example", "A"): ["10.0.0.2"],
        ("_web._tcp.example", "SRV"): ["1 1 81 db.example."],
        ("_web._tcp.example", "TXT"): ['"micro.mu/version=2" "micro.mu/protocol=http" "micro.mu/check=/health"'],
    }
    async with opened(dns_server, "db:5432,web&protocol=tcp") as registry:
        assert await registry.list() == (
            record("db", "10.0.0.2:5432", protocol="tcp"),
            record("web", "10.0.0.2:81", version="2", protocol="http", check="/health"),
        )


async def test_a_watcher_is_told_what_changes(dns_server: DnsServer) -> None:
    dns_server.zone["db.example", "A"] = ["10.0.0.2"]
    async with opened(dns_server) as registry, registry.watch() as events:
        assert (await next_of(events))[:2] == ("create", "10.0.0.2:5432")
        dns_server.zone["db.example", "A"] = ["10.0.0.3"]
        assert (await next_of(events))[:2] == ("delete", "10.0.0.2:5432")
        assert (await next_of(events))[:2] == ("create", "10.0.0.3:5432")
        dns_server.zone["db.example", "TXT"] = ["micro.mu/protocol=tcp"]
        assert (await next_of(events))[:2] == ("update", "10.0.0.3:5432")
        del dns_server.zone["db.example", "A"]
        assert (await next_of(events))[:2] == ("delete", "10.0.0.3:5432")


@pytest.mark.parametrize("code", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
async def test_a_server_that_fails_takes_nothing_away(dns_server: DnsServer, code: dns.rcode.Rcode) -> None:
    dns_server.zone["db.example", "A"] = ["10.0.0.2"]
    async with opened(dns_server, "db:5432") as registry, registry.watch() as events:
        assert (await next_of(events))[:2] == ("create", "10.0.0.2:5432")
        dns_server.zone["db.example", "A"] = code
        for use in (registry.list, lambda: registry.get("db"), lambda: next_of(events), lambda: next_of(events)):
            with pytest.raises(Unavailable, match=f"{registry.address} cannot be used: .*{dns.rcode.to_text(code)}"):
                await use()
        dns_server.zone["db.example", "A"] = ["10.0.0.2", "10.0.0.3"]
        assert (await next_of(events))[:2] == ("create", "10.0.0.3:5432")


async def test_a_server_that_fails_is_not_asked_again_at_once(
    dns_server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdk.registry.dns.SHORTEST", 1000)
    dns_server.zone["db.example", "A"] = dns.rcode.REFUSED
    async with opened(dns_server, "db:5432") as registry, registry.watch() as events:
        with pytest.raises(Unavailable):
            await next_of(events)
        with trio.move_on_after(0.1):
            pytest.fail(f"it was told {await anext(events)}")


async def test_a_name_that_is_not_answered_stays_as_it_was_and_hinders_no_other(
    dns_server: DnsServer, caplog: pytest.LogCaptureFixture
) -> None:
    dns_server.zone |= {("db.example", "A"): ["10.0.0.2"], ("cache.example", "A"): ["10.0.0.4"]}
    async with opened(dns_server, "db:1,cache:2") as registry, registry.watch() as events:
        assert {(await next_of(events))[1] for _ in range(2)} == {"10.0.0.2:1", "10.0.0.4:2"}
        dns_server.zone |= {("db.example", "A"): dns.rcode.SERVFAIL, ("cache.example", "A"): ["10.0.0.5"]}
        assert [(await next_of(events))[:2] for _ in range(2)] == [("delete", "10.0.0.4:2"), ("create", "10.0.0.5:2")]
        assert await registry.list() == (record("cache", "10.0.0.5:2"), record("db", "10.0.0.2:1"))
        dns_server.zone["cache.example", "A"] = dns.rcode.SERVFAIL
        with pytest.raises(Unavailable):
            await next_of(events)
        dns_server.zone |= {("db.example", "A"): ["10.0.0.3"], ("cache.example", "A"): ["10.0.0.5"]}
        assert [(await next_of(events))[:2] for _ in range(2)] == [("delete", "10.0.0.2:1"), ("create", "10.0.0.3:1")]
    [said] = [one.getMessage() for one in caplog.records if "'db'" in one.getMessage()]
    assert "what was known of it stays" in said
    assert "SERVFAIL" in said


async def test_while_a_name_that_is_not_due_is_answered_the_registry_is_not_away(
    dns_server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdk.registry.dns.LONGEST", 1000)
    dns_server.ttl = 1000
    dns_server.zone |= {(f"{name}.example", "A"): ["10.0.0.1"] for name in ("cache", "queue")}
    async with opened(dns_server, "db:1,cache:2,queue:3") as registry, registry.watch() as events:
        assert {(await next_of(events))[1] for _ in range(2)} == {"10.0.0.1:2", "10.0.0.1:3"}
        dns_server.zone |= {("db.example", "A"): dns.rcode.SERVFAIL, ("cache.example", "A"): dns.rcode.SERVFAIL}
        with trio.move_on_after(0.2):
            pytest.fail(f"it was told {await anext(events)}")
        dns_server.zone["queue.example", "A"] = dns.rcode.SERVFAIL
        with pytest.raises(Unavailable):
            await next_of(events)


async def test_a_bad_record_is_named_once_for_as_long_as_it_is_there(
    dns_server: DnsServer, caplog: pytest.LogCaptureFixture
) -> None:
    bad = "1 1 0 a.example."
    dns_server.zone |= {("_web._tcp.example", "SRV"): ["1 1 81 a.example.", bad], ("a.example", "A"): ["10.0.0.1"]}
    async with opened(dns_server) as registry:
        for _ in range(3):
            assert await registry.list() == (record("web", "10.0.0.1:81"),)
        dns_server.zone["_web._tcp.example", "SRV"] = ["1 1 81 a.example."]
        await registry.list()
        dns_server.zone["_web._tcp.example", "SRV"] = [bad]
        assert await registry.list() == ()
    said = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert (
        said == [f"Registry {registry.address}: the service 'web': a record is skipped: SRV {bad}: it has no port"] * 2
    )


async def test_a_server_that_is_slow_is_waited_for_only_so_long(
    dns_server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdk.registry.dnsexchange.PATIENCE", 1000)
    monkeypatch.setattr("sdk.registry.dnsexchange.TRY", 1000)
    monkeypatch.setattr("sdk.registry.dns.PATIENCE", 0.1)
    dns_server.say = silent
    async with opened(dns_server) as registry, registry.watch() as events:
        for use in (registry.list, lambda: registry.get("db"), lambda: anext(events)):
            with pytest.raises(Unavailable, match="no answer to all questions"), trio.fail_after(30):
                await use()


async def test_a_name_is_asked_for_again_when_its_answer_is_no_longer_good(
    dns_server: DnsServer, monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    """By a clock that only runs, which no correction of the time of day moves."""
    monkeypatch.undo()
    dns_server.zone["db.example", "A"] = ["10.0.0.2"]
    dns_server.ttl = 30
    async with opened(dns_server, "db:1") as registry, registry.watch() as events:
        assert (await next_of(events))[0] == "create"
        dns_server.zone["db.example", "A"] = []
        mock_clock.jump(29)
        asked = len(dns_server.asked)
        mock_clock.rate = 1
        with trio.move_on_after(0.1):
            pytest.fail(f"it was told {await anext(events)}")
        assert len(dns_server.asked) == asked
        mock_clock.jump(1)
        assert (await next_of(events))[0] == "delete"


@pytest.mark.parametrize(
    ("good_for", "seconds"), [(0, SHORTEST), (30, 30), (86400, LONGEST), (2**31, LONGEST), (2**32, LONGEST)]
)
def test_times_to_live_are_kept_within_bounds(monkeypatch: pytest.MonkeyPatch, good_for: float, seconds: float) -> None:
    monkeypatch.undo()
    assert bounded(good_for) == seconds
    assert (SHORTEST, LONGEST) == (5, 60)


async def test_nothing_is_registered_in_dns() -> None:
    async with open_registry("dns", "dns://127.0.0.1/example?services=web") as registry:
        for change in (registry.register, registry.deregister):
            with pytest.raises(Forbidden, match=r"DNS is written elsewhere\. Choose another registry with --registry"):
                await change(a("1"))


async def test_a_registry_that_closes_leaves_nobody_waiting_for_a_server(dns_server: DnsServer) -> None:
    dns_server.say = silent
    registry = opened(dns_server, "db:5432")
    uses: list[Callable[[], object]] = []
    async with trio.open_nursery() as nursery:
        await registry.__aenter__()
        async with registry.watch() as events:

            async def refused(use: Callable[[], object]) -> None:
                uses.append(use)
                with pytest.raises(trio.ClosedResourceError), trio.fail_after(30):
                    await use()  # type: ignore[misc]
                uses.remove(use)

            for use in (registry.list, lambda: registry.get("db"), lambda: anext(events)):
                nursery.start_soon(refused, use)
            while len(dns_server.asked) < 3:
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert len(uses) == 3
            await registry.__aexit__(None, None, None)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "dns://10.0.0.1/example",
        "dns://10.0.0.1?services=a",
        "dns://ns.example/example?services=a",
        "dns://10.0.0.1:x/example?services=a",
        "dns://10.0.0.1,/example?services=a",
        "dns://user@10.0.0.1/example?services=a",
        "dns:///example..com?services=a",
        "dns:///example?services=a:0",
        "dns:///example?services=:1",
        "dns:///example?services=a&color=red",
    ],
)
def test_an_address_that_cannot_be_used_says_what_one_is(address: str) -> None:
    with pytest.raises(BadRequest, match="dns://SERVER/DOMAIN"):
        open_registry("dns", address)


@pytest.mark.parametrize(
    ("servers", "shown"),
    [
        ("", ""),
        ("10.0.0.1", "10.0.0.1:53"),
        ("[::1]:5353,10.0.0.2:54,[2001:db8::1]", "[::1]:5353,10.0.0.2:54,[2001:db8::1]:53"),
    ],
)
def test_there_may_be_several_servers_or_the_systems(servers: str, shown: str) -> None:
    assert open_registry(f"dns://{servers}/example?services=a,b:1").address == f"dns://{shown}/example"


async def test_of_several_servers_one_is_enough(dns_server: DnsServer) -> None:
    with DnsServer("::1") as dead:
        pass
    dns_server.zone["db.example", "A"] = ["10.0.0.2"]
    async with open_registry(f"dns://{dead.address},{dns_server.address}/example?services=db:1") as registry:
        assert await registry.list() == (record("db", "10.0.0.2:1"),)
        dns_server.kill()
        try:
            with pytest.raises(Unavailable) as caught:
                await registry.list()
        finally:
            dns_server.start()
    assert dead.address in str(caught.value)
    assert dns_server.address in str(caught.value)
