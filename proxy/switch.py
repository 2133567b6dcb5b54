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

A call that failed may go on elsewhere: then its pair stays, and leads to another port (`custody`).

A pair is forgotten before the frame that ends it is sent: a port may answer within `send`.
"""

import math
from collections.abc import Callable

from sdk.errors import BadRequest, MicroError, NotFound, RemoteProtocolError, Status, Timeout, Unavailable
from sdk.head import DEFAULT, CallHead, parse_call_head_untrusted
from sdk.port import Port
from sdk.wire import frame
from sdk.wire.frame import (
    BLAMELESS,
    CREDIT,
    DATA,
    END,
    HEAD,
    ID_SIZE,
    INTERIM,
    MAX_HOPS,
    MAX_INTERIM,
    MAX_INTERIM_SIZE,
    MAX_OPEN,
    NO_DEADLINE,
    OPEN,
    RESET,
    STOP,
    TRAILERS,
    Fate,
    Reset,
)

from .calls import CallRecord, http_status_of, status_of
from .custody import Custody
from .legs import (
    MAX_QUEUED,
    SWEEP,
    Chooser,
    FirstChooser,
    Leg,
    Target,
    ends,
    for_target,
    leads_over,
    too_much_waits,
)
from .retry import MAX_KEPT_TOGETHER, Budget, Kept

NO_TRANSIT = "this node carries no calls of others"
"""Why a node without transit passes no call on."""


class Switch:
    """The pairs of legs of a node, and the links it can pass calls to. The sink of every port of the node."""

    ingress: FirstChooser
    """For calls of programs. It and `egress` are set before the first frame: what they are made of needs the switch."""
    egress: Chooser
    """For calls that have arrived."""

    def __init__(self, *, me: bytes, name: str, transit: bool = True, call_time: float = 0.0) -> None:
        """`me` is the node's id, `name` what people call it in errors; without `transit` it passes no call from one
        link to another. `call_time` is how many seconds a call of a program may take that says nothing of that itself,
        0 for any number."""
        self.links: dict[bytes, Port] = {}
        """The ports of links by the node they lead to."""
        self.calls = 0
        """Calls that were opened through this node."""
        self.refused = 0
        """Calls that this node itself refused."""
        self.on_call: Callable[[CallRecord], None] | None = None
        """Hears of every call that was opened here, when it is over."""
        self.patient: set[Port] = set()
        """Ports of programs that open a call once more by themselves where it is refused here: nobody hears of that."""
        self._me = me
        self._name = name
        self._transit = transit
        self._call_ms = min(math.ceil(call_time * 1000), NO_DEADLINE - 1)
        self._callers: dict[Port, None] = {}
        self._budget = Budget()
        self._custody = Custody(self, self._budget, me=me, close=self._close)
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
            if not leg.settled:
                if leg.calling:
                    if self._custody.add(leg, kind, flags, payload):
                        return
                else:
                    leg.settled = True
                    back = leg.back
                    if (call := back.call) is not None:
                        back.status = http_status_of(payload) if kind == HEAD and call.protocol == "http" else 0
                    if (load := back.load) is not None:
                        load.observe(port.now, ok=True, began=back.opened)
                    if (kept := back.kept) is not None:
                        if type(kept) is bytes:  # of most calls: as `let_go` does, without the way there
                            self._budget.held -= len(kept)
                            back.kept, back.settled = None, True
                        else:
                            self._custody.let_go(back)
            elif kind == HEAD:
                raise RemoteProtocolError(f"{port.name} sent a head on stream {stream} that begins no answer")
            if flags & END:
                leg.ended = True
                if leg.back.call is not None:
                    leg.back.status = status_of(kind, flags, payload) or leg.back.status
                if leg.back.ended:
                    self._close(leg)
            elif flags & TRAILERS:
                raise RemoteProtocolError(f"{port.name} sent trailers on stream {stream} that end nothing")
            elif not size and kind == DATA:
                return  # it says nothing and costs no credit: a flood of it would only fill the next queue
            leg.port.send(kind, flags, leg.stream, payload)
        elif kind == CREDIT:
            granted = frame.parse_u32_untrusted(payload)
            if not granted or (leg.back.kept is not None and self._custody.withholds(leg.back, granted)):
                return
            leg.back.window += granted
            if leg.back.window > frame.MAX_CREDIT:
                raise RemoteProtocolError(f"{port.name} granted more than {frame.MAX_CREDIT} bytes on one stream")
            leg.port.send(kind, 0, leg.stream, payload)
        elif kind == RESET:
            self._on_reset(port, leg, flags, payload)
        elif kind == STOP and not leg.stopped:
            leg.stopped = True
            if leg.back.kept is not None:  # the caller will end a request that is not complete
                self._custody.let_go(leg.back)
            leg.port.send(kind, 0, leg.stream, payload)
        elif kind == INTERIM:
            self._on_interim(port, leg, stream, payload)

    def _on_reset(self, port: Port, leg: Leg, flags: int, payload: bytes) -> None:
        """One end gives the call up, or somebody on the way could not carry it on."""
        reset = frame.parse_reset_untrusted(payload)
        if leg.calling:
            leg.status = Status.CANCELLED
            self._given_up(leg, port.now)
        elif reset.status == Status.UNAVAILABLE and (load := leg.back.load) is not None:
            if reset.edge and leads_over(leg.back.path, reset.edge):
                # Whoever offers the service is not to blame, and there may be another way to it.
                self.ingress.failed_edge(reset.edge, port.now)
            elif not flags & BLAMELESS or port.peer:
                load.observe(port.now, ok=False, began=leg.back.opened)
        if leg.back.kept is not None:
            if self._custody.again(leg, reset, port.now):
                return
            payload = self._custody.last_word(leg.back, reset, payload)
        if not leg.calling:
            leg.back.status = reset.status
        self._close(leg)
        leg.port.send(RESET, 0, leg.stream, payload)

    def _on_interim(self, port: Port, leg: Leg, stream: int, payload: bytes) -> None:
        """Something comes before the answer, which is still to come: the call may be tried again as before."""
        if leg.calling or leg.settled or len(payload) > MAX_INTERIM_SIZE:
            raise RemoteProtocolError(f"{port.name} sent an interim answer on stream {stream} that may not be")
        leg.interim = getattr(leg, "interim", 0) + 1
        if leg.interim <= MAX_INTERIM:  # more are no fault of this port: another may have sent some before it
            leg.port.send(INTERIM, 0, leg.stream, payload)

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
            payload = frame.pack_reset(reset)
            (leg if leg.calling else leg.back).status = reset.status
            if leg.back.kept is not None:
                if self._custody.again(leg, reset, now):
                    continue
                payload = self._custody.last_word(leg.back, reset, payload)
            self._close(leg)
            leg.port.send(RESET, 0, leg.stream, payload)

    def next_timeout(self) -> float:
        """When to look again for calls whose time is up."""
        return self._swept_at + SWEEP

    def handle_timeout(self, now: float) -> None:
        """Ends the calls whose deadline has passed: the caller gets DEADLINE_EXCEEDED, the callee is told to stop."""
        self._swept_at = now
        self._budget.fill(now)
        detail = f"{self._name}: the call's deadline has passed"
        payload = frame.pack_reset(Reset(Status.DEADLINE_EXCEEDED, Fate.MAY_HAVE_RUN, detail))
        for port in list(self._callers):
            late = [leg for leg in port.streams.values() if leg.calling and leg.deadline <= now]
            for leg in late:
                leg.status = Status.DEADLINE_EXCEEDED
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
            "retried": self._budget.spent,
            "open": sum(leg.calling for port in self._callers for leg in port.streams.values()),
        }

    def _open(self, port: Port, flags: int, stream: int, payload: bytes) -> None:
        """Finds where a new call goes, and makes its pair of legs."""
        hops, ms, path_end, head_end = frame.open_layout_untrusted(payload)
        if port.delay_ms and ms != NO_DEADLINE:
            ms = max(0, ms - port.delay_ms)
        target: Target | None = None
        kept: Kept | None = None
        call: CallHead | None = None
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
                call = parse_call_head_untrusted(head)
                target, hops = self.ingress.choose(call, port.now, port.trusted), MAX_HOPS
            if self._call_ms and ms == NO_DEADLINE and call is not None and ends(call, target):
                ms = self._call_ms
            far = target.port
            sent = payload if target.head_flags is None else for_target(payload, target)
            if far.queued > MAX_QUEUED and far.ahead() > MAX_QUEUED:
                raise too_much_waits(far)
            number = far.next_stream()
        except RemoteProtocolError:
            raise
        except MicroError as error:
            try:
                kept, (target, number, sent) = self._elsewhere(port, payload, target, error)
            except MicroError as last:
                self._refuse(port, stream, last)
                if call is not None and self.on_call is not None and port not in self.patient:
                    self.on_call(CallRecord(call, b"", 0, last.grpc, port.now, port.now))
                return
        far, path, load, _ = target
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
        if not path or not port.peer:
            # The first node, or the last one: no other tries again.
            budget = self._budget
            budget.calls += 1
            held = budget.held + len(payload)
            if held <= MAX_KEPT_TOGETHER:
                budget.held, there.kept, there.settled = held, kept or payload, False
        if call is not None and self.on_call is not None:
            there.call, there.came, there.path, there.tries = call, port.now, path, kept.tries if kept else 1
        port.streams[stream] = there
        far.streams[number] = here
        self._callers[port] = None
        far.send(OPEN, flags, number, frame.reroute_open(sent, hops - 1 if path else hops, path, ms, path_end))

    def _elsewhere(
        self, port: Port, payload: bytes, target: Target | None, error: MicroError
    ) -> tuple[Kept, tuple[Target, int, bytes]]:
        """Where a new call goes that its target takes none of now, and what is kept of it, as `Custody.another` says;
        raises what its caller is to hear where there is nobody else."""
        if target is None or not isinstance(error, Unavailable):
            raise error
        kept = Kept(payload)
        self._custody.refused(kept, target, port.now)
        if target.path and port.peer:
            raise NoEdge(error.detail, self._me + target.port.peer)
        other = self._custody.another(kept, port, port.now)
        if other is None:
            raise error
        return kept, other

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
        if leg.load is not None and not leg.back.settled:
            leg.load.waited(now, began=leg.opened)

    def _close(self, leg: Leg) -> None:
        """Forgets a pair; of one that is forgotten already it does nothing."""
        back = leg.back
        if back.port.streams.pop(back.stream, None) is not None:
            del leg.port.streams[leg.stream]
            there = leg if leg.calling else back
            if there.load is not None:
                there.load.abandoned()
            if there.kept is not None:
                self._custody.forget(there)
            if there.call is not None and self.on_call is not None:
                ended = max(there.port.now, there.back.port.now, self._swept_at)
                self.on_call(CallRecord(there.call, there.path, there.tries, there.status, there.came, ended))


class NoEdge(Unavailable):
    """A call cannot pass a link its path names."""

    def __init__(self, detail: str, edge: bytes) -> None:
        super().__init__(detail)
        self.edge = edge
        """The two ids of the link."""
