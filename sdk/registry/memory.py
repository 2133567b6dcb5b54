"""The registry in this process: for tests, and for programs that hold clients and services together.

Records live as long as the `trio.run` they were made in, whether or not a registry is open. Time is trio's, so tests
may run it as fast as they like.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import trio

from sdk.types import Service

from . import Event
from .records import check_ttl, merge, split
from .store import Store, StoreWatch

_stores: trio.lowlevel.RunVar[dict[str, Store]] = trio.lowlevel.RunVar("registries")


class MemoryRegistry:
    """Implements `Registry`."""

    name = "memory"

    def __init__(self, address: str = "") -> None:
        self.address = address
        self._store: Store | None = None

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        try:
            stores = _stores.get()
        except LookupError:
            _stores.set(stores := {})
        self._store = stores.setdefault(self.address, Store())
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
        yield StoreWatch(self._opened)

    def _opened(self) -> Store:
        if self._store is None:
            raise trio.ClosedResourceError("the registry is not open: use it inside `async with`")
        return self._store
