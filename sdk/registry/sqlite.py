"""The registry of one host: a SQLite file that all its processes share.

Blocking work runs in a thread, one piece at a time, and never waits there: where another process holds the lock, the
event loop waits and asks again, so that a locked file holds nobody up and cancellation works. Watchers look for changes
20 times a second; that is one statement which reads no page of the file. Whoever watches also sweeps what has expired.
"""

import math
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import trio

from sdk.errors import Unavailable
from sdk.types import Service

from . import Event
from .database import Busy, Database
from .location import default_path
from .records import check_ttl, merge, split
from .watch import Watch

PATIENCE = 5.0
"""Seconds to try for a lock that somebody else holds; the sqlite3 module's own default."""
FIRST_PAUSE = 0.01
"""Longest pause until it is tried again: locks last milliseconds. It grows by half each time …"""
LONGEST_PAUSE = 0.1
"""… up to this: who waits for one that lasts seconds must not keep the host busy with trying, each with a thread."""
SWEEP_PATIENCE = 1.0
"""Seconds for which a watcher that has something to sweep takes a lock for one of those that last milliseconds."""
POLL = 0.05
"""Seconds between two looks for changes."""

T = TypeVar("T")


class SqliteRegistry:
    """Implements `Registry`."""

    name = "sqlite"

    def __init__(self, address: str = "") -> None:
        self._given = address
        self.address = address
        self._open = False
        self._database: Database | None = None
        self._lock = trio.Lock()
        # Not trio's own limiter: a slow disk must not take the threads that name resolution waits for.
        self._limiter = trio.CapacityLimiter(1)

    async def __aenter__(self) -> Self:
        """Opens the file, making it and its directory where they are missing.

        Raises `BadRequest` for a file that is no registry, `Forbidden` when the default directory is somebody else's,
        and `Unavailable` when the file cannot be made or written.
        """
        self._open = True
        try:
            await self._run(lambda database: None)
        except BaseException:
            self._open = False
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open = False
        with trio.CancelScope(shield=True):  # bounded: nothing here waits for a lock of the file
            async with self._lock:
                database, self._database = self._database, None
                if database is not None:
                    await trio.to_thread.run_sync(database.close, limiter=self._limiter)

    async def register(self, service: Service, *, ttl: float | None = None) -> None:
        """See `Registry.register`."""
        records, seconds = split(service), check_ttl(ttl)
        await self._run(lambda database: database.put(records, seconds))

    async def deregister(self, service: Service) -> None:
        """See `Registry.deregister`."""
        records = split(service)
        await self._run(lambda database: database.remove(records))

    async def get(self, name: str) -> tuple[Service, ...]:
        """See `Registry.get`."""
        return merge(await self._run(lambda database: database.records(name)))

    async def list(self) -> tuple[Service, ...]:
        """See `Registry.list`."""
        state = await self._run(Database.state)
        return merge(state.records.values())

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[Event]]:
        """See `Registry.watch`.

        While another process keeps the file locked and records run out, waiting for an event raises `Unavailable`:
        nobody could renew them, so that they are gone says nothing. So does, once, that somebody removed the file.
        """
        watch = _Watch(self)
        await watch.begin()
        yield watch

    async def _run(self, work: Callable[[Database], T]) -> T:
        """Does a piece of work in a thread, again and again while another process holds the lock."""
        give_up, pause = trio.current_time() + PATIENCE, FIRST_PAUSE
        while True:
            try:
                return await self._try(work)
            except Busy:
                if trio.current_time() >= give_up:
                    raise self._locked(PATIENCE) from None
            await trio.sleep(random.uniform(0.1, 1.0) * pause)
            pause = min(1.5 * pause, LONGEST_PAUSE)

    def _locked(self, seconds: float) -> Unavailable:
        return Unavailable(
            f"the registry {self.address} has been locked by another process for {seconds:g} s: see who uses it "
            "(fuser), or name another with --registry-address (MICRO_REGISTRY_ADDRESS)"
        )

    async def _try(self, work: Callable[[Database], T]) -> T:
        """Does a piece of work in a thread once; raises `Busy` when another process holds the lock."""
        async with self._lock:
            if not self._open:
                raise trio.ClosedResourceError("the registry is not open: use it inside `async with`")
            if self._database is not None and not self._database.in_place():
                self._database.leave()
                self._database = None
            if self._database is None:
                self._database = await trio.to_thread.run_sync(self._connect, limiter=self._limiter)
            # Not abandoned on cancellation: it is over soon, and so the work is done by nobody twice.
            return await trio.to_thread.run_sync(work, self._database, limiter=self._limiter)

    def _connect(self) -> Database:
        try:
            path = Path(self._given) if self._given else default_path()
            self.address = str(path)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(
                f"there is no place for the registry {self.address}: {error}; "
                "name another with --registry-address (MICRO_REGISTRY_ADDRESS)"
            ) from error
        return Database(path)


class _Watch(Watch):
    def __init__(self, registry: SqliteRegistry) -> None:
        super().__init__()
        self._registry = registry
        self._database: Database | None = None
        """What the numbers below belong to; another one after somebody removed the file."""
        self._revision = 0
        self._beat: int | None = None
        self._next_expiry = math.inf
        self._locked_since = math.inf

    async def begin(self) -> None:
        """Learns what there is."""
        await self._registry._run(self._begin)
        if time.monotonic() >= self._next_expiry:
            self._next_expiry = await self._registry._run(Database.sweep)

    async def _learn(self) -> None:
        """Looks for changes, or sweeps, or waits a moment."""
        try:
            database = self._registry._database
            if database is None or database is not self._database or not database.in_place():
                await self._registry._run(self._begin)
                raise Unavailable(f"the registry {self._registry.address} was removed, and begins anew")
            if (beat := database.beat()) != self._beat:
                await self._registry._run(lambda database: self._catch_up(database, beat))
            elif time.monotonic() >= self._next_expiry:
                self._next_expiry = await self._registry._try(Database.sweep)
                self._locked_since = math.inf
            else:
                await trio.sleep(POLL)
        except Busy:  # whoever holds the lock may be about to renew what seems to have expired
            self._locked_since = min(self._locked_since, trio.current_time())
            if trio.current_time() - self._locked_since >= SWEEP_PATIENCE:
                self._locked_since = math.inf
                raise self._registry._locked(SWEEP_PATIENCE) from None
            await trio.sleep(POLL)

    def _begin(self, database: Database) -> None:
        state = database.state()
        self._events += self._view.replace(state.records)
        self._database, self._beat = database, None
        self._revision, self._next_expiry = state.revision, state.next_expiry

    def _catch_up(self, database: Database, beat: int) -> None:
        changes = database.changes(self._revision) if database is self._database else None
        if changes is None:
            self._begin(database)
        else:
            self._events += self._view.follow(changes.lines)
            self._beat, self._revision, self._next_expiry = beat, changes.revision, changes.next_expiry
