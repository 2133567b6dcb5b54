"""Everything a node knows about its network: two stores, the graph that follows, and who has long been out of reach.

Link states go to the whole network, service maps as far as their origin's radius by that graph. What is handed in here
has been verified, or is verified here: the database never holds what its origin did not sign.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

from .linkstate import MAX_RADIUS, Edges, LinkState, LinkTerms, distances, edges_of, reachable
from .servicemap import Offers, Point, ServiceMap
from .services import MAX_ALL_BODY, MAX_ALL_SERVICES, MAX_BODY, ServiceEntry, ServiceRoot
from .statement import Kind, Signed, Version
from .store import Kept, Refusal, Store, Verify

FORGET_AFTER: Final = 60.0
"""Seconds after which an origin that cannot be reached is forgotten, and a map that is not for this node."""

_NO_SERVICES: Final[Mapping[str, tuple[ServiceEntry, ...]]] = {}


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
    born: int
    """The epoch with which this life began."""
    edges: tuple[tuple[bytes, LinkTerms], ...]
    """Its neighbours and what the links cost, as it says; `Database.edges` has what both ends agree on."""
    transit: bool
    """Whether it passes on calls that are for others."""
    radius: int
    """How many links far it lets its services be told."""
    services: Mapping[str, tuple[ServiceEntry, ...]]
    """What it offers: for each name one entry per version. It changes as the origin's services do."""


class Database:
    """What is known. It believes nothing that `refusal` finds fault with; whoever takes a statement asks that first."""

    def __init__(self, *, me: bytes, network: str, verify: Verify) -> None:
        self.revision = 0
        """Rises with every change of what is known."""
        self.topology = 0
        """Rises with every change of who is linked to whom, who passes calls on, or who is known at all."""
        self.origins: dict[bytes, OriginView] = {}
        """All nodes that have told their links, reachable or not (any more)."""
        self.services = 0
        """Entries of all origins together …"""
        self.body = 0
        """… and their bytes, packed."""
        self._me = me
        self._link_states: Store[LinkState] = Store(network=network, verify=verify)
        self._roots: Store[ServiceRoot] = Store(network=network, verify=verify)
        self._maps: dict[bytes, ServiceMap] = {}
        self._edges: tuple[int, Edges] = (-1, {})
        self._reachable: tuple[int, Mapping[bytes, None]] = (-1, {})
        self._scopes: tuple[int, dict[bytes, dict[bytes, int]]] = (-1, {})
        self._lost_since: dict[tuple[Kind, bytes], float] = {}

    # The graph.

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

    def terms(self, a: bytes, b: bytes) -> LinkTerms | None:
        """What a link costs that both ends report: the dearer of their words, or that of the smaller id."""
        said = []
        for one, other in sorted(((a, b), (b, a))):
            view = self.origins.get(one)
            terms = dict(view.edges).get(other) if view else None
            if terms is None:
                return None
            said.append(terms)
        return max(said, key=lambda terms: terms.cost)

    def is_for(self, origin: bytes, node: bytes) -> bool:
        """Whether the services of an origin are to be told to this node: it lies within the origin's radius."""
        view = self.origins.get(origin)
        if view is None:
            return False
        return self._around(node).get(origin, MAX_RADIUS + 1) <= view.radius

    def in_scope(self, node: bytes) -> dict[bytes, None]:
        """The origins whose services are known here and are to be told to this node."""
        around, origins = self._around(node), self.origins
        return {
            origin: None
            for origin in self._maps
            if origin in around and origin in origins and around[origin] <= origins[origin].radius
        }

    def shared(self, peer: bytes) -> list[bytes]:
        """The origins whose services both this node and that one are told, as far as they are known here."""
        mine = self.in_scope(self._me)
        return sorted(origin for origin in self.in_scope(peer) if origin in mine)

    def _around(self, node: bytes) -> dict[bytes, int]:
        if self._scopes[0] != self.topology:
            self._scopes = (self.topology, {})
        scopes = self._scopes[1]
        found = scopes.get(node)
        if found is None:
            found = scopes[node] = distances(node, self.edges, MAX_RADIUS)
        return found

    # What is known, by version.

    def kept(self, kind: Kind, origin: bytes) -> Kept[LinkState] | Kept[ServiceRoot] | None:
        """The newest statement of this kind and origin."""
        return self._link_states.get(origin) if kind is Kind.LINK_STATE else self._roots.get(origin)

    def map_of(self, origin: bytes) -> ServiceMap | None:
        """The services of an origin, which may be of an earlier life of it."""
        return self._maps.get(origin)

    def lacks(self, kind: Kind, origin: bytes, version: Version) -> bool:
        """Whether a statement of this version would be news and there is room for it."""
        if kind is Kind.LINK_STATE:
            return self._link_states.lacks(origin, version)
        # Where there is no room for one service more, it would be asked for again and again.
        full = self.services >= MAX_ALL_SERVICES or self.body >= MAX_ALL_BODY
        return (not full or origin in self._maps) and self._roots.lacks(origin, version)

    def versions(self, kind: Kind, peer: bytes) -> list[tuple[Kind, bytes, Version]]:
        """All of one kind that this neighbour should know as well, in the order of the origins' ids.

        It is silent about those out of reach. Otherwise nodes that forget them at different times would hand the dead
        to and fro for ever.
        """
        origins = sorted(self.reachable) if kind is Kind.LINK_STATE else self.shared(peer)
        found = ((origin, self.kept(kind, origin)) for origin in origins)
        return [(kind, origin, kept.statement.version) for origin, kept in found if kept is not None]

    def root(self, kind: Kind, peer: bytes) -> bytes:
        """One hash over `versions`: equal where nothing is to be told."""
        digest = hashlib.sha256()
        for _, origin, (epoch, seq, mark) in self.versions(kind, peer):
            digest.update(origin + epoch.to_bytes(8, "big") + seq.to_bytes(8, "big") + mark)
        return digest.digest()

    # Taking in.

    def refusal(self, statement: LinkState | ServiceRoot, signed: Signed) -> Refusal | None:
        """Why this statement is not taken; None when it may be."""
        if isinstance(statement, LinkState):
            return self._link_states.refusal(statement, signed)
        refusal = self._roots.refusal(statement, signed)
        if refusal is None and self.services - self._count(statement.origin) + statement.count > MAX_ALL_SERVICES:
            return Refusal.TOO_MANY_SERVICES
        return refusal

    def has_room(self, origin: bytes, services: ServiceMap | None, change: Offers = _NO_SERVICES) -> bool:
        """Whether these services of an origin, changed so, are not too many bytes; None are those it is known to
        offer."""
        known = self._maps.get(origin)
        size = (services or known or ServiceMap()).size_after(change)
        return size <= MAX_BODY and self.body - (known.size if known else 0) + size <= MAX_ALL_BODY

    def take_link_state(self, state: LinkState, signed: Signed) -> Collection[str]:
        """Takes a link state in the place of an older one. Answers with the services that come or go by it."""
        before = self._link_states.get(state.origin)
        self._link_states.keep(state, signed)
        old = before and before.statement
        if old is None or (old.links, old.transit, old.radius) != (state.links, state.transit, state.radius):
            self.topology += 1
        return self._view(state.origin)

    def take_services(
        self,
        root: ServiceRoot,
        signed: Signed,
        change: Mapping[str, tuple[ServiceEntry, ...]],
    ) -> Collection[str] | None:
        """Takes a change of an origin's services. Answers with the names that are affected; None when what comes of
        the change is not what the origin signed, and nothing was taken."""
        origin = root.origin
        services = self._maps.get(origin) or ServiceMap()
        count, size = services.count, services.size
        if not services.update(change, (root.epoch, root.seq), count=root.count, root=root.root):
            return None
        self.services += services.count - count
        self.body += services.size - size
        return self._keep_map(root, signed, services, change)

    def take_map(self, root: ServiceRoot, signed: Signed, services: ServiceMap) -> Collection[str]:
        """Takes all services of an origin in the place of what it offered before; `services` has the root that is
        signed. Answers with the names that differ."""
        before = self._maps.get(root.origin)
        old = before.services if before else _NO_SERVICES
        self.services += services.count - self._count(root.origin)
        self.body += services.size - (before.size if before else 0)
        services.renumber((root.epoch, root.seq))
        names = dict.fromkeys(
            name for name in (*old, *services.services) if old.get(name) != services.services.get(name)
        )
        return self._keep_map(root, signed, services, names)

    def change_own(self, change: Mapping[str, tuple[ServiceEntry, ...]], at: Point) -> ServiceMap:
        """Changes what this node itself offers, which is signed afterwards and then kept."""
        services = self._maps.get(self._me) or ServiceMap()
        count, size = services.count, services.size
        services.update(change, at)
        self.services += services.count - count
        self.body += services.size - size
        return services

    def keep_own(
        self, root: ServiceRoot, signed: Signed, services: ServiceMap, names: Collection[str]
    ) -> Collection[str]:
        """Keeps what this node itself offers, which needs no proof. Answers with the names that differ."""
        return self._keep_map(root, signed, services, names)

    def _keep_map(
        self, root: ServiceRoot, signed: Signed, services: ServiceMap, names: Collection[str]
    ) -> Collection[str]:
        self._maps[root.origin] = services
        self._roots.keep(root, signed)
        view = self.origins.get(root.origin)
        affected = self._view(root.origin)
        return affected if view is None or view.services is _NO_SERVICES else names

    def _view(self, origin: bytes) -> Collection[str]:
        """Makes the view of an origin anew; answers with the services that came or went by that."""
        self.revision += 1
        kept = self._link_states.get(origin)
        if kept is None:
            return ()
        state = kept.statement
        root, services = self._roots.get(origin), self._maps.get(origin)
        # What it offered in an earlier life says nothing about this one.
        current = services is not None and root is not None and root.statement.epoch >= state.epoch
        offered = services.services if services is not None and current else _NO_SERVICES
        before = self.origins.get(origin)
        self.origins[origin] = OriginView(
            name=state.name,
            network=state.network,
            addresses=state.addresses,
            epoch=state.epoch,
            born=state.born,
            edges=state.links,
            transit=state.transit,
            radius=state.radius,
            services=offered,
        )
        old = before.services if before else _NO_SERVICES
        return () if old is offered else dict.fromkeys((*old, *offered))

    # Forgetting.

    def sweep(self, now: float) -> tuple[float, list[tuple[bytes, Collection[str]]]]:
        """Forgets who has been out of reach for a minute, and maps of origins that have been too far away for as long.

        Answers when to look again, `inf` for not before the next change; and whose services are gone by that.
        """
        reach = self.reachable
        lost = [(Kind.LINK_STATE, origin) for origin in self._link_states if origin not in reach]
        lost += [(Kind.SERVICES, origin) for origin in self._maps if not self.is_for(origin, self._me)]
        since: dict[tuple[Kind, bytes], float] = {}
        gone: list[tuple[bytes, Collection[str]]] = []
        for key in lost:
            beginning = self._lost_since.get(key, now)
            if now >= beginning + FORGET_AFTER:
                gone.append((key[1], self._forget(*key)))
            else:
                since[key] = beginning
        self._lost_since = since
        return min(since.values(), default=inf) + FORGET_AFTER, gone

    def _forget(self, kind: Kind, origin: bytes) -> Collection[str]:
        view = self.origins.get(origin)
        names = list(view.services) if view else []
        if kind is Kind.LINK_STATE:
            self._link_states.forget(origin)
            self.origins.pop(origin, None)
            self.topology += 1
            self.revision += 1
        else:
            self.services -= self._count(origin)
            self.body -= self._maps[origin].size
            self._roots.forget(origin)
            del self._maps[origin]
            self._view(origin)
        return names

    def _count(self, origin: bytes) -> int:
        services = self._maps.get(origin)
        return services.count if services else 0
