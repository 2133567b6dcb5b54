"""Who is linked to whom at what cost, as each origin signed it, and the graph that follows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from .statement import Statement

MAX_EDGES: Final = 256
"""Most links one origin may tell."""
MAX_COST: Final = 65535
"""Highest cost of a link."""
MAX_RADIUS: Final = 3
"""Most links that a service map may be told away from its origin: as far as calls go."""

Edges = Mapping[bytes, Mapping[bytes, int]]
"""For each node its neighbours and the costs; each edge stands on both sides."""


class LinkTerms(NamedTuple):
    """What a link costs, and why: each part says what it adds."""

    delay: int = 0
    """For its delay (see metric.py)."""
    loss: int = 0
    """For what it loses."""
    price: int = 0
    """As somebody configured it."""

    @property
    def cost(self) -> int:
        """The sum, and 1 for being a link: of two ways that are equal otherwise the one with fewer links wins."""
        return min(1 + self.delay + self.loss + self.price, MAX_COST)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState(Statement):
    """A node's word about itself and its links."""

    born: int
    """The epoch with which this life of the node began; unlike `epoch` never raised afterwards."""
    name: str
    """What people call the node; not unique."""
    addresses: tuple[str, ...]
    """Where it can be dialled."""
    links: tuple[tuple[bytes, LinkTerms], ...]
    """Its neighbours' ids and what the links cost, as it sees them."""
    transit: bool
    """Whether it passes on calls that are for others."""
    radius: int
    """How many links far its service map is told: 3, 1 for direct neighbours only, 0 for nobody."""


def edges_of(link_states: Iterable[LinkState]) -> dict[bytes, dict[bytes, int]]:
    """The graph: an edge counts when both ends report it, at the larger of the two costs (RFC 2328, 16.1, step 2b).

    Nodes stand in the order of their ids, and so do their neighbours, so that equal knowledge gives equal results.
    """
    told = {state.origin: {neighbour: terms.cost for neighbour, terms in state.links} for state in link_states}
    edges: dict[bytes, dict[bytes, int]] = {}
    for origin in sorted(told):
        edges[origin] = {
            neighbour: max(cost, back)
            for neighbour, cost in sorted(told[origin].items())
            if (back := told.get(neighbour, {}).get(origin)) is not None
        }
    return edges


def reachable(me: bytes, edges: Edges) -> dict[bytes, None]:
    """All nodes that can be reached over any number of links, `me` first, then from near to far."""
    return dict.fromkeys(distances(me, edges, len(edges) + 1))


def distances(start: bytes, edges: Edges, most: int) -> dict[bytes, int]:
    """How many links away from `start` each node is, as far as `most` links, from near to far."""
    found = {start: 0}
    layer = [start]
    for hops in range(1, most + 1):
        following: dict[bytes, None] = {}
        for node in layer:
            for other in edges.get(node, {}):
                if other not in found:
                    following[other] = None
        if not following:
            break
        found.update(dict.fromkeys(following, hops))
        layer = list(following)
    return found
