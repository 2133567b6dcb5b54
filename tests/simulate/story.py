"""One run: a network that is disturbed for a while and then left alone, and what must hold then."""

import itertools
from dataclasses import dataclass

from router.choice import GAIN
from router.linkstate import distances
from sdk.wire.frame import Fate
from tunnel.rtt import LONGEST

from .net import CONNECT, LONGEST_PAUSE, Net
from .node import SimNode
from .truth import Part, parts

KINDS = ("random", "grid", "ring", "line", "star")
TROUBLE = 30.0
"""Virtual seconds of faults."""
QUIET = 78.0
"""Virtual seconds without, after the last link has come or gone: the dead are forgotten after 60, and a node whose
clock was set back may have to jump twice, which takes 10."""
SMOOTH = 40.0
"""Virtual seconds after which a cost that has changed counts in full."""
LASTING = 0.1
"""Share of the runs in which the network falls apart for longer than nodes remember each other."""
SERVICES = [f"service-{number}" for number in range(20)]


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
        if self.random.random() < LASTING:
            self._fall_apart_for_long()
        self._settle()
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
            self._sever(self._between_halves(), random.uniform(0.5, 15))
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

    def _between_halves(self) -> list[tuple[str, str]]:
        """The pairs of which each has a node in either half of the network."""
        half = set(self.random.sample(self.net.names, len(self.net.names) // 2))
        return [(a, b) for a, b in self.net.pairs if (a in half) != (b in half)]

    def _fall_apart_for_long(self) -> None:
        """The halves forget each other, and agree each in itself; what is offered changes before they meet again."""
        self.engine.note("it falls apart")
        lines = [self.net.lines[pair] for pair in self._between_halves()]
        for line in lines:
            line.sever()
        self.engine.run(self.engine.now + LONGEST)  # the last link has been given up
        self._settle()
        self._check()
        for name in self.random.sample(self.net.names, 5):
            self.net.offer(name, self.random.sample(SERVICES, self.random.randrange(4)))
        for line in lines:
            line.heal()
        self.engine.run(self.engine.now + LONGEST_PAUSE + CONNECT)  # everybody has tried to dial again

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

    def _settle(self) -> None:
        """Waits until nothing has happened for long enough."""
        while self.engine.now < (until := max(self.net.disturbed + QUIET, self.net.repriced + SMOOTH)):
            self.engine.run(until)

    def _check(self) -> None:
        found = parts(self.net)
        for part in found:
            roots = {node.gossip.link_state_root for node in part.nodes.values()}
            assert len(roots) == 1, f"linked nodes know different links: {[each.name for each in part.nodes.values()]}"
            for node in part.nodes.values():
                self._check_node(node, part)
        self._check_calls(found)

    def _check_node(self, node: SimNode, part: Part) -> None:
        name, me, gossip, table = node.name, node.key.id, node.gossip, node.table
        assert gossip.twin is None, f"{name} takes an earlier life for a twin"
        assert gossip.edges == part.graph, f"{name} is wrong about the links"
        assert set(gossip.origins) == set(part.nodes), f"{name} knows {len(gossip.origins)} nodes of {len(part.nodes)}"
        for origin, links in distances(me, part.graph, 3).items():
            other = part.nodes[origin]
            if links <= other.radius:
                mine, own = gossip.services_root(origin), other.gossip.services_root(origin)
                assert mine == own, f"{name} and {other.name} differ in what {other.name} offers"
        best = part.reached_from(me)
        assert set(table.ways) == set(best), f"{name} has ways to others than it can reach"
        for origin, way in table.ways.items():
            cost = sum(part.graph[a][b] for a, b in itertools.pairwise((me, *way.path.nodes)))
            assert cost == way.path.cost, f"{name} is wrong about the cost of a way"
            assert cost <= GAIN * best[origin], f"{name} goes a way that costs {cost}, where {best[origin]} would do"
        for service in SERVICES:
            told = sorted(origin.origin for origin in table.origins_of(service))
            assert told == part.offering(service, me, self.net.offers), f"{name} is wrong about who offers {service}"

    def _check_calls(self, found: list[Part]) -> None:
        net = self.net
        calls = [
            (net.call(node.name, service), part)
            for part in found
            for node in part.nodes.values()
            for service in self.random.sample(SERVICES, 3)
        ]
        self.engine.run(self.engine.now + 6)
        for call, part in calls:
            assert call is not None
            expected = part.answers(call.service, call.caller, net.offers)
            assert expected in (None, call.answered), (
                f"{call.caller.name} calls {call.service}: {call.failure or 'answered'!r}"
            )
        for call in net.calls.values():
            assert len(call.served) <= 1 or call.idempotent, f"call {call.number} ran twice"
            if (reset := call.stream.reset_by_peer) is not None and reset.fate == Fate.NOT_REACHED:
                assert not call.served, f"call {call.number} ran, and its caller was told that it was not reached"
            assert call.stream.ended or not call.caller.alive, f"call {call.number} never ended for its caller"
        for node in net.nodes.values():
            assert not node.holds, f"{node.name} holds what is over: {node.holds}"


def run(seed: int, *, nodes: int = 20, trace: bool = False) -> Outcome:
    """One run from beginning to end; the story so far is added to what fails."""
    story = Story(seed, nodes=nodes, trace=trace)
    try:
        return story.run()
    except Exception as error:  # of whatever kind: when it was, and what led to it, is what helps
        error.add_note("\n".join([*story.engine.lines[-60:], f"in seed {seed}, at {story.engine.now:.3f} s"]))
        raise
