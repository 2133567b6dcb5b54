"""Who offers what: for each service the origins and their entries, kept as gossip tells of changes.

So a call looks up one service, whatever the number of origins and services.
"""

from collections.abc import ItemsView, ValuesView
from typing import NamedTuple

from .choice import Way
from .services import ServiceEntry
from .spellings import Spellings

Entries = tuple[ServiceEntry, ...]


class OriginRoute(NamedTuple):
    """A node that offers a service, and the way to it: what a call is routed by."""

    origin: bytes
    """Its id."""
    path: tuple[bytes, ...]
    """Ids of the nodes to pass, the next one first, the origin last."""
    path_bytes: bytes
    """The same, joined."""
    cost: int
    """Sum of the costs of the links on the path."""
    spare: tuple[bytes, ...] = ()
    """The path to take should the first one fail; empty where there is none."""
    spare_bytes: bytes = b""
    """The same, joined."""
    weight: int = 1
    """Share of calls it is good for, at least 1: its instances that can be called."""
    instances: int = 0
    """Its instances."""
    protocols: tuple[str, ...] = ()
    """What they speak, sorted."""


def origin_route(origin: bytes, way: Way, entries: Entries) -> OriginRoute:
    """What calls to a node are routed by, for the entries of one service that can be called."""
    spare = way.spare.nodes if way.spare else ()
    return OriginRoute(
        origin=origin,
        path=way.path.nodes,
        path_bytes=b"".join(way.path.nodes),
        cost=way.path.cost,
        spare=spare,
        spare_bytes=b"".join(spare),
        weight=sum(entry.weight for entry in entries),
        instances=sum(entry.instances for entry in entries),
        protocols=tuple(sorted({protocol for entry in entries for protocol in entry.protocols})),
    )


class Offer:
    """One service."""

    __slots__ = ("changed", "found", "found_at", "origins")

    def __init__(self) -> None:
        self.origins: dict[bytes, Entries] = {}
        """Who offers it, and in which versions."""
        self.changed = 0.0
        """When that changed last."""
        self.found: tuple[OriginRoute, ...] = ()
        """What calls are routed by, worked out when it is first asked for …"""
        self.found_at = -1
        """… after so many changes of ways."""


class Offers:
    """All services of other nodes."""

    def __init__(self) -> None:
        self._offers: dict[str, Offer] = {}
        self.spellings = Spellings()
        """Their names in whatever case."""

    def get(self, service: str) -> Offer | None:
        """One service; None when nobody offers it."""
        return self._offers.get(service)

    def put(self, service: str, origin: bytes, entries: Entries, now: float) -> Entries:
        """What this origin offers under that name from now on, which may be nothing. Answers with what it was."""
        offer = self._offers.get(service)
        if offer is None:
            if not entries:
                return ()
            offer = self._offers[service] = Offer()
            self.spellings.add(service)
        before = offer.origins.pop(origin, ())
        if entries:
            offer.origins[origin] = entries
        elif not offer.origins:
            del self._offers[service]
            self.spellings.discard(service)
        offer.changed = now
        offer.found_at = -1
        return before

    def items(self) -> ItemsView[str, Offer]:
        """All services."""
        return self._offers.items()

    def values(self) -> ValuesView[Offer]:
        """The same without their names."""
        return self._offers.values()
