"""Three nodes in a line, with programs and instances at them, joined by bytes in memory: no event loop, no sockets.

    program ─ a ─ b ─ c ─ instances        and the same the other way round

`near` and `far` are offered at the ends and known everywhere. `hidden` is offered at c as well, but a does not know it:
a's default gateway is b.

Switches, ports, muxes and choosers are the real ones. The test says which bytes arrive when, and what breaks.
"""

from collections.abc import Callable, Iterator
from itertools import permutations
from random import Random
from typing import NamedTuple

from proxy.balance import Balancer
from proxy.egress import Egress
from proxy.ingress import Ingress
from proxy.legs import Leg
from proxy.pins import Labels
from proxy.retry import MAX_TRIES
from proxy.switch import Switch
from sdk.errors import RemoteProtocolError
from sdk.head import (
    IDEMPOTENT,
    CallHead,
    ReplyHead,
    Trailers,
    pack_call_head,
    pack_reply_head,
    pack_trailers,
    parse_call_head_untrusted,
)
from sdk.port import Port
from sdk.port.inner import inner_pair
from sdk.port.native import NativePort
from sdk.types import Instance
from sdk.wire.frame import NO_DEADLINE, Fate, Open, Reset
from sdk.wire.mux import Mux, MuxStream

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16
GOOD_HEAD = pack_reply_head(ReplyHead("application/octet-stream"))
GOOD_TRAILERS = pack_trailers(Trailers())


class Clock:
    """The time, which only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Wire:
    """A connection: its two ends, the one that dialled first, and the bytes on their way to each."""

    def __init__(self, clock: Clock, dialler: NativePort, acceptor: NativePort, *, connected: bool = True) -> None:
        self.ends = (dialler, acceptor)
        self.connected = connected
        self.faults: list[str] = []
        """What an end said of the other when it broke the rules."""
        self._flying = [b"", b""]
        self._clock = clock

    @property
    def usable(self) -> bool:
        return not any(end.dead or end.draining for end in self.ends)

    def collect(self, side: int) -> None:
        """Writes what an end has to send."""
        if self.connected:
            self._flying[1 - side] += self.ends[side].data_to_send(self._clock.now)

    def deliver(self, side: int, most: int | None = None) -> bool:
        """Lets at most so many bytes arrive at an end; whether any did."""
        data = self._flying[side][:most]
        self._flying[side] = self._flying[side][len(data) :]
        end = self.ends[side]
        if not data or end.dead:
            return bool(data)
        try:
            more = end.receive_data(data, self._clock.now)
            while more:
                more = end.receive_data(b"", self._clock.now)
        except RemoteProtocolError as error:
            self.faults.append(str(error))
            self.lose(side, str(error))
        return True

    def lose(self, side: int, reason: str = "the connection broke") -> None:
        """One end learns that the connection is gone; the other may go on for a while."""
        self.ends[side].connection_lost(reason)


class FarOrigin(NamedTuple):
    """What a routing table says of a node that offers a service."""

    origin: bytes
    path: tuple[bytes, ...]
    path_bytes: bytes
    cost: int = 1
    spare_bytes: bytes = b""
    weight: int = 1
    protocols: tuple[str, ...] = ("grpc",)


def far_origin(*path: bytes, cost: int = 1, spare: tuple[bytes, ...] = ()) -> FarOrigin:
    return FarOrigin(path[-1], path, b"".join(path), cost, b"".join(spare))


class StaticRoutes:
    """A routing table that the test writes."""

    def __init__(self) -> None:
        self.origins: dict[str, tuple[FarOrigin, ...]] = {}
        self.instances: dict[str, tuple[Instance, ...]] = {}
        self.unreachable: dict[str, tuple[str, ...]] = {}
        self.ways: dict[str, FarOrigin] = {}
        self.matching: dict[str, tuple[FarOrigin, ...]] = {}
        """Those of a version, or with labels, whichever is asked for …"""
        self.local_ones: dict[str, tuple[Instance, ...]] = {}
        """… and the instances among them."""
        self.asked: list[tuple[str, Labels]] = []
        """Which were asked for."""

    def origins_of(self, service: str) -> tuple[FarOrigin, ...]:
        return self.origins.get(service, ())

    def origins_matching(self, service: str, version: str, labels: Labels) -> tuple[FarOrigin, ...]:
        self.asked.append((version, labels))
        return self.matching.get(service, ())

    def local_matching(self, service: str, version: str, labels: Labels) -> tuple[Instance, ...]:
        self.asked.append((version, labels))
        return self.local_ones.get(service, ())

    def unreachable_origins(self, service: str) -> tuple[str, ...]:
        return self.unreachable.get(service, ())

    def spellings(self, name: str) -> list[str]:
        return sorted(known for known in {*self.origins, *self.instances, *self.unreachable} if known.lower() == name)

    def way_to(self, node: str) -> FarOrigin | None:
        return self.ways.get(node)

    def local_instances(self, service: str) -> tuple[Instance, ...]:
        return self.instances.get(service, ())


class Node:
    """A switch and what chooses for it."""

    def __init__(
        self,
        id: bytes,
        name: str,
        dial: Callable[["Node", str], Port],
        *,
        gateway: str = "",
        transit: bool = True,
        elsewhere: bool = False,
        pin: str = "",
        max_calls: int = 0,
    ) -> None:
        self.id = id
        self.name = name
        self.routes = StaticRoutes()
        self.balancer = Balancer(Random(id))
        self.switch = Switch(me=id, name=name, transit=transit)
        own: dict[str, Port] = {}
        self.egress = Egress(
            name=name,
            instances=self.routes,
            dialer=_Dialer(self, dial),
            balancer=self.balancer,
            max_calls=max_calls,
            own=own,
        )
        self.ingress = Ingress(
            name=name,
            routes=self.routes,
            links=self.switch.links,
            egress=self.egress,
            balancer=self.balancer,
            gateway=gateway,
            id=name.upper(),
            network="test",
            elsewhere=elsewhere,
            pin=pin,
            own=own,
        )
        self.switch.ingress, self.switch.egress = self.ingress, self.egress

    @property
    def open_calls(self) -> int:
        return self.switch.statistics()["open"]


class _Dialer:
    def __init__(self, node: Node, dial: Callable[[Node, str], Port]) -> None:
        self._node = node
        self._dial = dial

    def port_to(self, address: str) -> Port:
        return self._dial(self._node, address)

    raw_to = grpc_to = http_to = port_to


class Program:
    """A caller at a node. It connects again when its connection is gone."""

    def __init__(self, chain: "Chain", node: Node) -> None:
        self.node = node
        self.wire: Wire
        self.mux: Mux
        self._chain = chain
        self.connect()

    def connect(self) -> None:
        self.mux = Mux()
        near = NativePort(self.mux, role="client", dialled=True, name=f"node {self.node.name}")
        self.mux.attach(near)
        far = NativePort(self.node.switch, role="node", dialled=False, name=f"program at {self.node.name}")
        self.wire = self._chain.join(near, far)


class Call:
    """One call, as both of its ends see it."""

    def __init__(self, number: int, service: str, client: MuxStream, sent: bytes) -> None:
        self.number = number
        self.service = service
        self.client = client
        self.server: MuxStream | None = None
        """The stream at the instance; None as long as none has seen the call."""
        self.up = (bytearray(sent), bytearray())
        """What the caller sent, and what the instance took."""
        self.down = (bytearray(), bytearray())
        """What the instance sent, and what the caller took."""
        self.answering = False
        self.gave_up = False
        """The caller reset it."""
        self.runs = 0
        """How often an instance saw it."""

    @property
    def over(self) -> bool:
        """Whether the caller knows how it ended."""
        return self.gave_up or self.client.ended

    @property
    def reset(self) -> Reset | None:
        return self.client.reset_by_peer

    def ask(self, data: bytes) -> None:
        """The caller sends what credit allows."""
        self.up[0].extend(data[: self.client.write(data)])

    def answer(self, data: bytes = b"", *, end: bool = False) -> None:
        """The instance answers, what credit allows, and ends or not; with nothing, only trailers."""
        assert self.server is not None
        stream = self.server
        if stream.sent_end:
            return
        if data and not self.answering:
            first = data[: min(stream.may_send, 1000)]
            data = data[len(first) :]
            final = end and not data
            stream.send_head(GOOD_HEAD, first, end=final)
            self.down[0].extend(first)
        self.answering = True
        if data:
            self.down[0].extend(data[: stream.write(data)])
        if end:
            stream.end(GOOD_TRAILERS)

    def take(self) -> None:
        """Both ends take what has come, and so grant credit."""
        self.down[1].extend(self.client.take())
        if self.server is not None:
            self.up[1].extend(self.server.take())

    def check_bytes(self) -> None:
        """Bytes come in order, and all of them where the direction ended well."""
        ends = [(self.down, self.client)]
        if self.server is not None:
            ends.append((self.up, self.server))
        for (sent, got), stream in ends:
            assert sent.startswith(got), "bytes came that were not sent, or out of order"
            if stream.ended and not (stream.cut or stream.stopping):
                assert sent == got, f"call {self.number}: {len(got)} of {len(sent)} bytes came before the END"


class Chain:
    """The whole of it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.wires: list[Wire] = []
        self.calls: list[Call] = []
        self.absent: set[str] = set()
        """Addresses where nobody answers who is dialled."""
        self.nodes = {
            id: Node(id, name, self._dial, gateway=gateway)
            for id, name, gateway in ((A, "a", "b"), (B, "b", ""), (C, "c", ""))
        }
        self.a, self.b, self.c = self.nodes.values()
        self._instance_wires: dict[tuple[bytes, str], Wire] = {}
        for node, service, count in ((self.a, "near", 1), (self.c, "far", 2), (self.c, "hidden", 1)):
            node.routes.instances[service] = tuple(
                Instance(id=f"{service}-{each}", address=f"{service}-{each}:1", metadata={"native": "1"})
                for each in range(count)
            )
        self.a.routes.origins["far"] = (far_origin(B, C),)
        self.b.routes.origins["far"] = (far_origin(C),)
        self.b.routes.origins["near"] = (far_origin(A),)
        self.c.routes.origins["near"] = (far_origin(B, A),)
        self.a.routes.ways["b"] = far_origin(B)
        self.b.routes.origins["hidden"] = (far_origin(C),)
        near, inner = inner_pair(
            self.a.switch, services := Mux(on_open=self._on_open), name="services of a", clock=self.clock
        )
        services.attach(inner)
        self.inner = near
        self.a.ingress.own["own"] = near
        self.links: dict[tuple[bytes, bytes], Wire] = {}
        self.link(A, B)
        self.link(B, C)
        self.programs = [Program(self, node) for node in self.nodes.values()]

    # Making and breaking connections.

    def join(self, dialler: NativePort, acceptor: NativePort, *, connected: bool = True) -> Wire:
        wire = Wire(self.clock, dialler, acceptor, connected=connected)
        self.wires.append(wire)
        return wire

    def link(self, one: bytes, other: bytes) -> None:
        """Links two nodes, anew if they were linked."""
        first, second = self.nodes[one], self.nodes[other]
        near = NativePort(first.switch, role="node", dialled=True, name=second.name)
        far = NativePort(second.switch, role="node", dialled=False, name=first.name)
        first.switch.link_up(other, near)
        second.switch.link_up(one, far)
        self.links[one, other] = self.join(near, far)

    def lose(self, wire: Wire, side: int) -> None:
        """One end of a connection learns that it is gone; of a link, its routes learn it first."""
        port = wire.ends[side]
        if port.peer:
            [node] = [node for node in self.nodes.values() if node.switch is port.sink]
            node.switch.link_down(port.peer, port)
        wire.lose(side)

    def _dial(self, node: Node, address: str) -> Port:
        wire = self._instance_wires.get((node.id, address))
        if wire is None or wire.ends[0].dead or wire.ends[0].draining:
            mux = Mux(on_open=self._on_open)
            near = NativePort(node.switch, role="node", dialled=True, name=f"instance {address}")
            far = NativePort(mux, role="instance", dialled=False, name=f"node {node.name}")
            mux.attach(far)
            wire = self._instance_wires[node.id, address] = self.join(near, far, connected=False)
        return wire.ends[0]

    def _on_open(self, stream: MuxStream, opened: Open) -> None:
        head = parse_call_head_untrusted(opened.head)
        call = self.calls[int(head.endpoint.partition(" ")[0])]
        if call.server is not None:
            assert head.flags & IDEMPOTENT, "an instance saw a call twice"
            assert not call.down[1], "a call was tried again after its answer had begun"
            call.up[1].clear()
            call.down[0].clear()
            call.answering = False
        call.server = stream
        call.runs += 1
        assert call.runs <= MAX_TRIES
        manner = head.endpoint.partition(" ")[2]
        if manner == "answers at once":
            call.answer(b"at once", end=True)
        elif manner == "resets at once":
            stream.reset(13, "no")
        elif manner == "answers the end":
            stream.on_change = lambda: call.answer(b"the end", end=True) if stream.ended else None
            stream.on_change()

    # What happens.

    def call(
        self,
        program: Program,
        service: str,
        body: bytes = b"",
        *,
        end: bool = False,
        ms: int = NO_DEADLINE,
        manner: str = "",
        flags: int = 0,
    ) -> Call:
        """A program opens a call."""
        if not program.wire.usable:
            program.connect()
        number = len(self.calls)
        head = pack_call_head(CallHead(service, f"{number} {manner}", flags=flags))
        stream = program.mux.open(head, body, end=end, ms=ms)
        call = Call(number, service, stream, body[: len(body) - len(stream.unsent)])
        self.calls.append(call)
        return call

    def pump(self) -> None:
        """Lets everything arrive that is on its way, and whatever it leads to. Whom a port waits for, is there."""
        busy = True
        while busy:
            busy = False
            while refused := [
                wire
                for (_, address), wire in self._instance_wires.items()
                if address in self.absent and not wire.connected and not wire.ends[0].dead
            ]:
                for wire in refused:
                    wire.lose(0, "connection refused")
                busy = True
            for wire in list(self.wires):
                wire.connected = True
                for side in (0, 1):
                    wire.collect(side)
                    busy = wire.deliver(1 - side) or busy

    def sweep(self, seconds: float) -> None:
        """Time passes, and everybody looks at the clock."""
        self.clock.now += seconds
        for node in self.nodes.values():
            node.switch.handle_timeout(self.clock.now)

    def legs(self) -> Iterator[tuple[Node, Port, int, Leg]]:
        """All legs of all nodes."""
        ports: dict[Port, None] = dict.fromkeys(end for wire in self.wires for end in wire.ends)
        ports[self.inner] = None
        for node in self.nodes.values():
            for port in ports:
                if port.sink is node.switch:  # type: ignore[attr-defined]
                    for stream, leg in port.streams.items():
                        yield node, port, stream, leg

    def check(self) -> None:
        """What holds at every moment."""
        for _, port, stream, leg in self.legs():
            assert not port.dead, "a leg is left on a dead port"
            assert leg.back.port is port, "a leg leads back elsewhere"
            assert leg.back.stream == stream, "a leg leads back to another stream"
            assert leg.port.streams[leg.stream] is leg.back, "one half of a pair is left"
            assert leg.calling != leg.back.calling, "both halves of a pair lead the same way"
        for node in self.nodes.values():
            assert all(load.pending >= 0 for load in node.balancer._loads.values()), "more calls ended than began"
        assert not [fault for wire in self.wires for fault in wire.faults], "an honest peer was blamed"

    def finish(self) -> None:
        """Everybody says all that is left to say; then nothing may be left anywhere."""
        for wire in self.wires:
            for side in (0, 1):
                if wire.ends[1 - side].dead and not wire.ends[side].dead:
                    self.lose(wire, side)
        for _ in range(4):
            self.pump()
            for call in self.calls:
                call.take()
                call.client.end()
                if call.server is not None:
                    call.answer(end=True)
        self.pump()
        for call in self.calls:
            call.take()
        self.check()
        assert not list(self.legs()), "a leg is left after its call has ended"
        for node in self.nodes.values():
            assert not any(load.pending for load in node.balancer._loads.values()), "an ended call counts as pending"
        for call in self.calls:
            assert call.over, f"call {call.number} never ended for its caller"
            call.check_bytes()
            if call.reset is not None:
                if call.reset.fate == Fate.NOT_REACHED:
                    assert call.server is None, f"call {call.number} ran, though it was told not to have been reached"
                assert call.reset.edge in (b"", *(one + other for one, other in permutations(self.nodes, 2))), (
                    "an edge that is none"
                )
