import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Self

import pytest
import trio

from sdk.directory import MOST_FILTERS, Directory, Filter, Target, Targets
from sdk.errors import NotFound, Unavailable
from sdk.registry import Event
from sdk.registry.memory import MemoryRegistry
from sdk.types import Endpoint, Instance, Service


def record(name: str, *addresses: str, version: str = "latest", native: bool = True, protocol: str = "grpc") -> Service:
    metadata = {"protocol": protocol, "native": "1"} if native else {"protocol": protocol}
    return Service(
        name=name,
        version=version,
        instances=tuple(Instance(id=f"{name}-{each}", address=each, metadata=metadata) for each in addresses),
    )


@asynccontextmanager
async def following(registry: MemoryRegistry) -> AsyncIterator[Directory]:
    async with trio.open_nursery() as nursery:
        yield Directory(registry, nursery, enter=False)
        nursery.cancel_scope.cancel()


def addresses(directory: Directory, name: str) -> set[str]:
    targets = directory.known.get(name)
    random = Random(1)
    return {targets.choose(random, 0.0).address for _ in range(100)} if targets else set()


async def test_instances_of_all_versions_are_targets() -> None:
    async with MemoryRegistry() as registry, following(registry) as directory:
        await registry.register(record("greeter", "h:1", "h:2"))
        await registry.register(record("greeter", "h:3", version="2"))
        await registry.register(record("greeter", "h:4", version="3", native=False, protocol="mucp"))
        await directory.find("greeter")
        assert addresses(directory, "greeter") == {"h:1", "h:2", "h:3"}


async def test_instances_that_speak_grpc_and_no_frames_are_targets_too_and_known_as_such() -> None:
    async with MemoryRegistry() as registry, following(registry) as directory:
        await registry.register(record("greeter", "h:1", native=False))
        target = (await directory.find("greeter")).choose(Random(1), 0.0)
        assert (target.address, target.grpc) == ("h:1", True)
        await registry.register(record("other", "h:2"))
        assert not (await directory.find("other")).choose(Random(1), 0.0).grpc


async def test_changes_are_followed_and_what_is_known_of_an_instance_is_kept(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with MemoryRegistry() as registry, following(registry) as directory:
        await registry.register(record("greeter", "h:1"))
        first = (await directory.find("greeter")).choose(Random(1), 0.0)
        await registry.register(record("greeter", "h:2"))
        await trio.sleep(1)
        assert addresses(directory, "greeter") == {"h:1", "h:2"}
        await registry.deregister(record("greeter", "h:2"))
        await trio.sleep(1)
        assert directory.known["greeter"].choose(Random(1), 0.0) is first
        await registry.deregister(record("greeter", "h:1"))
        await trio.sleep(1)
        assert "greeter" not in directory.known


async def test_an_unknown_name_and_one_that_cannot_be_called_are_told_apart() -> None:
    async with MemoryRegistry("here") as registry, following(registry) as directory:
        with pytest.raises(NotFound, match=r"no service nobody.*\(memory, here\)"):
            await directory.find("nobody")
        await registry.register(record("foreign", "h:1", native=False, protocol="mucp"))
        with pytest.raises(Unavailable, match="speak mucp only"):
            await directory.find("foreign")


async def test_a_registry_that_fails_leaves_what_is_known_in_use_and_is_followed_again(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(MemoryRegistry):
        failures = 3

        @asynccontextmanager
        async def watch(self) -> AsyncIterator[AsyncIterator[Event]]:
            if self.failures:
                self.failures -= 1
                raise Unavailable("the disk is full")
            async with super().watch() as events:
                yield events

    async with Failing() as registry, following(registry) as directory:
        await registry.register(record("greeter", "h:1"))
        with caplog.at_level(logging.WARNING):
            await directory.find("greeter")
            await trio.sleep(0.5)
        assert addresses(directory, "greeter") == {"h:1"}
        assert [line.getMessage().count("the disk is full") for line in caplog.records] == [1]
        await registry.register(record("greeter", "h:2"))
        await trio.sleep(10)
        assert addresses(directory, "greeter") == {"h:1", "h:2"}


class Counting(MemoryRegistry):
    """Takes its time when it is asked for a service, and counts how often it is."""

    asked = 0

    async def get(self, name: str) -> tuple[Service, ...]:
        self.asked += 1
        await trio.sleep(0.01)
        return await super().get(name)


class Breaking(Counting):
    """Its watch can be broken, and be begun again."""

    def __init__(self) -> None:
        super().__init__()
        self.breaks = trio.Event()

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[Event]]:
        async with super().watch() as events:
            yield UntilItBreaks(self, events)


class UntilItBreaks:
    """Tells the first event."""

    def __init__(self, registry: Breaking, events: AsyncIterator[Event]) -> None:
        self._registry = registry
        self._events: AsyncIterator[Event] | None = events

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._events is not None:
            event = await anext(self._events)
            self._events = None
            return event
        await self._registry.breaks.wait()
        self._registry.breaks = trio.Event()
        raise Unavailable("the server was killed")


async def test_what_went_while_the_registry_was_away_is_forgotten_some_time_after_it_is_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with Breaking() as registry, following(registry) as directory:
        for name in ("stays", "goes"):
            await registry.register(record(name, "h:1"))
            await directory.find(name)
        await trio.sleep(1)
        registry.breaks.set()
        await registry.deregister(record("goes", "h:1"))
        await trio.sleep(30)  # until then a service may not have renewed
        assert addresses(directory, "goes") == {"h:1"}
        await trio.sleep(30)
        assert directory.known.keys() == {"stays"}


async def test_a_service_of_many_instances_is_asked_for_once_and_not_for_each(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with Counting() as registry, following(registry) as directory:
        everywhere = [f"h:{port}" for port in range(1, 301)]
        await registry.register(record("greeter", *everywhere))
        await directory.find("greeter")
        await trio.sleep(1)
        assert registry.asked <= 3
        await registry.deregister(record("greeter", *everywhere[1:]))
        await trio.sleep(1)
        assert addresses(directory, "greeter") == {"h:1"}
        assert registry.asked <= 6


async def test_a_change_that_the_registry_cannot_tell_at_once_is_asked_for_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Stumbling(Counting):
        failures = 0

        async def get(self, name: str) -> tuple[Service, ...]:
            found = await super().get(name)
            if self.failures:
                self.failures -= 1
                raise Unavailable("it is busy")
            return found

    async with Stumbling() as registry, following(registry) as directory:
        await registry.register(record("greeter", "h:1"))
        await directory.find("greeter")
        await trio.sleep(1)
        registry.failures = 3
        await registry.register(record("greeter", "h:2"))
        await trio.sleep(1)
        assert addresses(directory, "greeter") == {"h:1", "h:2"}


async def test_a_registry_that_comes_and_goes_is_looked_through_once(autojump_clock: trio.testing.MockClock) -> None:
    async with Breaking() as registry, following(registry) as directory:
        await registry.register(record("greeter", "h:1"))
        await directory.find("greeter")
        for _ in range(5):
            await trio.sleep(1)
            registry.breaks.set()
        await trio.sleep(30)
        registry.asked = 0
        await trio.sleep(60)
        assert registry.asked == 1


async def test_a_registry_of_its_own_is_opened_on_first_use() -> None:
    opened: list[Any] = []

    class Watched(MemoryRegistry):
        async def __aenter__(self) -> "Watched":
            opened.append(self)
            return await super().__aenter__()

    async with trio.open_nursery() as nursery:
        directory = Directory(Watched(), nursery, enter=True)
        assert opened == []
        for _ in range(2):
            with pytest.raises(NotFound):
                await directory.find("nobody")
        assert len(opened) == 1
        nursery.cancel_scope.cancel()


def test_targets_without_those_tried() -> None:
    one, other = Target("h:1"), Target("h:2")
    left = Targets([one, other]).without([one])
    assert left is not None
    assert left.choose(Random(1), 0.0) is other
    assert left.without([other]) is None


def described(version: str, address: str, endpoint: str = "", **labels: str) -> tuple[Instance, Service]:
    instance = Instance(id=address, address=address)
    endpoints = (Endpoint(name=endpoint),) if endpoint else ()
    return instance, Service(name="s", version=version, metadata=labels, endpoints=endpoints, instances=(instance,))


@pytest.mark.parametrize(
    ("wanted", "addresses"),
    [
        (Filter(version="2"), {"h:2", "h:3"}),
        (Filter(version="2", endpoint="A.B"), {"h:3"}),
        (Filter(labels=frozenset({("zone", "eu")})), {"h:1", "h:3"}),
        (Filter(version="3"), set()),
    ],
)
def test_a_filter_lets_those_pass_whose_record_says_all_of_it(wanted: Filter, addresses: set[str]) -> None:
    targets = Targets([]).updated(
        [
            described("1", "h:1", Zone="eu"),
            described("2", "h:2", zone="us"),
            described("2", "h:3", "A.B", zone="eu", tier="1"),
        ]
    )
    found = targets.matching(wanted)
    assert found is targets.matching(wanted)
    assert {found.choose(Random(seed), 0.0).address for seed in range(50)} == addresses if found else not addresses


def test_a_filter_is_said_in_words() -> None:
    wanted = Filter(version="2", labels=frozenset({("zone", "eu")}), endpoint="A.B")
    assert str(wanted) == "version '2' and label zone=eu and endpoint A.B"


def test_a_target_that_stays_keeps_what_is_known_of_it_and_takes_over_what_its_record_says_now() -> None:
    before = Targets([]).updated([described("1", "h:1")])
    target = before.choose(Random(1), 0.0)
    after = before.updated([described("2", "h:1")])
    assert after.choose(Random(1), 0.0) is target
    assert after.matching(Filter(version="1")) is None
    assert after.matching(Filter(version="2")) is not None


def test_filters_beyond_number_are_forgotten_again() -> None:
    targets = Targets([Target("h:1")])
    for n in range(1000):
        targets.matching(Filter(version=str(n)))
    assert len(targets._narrowed) <= MOST_FILTERS
