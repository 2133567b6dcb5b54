"""Everything a node knows about its network: two stores, the graph that follows, and who has long been out of reach.

The link states go to the whole network; the service maps are kept apart from them because they need not.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

from .linkstate import Edges, LinkState, edges_of, reachable
from .services import ServiceEntry, ServiceMap, by_name
from .statement import Kind, Signed, Version
from .store import Kept, Refusal, Store, Verify

FORGET_AFTER: Final = 60.0
"""Seconds after which an origin that cannot be reached is forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginView:
    """What is known about one node."""

    name: str
    """What people call it; not unique."""
    network: str
    """Name of its network."""
    addresses: tuple[str, ...]
    """Where it can be dialled."""
    epoch: int
    """Which of its lives this is; greater is later."""
    edges: tuple[tuple[bytes, int], ...]
    """Its neighbours and the costs, as it says; `Database.edges` has what both ends agree on."""
    transit: bool
    """Whether it passes on calls that are for others."""
    services: Mapping[str, tuple[ServiceEntry, ...]]
    """What it offers: for each name one entry per version."""


class Database:
    """What is known. It believes nothing that `refusal` finds fault with; whoever takes a statement asks that first."""

    def __init__(self, *, me: bytes, network: str, node_id: Callable[[bytes], bytes], verify: Verify) -> None:
        self.revision = 0
        """Rises with every change of what is known."""
        self.topology = 0
        """Rises with every change of who is linked to whom, or known at all."""
        self.origins: dict[bytes, OriginView] = {}
        """All nodes that have told their links, reachable or not (any more)."""
        self._me = me
        self._link_states: Store[LinkState] = Store(network=network, node_id=node_id, verify=verify)
        self._service_maps: Store[ServiceMap] = Store(network=network, node_id=node_id, verify=verify)
        self._offers: dict[bytes, Mapping[str, tuple[ServiceEntry, ...]]] = {}
        self._edges: tuple[int, Edges] = (-1, {})
        self._reachable: tuple[int, Mapping[bytes, None]] = (-1, {})
        self._unreachable_since: dict[bytes, float] = {}

    @property
    def edges(self) -> Edges:
        """The graph: what both ends of a link agree on, at the larger of their two costs."""
        if self._edges[0] != self.topology:
            self._edges = (self.topology, edges_of(self._link_states.statements()))
        return self._edges[1]

    @property
    def reachable(self) -> Mapping[bytes, None]:
        """The nodes that can be reached over any number of links, this one first, then from near to far."""
        if self._reachable[0] != self.topology:
            self._reachable = (self.topology, reachable(self._me, self.edges))
        return self._reachable[1]

    def get(self, kind: Kind, origin: bytes) -> Kept[LinkState] | Kept[ServiceMap] | None:
        """The newest statement of this kind and origin."""
        return self._store(kind).get(origin)

    def lacks(self, kind: Kind, origin: bytes, version: Version) -> bool:
        """Whether a statement of this version would be news and there is room for it."""
        return self._store(kind).lacks(origin, version)

    def reachable_versions(self) -> Iterator[tuple[Kind, bytes, Version]]:
        """What is known, for a digest.

        It is silent about those out of reach. Otherwise nodes that forget them at different times would hand the dead
        to and fro for ever.
        """
        for origin in self.reachable:
            for kind in Kind:
                kept = self.get(kind, origin)
                if kept is not None:
                    yield kind, origin, kept.statement.version

    def refusal(self, statement: LinkState | ServiceMap, signed: Signed) -> Refusal | None:
        """Why this statement is not taken; None when it may be."""
        if isinstance(statement, LinkState):
            return self._link_states.refusal(statement, signed)
        return self._service_maps.refusal(statement, signed)

    def take(
        self, statement: LinkState | ServiceMap, signed: Signed, entries: Iterable[ServiceEntry]
    ) -> tuple[Kind, bytes]:
        """Take a statement, and the entries that a service map speaks of, in the place of an older one.

        Answers with what it is about.
        """
        origin = statement.origin
        if isinstance(statement, LinkState):
            before = self._link_states.get(origin)
            self._link_states.keep(statement, signed)
            old = before and before.statement
            if old is None or (old.links, old.transit) != (statement.links, statement.transit):
                self.topology += 1
            kind = Kind.LINK_STATE
        else:
            self._offers[origin] = by_name(entries)
            self._service_maps.keep(statement, signed)
            kind = Kind.SERVICES
        self._view(origin)
        self.revision += 1
        return kind, origin

    def sweep(self, now: float) -> float:
        """Forget who has been out of reach for a minute.

        Answers when to look again, `inf` for not before the next change.
        """
        reach = self.reachable
        since: dict[bytes, float] = {}
        for origin in dict.fromkeys((*self._link_states, *self._service_maps)):
            if origin in reach:
                continue
            beginning = self._unreachable_since.get(origin, now)
            if now >= beginning + FORGET_AFTER:
                self._forget(origin)
            else:
                since[origin] = beginning
        self._unreachable_since = since
        return min(since.values(), default=inf) + FORGET_AFTER

    def _store(self, kind: Kind) -> Store[LinkState] | Store[ServiceMap]:
        return self._link_states if kind is Kind.LINK_STATE else self._service_maps

    def _view(self, origin: bytes) -> None:
        kept = self._link_states.get(origin)
        if kept is None:
            return
        state = kept.statement
        offered = self._service_maps.get(origin)
        # What it offered in an earlier life says nothing about this one.
        current = offered is not None and offered.statement.epoch >= state.epoch
        self.origins[origin] = OriginView(
            name=state.name,
            network=state.network,
            addresses=state.addresses,
            epoch=state.epoch,
            edges=state.links,
            transit=state.transit,
            services=self._offers[origin] if current else {},
        )

    def _forget(self, origin: bytes) -> None:
        self._link_states.forget(origin)
        self._service_maps.forget(origin)
        self._offers.pop(origin, None)
        self.origins.pop(origin, None)
        self.topology += 1
        self.revision += 1
