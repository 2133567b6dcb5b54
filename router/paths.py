"""Shortest paths over the topology, of at most three links.

Dijkstra alone would find the cheapest path and then refuse it for its length, where a dearer and shorter one exists. So
it runs on a graph in layers: (node, links so far). This is the only module that imports networkx, which takes half a
second.
"""

from collections.abc import Container
from typing import NamedTuple

import networkx as nx

from .linkstate import Edges
from .route import MAX_HOPS


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
