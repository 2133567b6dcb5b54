"""Puts together what neighbours tell of services: the parts of whole maps, and entries that many origins have alike."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from .servicemap import Offers, ServiceMap
from .services import MAX_BODY, ServiceEntry, ServiceRoot, by_name
from .statement import Signed
from .store import Refusal
from .wire import Services, parse_entry_untrusted

SHARED: Final = 16384
"""Entries that are kept for being shared between the origins that offer the same."""


class _Partial(NamedTuple):
    """A map of which not all parts have come yet."""

    signed: Signed
    services: ServiceMap


class Gathering:
    """What is under way, one map for each neighbour: its parts come one after another."""

    def __init__(self) -> None:
        self._partial: dict[bytes, _Partial] = {}
        self._shared: dict[bytes, ServiceEntry] = {}

    @property
    def under_way(self) -> int:
        """Maps of which not all parts have come yet."""
        return len(self._partial)

    def drop(self, peer: bytes) -> None:
        """What this neighbour has begun will not come to its end."""
        self._partial.pop(peer, None)

    def entries(self, packed: Iterable[bytes]) -> Offers:
        """Packed entries by name; the same objects for all origins that offer the same.

        Raises `RemoteProtocolError` for one that cannot be read.
        """
        return by_name(map(self._entry, packed))

    def add(self, peer: bytes, root: ServiceRoot, told: Services, change: Offers) -> ServiceMap | Refusal | None:
        """One part of a map. Answers with the whole of it when this was the last, None while there is more to come, and
        the reason where it is not what was signed."""
        partial = self._partial.pop(peer, None)
        services = partial.services if partial is not None and partial.signed == told.signed else ServiceMap()
        # The versions of one service may be told in two parts, or more.
        begun = services.services
        services.update({name: (*begun.get(name, ()), *entries) for name, entries in change.items()}, (0, 0))
        if services.count > root.count or services.size > MAX_BODY:
            return Refusal.TOO_MANY_SERVICES
        if told.more:
            self._partial[peer] = _Partial(told.signed, services)
            return None
        return services if (services.count, services.root) == (root.count, root.root) else Refusal.BAD_ROOT

    def _entry(self, packed: bytes) -> ServiceEntry:
        entry = self._shared.get(packed)
        if entry is None:
            if len(self._shared) >= SHARED:
                self._shared.clear()
            entry = self._shared[packed] = parse_entry_untrusted(packed)
        return entry
