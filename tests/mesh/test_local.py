import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mesh.local import LocalServices, RegistryState, RegistryStatus
from sdk.registry import Event, Registry
from sdk.registry.memory import MemoryRegistry
from sdk.types import Instance, Service


def greeter(*ids: str, version: str = "latest") -> Service:
    return Service(
        name="greeter",
        version=version,
        instances=tuple(Instance(id=id, address="127.0.0.1:1") for id in ids),
    )


class Breakable(MemoryRegistry):
    """A registry whose watches can be cut, and refused until it is mended."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = False
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
            raise OSError("no route to the registry")
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
        self.local = LocalServices(registry, random=Random(1), changed=self._changed)

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
        assert seen.local.status == RegistryStatus(state=RegistryState.CURRENT)
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
        assert seen.local.status == RegistryStatus(state=RegistryState.STALE, error="no route to the registry")
        assert 6 <= registry.refused <= 14
        assert [record.levelname for record in caplog.records if record.name == "mesh.local"] == ["WARNING"]

        await registry.deregister(greeter("one"))  # nobody hears of it while the watch is broken
        registry.broken = False
        await trio.sleep(15)
        assert seen.states[-1] == {("greeter", "latest", "two")}
        assert seen.local.status == RegistryStatus(state=RegistryState.CURRENT)

        registry.cut()  # the next trouble is a new one: it is tried again soon
        registry.broken = False
        await trio.sleep(0.5)
        assert seen.local.status == RegistryStatus(state=RegistryState.CURRENT)
        nursery.cancel_scope.cancel()


def test_what_is_attached_stands_beside_what_the_registry_has() -> None:
    told: list[tuple[Service, ...]] = []
    local = LocalServices(MemoryRegistry(), random=Random(1), changed=told.append)
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
