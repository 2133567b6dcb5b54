"""Records in this process, with times to live and a log of changes: what the back ends without a shared store keep.

Time is trio's, so tests may run it as fast as they like.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import trio

from sdk.types import Service

from .records import LOG_LENGTH, Change, Key
from .watch import Watch


class Kept(NamedTuple):
    """A record and its end."""

    record: Service
    expires: float
    """On trio's clock; infinite for a record that stays."""


class Store:
    """Records, until when each is good, and the log of what changed; written to by one registry or by several."""

    def __init__(self) -> None:
        self.kept: dict[Key, Kept] = {}
        """In the order of their last change."""
        self.log: deque[Change] = deque(maxlen=LOG_LENGTH)
        self.revision = 0
        """How many changes there were, those that fell out of the log included."""
        self.watchers = trio.lowlevel.ParkingLot()
        self._earliest = math.inf

    def put(self, records: Mapping[Key, Service], ttl: float) -> None:
        """Adds or renews records for `ttl` seconds; one that reads as before is no change."""
        self.sweep()
        expires = trio.current_time() + ttl
        for key, record in records.items():
            before = self.kept.get(key)
            if before is None or before.record != record:
                self.kept.pop(key, None)  # so that it goes to the end
                self._write_down(Change(key, record))
            self.kept[key] = Kept(record, expires)
        self._earliest = min(self._earliest, expires)
        self.watchers.unpark_all()  # even where nothing was written down: the next expiry may be nearer now

    def remove(self, keys: Iterable[Key]) -> None:
        """Removes records; those that are not there are no change."""
        for key in keys:
            if self.kept.pop(key, None) is not None:
                self._write_down(Change(key, None))
        self.watchers.unpark_all()

    def sweep(self) -> None:
        """Removes what has expired. Everyone who looks at the records calls this first, so nobody sees such a one."""
        now = trio.current_time()
        if now < self._earliest:
            return
        if expired := [key for key, kept in self.kept.items() if kept.expires <= now]:
            self.remove(expired)
        self._earliest = min((kept.expires for kept in self.kept.values()), default=math.inf)

    def next_expiry(self) -> float:
        """When to sweep next, on trio's clock: no record expires before, and perhaps none then, for one was renewed."""
        return self._earliest

    def _write_down(self, change: Change) -> None:
        self.log.append(change)
        self.revision += 1


class StoreWatch(Watch):
    """What `Registry.watch` gives, told from a `Store`."""

    def __init__(self, opened: Callable[[], Store]) -> None:
        """`opened` gives the store, or raises `trio.ClosedResourceError` once the registry is closed."""
        super().__init__()
        self._opened = opened
        self._revision = -1
        self._catch_up()

    async def _learn(self) -> None:
        self._catch_up()
        if not self._events:
            store = self._opened()
            with trio.CancelScope(deadline=store.next_expiry()):
                await store.watchers.park()

    def _catch_up(self) -> None:
        store = self._opened()
        store.sweep()
        behind = store.revision - self._revision
        if self._revision < 0 or behind > len(store.log):
            self._events += self._view.replace({key: kept.record for key, kept in store.kept.items()})
        elif behind:
            self._events += self._view.follow([store.log[index] for index in range(-behind, 0)])
        self._revision = store.revision
