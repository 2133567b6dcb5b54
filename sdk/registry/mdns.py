"""The registry that nobody has to set up: multicast DNS, on this host and on the networks it is joined to.

There is no store. Each registry tells the others what it offers, answers when it is asked, and keeps what it has heard;
a record is there for as long as the registry that registered it is open, and for its time to live after that process
was killed. zeroconf does the DNS, in a thread of its own.
"""

import contextlib
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import trio

from sdk.errors import Unavailable
from sdk.types import Service

from . import Event
from .dnssd import group_of, pack
from .listening import Heard
from .records import check_ttl, merge, split
from .responder import Piece, Responder
from .store import Store, StoreWatch

FIRST_ANSWERS = 0.5
"""Seconds after opening until everybody has answered. Most do in some milliseconds, and everybody is asked three times
by then."""
BUSY = 5.0
"""Longest time to wait beyond that on a host so busy that even the questions are late."""
LONG_RECORDS = 5.0
"""Seconds to wait beyond that, while records longer than a packet are being fetched."""
CLOSING = 6.0
"""Longest time that goodbyes and closing may take, in seconds."""


class MdnsRegistry:
    """Implements `Registry`; `address` is any text, and registries of different ones do not see each other.

    Records of a loopback address are seen on their own host alone.
    """

    name = "mdns"

    def __init__(self, address: str = "") -> None:
        self.address = address
        self._store: Store | None = None
        self._responder: Responder | None = None
        self._answered_by = math.inf
        self._waiting: set[trio.Event] = set()

    async def __aenter__(self) -> Self:
        """Opens the sockets and asks who is there. Raises `Unavailable` where this host has no multicast."""
        token, store = trio.lowlevel.current_trio_token(), Store()

        def heard(news: Sequence[Heard]) -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(_apply, store, news)

        try:
            self._responder = await trio.to_thread.run_sync(Responder, group_of(self.address), heard)
        except (OSError, RuntimeError) as error:
            raise Unavailable(
                f"mdns cannot be used on this host: {error}; it takes multicast and UDP port 5353, or choose another "
                "registry with --registry (MICRO_REGISTRY)"
            ) from error
        self._answered_by = trio.current_time() + FIRST_ANSWERS
        self._store = store
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _, responder = self._opened()
        store, self._store, self._responder = self._store, None, None
        assert store is not None
        store.watchers.unpark_all()
        for event in self._waiting:
            event.set()
        with trio.move_on_after(CLOSING, shield=True):
            await trio.to_thread.run_sync(responder.close, abandon_on_cancel=True)

    async def register(self, service: Service, *, ttl: float | None = None) -> None:
        """See `Registry.register`. Raises `BadRequest` also for a record that is too long, see `dnssd.pack`."""
        records, seconds = split(service), check_ttl(ttl)
        pieces = [Piece(key, record, pack(record)) for key, record in records.items()]
        await trio.lowlevel.checkpoint()
        store, responder = self._opened()
        store.put(records, seconds)
        await self._wait(lambda done: responder.publish(pieces, seconds, done))

    async def deregister(self, service: Service) -> None:
        """See `Registry.deregister`. A service that runs comes back with its next renewal.

        What is not known yet is waited for, as `get` does: only what was heard of can be taken back.
        """
        records = split(service)
        while True:
            await self._settle()
            store, responder = self._opened()
            if records.keys() <= store.kept.keys() or not await self._more_to_come():
                break
        store.remove(records)
        await self._wait(lambda done: responder.withdraw(list(records), done))

    async def get(self, name: str) -> tuple[Service, ...]:
        """See `Registry.get`. A service that is not known yet is waited for until all have had time to answer.

        In the first moments after opening the answer may lack instances that have not answered yet.
        """
        while True:
            await self._settle()
            store, _ = self._opened()
            found = merge(kept.record for key, kept in store.kept.items() if key[0] == name)
            if found or not await self._more_to_come():
                return found

    async def list(self) -> tuple[Service, ...]:
        """See `Registry.list`. Waits until all have had time to answer: half a second after opening."""
        while await self._more_to_come():
            pass
        await self._settle()
        store, _ = self._opened()
        return merge(kept.record for kept in store.kept.values())

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[Event]]:
        """See `Registry.watch`. What is there and not heard of yet is told as it is heard."""
        await self._settle()
        yield StoreWatch(lambda: self._opened()[0])

    def _opened(self) -> tuple[Store, Responder]:
        if self._store is None or self._responder is None:
            raise trio.ClosedResourceError("the registry is not open: use it inside `async with`")
        return self._store, self._responder

    async def _more_to_come(self) -> bool:
        """Waits for the next news, not for long; False at once where none is expected from whoever was there before."""
        store, responder = self._opened()
        now = trio.current_time()
        end = self._answered_by + min(responder.behind, BUSY) + (LONG_RECORDS if responder.fetching else 0)
        if now >= end:
            return False
        with trio.CancelScope(deadline=min(end, now + 0.1)):
            await store.watchers.park()
        return True

    async def _settle(self) -> None:
        """Waits until what this host has received is in the store."""
        store, responder = self._opened()
        await self._wait(responder.settle)
        store.sweep()

    async def _wait(self, start: Callable[[Callable[[], None]], None]) -> None:
        """Starts something in zeroconf's thread and waits until it calls back, or the registry is closed."""
        token, event = trio.lowlevel.current_trio_token(), trio.Event()

        def done() -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(event.set)

        self._waiting.add(event)
        try:
            start(done)
            await event.wait()
        finally:
            self._waiting.discard(event)


def _apply(store: Store, news: Sequence[Heard]) -> None:
    for key, record, ttl in news:
        if record is None:
            store.remove([key])
        else:
            store.put({key: record}, ttl)
