"""What is so in a simulated network, found without the code that is tried: from the links that are really there."""

from collections.abc import Container

from .net import Net
from .node import SimNode

Graph = dict[bytes, dict[bytes, int]]


class Part:
    """The nodes that are linked with one another over any number of links, and apart from all others."""

    def __init__(self, nodes: dict[bytes, SimNode]) -> None:
        self.nodes = nodes
        """By id."""
        self.graph: Graph = {
            id: {
                peer: max(node.metrics[peer].terms.cost, nodes[peer].metrics[id].terms.cost)
                for peer in sorted(node.links)
            }
            for id, node in sorted(nodes.items())
        }
        """The links of each node, and what each costs: as much as the end says to which it costs more."""
        self.closed = {id: None for id, node in nodes.items() if not node.transit}
        """The nodes that carry no calls of others."""

    def reached_from(self, start: bytes) -> dict[bytes, int]:
        """The other nodes that calls of this one can come to, and what the best way costs."""
        return _within_three(start, self.graph, self.closed)

    def offering(self, service: str, start: bytes, offers: dict[str, list[str]]) -> list[bytes]:
        """The nodes that one must know to offer a service: those it can call and that tell so as far as here."""
        reached, told = self.reached_from(start), self._told(service, start, offers)
        return [id for id in told if id in reached]

    def answers(self, service: str, start: SimNode, offers: dict[str, list[str]]) -> bool | None:
        """Whether a call from this node must be answered; None where that is left to the way the gateway chooses."""
        me = start.key.id
        if service in offers[start.name] or self.offering(service, me, offers):
            return True
        gateway = next((id for id, node in self.nodes.items() if node.name == start.gateway), me)
        if self._told(service, me, offers) or gateway not in self.reached_from(me):
            return False
        if service in offers[start.gateway]:
            return True
        return None if gateway not in self.closed and self.offering(service, gateway, offers) else False

    def _told(self, service: str, start: bytes, offers: dict[str, list[str]]) -> list[bytes]:
        """The nodes that offer a service and tell so as far as here, whether calls come to them or not."""
        links = _within_three(start, {id: dict.fromkeys(peers, 1) for id, peers in self.graph.items()}, ())
        return sorted(
            id for id, far in links.items() if service in offers[self.nodes[id].name] and far <= self.nodes[id].radius
        )


def parts(net: Net) -> list[Part]:
    """All parts of a network at rest. Raises `AssertionError` where one end of a link knows of it and the other does
    not."""
    nodes = {node.key.id: node for node in net.nodes.values()}
    for id, node in nodes.items():
        for peer in node.links:
            assert peer in nodes, f"{node.name} has a link to a node that is dead"
            assert id in nodes[peer].links, f"{node.name} has a link to {nodes[peer].name}, which has none to it"
    found: list[Part] = []
    seen: dict[bytes, None] = {}
    for start, first in nodes.items():
        if start not in seen:
            part = {start: first}
            waiting = [start]
            while waiting:
                for peer in nodes[waiting.pop()].links:
                    if peer not in part:
                        part[peer] = nodes[peer]
                        waiting.append(peer)
            seen |= dict.fromkeys(part)
            found.append(Part(part))
    return found


def _within_three(start: bytes, graph: Graph, closed: Container[bytes]) -> dict[bytes, int]:
    """What the best way of at most three links costs to each other node (Bellman and Ford, three rounds)."""
    costs = {start: 0}
    for _ in range(3):
        before = dict(costs)
        for node, cost in before.items():
            if node == start or node not in closed:
                for peer, more in graph[node].items():
                    costs[peer] = min(costs.get(peer, cost + more), cost + more)
    del costs[start]
    return costs
