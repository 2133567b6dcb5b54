"""How mdns keeps saying what it offers; the rest is tried in test_mdns."""

import threading
import uuid
from collections.abc import Callable

import pytest
import trio
from zeroconf import (  # type: ignore[attr-defined] # left out of its __all__, and documented
    DNSOutgoing,
    DNSRecord,
    ServiceInfo,
    Zeroconf,
)

from sdk.registry import Action, responder
from sdk.registry.mdns import MdnsRegistry
from sdk.registry.outbox import Outbox
from sdk.types import Instance, Service


@pytest.fixture
def group() -> str:
    return uuid.uuid4().hex


def a(id: str, address: str = "10.0.0.1:80") -> Service:
    return Service(name="greeter", instances=(Instance(id=id, address=address),))


def published(registry: MdnsRegistry) -> list[ServiceInfo]:
    assert registry._responder is not None
    return registry._responder._zeroconf.registry.async_get_service_infos()


async def test_a_name_that_two_registries_share_stays_until_both_have_gone(group: str) -> None:
    async with MdnsRegistry(group) as watching, watching.watch() as events, MdnsRegistry(group) as one:
        await one.register(a("1"), ttl=60)
        async with MdnsRegistry(group) as two:
            await two.register(a("1"), ttl=60)
        await one.list()  # what was said up to now is read and answered
        await one.register(a("last"), ttl=60)
        seen: dict[str, Action] = {}
        with trio.fail_after(30):
            while "last" not in seen:
                event = await anext(events)
                seen[event.service.instances[0].id] = event.action
        assert seen["1"] is not Action.DELETE
        assert await watching.list() == await one.list()
        assert [instance.id for instance in (await one.list())[0].instances] == ["1", "last"]


async def test_who_does_not_renew_is_not_answered_for(group: str) -> None:
    async with MdnsRegistry(group) as registry, registry.watch() as events:
        await registry.register(a("1"), ttl=600)
        assert len(published(registry)) == 1
        await registry.register(a("1"), ttl=0.2)
        with trio.fail_after(30):
            assert [(await anext(events)).action for _ in range(2)] == [Action.CREATE, Action.DELETE]
            while published(registry):
                await trio.testing.wait_all_tasks_blocked(0.01)


def lose_one(monkeypatch: pytest.MonkeyPatch, kind: Callable[[DNSRecord], bool]) -> list[DNSOutgoing]:
    """Loses the next packet of the group with such a record on its way, and notes it down; no other is lost."""
    send, lost = Zeroconf.async_send, list[DNSOutgoing]()

    def send_or_lose(self: Zeroconf, out: DNSOutgoing) -> None:
        if not lost and any(kind(record) for record, _ in out.answers):
            lost.append(out)
        else:
            send(self, out)

    monkeypatch.setattr(Zeroconf, "async_send", send_or_lose)
    return lost


async def test_an_announcement_that_was_lost_is_made_again(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responder, "ASK_AT", ())
    monkeypatch.setattr(responder, "REPEAT", (0.2,))
    async with MdnsRegistry(group) as theirs, MdnsRegistry(group) as ours, ours.watch() as events:
        lost = lose_one(monkeypatch, lambda record: True)
        await theirs.register(a("1"))
        assert len(lost) == 1
        with trio.fail_after(30):
            assert (await anext(events)).action is Action.CREATE
        assert await ours.get("greeter") == (a("1"),)


async def test_a_goodbye_that_was_lost_is_said_again(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responder, "REPEAT", (0.2,))
    async with MdnsRegistry(group) as ours, ours.watch() as events, MdnsRegistry(group) as theirs:
        for known in ("of theirs", "of ours"):
            await (theirs if known == "of theirs" else ours).register(a("1"))
            with trio.fail_after(30):
                assert (await anext(events)).action is Action.CREATE
            while await theirs.list() == ():
                pass
            with monkeypatch.context() as patch:
                lost = lose_one(patch, lambda record: record.ttl == 0)
                await theirs.deregister(a("1"))
            assert len(lost) == 1
            with trio.fail_after(30):
                assert (await anext(events)).action is Action.DELETE


async def test_on_a_host_so_busy_that_questions_are_late_the_first_list_waits_for_answers(
    group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responder, "REPEAT", ())
    async with MdnsRegistry(group) as theirs:
        await theirs.register(a("1"), ttl=60)
        monkeypatch.setattr(responder, "ASK_AT", (0.1, 0.1, 0.1))
        async with MdnsRegistry(group) as ours:
            assert ours._responder is not None
            ours._responder._loop.call_soon_threadsafe(threading.Event().wait, 0.7)  # the thread stands still
            assert await ours.list() == (a("1"),)


async def test_who_was_not_heard_is_asked_again(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responder, "REPEAT", ())
    # However late it is when the test begins to listen, another question is still to come.
    monkeypatch.setattr(responder, "ASK_AT", (0.0, 0.0, 0.0, *range(1, 60)))
    async with MdnsRegistry(group) as theirs:
        with monkeypatch.context() as patch:
            patch.setattr(Outbox, "send", lambda self, records, done: done())
            patch.setattr(Outbox, "answer", lambda self, answers, to: None)
            await theirs.register(a("1"))
            async with MdnsRegistry(group) as ours, ours.watch() as events:
                assert await ours.list() == ()
                patch.undo()
                with trio.fail_after(30):
                    assert (await anext(events)).action is Action.CREATE


@pytest.mark.parametrize(
    ("address", "server", "addresses"),
    [
        ("10.0.0.1:80", "", ["10.0.0.1"]),
        ("[2001:db8::1]:80", "", ["2001:db8::1"]),
        ("db.example.com:80", "db.example.com.", []),
        ("db_1:80", "", []),
    ],
)
async def test_other_programs_are_told_host_and_port(
    group: str, address: str, server: str, addresses: list[str]
) -> None:
    async with MdnsRegistry(group) as registry:
        await registry.register(a("1", address))
        [info] = published(registry)
        assert (info.port, info.parsed_addresses()) == (80, addresses)
        assert info.server == (server or info.name.replace("_micro._tcp.", ""))
