"""A node of machines: gossip, table, switch and links, with a program and instances beside it, but no event loop."""

from collections.abc import Callable
from math import inf
from random import Random
from typing import TYPE_CHECKING

from proxy.balance import Balancer
from proxy.egress import Egress
from proxy.ingress import Ingress
from proxy.retry import MAX_TRIES
from proxy.switch import Switch
from router.metric import PERIOD, LinkMetric
from router.table import RoutingTable
from sdk.errors import Unavailable
from sdk.head import IDEMPOTENT, CallHead, ReplyHead, pack_call_head, pack_reply_head, parse_call_head_untrusted
from sdk.port import Port
from sdk.port.inner import inner_pair
from sdk.types import Instance, Service
from sdk.wire import frame
from sdk.wire.frame import MAX_HOPS, Open
from sdk.wire.mux import Mux, MuxStream
from tests.router.network import Key, gossip
from tunnel.identity import Certificate
from tunnel.linkport import LinkPort
from tunnel.rtt import SHORTEST, RoundTrip

from .engine import Action, Engine

if TYPE_CHECKING:
    from .net import Net

GOOD = pack_reply_head(ReplyHead("application/octet-stream"))
CALL_MS = 2000
SLEPT = 1.5
"""Seconds of a pause after which a port must have missed a look at its peer, and so must know that it slept."""


class NoCipher:
    """Records as long as real ones, at no cost: what a cipher does is tried elsewhere."""

    def seal(self, data: bytes) -> bytes:
        return data + bytes(16)

    def open_untrusted(self, sealed: bytes) -> bytes:
        return bytes(sealed[:-16])


class Call:
    """A call of a program, from its beginning to what became of it."""

    def __init__(self, number: int, caller: "SimNode", service: str) -> None:
        self.number = number
        self.caller = caller
        self.service = service
        self.idempotent = number % 3 == 0
        self.tries = 1
        """How often it was sent over a link, or not at all."""
        self.visited: list[str] = []
        """The nodes it came to at its last try, in order."""
        self.served: list[str] = []
        """The nodes at whose instance it ran."""
        self.stream: MuxStream

    @property
    def answered(self) -> bool:
        return self.stream.ended and not self.stream.cut

    def must_be_over(self) -> None:
        assert self.stream.ended, f"call {self.number} goes on after its deadline"

    @property
    def failure(self) -> str:
        reset = self.stream.reset_by_peer
        return reset.detail if reset else "" if self.answered else "no answer"


class WatchedSwitch(Switch):
    """A switch that says which calls come to it."""

    def __init__(self, *, me: bytes, name: str, transit: bool, came: Callable[[bytes], None]) -> None:
        super().__init__(me=me, name=name, transit=transit)
        self._came = came

    def on_frame(self, port: Port, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == frame.OPEN:
            self._came(payload)
        super().on_frame(port, kind, flags, stream, payload)


class SimNode:
    """One life of a node. What it offers is in `offers`, which outlives it."""

    def __init__(self, net: "Net", name: str, *, epoch: int, transit: bool, radius: int, gateway: str) -> None:
        self.name = name
        self.key = Key(name)
        self.transit = transit
        self.radius = radius
        self.gateway = gateway
        self.alive = True
        self.links: dict[bytes, LinkPort] = {}
        self.metrics: dict[bytes, LinkMetric] = {}
        """What each link costs by the word of this end."""
        self.to_flush: list[Action] = []
        """What its links have been woken to do: it is done at the end of the turn, as the driver does it."""
        self._net = net
        self._engine: Engine = net.engine
        self._paused: list[tuple[bool, Action]] | None = None
        self._paused_at = 0.0
        self._believes_after = 0.0
        self._due = inf
        self._measure_at = inf
        self._news = True
        random = Random(f"{net.seed} {name} {epoch}")
        self.gossip = gossip(self.key, name, epoch=epoch, transit=transit, radius=radius, random=random)
        self.table = RoutingTable(gossip=self.gossip, format_id=bytes.hex)
        self.switch = WatchedSwitch(me=self.key.id, name=name, transit=transit, came=self._came)
        self.balancer = Balancer(random)
        egress = Egress(name=name, instances=self.table, dialer=self, balancer=self.balancer)
        self.switch.egress = egress
        self.switch.ingress = Ingress(
            name=name,
            routes=self.table,
            links=self.switch.links,
            egress=egress,
            balancer=self.balancer,
            gateway=gateway,
        )
        self.program, self._at_program = self._pair("program", Mux())
        self._instances, self._at_instances = self._pair("instances", Mux(on_open=self._answer))
        self.tell()

    def raw_to(self, address: str) -> Port:
        """There is no TCP in a simulation."""
        raise Unavailable(f"{address} takes no raw connections")

    grpc_to = http_to = raw_to

    def do(self, action: Action, *, timer: bool = False) -> None:
        """Does something, unless the node is dead; while it is paused it is kept for later."""
        if self._paused is not None:
            self._paused.append((timer, action))
        elif self.alive:
            action()
            self.tell()

    # Links.

    def link_up(self, peer: "SimNode", *, dialled: bool, round_trip: float) -> LinkPort:
        """Makes this end of a new link, in the place of one there may have been."""
        known = RoundTrip()
        known.sample(round_trip)
        certificate = Certificate(public=peer.key.public, epoch=1, name=peer.name, addresses=(), network="test")
        port = LinkPort(
            self.switch, dialled=dialled, peer=certificate, ciphers=(NoCipher(), NoCipher()), now=self._engine.now,  # type: ignore[arg-type]
            round_trip=known, on_control=lambda message: self._hear(peer.key.id, message),
            on_lost=lambda reason: self._lost(peer, port, reason),
        )  # fmt: skip
        old = self.links.get(peer.key.id)
        self.links[peer.key.id], metric = port, LinkMetric(delay=round_trip)
        self.metrics[peer.key.id] = metric
        self._measure_at = min(self._measure_at, self._engine.now + PERIOD)
        self.switch.link_up(peer.key.id, port)
        self.gossip.link_up(peer.key.id, metric.terms, self._engine.now)
        self._news = True
        if old is not None:
            old.close("replaced by another link")
        return port

    def _lost(self, peer: "SimNode", port: LinkPort, reason: str) -> None:
        self._engine.note(f"{self.name} lost its link to {peer.name}: {reason}")
        rash = "silent" in reason and self._engine.now < self._believes_after
        assert not rash, f"{self.name}, which has slept itself, condemns {peer.name}"
        if self.links.get(peer.key.id) is port:
            del self.links[peer.key.id], self.metrics[peer.key.id]
            self.switch.link_down(peer.key.id, port)
            self.gossip.link_down(peer.key.id, self._engine.now)
            self._news = True
            self._net.link_lost(self, peer)

    def _hear(self, peer: bytes, message: bytes) -> None:
        self._news = True
        self.gossip.receive(peer, message, self._engine.now)

    def _measure(self) -> None:
        """What mesh/neighbours.py does from time to time."""
        for peer, port in self.links.items():
            if self.metrics[peer].observe(port.round_trip.srtt or 0.0, 0.0):
                self.gossip.set_terms(peer, self.metrics[peer].terms, self._engine.now)
                self._net.repriced = self._engine.now
        self._measure_at = self._engine.now + PERIOD if self.links else inf

    # Services.

    def offer(self, names: list[str]) -> None:
        """These are the services of its environment."""
        instance = Instance(id=f"{self.name}-1", address=self.name, metadata={"protocol": "grpc", "native": "1"})
        services = [Service(name=name, version="1", instances=(instance,)) for name in names]
        self.table.set_local(services, self._engine.now)
        self.gossip.set_services(self.table.local_entries, self._engine.now)
        self._news = True

    def port_to(self, address: str) -> Port:
        """All instances of an environment are behind one port here."""
        return self._at_instances

    def call(self, number: int, service: str) -> Call:
        call = Call(number, self, service)
        self._net.calls[number] = call
        flags = IDEMPOTENT if call.idempotent else 0
        head = pack_call_head(CallHead(service, "Test.Call", flags=flags, call_id=number.to_bytes(16, "big")))
        call.stream = self.program.open(head, b"body", end=True, ms=CALL_MS)
        return call

    def _answer(self, stream: MuxStream, opened: Open) -> None:
        head = parse_call_head_untrusted(opened.head)
        self._net.call_of(opened.head).served.append(self.name)
        assert head.service in self._net.offers[self.name] or self._net.offered_lately(self.name, head.service)
        stream.send_head(GOOD, b"answer", end=True)

    def _came(self, payload: bytes) -> None:
        hops, _, path_end, head_end = frame.open_layout_untrusted(payload)
        call = self._net.call_of(payload[path_end + 6 : head_end])
        if hops == MAX_HOPS - 1 and len(call.visited) > 1:  # the first link of another try
            call.tries += 1
            call.visited = call.visited[:1]
        call.visited.append(self.name)
        assert call.tries <= MAX_TRIES, f"call {call.number} was tried {call.tries} times"
        if call.tries == 1 or not call.idempotent:  # else two tries may be under way
            assert len(set(call.visited)) == len(call.visited), f"call {call.number} went in a circle: {call.visited}"
            assert len(call.visited) <= 4, f"call {call.number} passed more than three links: {call.visited}"

    # Time.

    def tell(self) -> None:
        """After whatever happened: what gossip has to say is sent, the table takes the steps that are due, and all
        that waits on links goes out."""
        if self._news:
            self._news = False
            now = self._engine.now
            for peer, message in self.gossip.messages_to_send(now):
                self._net.told += len(message)
                self.links[peer].send_control(message)
            while self.table.next_timeout() <= now:
                self.table.handle_timeout(now)
            due = min(self.gossip.next_timeout(), self.table.next_timeout(), self._measure_at)
            if due < self._due:
                self._due = due
                self._engine.at(due, f"timer {self.name}", lambda: self._timer(due))
        while self.to_flush:
            waiting, self.to_flush = self.to_flush, []
            for flush in waiting:
                flush()

    def sweep(self) -> None:
        """Looks for calls whose time is up."""
        self.do(lambda: self.switch.handle_timeout(self._engine.now), timer=True)

    def _timer(self, due: float) -> None:
        if due == self._due:
            self.do(self._handle_timeout, timer=True)

    def _handle_timeout(self) -> None:
        now = self._engine.now
        self._due = inf
        self._news = True
        if now >= self._measure_at:
            self._measure()
        if self.gossip.next_timeout() <= now:
            self.gossip.handle_timeout(now)

    @property
    def holds(self) -> str:
        """What is left of calls; nothing when all are over."""
        ports = {port.name: len(port.streams) for port in (*self.links.values(), self._at_program, self._at_instances)}
        loads = sum(load.pending for load in self.balancer._loads.values())
        left = {**ports, "open calls": self.switch.statistics()["open"], "pending calls": loads}
        left["streams of programs"] = len(self.program.port.streams)
        left["streams of instances"] = len(self._instances.port.streams)
        return ", ".join(f"{count} {what}" for what, count in left.items() if count)

    # Faults.

    def pause(self) -> None:
        self._paused = []
        self._paused_at = self._engine.now

    def resume(self) -> None:
        """What has piled up happens now: timers before reads, or the other way round, as the event loop pleases."""
        waiting, self._paused = self._paused or [], None
        if self._engine.now - self._paused_at > SLEPT:
            self._believes_after = self._engine.now + SHORTEST - 0.02  # a timer may fire a little early
        waiting.sort(key=lambda each: each[0], reverse=self._engine.random.random() < 0.5)
        for timer, action in waiting:
            self.do(action, timer=timer)

    @property
    def paused(self) -> bool:
        return self._paused is not None

    def _pair(self, name: str, mux: Mux) -> tuple[Mux, Port]:
        near, far = inner_pair(self.switch, mux, name=f"{name} at {self.name}", clock=lambda: self._engine.now)
        mux.attach(far)
        return mux, near
