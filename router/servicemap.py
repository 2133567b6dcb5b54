"""All that one origin offers, as a value that can be changed a little and proven at once.

The entries lie in 256 buckets by the name of their service. The root is a hash over the hashes of the buckets, so after
a change only the buckets that were touched are hashed again. An origin signs the root; whoever holds a map that has
that root holds what the origin said, wherever the pieces came from.

What changed lately is remembered by name, so that a neighbour which is a little behind is told the difference.
"""

import hashlib
import zlib
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from .services import ServiceEntry

BUCKETS: Final = 256
MAX_CHANGES: Final = 64
"""Changes that are remembered …"""
MAX_CHANGED: Final = 4096
"""… and the names in all of them."""

Point = tuple[int, int]
"""Epoch and number of a state of the map."""
Offers = Mapping[str, tuple[ServiceEntry, ...]]
"""Entries by the name of the service, in the order of their versions."""

_NOTHING: Final = hashlib.sha256().digest()


class ServiceMap:
    """The entries of one origin. They are read in `services`, which changes when the map does."""

    __slots__ = ("_changes", "_hashes", "_names", "at", "count", "root", "services", "size")

    def __init__(self) -> None:
        self.services: dict[str, tuple[ServiceEntry, ...]] = {}
        """What is offered."""
        self.count = 0
        """How many entries there are."""
        self.size = 0
        """Bytes of all packed entries."""
        self.at: Point = (0, 0)
        """Which state of the origin's this is; (0, 0) while it is none."""
        self._names: dict[int, list[str]] = {}  # by bucket; most maps fill few of them
        self._hashes = [_NOTHING] * BUCKETS
        self.root = hashlib.sha256(b"".join(self._hashes)).digest()
        """The hash over everything."""
        self._changes: deque[tuple[Point, tuple[str, ...]]] = deque(maxlen=MAX_CHANGES)

    def update(self, change: Offers, at: Point, *, count: int | None = None, root: bytes | None = None) -> bool:
        """Puts these services in the place of those of the same names; no entries at all mean that one is gone.

        Where `count` and `root` are given, the outcome must have them, or nothing is changed and the answer is False.
        """
        touched: dict[int, list[str]] = {}
        many, size = self.count, self.size
        for name, entries in change.items():
            before = self.services.get(name, ())
            touched.setdefault(bucket_of(name), []).append(name)
            many += len(entries) - len(before)
            size += _size(entries) - _size(before)
        if count is not None and many != count:
            return False
        hashes = self._hashes.copy()
        buckets: dict[int, list[str]] = {}
        for bucket, names in touched.items():
            buckets[bucket] = self._members(bucket, names, change)
            hashes[bucket] = _hash(change.get(name, ()) or self.services.get(name, ()) for name in buckets[bucket])
        found = hashlib.sha256(b"".join(hashes)).digest()
        if root is not None and found != root:
            return False
        for bucket, names in buckets.items():
            self._names[bucket] = names
        for name, entries in change.items():
            if entries:
                self.services[name] = entries
            else:
                self.services.pop(name, None)
        self._hashes, self.root, self.count, self.size = hashes, found, many, size
        self._remember(at, tuple(change))
        return True

    def size_after(self, change: Offers) -> int:
        """Bytes of all packed entries after such a change."""
        return self.size + sum(_size(entries) - _size(self.services.get(name, ())) for name, entries in change.items())

    def renumber(self, at: Point) -> None:
        """The same entries under another number: its owner has jumped."""
        self._remember(at, ())

    def since(self, point: Point) -> dict[str, None] | None:
        """The names that have changed since that state; None where that is not known any more, or never was."""
        names: dict[str, None] = {}
        if point == self.at:
            return names
        for before, changed in reversed(self._changes):
            names.update(dict.fromkeys(changed))
            if before == point:
                return names
        return None

    @property
    def before(self) -> Point:
        """The state that the last change was made to; (0, 0) where none is known."""
        return self._changes[-1][0] if self._changes else (0, 0)

    def __iter__(self) -> Iterator[ServiceEntry]:
        return (entry for entries in self.services.values() for entry in entries)

    def _members(self, bucket: int, names: Iterable[str], change: Offers) -> list[str]:
        members = self._names.get(bucket, []).copy()
        for name in names:
            present = name in self.services
            if present and not change[name]:
                del members[bisect_left(members, name)]
            elif change[name] and not present:
                insort(members, name)
        return members

    def _remember(self, at: Point, names: tuple[str, ...]) -> None:
        if at != self.at:
            if at[0] != self.at[0]:
                self._changes.clear()  # what others have of an earlier life is no base for this one
            else:
                self._changes.append((self.at, names))
            self.at = at
        while sum(len(changed) for _, changed in self._changes) > MAX_CHANGED:
            self._changes.popleft()


def bucket_of(name: str) -> int:
    """In which bucket a service lies. Who would fill one bucket only slows down changes of its own map."""
    return zlib.crc32(name.encode(errors="surrogatepass")) % BUCKETS


def _hash(groups: Iterable[tuple[ServiceEntry, ...]]) -> bytes:
    # Packed entries say where they end, so two different lists of them are never the same bytes.
    return hashlib.sha256(b"".join([entry.packed for entries in groups for entry in entries])).digest()


def _size(entries: tuple[ServiceEntry, ...]) -> int:
    return sum(len(entry.packed) for entry in entries)
