"""A network of simulated nodes: who is linked to whom, what breaks, and what is offered."""

import itertools

from sdk.head import parse_call_head_untrusted

from .engine import Engine
from .node import Call, SimNode
from .wire import Line, Wire

FIRST_PAUSE, GROWTH, LONGEST_PAUSE = 0.2, 1.5, 30.0
"""As in tunnel/dialling.py."""
CONNECT = 5.0
"""Seconds after which a dialler gives up on who does not answer."""

Pair = tuple[str, str]


def topology(kind: str, names: list[str], choose: Engine) -> list[Pair]:
    """The pairs of nodes that are linked; the first of a pair dials."""
    count, random = len(names), choose.random
    pairs: dict[Pair, None] = {}
    if kind == "line":
        pairs = dict.fromkeys(itertools.pairwise(names))
    elif kind == "ring":
        pairs = dict.fromkeys([*itertools.pairwise(names), (names[-1], names[0])])
    elif kind == "star":
        pairs = dict.fromkeys((name, names[0]) for name in names[1:])
    elif kind == "grid":
        width = round(count**0.5)
        pairs |= dict.fromkeys((names[n], names[n + 1]) for n in range(count - 1) if (n + 1) % width)
        pairs |= dict.fromkeys((names[n], names[n + width]) for n in range(count - width))
    elif kind == "random":
        pairs = dict.fromkeys((names[n], names[random.randrange(n)]) for n in range(1, count))
        while len(pairs) < min(2 * count, count * (count - 1) // 2):
            one, other = random.sample(names, 2)
            if (other, one) not in pairs:
                pairs[one, other] = None
    else:
        raise ValueError(f"there is no topology {kind!r}")
    return list(pairs)


class Net:
    """All nodes and lines of one run."""

    def __init__(self, seed: int, kind: str, count: int, *, delay: float | None = None, trace: bool = False) -> None:
        """With a `delay` all lines have it, all nodes tell and carry everything, and none has a default gateway; else
        all that is rolled."""
        self.seed = seed
        self.engine = Engine(seed, trace=trace)
        self.names = [f"n{number:02}" for number in range(count)]
        self.offers: dict[str, list[str]] = {name: [] for name in self.names}
        """What the environments offer, whether their nodes live or not."""
        self.calls: dict[int, Call] = {}
        self.nodes: dict[str, SimNode] = {}
        """The lives that go on."""
        self.told = 0
        """Bytes of gossip that all nodes have told so far."""
        self.disturbed = 0.0
        """When the last link came or went."""
        self.repriced = 0.0
        """When the cost of a link last changed."""
        random = self.engine.random
        self.pairs = topology(kind, self.names, self.engine)
        delays = (0.001, 0.005, 0.010, 0.040) if delay is None else (delay,)
        self.lines = {pair: Line(random.choice(delays)) for pair in self.pairs}
        self._dialled_by: dict[str, list[str]] = {name: [] for name in self.names}
        for one, other in self.pairs:
            self._dialled_by[one].append(other)
        self._failures: dict[Pair, int] = {}
        self._lately: dict[Pair, float] = {}
        self._lives: dict[str, int] = {}
        odd = 0.2 if delay is None else 0.0
        self._traits = {
            name: (True, 3) if random.random() >= odd else random.choice(((False, 1), (False, 1), (False, 0)))
            for name in self.names
        }
        self._gateways = {name: random.choice(self._near(name)) if random.random() < odd else "" for name in self.names}
        for name in self.names:
            self.start(name)

    # Nodes.

    def start(self, name: str, *, stale: bool = False) -> None:
        """A node starts, under the same key as before; `stale` with a clock that was set back."""
        life = self._lives[name] = self._lives.get(name, 0) + 1
        transit, radius = self._traits[name]
        epoch = 1000 - life if stale else 1000 * life + 1000
        self.engine.note(f"{name} starts with epoch {epoch}")
        node = self.nodes[name] = SimNode(
            self, name, epoch=epoch, transit=transit, radius=radius, gateway=self._gateways[name]
        )
        node.do(lambda: node.offer(self.offers[name]))
        for other in self._dialled_by[name]:
            self._failures[name, other] = 0
            self._dial_after(node, other, 0.0)
        for one, other in self.pairs:
            if other == name and one in self.nodes:
                self._dial_after(self.nodes[one], name, self._pause((one, other)))

    def kill(self, name: str, *, silently: bool) -> None:
        """A node dies: its sockets are closed by the system, or (its machine died) nobody says anything."""
        self.engine.note(f"{name} dies {'silently' if silently else ''}")
        node = self.nodes.pop(name)
        node.alive = False
        for pair, line in self.lines.items():
            if name in pair:
                for wire in list(line.wires):
                    side = 0 if wire.nodes[0] is node else 1
                    if silently:
                        line.wires.remove(wire)
                        wire.ports[1 - side].wake = _nobody
                    else:
                        wire.close(side, "the process died")

    # Links.

    def link_lost(self, node: SimNode, peer: SimNode) -> None:
        """Whoever dials that peer does so again; so does the peer, once it has noticed."""
        self.disturbed = self.engine.now
        if peer.name in self._dialled_by[node.name]:
            self._dial_after(node, peer.name, self._pause((node.name, peer.name)))

    def _pause(self, pair: Pair) -> float:
        failures = self._failures.get(pair, 0)
        return min(LONGEST_PAUSE, FIRST_PAUSE * GROWTH ** min(failures, 20)) * self.engine.random.uniform(0.5, 1.0)

    def _dial_after(self, node: SimNode, other: str, seconds: float) -> None:
        self.engine.after(seconds, f"dial {node.name} {other}", lambda: node.do(lambda: self._dial(node, other)))

    def _dial(self, node: SimNode, other: str) -> None:
        pair = (node.name, other)
        line, peer = self.lines[pair], self.nodes.get(other)
        if self.nodes.get(node.name) is not node or (peer is not None and peer.key.id in node.links):
            return
        if peer is None:
            self._failed(node, other, 2 * line.delay)
        elif line.severed or peer.paused:
            self._failed(node, other, CONNECT)
        else:
            self.engine.after(4 * line.delay, f"up {node.name} {other}", lambda: self._up(node, peer))

    def _near(self, name: str) -> list[str]:
        """The nodes that are one or two lines away, in the order of their names."""
        beside = {one: {b if one == a else a for a, b in self.pairs if one in (a, b)} for one in self.names}
        return sorted(beside[name].union(*(beside[other] for other in beside[name])) - {name})

    def _failed(self, node: SimNode, other: str, after: float) -> None:
        pair = (node.name, other)
        self._failures[pair] = self._failures.get(pair, 0) + 1
        self._dial_after(node, other, after + self._pause(pair))

    def _up(self, node: SimNode, peer: SimNode) -> None:
        line = self.lines[node.name, peer.name]
        both = self.nodes.get(node.name) is node and self.nodes.get(peer.name) is peer
        if not both or line.severed or node.paused or peer.paused:
            if self.nodes.get(node.name) is node:
                self._failed(node, peer.name, CONNECT)
        elif peer.key.id not in node.links:
            self._failures[node.name, peer.name] = 0
            self.disturbed = self.engine.now
            self.engine.note(f"{node.name} and {peer.name} are linked")
            ports = (
                node.link_up(peer, dialled=True, round_trip=2 * line.delay),
                peer.link_up(node, dialled=False, round_trip=2 * line.delay),
            )
            Wire(self.engine, line, ports, (node, peer))
            node.tell()
            peer.tell()

    # Services and calls.

    def offer(self, name: str, services: list[str]) -> None:
        """What an environment offers from now on."""
        self._lately.update({(name, service): self.engine.now for service in self.offers[name]})
        self.offers[name] = services
        node = self.nodes.get(name)
        if node is not None:
            node.do(lambda: node.offer(self.offers[name]))

    def offered_lately(self, name: str, service: str) -> bool:
        """Whether a call may still run there: it was on its way when the service was taken back."""
        return (name, service) in self._lately

    def call(self, name: str, service: str) -> Call | None:
        """A program calls, if its node can be asked."""
        node = self.nodes.get(name)
        if node is None or node.paused:
            return None
        call = node.call(len(self.calls) + 1, service)
        node.tell()
        for late in (2.1, 4.1):
            self.engine.after(late, "sweep", self._sweep)
        self.engine.after(2.2, "over", lambda: node.do(call.must_be_over, timer=True))
        return call

    def call_of(self, head: bytes) -> Call:
        return self.calls[int.from_bytes(parse_call_head_untrusted(head).call_id, "big")]

    def _sweep(self) -> None:
        for node in list(self.nodes.values()):
            node.sweep()

    def neighbours(self, name: str) -> list[str]:
        """The nodes at the other ends of a node's links."""
        ids = {node.key.id: other for other, node in self.nodes.items()}
        return [ids[peer] for peer in self.nodes[name].links if peer in ids]


def _nobody() -> None:
    """A port whose connection leads nowhere."""
