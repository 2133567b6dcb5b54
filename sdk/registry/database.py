"""The SQLite file of a registry, as one process works on it. Everything here blocks, shortly, and waits for no lock.

A record is kept in pieces, one row for each instance. Every change of a row that a watcher would care about is a line
of the log, whose numbers have no gaps: that is how order is kept and how a watcher sees that it fell behind. A renewal
is no such change.

Times are those of the monotonic clock: one for all processes of the host, untouched by clock jumps, and standing still
while the machine sleeps, so that nobody is found dead after a sleep before they could renew. It starts again with each
boot, therefore what has a time to live does not outlive the boot it was written in.
"""

import json
import logging
import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from sdk.errors import BadRequest, MicroError, RemoteProtocolError, Unavailable
from sdk.types import Service, service_to_json

from .once import Once
from .records import LOG_LENGTH, Change, Key, key_of, parse_record_untrusted

logger = logging.getLogger(__name__)

APPLICATION = 0x6D696372
"""`application_id` of the file: "micr"."""
VERSION = 1
"""`user_version` of the file: rises with the schema."""

_SCHEMA = (
    "CREATE TABLE boot (id TEXT NOT NULL)",
    """CREATE TABLE instances (name TEXT, version TEXT, id TEXT, record TEXT NOT NULL, revision INTEGER NOT NULL,
       ttl REAL NOT NULL, expires REAL NOT NULL, PRIMARY KEY (name, version, id)) WITHOUT ROWID""",
    "CREATE INDEX expiry ON instances (expires)",
    "CREATE TABLE changes (revision INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, version TEXT, id TEXT, record TEXT)",
    "INSERT INTO boot VALUES ('')",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_DAMAGED = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}


class Busy(Exception):
    """Another process holds the lock at this moment: try again."""


class State(NamedTuple):
    """What is registered."""

    revision: int
    """Of the last line of the log."""
    records: dict[Key, Service]
    """In the order of their last change, with nothing that has expired."""
    next_expiry: float
    """When there is something to sweep; infinite for never."""


class Changes(NamedTuple):
    """The log since some revision."""

    revision: int
    lines: list[Change]
    next_expiry: float


class Database:
    """The opened file. Every method raises `Busy`, `Unavailable` or `BadRequest`, and is for one thread at a time."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Opens the file, makes it where it is missing, and forgets what an earlier boot left behind."""
        self.path = path
        self._clock = clock
        self._skipped = Once()
        with self._told(), ExitStack() as undo:
            self._work = undo.enter_context(closing(_connect(path)))
            # A connection of its own, because `data_version` tells of the changes of others only.
            self._watch = undo.enter_context(closing(_connect(path)))
            # In WAL mode this syncs only when the log is folded in: a power cut costs the last changes, not the file.
            self._work.execute("PRAGMA synchronous = NORMAL")
            self._check_or_make()
            self._forget_earlier_boots()
            found = path.stat()
            self._inode = (found.st_dev, found.st_ino)
            undo.pop_all()

    def close(self) -> None:
        """Closes the file; whoever is the last to do so folds the write-ahead log into it."""
        self._watch.close()
        self._work.close()

    def leave(self) -> None:
        """Closes a file that is not in place any more. One that was emptied is removed first: others who have it open
        see that too, and SQLite would fold what is left of its log into it."""
        with suppress(OSError):
            if self._is_this(found := self.path.stat()) and not found.st_size:
                self.path.unlink()
        self.close()

    def in_place(self) -> bool:
        """Whether the path still leads to this file, and anything is in it: people, and cleaners of /tmp, remove files
        that are in use, or cut them to nothing."""
        try:
            found = self.path.stat()
        except OSError:
            return False
        return self._is_this(found) and found.st_size > 0

    def beat(self) -> int:
        """A number that differs whenever anything was written; the only thing here fit for the event loop (7 µs)."""
        with self._told():
            [(version,)] = self._watch.execute("PRAGMA data_version")
            assert isinstance(version, int)
            return version

    def state(self) -> State:
        """Everything that is registered."""
        with self._told(), self._transaction("DEFERRED"):
            [(revision,)] = self._work.execute("SELECT coalesce(max(revision), 0) FROM changes")
            records = {key_of(piece): piece for piece in self._pieces("expires > ? ORDER BY revision", self._clock())}
            return State(revision, records, self._next_expiry())

    def records(self, name: str) -> list[Service]:
        """The pieces of one service, in the order of their last change."""
        with self._told():
            return list(self._pieces("expires > ? AND name = ? ORDER BY revision", self._clock(), name))

    def changes(self, since: int) -> Changes | None:
        """The log after a revision; None where its beginning is no longer kept."""
        with self._told(), self._transaction("DEFERRED"):
            query = "SELECT revision, name, version, id, record FROM changes WHERE revision > ? ORDER BY revision"
            rows = self._work.execute(query, (since,)).fetchall()
            if rows and rows[0][0] != since + 1:
                return None
            lines = [
                Change((name, version, id), self._read((name, version, id), text))
                for _, name, version, id, text in rows
            ]
            return Changes(rows[-1][0] if rows else since, lines, self._next_expiry())

    def put(self, records: Mapping[Key, Service], ttl: float) -> None:
        """Adds or renews records for `ttl` seconds."""
        with self._told(), self._transaction("IMMEDIATE"):
            self._sweep()
            expires = self._clock() + ttl
            for key, record in records.items():
                text = json.dumps(service_to_json(record), separators=(",", ":"), sort_keys=True)
                renewed = self._work.execute(
                    "UPDATE instances SET ttl = ?, expires = ?"
                    " WHERE name = ? AND version = ? AND id = ? AND record = ?",
                    (ttl, expires, *key, text),
                )
                if not renewed.rowcount:
                    revision = self._write_down(key, text)
                    row = (*key, text, revision, ttl, expires)
                    self._work.execute("REPLACE INTO instances VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def remove(self, keys: Iterable[Key]) -> None:
        """Removes records; those that are not there are no error."""
        with self._told(), self._transaction("IMMEDIATE"):
            self._sweep()
            self._remove(keys)

    def sweep(self) -> float:
        """Removes what has expired; returns when there is something to sweep again."""
        with self._told(), self._transaction("IMMEDIATE"):
            self._sweep()
            return self._next_expiry()

    def _is_this(self, found: os.stat_result) -> bool:
        return (found.st_dev, found.st_ino) == self._inode

    def _check_or_make(self) -> None:
        if self._is_ours():
            return
        [(mode,)] = self._work.execute("PRAGMA journal_mode = WAL")
        if mode != "wal":
            raise BadRequest(
                f"{self.path} cannot be shared by several processes there (a network file system?): "
                "name another place with --registry-address (MICRO_REGISTRY_ADDRESS)"
            )
        with self._transaction("IMMEDIATE"):
            if not self._is_ours():  # nobody else made it meanwhile
                for statement in _SCHEMA:
                    self._work.execute(statement)

    def _is_ours(self) -> bool:
        # The tables first: another process may make everything, at one go, between two of these lines.
        [(tables,)] = self._work.execute("SELECT count(*) FROM sqlite_master")
        [(application,)] = self._work.execute("PRAGMA application_id")
        [(version,)] = self._work.execute("PRAGMA user_version")
        if (application, version) == (APPLICATION, VERSION):
            return True
        if application == APPLICATION:
            raise BadRequest(
                f"the registry {self.path} has format {version}, this program knows {VERSION}: "
                "stop what uses it and remove the file, services come back by themselves"
            )
        if tables:
            raise BadRequest(
                f"{self.path} is the database of another program: "
                "name another file with --registry-address (MICRO_REGISTRY_ADDRESS)"
            )
        return False

    def _forget_earlier_boots(self) -> None:
        # The last condition is for systems that give no boot id: all is found but what expires soon anyway.
        earlier = (
            "SELECT name, version, id FROM instances"
            " WHERE expires < 9e999 AND ((SELECT id FROM boot) <> ? OR expires > ? + ttl)"
        )
        boot = _boot_id()
        [(written_in,)] = self._work.execute("SELECT id FROM boot")
        if written_in == boot and self._work.execute(earlier, (boot, self._clock())).fetchone() is None:
            return  # so that a file somebody else has locked can be read
        with self._transaction("IMMEDIATE"):
            # The clock is read again: what others wrote before the lock was ours must not lie ahead of it.
            self._remove(self._work.execute(earlier, (boot, self._clock())).fetchall())
            self._work.execute("UPDATE boot SET id = ?", (boot,))

    def _sweep(self) -> None:
        expired = self._work.execute("SELECT name, version, id FROM instances WHERE expires <= ?", (self._clock(),))
        self._remove(expired.fetchall())

    def _remove(self, keys: Iterable[Key]) -> None:
        for key in keys:
            if self._work.execute("DELETE FROM instances WHERE name = ? AND version = ? AND id = ?", key).rowcount:
                self._write_down(key, None)

    def _write_down(self, key: Key, text: str | None) -> int:
        insert = "INSERT INTO changes (name, version, id, record) VALUES (?, ?, ?, ?)"
        revision = self._work.execute(insert, (*key, text)).lastrowid
        assert revision is not None
        self._work.execute("DELETE FROM changes WHERE revision <= ?", (revision - LOG_LENGTH,))
        return revision

    def _next_expiry(self) -> float:
        [(expires,)] = self._work.execute("SELECT min(expires) FROM instances")
        return math.inf if expires is None else float(expires)

    def _pieces(self, where: str, *values: object) -> Iterator[Service]:
        query = f"SELECT name, version, id, record FROM instances WHERE {where}"  # noqa: S608 - constant text
        for name, version, id, text in self._work.execute(query, values).fetchall():
            piece = self._read((name, version, id), text)
            if piece is not None:
                yield piece

    def _read(self, key: Key, text: object) -> Service | None:
        if text is None:
            return None
        try:
            piece = parse_record_untrusted(text)
            if len(piece.instances) != 1 or key_of(piece) != key:
                raise RemoteProtocolError("it is the record of something else")
        except RemoteProtocolError as error:
            if self._skipped.first(key):
                logger.warning("Registry %s: the record of %r is skipped: %s", self.path, key, error)
            return None
        return piece

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        self._work.execute(f"BEGIN {kind}")
        try:
            yield
            self._work.execute("COMMIT")
        except BaseException:
            if self._work.in_transaction:
                self._work.execute("ROLLBACK")
            raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _explain(error, self.path) from error
        except OSError:  # removed between opening it and looking at it
            raise Busy from None


def _connect(path: Path) -> sqlite3.Connection:
    # Made in one thread and used in another, one at a time. It waits for no lock: that is left to the event loop.
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    connection.text_factory = _decode
    return connection


def _decode(text: bytes) -> str:
    # By default one row that is not UTF-8 fails the whole query; this way it comes to `_read`, which skips it alone.
    return text.decode(errors="surrogateescape")


def _explain(error: sqlite3.Error, path: Path) -> MicroError | Busy:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest says more about the same
    if code in _BUSY:
        return Busy()
    if code in _DAMAGED:
        return BadRequest(
            f"{path} is damaged or no registry ({error}): name another file with --registry-address "
            "(MICRO_REGISTRY_ADDRESS), or remove this one if it is a registry's: services come back by themselves"
        )
    if code == sqlite3.SQLITE_FULL:
        return Unavailable(
            f"the registry {path} cannot be written ({error}): make room on the disk that it is on, or name another "
            "place with --registry-address (MICRO_REGISTRY_ADDRESS)"
        )
    return Unavailable(
        f"the registry {path} cannot be used ({error}): make its directory writable for this user, "
        "or name another place with --registry-address (MICRO_REGISTRY_ADDRESS)"
    )


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
