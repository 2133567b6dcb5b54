"""The mdns registry among real processes and real hosts. What every registry promises is tried in test_registry."""

import os
import random
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import trio

from sdk.errors import BadRequest, Unavailable
from sdk.registry import Action, Event, responder
from sdk.registry.mdns import MdnsRegistry
from sdk.types import Endpoint, Service
from tests.namespaces import apart, joined
from tests.sdk.registry.mdnspeers import as_another_program, greeter, other_process


@pytest.fixture
def group() -> str:
    """Nobody else on this host or its networks is in it."""
    return uuid.uuid4().hex


async def next_of(events: AsyncIterator[Event]) -> tuple[Action, str]:
    with trio.fail_after(30):
        event = await anext(events)
    return event.action, event.service.instances[0].id


def long_record() -> Service:
    """Some 100 KB, and hardly shorter when compressed."""
    noise = random.Random(1)
    endpoints = tuple(
        Endpoint(
            name=f"E{number}", metadata={"説明": "".join(chr(noise.randrange(0x4E00, 0x9FFF)) for _ in range(300))}
        )
        for number in range(100)
    )
    return replace(greeter("1"), endpoints=endpoints)


async def test_processes_of_a_host_find_each_other(group: str) -> None:
    async with other_process(group) as other, MdnsRegistry(group) as ours, ours.watch() as events:
        assert await other.do("register", "1") == ["1"]
        assert await next_of(events) == (Action.CREATE, "1")
        await ours.register(greeter("2"))
        await other.sees("1", "2")
        await other.do("deregister", "1")
        assert await next_of(events) == (Action.CREATE, "2")
        assert await next_of(events) == (Action.DELETE, "1")


async def test_who_comes_later_finds_what_is_there(group: str) -> None:
    async with other_process(group) as other:
        await other.do("register", "1")
        async with MdnsRegistry(group) as ours:
            assert await ours.get("greeter") == (greeter("1"),)
            assert await ours.list() == (greeter("1"),)


async def test_what_ran_in_a_process_that_was_killed_goes_with_its_time_to_live(group: str) -> None:
    async with other_process(group) as other, MdnsRegistry(group) as ours, ours.watch() as events:
        await other.do("register", "1", ttl=1)
        assert await next_of(events) == (Action.CREATE, "1")
        os.kill(other.process.pid, signal.SIGKILL)
        assert await next_of(events) == (Action.DELETE, "1")


async def test_what_is_made_to_stay_is_renewed_by_itself(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responder, "STAY", 3.0)  # a machine busy with other tests may stand still for a second
    monkeypatch.setattr(responder, "RENEW", 0.1)
    async with MdnsRegistry(group) as theirs, MdnsRegistry(group) as ours, ours.watch() as events:
        await theirs.register(greeter("1"))
        assert await next_of(events) == (Action.CREATE, "1")
        with trio.move_on_after(3.5):
            await anext(events)
            pytest.fail("it was renewed")
        assert await ours.list() == await theirs.list() == (greeter("1"),)


async def test_what_is_made_to_stay_goes_when_nobody_renews_it(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responder, "STAY", 1.0)
    async with MdnsRegistry(group) as theirs, MdnsRegistry(group) as ours, ours.watch() as events:
        await theirs.register(greeter("1"))
        assert [await next_of(events) for _ in range(2)] == [(Action.CREATE, "1"), (Action.DELETE, "1")]


async def test_whoever_closes_says_goodbye(group: str) -> None:
    async with MdnsRegistry(group) as ours, ours.watch() as events:
        async with MdnsRegistry(group) as theirs:
            await theirs.register(greeter("1", "2"))
            assert {await next_of(events), await next_of(events)} == {(Action.CREATE, "1"), (Action.CREATE, "2")}
        assert {await next_of(events), await next_of(events)} == {(Action.DELETE, "1"), (Action.DELETE, "2")}


async def test_a_record_much_longer_than_a_packet_arrives(group: str) -> None:
    record = long_record()
    async with MdnsRegistry(group) as theirs, MdnsRegistry(group) as ours, ours.watch() as events:
        await theirs.register(record)
        with trio.fail_after(30):
            assert await anext(events) == Event(action=Action.CREATE, service=record)
        # Who was not there when it was announced asks for its parts.
        async with MdnsRegistry(group) as late:
            assert await late.get("greeter") == (record,)


async def test_a_record_that_is_too_long_is_refused_and_nothing_is_registered(group: str) -> None:
    async with MdnsRegistry(group) as registry:
        with pytest.raises(BadRequest, match="too long for mdns"):
            await registry.register(replace(greeter("1"), metadata={"zeros": "0" * (1 << 20)}))
        assert await registry.list() == ()


async def test_a_thousand_instances_arrive(group: str) -> None:
    many = greeter(*(f"{number:04}" for number in range(1000)))
    async with MdnsRegistry(group) as theirs, MdnsRegistry(group) as ours:
        await theirs.register(many, ttl=60)
        async with ours.watch() as events:
            seen = {(await next_of(events))[1] for _ in range(1000)}  # whatever was lost is said again
        assert len(seen) == 1000
        assert await ours.list() == (many,)


async def test_what_another_took_out_comes_back_with_its_renewal(group: str) -> None:
    async with other_process(group) as other, MdnsRegistry(group) as ours, ours.watch() as events:
        await ours.register(greeter("1"), ttl=60)
        assert await next_of(events) == (Action.CREATE, "1")
        assert await other.do("deregister", "1") == []
        assert await next_of(events) == (Action.DELETE, "1")
        assert await ours.list() == ()
        await ours.register(greeter("1"), ttl=60)
        assert await next_of(events) == (Action.CREATE, "1")
        await other.sees("1")


async def test_who_has_just_opened_can_take_out_what_another_registered(group: str) -> None:
    async with MdnsRegistry(group) as ours, ours.watch() as events:
        await ours.register(greeter("1"))
        assert await next_of(events) == (Action.CREATE, "1")
        async with MdnsRegistry(group) as theirs:
            await theirs.deregister(greeter("1"))
            assert await next_of(events) == (Action.DELETE, "1")
            assert await theirs.list() == ()


async def test_registries_of_different_addresses_do_not_see_each_other(group: str) -> None:
    async with MdnsRegistry(group) as ours, MdnsRegistry(group + "b") as theirs:
        await theirs.register(greeter("1"))
        assert await ours.list() == ()
        assert await theirs.list() == (greeter("1"),)
        await ours.register(greeter("1", port=81))
        await theirs.deregister(greeter("1"))
        assert await theirs.list() == ()
        assert await ours.list() == (greeter("1", port=81),)
        async with MdnsRegistry(group) as late:
            assert await late.list() == (greeter("1", port=81),)


async def test_a_cancelled_program_leaves_no_thread_and_says_goodbye(group: str) -> None:
    def threads() -> int:
        return sum("_run_loop" in thread.name for thread in threading.enumerate())  # as zeroconf calls its own

    async with MdnsRegistry(group) as theirs, theirs.watch() as events:
        assert threads() == 1
        with trio.CancelScope() as scope:
            async with MdnsRegistry(group) as ours:
                assert threads() == 2
                await ours.register(greeter("1"))
                scope.cancel()
                await trio.sleep_forever()
        assert threads() == 1
        assert [await next_of(events) for _ in range(2)] == [(Action.CREATE, "1"), (Action.DELETE, "1")]
    assert threads() == 0


async def test_a_host_without_multicast_is_named_with_what_to_do(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**ignored: object) -> None:
        raise OSError("no such device")

    monkeypatch.setattr(responder, "Zeroconf", refuse)
    with pytest.raises(Unavailable, match=r"no such device.*5353.*--registry"):
        async with MdnsRegistry(group):
            pytest.fail("it opened")


async def test_any_dns_sd_program_sees_the_instances(group: str) -> None:
    async with MdnsRegistry(group) as registry:
        await registry.register(greeter("1", port=8081))
        [name] = [own.info.name for own in registry._responder._own.values()]  # type: ignore[union-attr]
        info = await as_another_program(lambda zeroconf: zeroconf.async_get_service_info("_micro._tcp.local.", name))
        assert info is not None
        assert name.startswith("greeter-")
        assert (info.port, info.parsed_addresses()) == (8081, ["10.0.0.1"])
        assert info.properties[b"txtvers"] == b"1"


def test_zeroconf_is_loaded_only_where_it_is_used() -> None:
    code = (
        "import sys; from sdk.registry import open_registry;"
        "open_registry('sqlite'); assert 'zeroconf' not in sys.modules;"
        "open_registry('mdns'); assert 'zeroconf' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.peers
async def test_processes_of_a_host_without_a_network_find_each_other(group: str) -> None:
    with apart() as (lonely, _):
        inside = ("ip", "netns", "exec", lonely)
        async with other_process(group, *inside) as one, other_process(group, *inside) as other:
            await one.do("register", "1", "127.0.0.1:80")
            await other.sees("1")
            async with other_process(group, *inside) as late:
                await late.sees("1")


@pytest.mark.peers
async def test_hosts_of_a_network_find_each_other_but_not_what_is_for_one_host_alone(group: str) -> None:
    with joined() as (here, there):
        inside = [("ip", "netns", "exec", name) for name in (here, there)]
        async with other_process(group, *inside[0]) as one, other_process(group, *inside[1]) as other:
            await one.do("register", "1", "10.11.12.1:80")
            await one.do("register", "for-here-alone", "127.0.0.1:80")
            await other.sees("1")
            async with other_process(group, *inside[0]) as neighbour:
                await neighbour.sees("1", "for-here-alone")
            assert await other.do("register", "2", "10.11.12.2:80") == ["1", "2"]
            await one.sees("1", "2", "for-here-alone")
