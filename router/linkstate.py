"""Who is linked to whom at what cost, as each origin signed it, and the graph that follows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from .statement import Statement

MAX_EDGES: Final = 256
"""Most links one origin may tell."""
MAX_COST: Final = 65535
"""Highest cost of a link."""

Edges = Mapping[bytes, Mapping[bytes, int]]
"""For each node its neighbours and the costs; each edge stands on both sides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState(Statement):
    """A node's word about itself and its links."""

    name: str
    """What people call the node; not unique."""
    addresses: tuple[str, ...]
    """Where it can be dialled."""
    links: tuple[tuple[bytes, int], ...]
    """Its neighbours' ids and the costs, as it sees them."""
    transit: bool
    """Whether it passes on calls that are for others."""


def edges_of(link_states: Iterable[LinkState]) -> dict[bytes, dict[bytes, int]]:
    """The graph: an edge counts when both ends report it, at the larger of the two costs (RFC 2328, 16.1, step 2b).

    Nodes stand in the order of their ids, and so do their neighbours, so that equal knowledge gives equal results.
    """
    told = {state.origin: dict(state.links) for state in link_states}
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
    found: dict[bytes, None] = {me: None}
    layer = [me]
    while layer:
        layer = [other for node in layer for other in edges.get(node, {}) if other not in found]
        found.update(dict.fromkeys(layer))
    return found
