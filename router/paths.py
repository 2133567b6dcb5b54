"""Shortest paths over the topology, of at most three links, and a second one for each that shares nothing with it.

Dijkstra alone would find the cheapest path and then refuse it for its length, where a dearer and shorter one exists. So
it runs on a graph in layers: (node, links so far). This is the only module that imports networkx, which takes half a
second.
"""

import heapq
from collections.abc import Container
from typing import NamedTuple

import networkx as nx

from sdk.wire.frame import MAX_HOPS

from .linkstate import Edges


class Path(NamedTuple):
    """The way from this node to another."""

    nodes: tuple[bytes, ...]
    """The nodes passed: the next one first, the last one is where the path leads."""
    cost: int
    """Sum of the costs of its links."""


def shortest_paths(me: bytes, edges: Edges, closed: Container[bytes] = ()) -> dict[bytes, Path]:
    """For each node within three links the cheapest path to it, by id of the node.

    Of equal costs the path with fewer links wins, then the one whose nodes have the smaller ids. Nodes in `closed` can
    be reached, but nothing passes through them.
    """
    graph: nx.DiGraph[tuple[bytes, int]] = nx.DiGraph()
    graph.add_node((me, 0))
    layer = [me]
    layers: list[list[bytes]] = []
    for hops in range(1, MAX_HOPS + 1):
        following: dict[bytes, None] = {}
        for node in layer:
            if node != me and node in closed:
                continue
            for neighbour, cost in edges.get(node, {}).items():
                if neighbour != me:
                    graph.add_edge((node, hops - 1), (neighbour, hops), cost=cost)
                    following[neighbour] = None
        layer = list(following)
        layers.append(layer)
    before, costs = nx.dijkstra_predecessor_and_distance(graph, (me, 0), weight="cost")
    # For each node and number of links the way with the smallest ids: it continues such a way to one of those before.
    ways: dict[tuple[bytes, int], tuple[bytes, ...]] = {(me, 0): ()}
    paths: dict[bytes, Path] = {}
    for hops, layer in enumerate(layers, start=1):
        for node in layer:
            ways[node, hops] = (*min(ways[previous] for previous in before[node, hops]), node)
            if node not in paths or costs[node, hops] < paths[node].cost:
                paths[node] = Path(ways[node, hops], int(costs[node, hops]))
    return paths


class Spares:
    """For any node the cheapest way besides the one that is in use, with no node between in common.

    Made once per topology: for each node the few cheapest ways of at most two links, from which a way of three is one
    link more. So a spare costs a look at the links of its end, and not a search of its own. (Suurballe's algorithm
    finds the cheapest pair; here the first path is given, and three links leave little to search.)
    """

    def __init__(self, me: bytes, edges: Edges, closed: Container[bytes] = ()) -> None:
        self._me = me
        self._edges = edges
        self._closed = closed
        self._direct = edges.get(me, {})
        # A way of three links to a node may not lead through the node itself nor the two inner ones of its first path.
        found: dict[bytes, list[tuple[int, bytes]]] = {}
        for first, cost in self._direct.items():
            if first not in closed:
                for second, more in edges.get(first, {}).items():
                    if second != me:
                        found.setdefault(second, []).append((cost + more, first))
        self._two = {node: heapq.nsmallest(4, ways) for node, ways in found.items()}

    def beside(self, path: Path) -> Path | None:
        """The cheapest way to the end of this path that shares no link with it, and no node but its ends. Of equal
        costs fewer links win, then smaller ids."""
        *inner, end = path.nodes
        best: tuple[int, int, tuple[bytes, ...]] | None = None
        if inner and end in self._direct:
            best = (self._direct[end], 1, (end,))
        for last, cost in self._edges.get(end, {}).items():
            if last == self._me or last in inner or last in self._closed:
                continue
            if last in self._direct:
                way: tuple[int, int, tuple[bytes, ...]] = (self._direct[last] + cost, 2, (last, end))
                best = way if best is None else min(best, way)
            for so_far, first in self._two.get(last, ()):
                if first != end and first not in inner:
                    way = (so_far + cost, 3, (first, last, end))
                    best = way if best is None else min(best, way)
                    break
        return Path(best[2], best[0]) if best else None
