"""What one neighbour is to be sent.

What waits is which things, not the things: a slow neighbour gets the newest of each, once, and costs no more memory
than there is to know. What it is known to have is not sent again; where it is a little behind with an origin's
services, it gets the difference.

Whole maps are sent in parts, and no more than 64 KiB in 20 ms, so that neither the link nor the event loop at either
end is held up by them. (IS-IS paces its database synchronisation in the same way, ISO 10589, 7.3.15.)
"""

from collections import deque
from collections.abc import Iterator
from math import inf
from typing import Final

from .database import Database
from .linkstate import LinkTerms
from .servicemap import Point, ServiceMap
from .statement import Kind, Signed, Version
from .store import MAX_ORIGINS
from .wire import (
    Compare,
    Services,
    Versions,
    pack_compare,
    pack_link_states,
    pack_pull,
    pack_services,
    pack_versions,
)

PART: Final = 32 << 10
"""Bytes of a message after which it is full; a single thing that is longer goes alone."""
BURST: Final = 64 << 10
"""Bytes of whole maps that are sent at a time …"""
BURST_EVERY: Final = 0.02
"""… and seconds until the next."""

Key = tuple[Kind, bytes]


class Neighbour:
    """A node at the other end of a link. Dictionaries stand for sets that keep their order."""

    def __init__(self, terms: LinkTerms, compare_at: float) -> None:
        self.terms = terms
        """What the link costs."""
        self.compare_at = compare_at
        """When to compare what both know."""
        self.compare = False
        """Whether to compare now."""
        self.link_states: dict[bytes, None] = {}
        """Origins whose link states it is to be sent."""
        self.maps: dict[bytes, None] = {}
        """Origins whose services it is to be sent."""
        self.offers: dict[bytes, None] = {}
        """Origins whose services it may want: it is told the versions."""
        self.complete: dict[Kind, None] = {}
        """Kinds of which it is to be sent all versions …"""
        self.ask = False
        """… and asked for its own."""
        self.pulls: dict[Key, Point] = {}
        """What it is asked for, and what this node has of it."""
        self.in_scope: dict[bytes, None] = {}
        """The origins whose services it was to be told when that was last looked at."""
        self.bulk_at = inf
        """When more of whole maps may be sent; `inf` while nothing was sent of late."""
        self._room = 0
        self._has: dict[Key, Version] = {}
        self._bulk: deque[bytes] = deque()
        self._bulk_of: dict[bytes, Iterator[bytes]] = {}

    def knows(self, key: Key, version: Version) -> None:
        """It has this version, or a newer one: it said so, or was sent it."""
        has = self._has.get(key)
        if (has is None and len(self._has) < 4 * MAX_ORIGINS) or (has is not None and has < version):
            self._has[key] = version

    def said(self, versions: Versions) -> None:
        """It has told what it has, which is more certain than what was thought."""
        listed = {(kind, origin): version for kind, origin, version in versions.versions}
        for key in [key for key in self._has if key[0] in versions.complete and key not in listed]:
            del self._has[key]
        for key, version in listed.items():
            self._has.pop(key, None)
            self.knows(key, version)

    def forgets(self, origin: bytes) -> None:
        """This node has forgotten an origin, and so, at about the same time, does the neighbour."""
        for kind in Kind:
            self._has.pop((kind, origin), None)

    def wants(self, key: Key, point: Point) -> None:
        """It asks for something and says which state of it it has."""
        self._has.pop(key, None)
        self.knows(key, Version(*point, b""))  # having nothing is known as well: it gets all there is
        (self.link_states if key[0] is Kind.LINK_STATE else self.maps)[key[1]] = None

    def lacks(self, key: Key, version: Version) -> bool:
        """Whether it is not known to have this version."""
        has = self._has.get(key)
        return has is None or has < version

    def messages(self, known: Database, peer: bytes, now: float) -> Iterator[bytes]:
        """All that may be sent now."""
        yield from self._link_states(known)
        for origin in self._take_maps():
            yield from self._services(known, origin)
        yield from self._parts(now)
        if self.pulls:
            pulls, self.pulls = self.pulls, {}
            yield pack_pull((kind, origin, point) for (kind, origin), point in pulls.items())
        yield from self._versions(known, peer)
        if self.compare:
            self.compare = False
            yield pack_compare(Compare(known.root(Kind.LINK_STATE, peer), known.root(Kind.SERVICES, peer)))

    def _link_states(self, known: Database) -> Iterator[bytes]:
        waiting, self.link_states = self.link_states, {}
        batch: list[Signed] = []
        size = 0
        for origin in waiting:
            kept = known.kept(Kind.LINK_STATE, origin)
            if kept is None or not self.lacks((Kind.LINK_STATE, origin), kept.statement.version):
                continue
            self.knows((Kind.LINK_STATE, origin), kept.statement.version)
            length = sum(map(len, kept.signed))
            if batch and size + length > PART:
                yield pack_link_states(batch)
                batch, size = [], 0
            batch.append(kept.signed)
            size += length
        if batch:
            yield pack_link_states(batch)

    def _take_maps(self) -> list[bytes]:
        # A map that is being sent whole is finished first: what has changed since follows as a difference to it.
        now = [origin for origin in self.maps if origin not in self._bulk_of]
        for origin in now:
            del self.maps[origin]
        return now

    def _services(self, known: Database, origin: bytes) -> Iterator[bytes]:
        kept, services = known.kept(Kind.SERVICES, origin), known.map_of(origin)
        key = (Kind.SERVICES, origin)
        if kept is None or services is None or not self.lacks(key, kept.statement.version):
            return
        has = self._has.get(key)
        # Of whom nothing is known yet it is supposed that it has what was told before: if not, it asks.
        base = services.before if has is None else (has.epoch, has.seq)
        names = services.since(base) if base > (0, 0) else None
        self.knows(key, kept.statement.version)
        if names is None:
            self._bulk_of[origin] = _whole(kept.signed, services)
            self._bulk.append(origin)
            return
        gone = tuple(name for name in names if name not in services.services)
        entries = tuple(entry.packed for name in names for entry in services.services.get(name, ()))
        if sum(map(len, (*gone, *entries))) > PART:
            self._bulk_of[origin] = _whole(kept.signed, services)
            self._bulk.append(origin)
        else:
            yield pack_services(Services(kept.signed, base, False, gone, entries))

    def _parts(self, now: float) -> Iterator[bytes]:
        if self._bulk and self.bulk_at == inf:
            self._room, self.bulk_at = BURST, now + BURST_EVERY
        while self._bulk and self._room > 0:
            part = next(self._bulk_of[self._bulk[0]], None)
            if part is None:
                del self._bulk_of[self._bulk.popleft()]
            else:
                self._room -= len(part)
                yield part

    def _versions(self, known: Database, peer: bytes) -> Iterator[bytes]:
        offers, self.offers = self.offers, {}
        complete, self.complete = self.complete, {}
        ask, self.ask = self.ask, False
        versions = [version for kind in complete for version in known.versions(kind, peer)]
        if Kind.SERVICES not in complete:
            for origin in offers:
                kept = known.kept(Kind.SERVICES, origin)
                if kept is not None and self.lacks((Kind.SERVICES, origin), kept.statement.version):
                    versions.append((Kind.SERVICES, origin, kept.statement.version))
        if versions or ask or complete:
            yield pack_versions(Versions(frozenset(complete), ask, tuple(versions)))


def _whole(signed: Signed, services: ServiceMap) -> Iterator[bytes]:
    """A map in parts, as it is now, whatever changes while they are sent."""
    entries = deque(entry.packed for entry in services)

    def parts() -> Iterator[bytes]:
        while True:
            part: list[bytes] = []
            size = 0
            while entries and (not part or size + len(entries[0]) <= PART):
                size += len(entries[0])
                part.append(entries.popleft())
            yield pack_services(Services(signed, (0, 0), bool(entries), (), tuple(part)))
            if not entries:
                return

    return parts()
