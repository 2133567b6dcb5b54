"""The registry in this process: for tests, and for programs that hold clients and services together.

Records live as long as the `trio.run` they were made in, whether or not a registry is open. Time is trio's, so tests
may run it as fast as they like.
"""

import math
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import NamedTuple, Self

import trio

from sdk.types import Service

from . import Event
from .records import LOG_LENGTH, Change, Key, View, check_ttl, merge, split


class _Kept(NamedTuple):
    record: Service
    expires: float
    """On trio's clock; infinite for a record that stays."""


class _Store:
    """The records of one name."""

    def __init__(self) -> None:
        self.kept: dict[Key, _Kept] = {}
        """In the order of their last change."""
        self.log: deque[Change] = deque(maxlen=LOG_LENGTH)
        self.revision = 0
        """How many changes there were, those that fell out of the log included."""
        self.watchers = trio.lowlevel.ParkingLot()

    def put(self, records: dict[Key, Service], ttl: float) -> None:
        self.sweep()
        expires = trio.current_time() + ttl
        for key, record in records.items():
            before = self.kept.get(key)
            if before is None or before.record != record:
                self.kept.pop(key, None)  # so that it goes to the end
                self._write_down(Change(key, record))
            self.kept[key] = _Kept(record, expires)
        self.watchers.unpark_all()  # even where nothing was written down: the next expiry may be nearer now

    def remove(self, keys: Iterable[Key]) -> None:
        for key in keys:
            if self.kept.pop(key, None) is not None:
                self._write_down(Change(key, None))
        self.watchers.unpark_all()

    def sweep(self) -> None:
        """Removes what has expired. Everyone who looks at the records calls this first, so nobody sees such a one."""
        now = trio.current_time()
        if expired := [key for key, kept in self.kept.items() if kept.expires <= now]:
            self.remove(expired)

    def next_expiry(self) -> float:
        return min((kept.expires for kept in self.kept.values()), default=math.inf)

    def _write_down(self, change: Change) -> None:
        self.log.append(change)
        self.revision += 1


_stores: trio.lowlevel.RunVar[dict[str, _Store]] = trio.lowlevel.RunVar("registries")


class MemoryRegistry:
    """Implements `Registry`."""

    name = "memory"

    def __init__(self, address: str = "") -> None:
        self.address = address
        self._store: _Store | None = None

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        try:
            stores = _stores.get()
        except LookupError:
            _stores.set(stores := {})
        self._store = stores.setdefault(self.address, _Store())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        store, self._store = self._opened(), None
        store.watchers.unpark_all()

    async def register(self, service: Service, *, ttl: float | None = None) -> None:
        """See `Registry.register`."""
        records, ttl = split(service), check_ttl(ttl)
        await trio.lowlevel.checkpoint()
        self._opened().put(records, ttl)

    async def deregister(self, service: Service) -> None:
        """See `Registry.deregister`."""
        records = split(service)
        await trio.lowlevel.checkpoint()
        store = self._opened()
        store.sweep()
        store.remove(records)

    async def get(self, name: str) -> tuple[Service, ...]:
        """See `Registry.get`."""
        await trio.lowlevel.checkpoint()
        store = self._opened()
        store.sweep()
        return merge(kept.record for key, kept in store.kept.items() if key[0] == name)

    async def list(self) -> tuple[Service, ...]:
        """See `Registry.list`."""
        await trio.lowlevel.checkpoint()
        store = self._opened()
        store.sweep()
        return merge(kept.record for kept in store.kept.values())

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[Event]]:
        """See `Registry.watch`."""
        await trio.lowlevel.checkpoint()
        yield _Watch(self)

    def _opened(self) -> _Store:
        if self._store is None:
            raise trio.ClosedResourceError("the registry is not open: use it inside `async with`")
        return self._store


class _Watch:
    """A class and not an async generator: one whose wait was cancelled can be asked again."""

    def __init__(self, registry: MemoryRegistry) -> None:
        self._registry = registry
        self._view = View()
        self._events: deque[Event] = deque()
        self._revision = -1
        self._catch_up()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        await trio.lowlevel.checkpoint()
        while not self._events:
            self._catch_up()
            if not self._events:
                store = self._registry._opened()
                with trio.CancelScope(deadline=store.next_expiry()):
                    await store.watchers.park()
        return self._events.popleft()

    def _catch_up(self) -> None:
        store = self._registry._opened()
        store.sweep()
        behind = store.revision - self._revision
        if self._revision < 0 or behind > len(store.log):
            self._events += self._view.replace({key: kept.record for key, kept in store.kept.items()})
        elif behind:
            self._events += self._view.follow([store.log[index] for index in range(-behind, 0)])
        self._revision = store.revision
