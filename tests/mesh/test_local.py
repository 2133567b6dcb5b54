import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from random import Random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mesh.local import FIRST_WAIT, LONGEST_WAIT, SETTLING, LocalServices, RegistryState
from sdk.errors import Forbidden, MicroError, Unauthorized, Unavailable
from sdk.rawsocket import bound_address
from sdk.registry import Event, Registry
from sdk.registry.memory import MemoryRegistry
from sdk.types import Instance, Service
from tunnel.transport.tls import Tls


def greeter(*ids: str, version: str = "latest", address: str = "127.0.0.1:1") -> Service:
    """At the address that is given here nobody listens."""
    return Service(
        name="greeter",
        version=version,
        instances=tuple(Instance(id=id, address=address) for id in ids),
    )


class Breakable(MemoryRegistry):
    """A registry whose watches can be cut, and refused until it is mended."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.broken = error is not None
        self._error = error or OSError("no route to the registry")
        self.refused = 0
        self._cuts: list[trio.CancelScope] = []

    def cut(self) -> None:
        self.broken = True
        for scope in self._cuts:
            scope.cancel()

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[Event]]:
        if self.broken:
            self.refused += 1
            raise self._error
        async with super().watch() as events:
            yield self._until_cut(events)

    async def _until_cut(self, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
        while True:
            with trio.CancelScope() as scope:
                self._cuts.append(scope)
                event = await anext(events)
            if scope.cancelled_caught:
                raise OSError("the registry went away")
            yield event


class Seen:
    """What the node hears."""

    def __init__(self, registry: Registry) -> None:
        self.states: list[set[tuple[str, str, str]]] = []
        self.local = LocalServices(registry, random=Random(1), changed=self._changed, tls=Tls)

    def _changed(self, services: tuple[Service, ...]) -> None:
        self.states.append(
            {(service.name, service.version, each.id) for service in services for each in service.instances}
        )


async def test_what_is_there_and_what_changes_is_heard_of(autojump_clock: trio.testing.MockClock) -> None:
    async with MemoryRegistry() as registry, trio.open_nursery() as nursery:
        await registry.register(greeter("one"))
        seen = Seen(registry)
        nursery.start_soon(seen.local.run)
        await wait_all_tasks_blocked()
        assert seen.states[-1] == {("greeter", "latest", "one")}
        await registry.register(greeter("two"))
        await registry.register(greeter("three", version="2"))
        await wait_all_tasks_blocked()
        assert seen.states[-1] == {
            ("greeter", "latest", "one"),
            ("greeter", "latest", "two"),
            ("greeter", "2", "three"),
        }
        await registry.deregister(greeter("one"))
        await registry.deregister(greeter("three", version="2"))
        await wait_all_tasks_blocked()
        assert seen.states[-1] == {("greeter", "latest", "two")}
        assert seen.local.status.state is RegistryState.CURRENT
        nursery.cancel_scope.cancel()


async def test_an_instance_whose_time_is_up_is_gone(autojump_clock: trio.testing.MockClock) -> None:
    async with MemoryRegistry() as registry, trio.open_nursery() as nursery:
        seen = Seen(registry)
        nursery.start_soon(seen.local.run)
        await registry.register(greeter("one"), ttl=5)
        await wait_all_tasks_blocked()
        assert seen.states[-1] == {("greeter", "latest", "one")}
        await trio.sleep(6)
        assert seen.states[-1] == set()
        nursery.cancel_scope.cancel()


class Slow(Seen):
    """A node that takes a change in for a tenth of a second."""

    def __init__(self, registry: Registry, clock: trio.testing.MockClock) -> None:
        super().__init__(registry)
        self._clock = clock

    def _changed(self, services: tuple[Service, ...]) -> None:
        super()._changed(services)
        self._clock.jump(0.1)


async def test_where_taking_a_change_in_takes_long_those_that_follow_are_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with MemoryRegistry() as registry, trio.open_nursery() as nursery:
        seen = Slow(registry, autojump_clock)
        nursery.start_soon(seen.local.run)
        await wait_all_tasks_blocked()
        ids = [str(number) for number in range(300)]
        for id in ids:
            await registry.register(greeter(id))
        await trio.sleep(2)
        assert seen.states[-1] == {("greeter", "latest", id) for id in ids}
        assert len(seen.states) <= 8
        nursery.cancel_scope.cancel()


async def test_what_is_attached_is_taken_in_when_it_is_told_however_long_that_takes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with MemoryRegistry() as registry, trio.open_nursery() as nursery:
        await registry.register(greeter("one"))
        seen = Slow(registry, autojump_clock)
        nursery.start_soon(seen.local.run)
        await wait_all_tasks_blocked()
        seen.local.set_attached((greeter("two"),))  # the node answers the program next: it is called from now on
        assert seen.states[-1] == {("greeter", "latest", "one"), ("greeter", "latest", "two")}
        seen.local.set_attached(())  # and here its connection is gone, and its calls are to go to others
        assert seen.states[-1] == {("greeter", "latest", "one")}
        nursery.cancel_scope.cancel()


async def test_a_heartbeat_changes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with MemoryRegistry() as registry, trio.open_nursery() as nursery:
        await registry.register(greeter("one"), ttl=5)
        seen = Seen(registry)
        nursery.start_soon(seen.local.run)
        await wait_all_tasks_blocked()
        heard = len(seen.states)
        await registry.register(greeter("one"), ttl=5)
        await wait_all_tasks_blocked()
        assert len(seen.states) == heard
        nursery.cancel_scope.cancel()


async def test_a_broken_registry_leaves_the_last_state_standing_and_is_tried_until_it_is_back(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with Breakable() as registry, trio.open_nursery() as nursery:
        await registry.register(greeter("one", "two"))
        seen = Seen(registry)
        nursery.start_soon(seen.local.run)
        await wait_all_tasks_blocked()
        registry.cut()
        await trio.sleep(60)
        assert seen.states[-1] == {("greeter", "latest", "one"), ("greeter", "latest", "two")}
        status = seen.local.record(trio.current_time())
        assert 59 < status.pop("for_s") <= 60
        assert status == {
            "kind": "memory", "address": "", "state": "stale", "error": "no route to the registry"
        }  # fmt: skip
        assert 6 <= registry.refused <= 14
        assert [record.levelname for record in caplog.records if record.name == "mesh.local"] == ["WARNING"]

        await registry.deregister(greeter("one"))  # nobody hears of it while the watch is broken
        registry.broken = False
        await trio.sleep(1.2 * LONGEST_WAIT + 2)
        assert seen.states[-1] == {("greeter", "latest", "two")}
        assert seen.local.status.state is RegistryState.CURRENT

        registry.cut()  # the next trouble is a new one: it is tried again soon
        registry.broken = False
        await trio.sleep(0.5)
        assert seen.local.status.state is RegistryState.CURRENT
        nursery.cancel_scope.cancel()


async def test_what_a_registry_lacks_when_it_is_back_is_kept_where_it_runs_until_it_can_be_there_again(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, Breakable() as registry, trio.open_nursery() as nursery:
        runs = partial(greeter, address=bound_address(listener))
        ended = greeter("ended")
        await registry.register(runs("one", "two", "three"))
        await registry.register(runs("four", version="2"))
        await registry.register(ended)
        seen = Seen(registry)
        nursery.start_soon(seen.local.run)
        await wait_all_tasks_blocked()
        registry.cut()
        await trio.sleep(2 * FIRST_WAIT)
        registry.broken = False
        for service in (runs("one", "two", "three"), runs("four", version="2"), ended):
            await registry.deregister(service)
        await registry.register(runs("one"))
        heard = len(seen.states)
        await trio.sleep(5 * FIRST_WAIT)
        running = {("greeter", "latest", id) for id in ("one", "two", "three")} | {("greeter", "2", "four")}
        assert seen.local.status.state is RegistryState.CURRENT
        assert set.intersection(*seen.states[heard:]) == seen.states[-1] == running
        assert "without 4 instances that it had: those that run are kept for 45 s" in caplog.text

        await trio.sleep(30)
        assert seen.states[-1] == running
        await registry.register(runs("two"))  # it renews at last
        await registry.register(runs("three"))
        await registry.deregister(runs("three"))  # while this one goes, and says so
        await wait_all_tasks_blocked()
        assert seen.states[-1] == running - {("greeter", "latest", "three")}
        await trio.sleep(15)
        assert seen.states[-1] == {("greeter", "latest", "one"), ("greeter", "latest", "two")}
        nursery.cancel_scope.cancel()


async def test_what_ends_right_after_a_registry_is_back_is_kept_where_it_runs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, Breakable() as registry, trio.open_nursery() as nursery:
        runs = partial(greeter, address=bound_address(listener))
        await registry.register(runs("ran out", "renewed", "gone"))
        await registry.register(greeter("ended"))
        seen = Seen(registry)
        nursery.start_soon(seen.local.run)
        await wait_all_tasks_blocked()
        registry.cut()
        registry.broken = False
        await trio.sleep(2 * FIRST_WAIT)
        await registry.deregister(runs("ran out", "renewed"))
        await registry.deregister(greeter("ended"))
        await trio.sleep(0.1)
        assert seen.states[-1] == {("greeter", "latest", id) for id in ("ran out", "renewed", "gone")}
        await registry.register(runs("renewed"))
        await trio.sleep(SETTLING)
        await registry.deregister(runs("gone"))  # by now nothing ends but what is ended
        await wait_all_tasks_blocked()
        assert seen.states[-1] == {("greeter", "latest", "ran out"), ("greeter", "latest", "renewed")}
        await trio.sleep(45)
        assert seen.states[-1] == {("greeter", "latest", "renewed")}
        nursery.cancel_scope.cancel()


async def test_a_registry_that_hangs_is_found_out_when_somebody_failed_to_use_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Hanging(MemoryRegistry):
        hanging = False

        async def get(self, name: str) -> tuple[Service, ...]:
            if self.hanging:
                await trio.sleep(5)
                raise Unavailable("no answer within 5 s")
            return await super().get(name)

        async def list(self) -> tuple[Service, ...]:
            await self.get("")
            return await super().list()

    async with Hanging() as registry, trio.open_nursery() as nursery:
        await registry.register(greeter("one"))
        seen = Seen(registry)
        nursery.start_soon(seen.local.run)
        await trio.sleep(1)
        seen.local.doubt()
        await trio.sleep(6)
        assert seen.local.record(trio.current_time())["state"] == "current"
        registry.hanging = True
        seen.local.doubt()
        await trio.sleep(6)
        assert seen.local.record(trio.current_time())["state"] == "stale"
        assert seen.states == [{("greeter", "latest", "one")}]
        registry.hanging = False
        await trio.sleep(1.2 * LONGEST_WAIT)
        assert seen.local.record(trio.current_time())["state"] == "current"
        nursery.cancel_scope.cancel()


async def test_a_registry_that_never_answered_is_away_and_is_asked_until_it_does(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with Breakable(Unavailable("not there")) as registry, trio.open_nursery() as nursery:
        seen = Seen(registry)
        assert seen.local.record(trio.current_time())["for_s"] is None
        nursery.start_soon(seen.local.run)
        await trio.sleep(60)
        assert seen.local.status.state is RegistryState.AWAY
        assert "with what other nodes tell" in caplog.text
        await registry.register(greeter("one"))
        registry.broken = False
        await trio.sleep(1.2 * LONGEST_WAIT)
        assert seen.states == [{("greeter", "latest", "one")}]
        assert seen.local.record(trio.current_time())["state"] == "current"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("error", [Unauthorized("wrong password"), Forbidden("this user may not read")])
async def test_a_registry_that_refuses_who_asks_is_an_error_at_the_start_and_a_trouble_later(
    autojump_clock: trio.testing.MockClock, error: MicroError
) -> None:
    async with Breakable(error) as registry:
        seen = Seen(registry)
        with pytest.RaisesGroup(type(error), flatten_subgroups=True):
            await seen.local.run()
        registry.broken = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(seen.local.run)
            await wait_all_tasks_blocked()
            registry.cut()
            await trio.sleep(60)
            assert (seen.local.status.state, seen.local.status.error) == (RegistryState.STALE, str(error))
            nursery.cancel_scope.cancel()


async def test_what_is_attached_stands_beside_what_the_registry_has() -> None:
    told: list[tuple[Service, ...]] = []
    local = LocalServices(MemoryRegistry(), random=Random(1), changed=told.append, tls=Tls)
    local._start_over((greeter("a"), greeter("b", version="2")))
    local.set_attached((greeter("c"), greeter("d"), greeter("e", version="3")))
    assert [(service.version, [each.id for each in service.instances]) for service in local.services] == [
        ("latest", ["a", "c", "d"]),
        ("2", ["b"]),
        ("3", ["e"]),
    ]
    assert told[-1] == local.services
    local._start_over(())
    assert [[each.id for each in service.instances] for service in told[-1]] == [["c", "d"], ["e"]]
    local.set_attached(())
    assert told[-1] == ()
