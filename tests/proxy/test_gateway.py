"""Default gateways in networks of any shape, with tables that contradict one another: no call loops, none passes more
than three links, and each is answered."""

from itertools import product
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.retry import MAX_TRIES
from sdk.errors import Status
from sdk.head import DEFAULT, CallHead, pack_call_head, parse_call_head_untrusted
from sdk.port import Port
from sdk.port.inner import InnerPort, inner_pair
from sdk.types import Instance
from sdk.wire import frame
from sdk.wire.frame import MAX_HOPS, NO_DEADLINE, OPEN, Fate, Reset
from sdk.wire.mux import Mux, MuxStream

from .chain import Clock, FarOrigin, Node, far_origin

IDS = [bytes([number]) * 16 for number in range(5)]
SERVICES = ["one", "two"]
NAMES = [f"node {number}" for number in range(len(IDS))]


class LinkPort(InnerPort):
    """One side of a link whose frames arrive at once; counts the calls that pass it, and how far they may still go."""

    def __init__(self, passed: list[tuple[int, int]], first: int, **rest: object) -> None:
        super().__init__(**rest)  # type: ignore[arg-type]
        self._passed = passed
        self._next = first

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == OPEN:
            opened = frame.split_open_untrusted(payload)
            self._passed.append((opened.hops, parse_call_head_untrusted(opened.head).flags & DEFAULT))
        super().send(kind, flags, stream, payload)


class Network:
    """Nodes, links and tables at random. Instances answer nothing: what counts is that a call gets there."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.clock = Clock()
        self.passed: list[tuple[int, int]] = []
        self.reached: list[str] = []
        self.nodes = [
            Node(id, name, self._dial, gateway=random.choice(NAMES), transit=random.random() < 0.8)
            for id, name in zip(IDS, NAMES, strict=True)
        ]
        for number, one in enumerate(self.nodes):
            for other in self.nodes[:number]:
                if random.random() < 0.8:
                    self._link(one, other)
        for node in self.nodes:
            self._write_table(node)

    def _write_table(self, node: Node) -> None:
        random = self.random
        for service in SERVICES:
            if random.random() < 0.3:
                node.routes.origins[service] = tuple(self._way(node) for _ in range(random.randint(1, 2)))
            if random.random() < 0.3:
                metadata = {"native": "1"}
                node.routes.instances[service] = (Instance(id=service, address=f"{service}:1", metadata=metadata),)
        node.routes.ways = {name: self._way(node, id) for id, name in zip(IDS, NAMES, strict=True) if id != node.id}

    def _way(self, node: Node, to: bytes = b"") -> FarOrigin:
        """Any path to a node, and any other."""
        to = to or self.random.choice([id for id in IDS if id != node.id])
        between = [id for id in IDS if id not in (node.id, to)]
        first, spare = (self.random.sample(between, self.random.choice([0, 0, 1, 2])) for _ in range(2))
        return far_origin(*first, to, spare=(*spare, to))

    def _link(self, one: Node, other: Node) -> None:
        near = LinkPort(self.passed, 1, sink=one.switch, name=other.name, clock=self.clock)
        far = LinkPort(self.passed, 2, sink=other.switch, name=one.name, clock=self.clock)
        near.other, far.other = far, near
        one.switch.link_up(other.id, near)
        other.switch.link_up(one.id, far)

    def _dial(self, node: Node, address: str) -> Port:
        near, far = inner_pair(node.switch, mux := Mux(on_open=self._on_open), name=address, clock=self.clock)
        mux.attach(far)
        return near

    def _on_open(self, stream: MuxStream, opened: frame.Open) -> None:
        self.reached.append(parse_call_head_untrusted(opened.head).service)

    def call(self, node: Node, service: str) -> Reset | None:
        """A program at a node calls; what it is told at once."""
        mux = Mux()
        program, there = inner_pair(mux, node.switch, name="program", clock=self.clock)
        mux.attach(program)
        self.passed.clear()
        self.reached.clear()
        stream = mux.open(pack_call_head(CallHead(service, "")), end=True, ms=NO_DEADLINE)
        reset = stream.reset_by_peer
        there.close("the program is done")
        return reset


@settings(max_examples=300)
@given(st.integers(0, 2**32))
def test_no_call_loops_or_passes_more_than_three_links_whatever_the_tables_say(seed: int) -> None:
    network = Network(seed)
    for node, service in product(network.nodes, SERVICES):
        reset = network.call(node, service)
        tries = 0
        while network.passed:
            tries += 1
            passed = [network.passed.pop(0)]
            while network.passed and network.passed[0][0] < MAX_HOPS - 1:
                passed.append(network.passed.pop(0))
            assert len(passed) <= MAX_HOPS
            assert [left for left, _ in passed] == list(range(MAX_HOPS - 1, MAX_HOPS - 1 - len(passed), -1))
            flags = [flag for _, flag in passed]
            assert flags == sorted(flags, reverse=True), "a call was sent to a second gateway"
        assert tries <= MAX_TRIES
        if reset is None:
            assert network.reached == [service]
        else:
            assert not network.reached
            assert reset.fate == Fate.NOT_REACHED
            assert reset.status in (Status.NOT_FOUND, Status.UNAVAILABLE)
        assert not any(node.open_calls for node in network.nodes)
