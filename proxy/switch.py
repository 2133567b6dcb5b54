"""The switch: every frame that enters a node leaves it here, and nothing is awaited on the way.

A call is a pair of legs, one for each direction, kept by the ports it runs between: `port.streams[number]` says where
frames of that stream go. For an OPEN the switch finds the far port (the next link of its path, the choice of `Ingress`,
or the instance that `Egress` picks); for every later frame it looks the leg up, settles credit, changes the number and
passes the frame on. That is all a transit node does.

What goes wrong is answered where it is found, with a RESET that says whether a handler can have seen the call. Nothing
is passed on for which the next port could be blamed: whoever breaks a rule of a stream is told so by the node it is
connected to, and calls of others over the same link or instance never suffer for it.

A path is written by the node that chose it, the first one, and followed strictly. It is lengthened in one place only: a
call flagged as sent to a default gateway, at the end of its path, once, within the hops it has left.

A pair is forgotten before the frame that ends it is sent: a port may answer within `send`.
"""

import math
from typing import NamedTuple, Protocol

from sdk.errors import BadRequest, MicroError, NotFound, RemoteProtocolError, Status, Timeout, Unavailable
from sdk.head import DEFAULT, CallHead, parse_call_head_untrusted, with_flags
from sdk.port import Port
from sdk.selector import Load
from sdk.wire import frame
from sdk.wire.frame import (
    CREDIT,
    DATA,
    END,
    HEAD,
    ID_SIZE,
    INITIAL_CREDIT,
    MAX_HOPS,
    MAX_OPEN,
    MAX_PAYLOAD,
    NO_DEADLINE,
    OPEN,
    RESET,
    STOP,
    TRAILERS,
    Fate,
    Reset,
)

MAX_QUEUED = 4 << 20
"""Bytes that may wait on a port before it takes no new calls."""

SWEEP = 0.05
"""Seconds between looks for calls whose time is up. Callers keep their deadline exactly; this ends what they left."""

NO_TRANSIT = "this node carries no calls of others"
"""Why a node without transit passes no call on."""


class Target(NamedTuple):
    """Where a call goes from here."""

    port: Port
    path: bytes
    """Node ids from the port's peer to the origin; empty when the port leads to an instance."""
    load: Load | None
    """What is counted of whoever answers; None where there was nothing to choose."""
    head_flags: int | None = None
    """Flags of the call's head from here on, where they change."""


class Chooser(Protocol):
    """Says where a call goes: `Egress` for calls that have arrived."""

    def choose(self, head: CallHead, now: float) -> Target:
        """Raises `MicroError` when there is nowhere."""


class FirstChooser(Protocol):
    """Says where calls of programs go, and which way: `Ingress`."""

    def choose(self, head: CallHead, now: float, trusted: bool = False) -> Target:
        """`trusted` callers may also change the node. Raises `MicroError` when there is nowhere."""

    def knows(self, service: str) -> bool:
        """Whether there is a service of that name, even where it cannot be reached at the moment."""

    def extend(self, head: CallHead, hops: int, now: float) -> Target:
        """Where a call goes on that was sent to this node as a default gateway, over so many more links at most.

        Raises `MicroError` when there is nowhere.
        """

    def failed_edge(self, edge: bytes, now: float) -> None:
        """A link of a path that was chosen could not be passed: two node ids, in the order of the path."""


class Leg:
    """One direction of a call: where the frames of one stream of one port go."""

    __slots__ = (
        "back", "begun", "calling", "deadline", "ended", "load", "opened", "path", "port", "stopped", "stream",
        "window",
    )  # fmt: skip

    back: "Leg"
    """The other direction."""
    path: bytes
    """The path that was chosen here; there only where `load` is, on the calling leg."""

    def __init__(self, port: Port, stream: int, calling: bool) -> None:
        self.port = port
        """Where they go."""
        self.stream = stream
        """The stream's number there."""
        self.calling = calling
        """Whether this direction leads away from the caller."""
        self.window = INITIAL_CREDIT
        """Body bytes that may still go this way."""
        self.begun = calling
        """The first frame went this way: of a call the OPEN, of an answer usually the HEAD."""
        self.ended = False
        """END went this way."""
        self.stopped = False
        """STOP went this way."""
        self.deadline = math.inf
        """When the call is over whatever happens; kept on the calling leg."""
        self.opened = -math.inf
        """When the call came; kept on the calling leg."""
        self.load: Load | None = None
        """What is counted of the callee; kept on the calling leg."""


class Switch:
    """The pairs of legs of a node, and the links it can pass calls to. The sink of every port of the node."""

    ingress: FirstChooser
    """For calls of programs. It and `egress` are set before the first frame: what they are made of needs the switch."""
    egress: Chooser
    """For calls that have arrived."""

    def __init__(self, *, me: bytes, name: str, transit: bool = True) -> None:
        """`me` is the node's id, `name` what people call it in errors; without `transit` it passes no call from one
        link to another."""
        self.links: dict[bytes, Port] = {}
        """The ports of links by the node they lead to."""
        self.calls = 0
        """Calls that were opened through this node."""
        self.refused = 0
        """Calls that this node itself refused."""
        self._me = me
        self._name = name
        self._transit = transit
        self._callers: dict[Port, None] = {}
        self._swept_at = -math.inf

    def link_up(self, peer: bytes, port: Port) -> None:
        """A link to another node can be used."""
        port.peer = peer
        self.links[peer] = port

    def link_down(self, peer: bytes, port: Port) -> None:
        """It takes no new calls; what becomes of those on it, its port tells by itself."""
        if self.links.get(peer) is port:
            del self.links[peer]

    def on_frame(self, port: Port, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Passes one frame on. Raises `RemoteProtocolError` when the port it came from broke the rules."""
        leg: Leg | None = port.streams.get(stream)
        if leg is None:
            if kind == OPEN:
                self._open(port, flags, stream, payload)
        elif kind == HEAD or kind == DATA:  # noqa: PLR1714, SIM109 - the fastest way to say it
            if leg.ended:
                raise RemoteProtocolError(f"{port.name} sent body bytes after the end of stream {stream}")
            size = frame.body_size_untrusted(kind, flags, payload)
            leg.window -= size
            if leg.window < 0:
                raise RemoteProtocolError(f"{port.name} sent more on stream {stream} than its credit")
            if not leg.begun:
                leg.begun = True
                if (load := leg.back.load) is not None:
                    load.observe(port.now, ok=True, began=leg.back.opened)
            elif kind == HEAD:
                raise RemoteProtocolError(f"{port.name} sent a head on stream {stream} that begins no answer")
            if flags & END:
                leg.ended = True
                if leg.back.ended:
                    self._close(leg)
            elif flags & TRAILERS:
                raise RemoteProtocolError(f"{port.name} sent trailers on stream {stream} that end nothing")
            elif not size and kind == DATA:
                return  # it says nothing and costs no credit: a flood of it would only fill the next queue
            leg.port.send(kind, flags, leg.stream, payload)
        elif kind == CREDIT:
            granted = frame.parse_u32_untrusted(payload)
            if not granted:
                return
            leg.back.window += granted
            if leg.back.window > frame.MAX_CREDIT:
                raise RemoteProtocolError(f"{port.name} granted more than {frame.MAX_CREDIT} bytes on one stream")
            leg.port.send(kind, 0, leg.stream, payload)
        elif kind == RESET:
            reset = frame.parse_reset_untrusted(payload)
            if leg.calling:
                self._given_up(leg, port.now)
            elif reset.status == Status.UNAVAILABLE and (load := leg.back.load) is not None:
                if reset.edge and _leads_over(leg.back.path, reset.edge):
                    # Whoever offers the service is not to blame, and there may be another way to it.
                    self.ingress.failed_edge(reset.edge, port.now)
                else:
                    load.observe(port.now, ok=False, began=leg.back.opened)
            self._close(leg)
            leg.port.send(kind, 0, leg.stream, payload)
        elif kind == STOP and not leg.stopped:
            leg.stopped = True
            leg.port.send(kind, 0, leg.stream, payload)

    def on_dead(self, port: Port, reason: str) -> None:
        """Ends every call that ran over a port that is gone, and tells the other side of each what is known of it."""
        self._callers.pop(port, None)
        while port.streams:
            stream: int = next(iter(port.streams))
            leg: Leg = port.streams[stream]
            # When frames last came says little: it may be hours ago, or never for a port that was not connected yet.
            now = max(port.now, self._swept_at, leg.opened, leg.back.opened)
            if leg.calling:
                self._given_up(leg, now)
                reset = Reset(Status.CANCELLED, Fate.MAY_HAVE_RUN, f"{self._name}: the caller is gone: {reason}")
            else:
                fate = Fate.MAY_HAVE_RUN if port.was_sent(stream) else Fate.NOT_REACHED
                edge = self._me + port.peer if port.peer else b""
                reset = Reset(Status.UNAVAILABLE, fate, f"{self._name}: lost {port.name}: {reason}", edge)
                if leg.back.load is not None and not port.peer:  # a link's end is no fault of whoever it led to
                    leg.back.load.observe(now, ok=False, began=leg.back.opened)
            self._close(leg)
            leg.port.send(RESET, 0, leg.stream, frame.pack_reset(reset))

    def next_timeout(self) -> float:
        """When to look again for calls whose time is up."""
        return self._swept_at + SWEEP

    def handle_timeout(self, now: float) -> None:
        """Ends the calls whose deadline has passed: the caller gets DEADLINE_EXCEEDED, the callee is told to stop."""
        self._swept_at = now
        detail = f"{self._name}: the call's deadline has passed"
        payload = frame.pack_reset(Reset(Status.DEADLINE_EXCEEDED, Fate.MAY_HAVE_RUN, detail))
        for port in list(self._callers):
            late = [leg for leg in port.streams.values() if leg.calling and leg.deadline <= now]
            for leg in late:
                self._given_up(leg, now)
                self._close(leg)
                leg.port.send(RESET, 0, leg.stream, payload)
                port.send(RESET, 0, leg.back.stream, payload)
            if not port.streams:
                del self._callers[port]

    def statistics(self) -> dict[str, int]:
        """Counts for people: calls so far, refused ones, and calls open now."""
        return {
            "calls": self.calls,
            "refused": self.refused,
            "open": sum(leg.calling for port in self._callers for leg in port.streams.values()),
        }

    def _open(self, port: Port, flags: int, stream: int, payload: bytes) -> None:
        """Finds where a new call goes, and makes its pair of legs."""
        hops, ms, path_end, head_end = frame.open_layout_untrusted(payload)
        if port.delay_ms and ms != NO_DEADLINE:
            ms = max(0, ms - port.delay_ms)
        target: Target | None = None
        try:
            if not ms:
                raise Timeout("the call's deadline had passed when it came here")
            head = payload[path_end + 6 : head_end]
            if path_end > 2:
                target = self._next_hop(port, hops, payload[2:path_end], head)
            elif port.peer:
                raise RemoteProtocolError(f"{port.name} sent a call without a path")
            elif len(payload) - 8 > MAX_OPEN:
                # With a path in it, it would be longer than a frame, and the next node would blame this one.
                raise BadRequest(f"a call's head and first body bytes have more than {MAX_OPEN} bytes")
            else:
                target, hops = self.ingress.choose(parse_call_head_untrusted(head), port.now, port.trusted), MAX_HOPS
            far, path, load, head_flags = target
            if far.queued > MAX_QUEUED and far.ahead() > MAX_QUEUED:
                raise Unavailable(f"{far.name} has more than {MAX_QUEUED >> 20} MiB waiting")
            sent = payload if head_flags is None else _with_head_flags(payload, path_end, head_end, path, head_flags)
            number = far.next_stream()
        except RemoteProtocolError:
            raise
        except MicroError as error:
            if target is not None and target.load is not None:
                target.load.observe(port.now, ok=False, began=port.now)
            self._refuse(port, stream, error)
            return
        self.calls += 1
        there = Leg(far, number, True)
        here = Leg(port, stream, False)
        there.back, here.back = here, there
        there.window -= len(payload) - head_end  # never below 0: the first credit is as long as a frame
        there.ended = flags & END != 0
        if ms != NO_DEADLINE:
            there.deadline = port.now + ms / 1000 + SWEEP
        if load is not None:
            there.load = load
            there.opened = port.now
            there.path = path
            load.started()
        port.streams[stream] = there
        far.streams[number] = here
        self._callers[port] = None
        far.send(OPEN, flags, number, frame.reroute_open(sent, hops - 1 if path else hops, path, ms, path_end))

    def _next_hop(self, port: Port, hops: int, path: bytes, head: bytes) -> Target:
        """Follows the path the first node wrote, strictly: no node but that one chooses."""
        if not port.peer:
            raise RemoteProtocolError(f"{port.name} gave a path, which only a node may")
        if path[:ID_SIZE] != self._me:
            raise RemoteProtocolError(f"{port.name} sent a call whose path does not lead here")
        rest = path[ID_SIZE:]
        if not rest:
            try:
                parsed = parse_call_head_untrusted(head)
            except RemoteProtocolError as error:  # of the first node: those between cannot see it, and are not to blame
                raise BadRequest(error.detail) from None
            try:
                return self.egress.choose(parsed, port.now)
            except MicroError:
                if not parsed.flags & DEFAULT:
                    raise
            if not self._transit:
                raise Unavailable(f"{NO_TRANSIT}: as a gateway it answers with instances of its own only")
            return self.ingress.extend(parsed, hops, port.now)
        if not self._transit:
            raise NoEdge(NO_TRANSIT, self._me + rest[:ID_SIZE])
        if not hops:
            raise Unavailable("the call has no hops left")
        link = self.links.get(rest[:ID_SIZE])
        if link is None:
            raise NoEdge("the next link of the call's path is down", self._me + rest[:ID_SIZE])
        return Target(link, rest, None)

    def _refuse(self, port: Port, stream: int, error: MicroError) -> None:
        """Answers a call that goes no further than this node."""
        self.refused += 1
        edge = error.edge if isinstance(error, NoEdge) else b""
        detail = error.detail if isinstance(error, NotFound) else f"{self._name}: {error.detail}"
        reset = Reset(error.grpc, Fate.NOT_REACHED, detail, edge)
        port.send(RESET, 0, stream, frame.pack_reset(reset))

    def _given_up(self, leg: Leg, now: float) -> None:
        """The caller waits no longer: who has not answered by now is at least so slow."""
        if leg.load is not None and not leg.back.begun:
            leg.load.waited(now, began=leg.opened)

    def _close(self, leg: Leg) -> None:
        """Forgets a pair; of one that is forgotten already it does nothing."""
        back = leg.back
        if back.port.streams.pop(back.stream, None) is not None:
            del leg.port.streams[leg.stream]
            load = leg.load or back.load
            if load is not None:
                load.abandoned()


class NoEdge(Unavailable):
    """A call cannot pass a link its path names."""

    def __init__(self, detail: str, edge: bytes) -> None:
        super().__init__(detail)
        self.edge = edge
        """The two ids of the link."""


def _leads_over(path: bytes, edge: bytes) -> bool:
    """Whether a path leads over a link in this direction. Its first link is not looked at: that one is known here."""
    return any(path[at : at + len(edge)] == edge for at in range(0, len(path) - ID_SIZE, ID_SIZE))


def _with_head_flags(payload: bytes, path_end: int, head_end: int, path: bytes, flags: int) -> bytes:
    """An OPEN's payload with other flags in its head; raises `BadRequest` where it does not fit with this path."""
    head = with_flags(payload[path_end + 6 : head_end], flags)
    changed = b"".join((payload[: path_end + 4], len(head).to_bytes(2, "big"), head, payload[head_end:]))
    if len(changed) - (path_end - 2) + len(path) > MAX_PAYLOAD:
        # Only a node that broke the limit of the first one sends such a call; the next one would blame this one.
        raise BadRequest("the call's head and first body bytes leave no room for a longer path")
    return changed
