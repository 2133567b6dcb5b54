"""One run: a network that is disturbed for a while and then left alone, and what must hold then."""

from dataclasses import dataclass

from router.choice import GAIN
from router.linkstate import distances
from router.paths import shortest_paths

from .net import Net
from .node import SimNode

KINDS = ("random", "grid", "ring", "line", "star")
TROUBLE = 30.0
"""Virtual seconds of faults."""
QUIET = 78.0
"""Virtual seconds without, after the last link has come or gone: the dead are forgotten after 60, and a node whose
clock was set back may have to jump twice, which takes 10."""
SERVICES = [f"service-{number}" for number in range(12)]


@dataclass
class Outcome:
    """What a run came to."""

    seed: int
    fingerprint: str
    events: int
    calls: int
    answered: int
    lines: list[str]


class Story:
    """A run that is going on."""

    def __init__(self, seed: int, *, nodes: int = 20, trace: bool = False) -> None:
        self.net = Net(seed, KINDS[seed % len(KINDS)], nodes, trace=trace)
        self.engine = self.net.engine
        self.random = self.engine.random

    def run(self) -> Outcome:
        """Lets it happen. Raises `AssertionError` for what must not be."""
        net, engine = self.net, self.engine
        for name in net.names:
            net.offer(name, self.random.sample(SERVICES, self.random.randrange(4)))
        engine.run(2.0)
        self._plan_faults()
        at = 2.0
        while at < TROUBLE:
            at += 0.25
            engine.at(at, "call", self._call_something)
        engine.run(TROUBLE)
        self._end_all_faults()
        while engine.now < net.disturbed + QUIET:
            engine.run(net.disturbed + QUIET)
        self._check()
        answered = sum(call.answered for call in net.calls.values())
        return Outcome(net.seed, engine.fingerprint, engine.events, len(net.calls), answered, engine.lines)

    # Faults.

    def _plan_faults(self) -> None:
        at = 2.0
        while at < TROUBLE:
            at += self.random.expovariate(1.0)
            self.engine.at(at, "fault", self._fault)

    def _fault(self) -> None:
        net, random = self.net, self.random
        kind = random.choice(("cut", "split", "kill", "restart", "pause", "delay", "loss", "offer", "offer", "offer"))
        name = random.choice(net.names)
        self.engine.note(f"fault {kind} {name}")
        if kind == "cut":
            self._sever([random.choice(net.pairs)], random.uniform(0.1, 15))
        elif kind == "split":
            half = set(random.sample(net.names, len(net.names) // 2))
            self._sever([(a, b) for a, b in net.pairs if (a in half) != (b in half)], random.uniform(0.5, 15))
        elif kind == "kill" and name in net.nodes and len(net.nodes) > len(net.names) // 2:
            self._kill(name)
        elif kind == "restart":
            if name in net.nodes:
                self._kill(name)
            net.start(name, stale=random.random() < 0.2)
        elif kind == "pause" and name in net.nodes and not net.nodes[name].paused:
            node = net.nodes[name]
            node.pause()
            self.engine.after(random.uniform(0.5, 12), f"resume {name}", lambda: self._resume(node))
        elif kind == "delay":
            net.lines[random.choice(net.pairs)].delay = random.choice((0.0005, 0.01, 0.06, 0.15))
        elif kind == "loss":
            net.lines[random.choice(net.pairs)].loss = random.choice((0.0, 0.02, 0.2))
        elif kind == "offer":
            net.offer(name, random.sample(SERVICES, random.randrange(4)))

    def _kill(self, name: str) -> None:
        self.net.kill(name, silently=self.random.random() < 0.5)

    def _sever(self, pairs: list[tuple[str, str]], seconds: float) -> None:
        for pair in pairs:
            line = self.net.lines[pair]
            line.sever()
            self.engine.after(seconds, f"heal {pair[0]} {pair[1]}", line.heal)

    def _end_all_faults(self) -> None:
        for line in self.net.lines.values():
            line.loss = 0.0
            line.heal()
        for node in list(self.net.nodes.values()):
            self._resume(node)

    def _resume(self, node: SimNode) -> None:
        if node.paused:
            node.resume()
            self.net.disturbed = self.engine.now

    def _call_something(self) -> None:
        self.net.call(self.random.choice(self.net.names), self.random.choice(SERVICES))

    # What must hold.

    def _check(self) -> None:
        for part in self.net.components():
            roots = {node.gossip.link_state_root for node in part}
            assert len(roots) == 1, f"nodes that are linked know different links: {[node.name for node in part]}"
            ids = {node.key.id: node for node in part}
            for node in part:
                self._check_node(node, ids)
        calls = [
            (self.net.call(node.name, service), node.name, service)
            for node in list(self.net.nodes.values())
            for service in self.random.sample(SERVICES, 3)
        ]
        self.engine.run(self.engine.now + 6)
        for call, name, service in calls:
            assert call is not None
            possible = self._origins(self.net.nodes[name], service) or service in self.net.offers[name]
            assert call.answered == bool(possible), f"{name} calls {service}, which {possible} offer: {call.failure}"
        for call in self.net.calls.values():
            assert len(call.served) <= 1, f"call {call.number} ran twice"
        for node in self.net.nodes.values():
            assert not node.switch.statistics()["open"], f"{node.name} holds calls that are over"
            assert not any(port.streams for port in node.links.values()), f"{node.name} holds streams that are over"

    def _check_node(self, node: SimNode, part: dict[bytes, SimNode]) -> None:
        name, gossip, table = node.name, node.gossip, node.table
        assert gossip.twin is None, f"{name} takes an earlier life for a twin"
        known = set(gossip.origins)
        assert known == set(part), f"{name} knows {len(known)} nodes of {len(part)}"
        near = distances(node.key.id, gossip.edges, 3)
        for origin, other in part.items():
            if near.get(origin, 9) <= other.gossip.origins[origin].radius:
                mine, own = gossip.services_root(origin), other.gossip.services_root(origin)
                assert mine == own, f"{name} and {other.name} differ in what {other.name} offers"
        closed = {origin for origin, other in part.items() if not other.switch._transit}
        best = shortest_paths(node.key.id, gossip.edges, closed)
        assert set(table.ways) == set(best), f"{name} has ways to others than it can reach"
        for origin, way in table.ways.items():
            assert way.path.cost <= GAIN * best[origin].cost, f"{name} goes a bad way"
        for service in SERVICES:
            found = sorted(origin.origin for origin in table.origins_of(service))
            assert found == self._origins(node, service), f"{name} is wrong about who offers {service}"

    def _origins(self, node: SimNode, service: str) -> list[bytes]:
        """Who must be found: nodes that offer it, tell so as far as here, and can be reached within three links."""
        part = next(part for part in self.net.components() if node in part)
        ids = {other.key.id: other for other in part}
        closed = {id for id, other in ids.items() if not other.switch._transit}
        near = distances(node.key.id, node.gossip.edges, 3)
        ways = shortest_paths(node.key.id, node.gossip.edges, closed)
        return sorted(
            id
            for id, other in ids.items()
            if id in ways and service in self.net.offers[other.name] and near[id] <= other.gossip.origins[id].radius
        )


def run(seed: int, *, nodes: int = 20, trace: bool = False) -> Outcome:
    """One run from beginning to end; the story so far is added to what fails."""
    story = Story(seed, nodes=nodes, trace=trace)
    try:
        return story.run()
    except AssertionError as error:
        told = "\n".join(story.engine.lines[-60:])
        raise AssertionError(f"seed {seed} at {story.engine.now:.3f} s: {error}\n{told}") from error
