"""Streams with credit: what a program, or a node's own service, makes of the frames of a port.

Each direction of a stream has its own END, its own credit, and its own way of being cut short: RESET ends both, STOP
says that the receiver of a direction is gone. Credit is granted by whoever consumes, see `credit.py`, and
runs end to end: the nodes between only pass it on (and cut off who overdraws).
"""

import math
from collections import deque
from collections.abc import Callable

from sdk.errors import BadRequest, LocalProtocolError, RemoteProtocolError, Status
from sdk.port import Port

from . import frame
from .credit import PROCESS, CreditPool, Window
from .frame import END, TRAILERS, Fate, Open, Reset

CHUNK = 16384
"""Most body bytes put into one DATA frame: small enough that a call behind it on the connection does not wait long."""


def _ignore() -> None:
    """Stands in for `on_change` while nobody waits."""


def _no_clock() -> float:
    """Stands in for `clock`: no window grows while no time passes."""
    return 0.0


class Mux:
    """The streams of one port. The port's sink; it is made first and given its port by `attach`."""

    port: Port

    def __init__(
        self,
        *,
        on_open: Callable[["MuxStream", Open], None] | None = None,
        on_dead: Callable[[str], None] | None = None,
        pool: CreditPool = PROCESS,
        clock: Callable[[], float] = _no_clock,
    ) -> None:
        """`on_open` takes streams the peer opens (without it they are refused), `on_dead` hears that the port is
        gone. Windows grow from `pool`, by what `clock` measures; without one they stay as they are."""
        self.pool = pool
        self.clock = clock
        self._on_open = on_open
        self._on_port_dead = on_dead

    def attach(self, port: Port) -> None:
        """Gives the mux its port."""
        self.port = port

    def open(self, head: bytes, body: bytes = b"", *, end: bool, ms: int = frame.NO_DEADLINE) -> "MuxStream":
        """Opens a stream with a packed head and as much of the body as fits into the first frame.

        `end` says that `body` is all of the request; when it does not fit, the caller writes the rest, from
        `stream.unsent`, and ends. Raises `Unavailable` (not run) when the port takes no more, `BadRequest` for a head
        that no OPEN can hold.
        """
        port = self.port
        room = frame.MAX_OPEN - len(head)
        if room < 0:
            raise BadRequest(f"the call's head, with its metadata, has {len(head)} bytes; {frame.MAX_OPEN} are allowed")
        stream = MuxStream(self, port.next_stream())
        port.streams[stream.number] = stream
        if len(body) > room:
            body, stream.unsent, end = body[:room], body[room:], False
        stream.may_send -= len(body)
        stream.sent_end = end
        payload = frame.pack_open(frame.MAX_HOPS, b"", ms, head, body)
        port.send(frame.OPEN, END if end else 0, stream.number, payload)
        return stream

    def on_frame(self, port: Port, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """One frame of the port."""
        known = port.streams.get(stream)
        if known is not None:
            known.receive(kind, flags, payload)
        elif kind == frame.OPEN:
            self._accept(port, flags, stream, payload)

    def on_dead(self, port: Port, reason: str) -> None:
        """Breaks every stream: not reached where the OPEN never left, else it may have run."""
        streams = list(port.streams.values())
        port.streams.clear()
        for stream in streams:
            fate = Fate.MAY_HAVE_RUN if port.was_sent(stream.number) else Fate.NOT_REACHED
            stream.break_off(Reset(Status.UNAVAILABLE, fate, f"{port.name}: {reason}"))
        if self._on_port_dead:
            self._on_port_dead(reason)

    def _accept(self, port: Port, flags: int, number: int, payload: bytes) -> None:
        opened = frame.split_open_untrusted(payload)
        if self._on_open is None:
            refusal = Reset(Status.UNIMPLEMENTED, Fate.NOT_REACHED, "nothing is offered on this connection")
            port.send(frame.RESET, 0, number, frame.pack_reset(refusal))
            return
        stream = MuxStream(self, number)
        port.streams[number] = stream
        if opened.body:  # never more than the first credit: that is as long as a frame
            stream.received.append(opened.body)
            stream.buffered = stream.unread = len(opened.body)
        stream.ended = bool(flags & END)
        self._on_open(stream, opened)


class MuxStream:
    """One stream, seen from its end: bytes both ways, heads and trailers as packed bytes, no awaiting.

    Whoever waits for something sets `on_change` and looks again when it is called.
    """

    __slots__ = (
        "buffered", "cut", "deadline", "ended", "head", "head_is_final", "may_send", "mux", "number", "on_change",
        "received", "reset_by_peer", "sent_end", "stopped", "stopping", "trailers", "unread", "unsent", "window",
    )  # fmt: skip

    def __init__(self, mux: Mux, number: int) -> None:
        self.mux = mux
        self.number = number
        self.head: bytes | None = None
        """The answer's packed `ReplyHead`."""
        self.head_is_final = False
        """The head came with END: status and trailers are in it."""
        self.trailers: bytes | None = None
        """The answer's packed `Trailers`."""
        self.received: deque[bytes] = deque()
        """Body bytes that came and were not taken."""
        self.buffered = 0
        """How many they are."""
        self.unread = 0
        """Bytes that came since credit was last granted."""
        self.window: Window | None = None
        """How far the peer may be ahead, once credit was granted."""
        self.may_send = frame.INITIAL_CREDIT
        """Body bytes that may be sent now."""
        self.unsent = b""
        """What of the first body did not fit into the OPEN."""
        self.ended = False
        """The peer sends nothing more."""
        self.sent_end = False
        """Neither do we."""
        self.stopped = False
        """The peer does not want what we send."""
        self.stopping = False
        """We do not want what the peer sends."""
        self.cut = False
        """The peer's END never came, and never will: what was received may not be all."""
        self.reset_by_peer: Reset | None = None
        """How the stream was cut short, if it was."""
        self.deadline = math.inf
        """For whoever sweeps streams by deadline; the stream itself has no clock."""
        self.on_change: Callable[[], None] = _ignore

    # What came.

    def receive(self, kind: int, flags: int, payload: bytes) -> None:
        """Takes one frame of this stream; raises `RemoteProtocolError` when the peer may not send it now."""
        if kind in (frame.DATA, frame.HEAD):
            self._receive_body(kind, flags, payload)
        elif kind == frame.CREDIT:
            self.may_send += frame.parse_u32_untrusted(payload)
            if self.may_send > frame.MAX_CREDIT:
                raise RemoteProtocolError(f"more than {frame.MAX_CREDIT} bytes of credit were granted on one stream")
        elif kind == frame.RESET:
            self._forget()
            self.break_off(frame.parse_reset_untrusted(payload))
            return
        elif kind == frame.STOP:
            self.stopped = True
            if not self.sent_end:
                self.end()
        else:
            return
        self.on_change()

    def break_off(self, reset: Reset) -> None:
        """The stream is cut short: what was received so far stays to be read, and nothing more is sent."""
        self.reset_by_peer = reset
        self.cut = self.cut or not self.ended
        self.ended = self.sent_end = True
        self._close_window()
        self.on_change()

    def _receive_body(self, kind: int, flags: int, payload: bytes) -> None:
        if self.ended:
            raise RemoteProtocolError("body bytes came after the end of their stream")
        body = payload
        if kind == frame.HEAD:
            if self.head is not None:
                raise RemoteProtocolError("a second head came on one stream")
            self.head, body = frame.split_headed_untrusted(payload)
            self.head_is_final = bool(flags & END)
        elif flags & TRAILERS:
            self.trailers, body = frame.split_headed_untrusted(payload)
        if flags & END:
            self.ended = True
            if self.sent_end:
                self._forget()
        if body and not self.stopping:
            self.buffered += len(body)
            self.unread += len(body)
            window = self.window
            if self.unread > (window.size if window is not None else frame.INITIAL_CREDIT):
                raise RemoteProtocolError("the peer sent more than its credit")
            self.received.append(body)
        elif self.ended:
            self._close_window()

    def take(self, max_bytes: int | None = None) -> bytes:
        """Removes and returns what was received, at most `max_bytes`; grants credit when much of it is used."""
        received = self.received
        if not received:
            return b""
        if max_bytes is None or max_bytes >= self.buffered:
            data = received[0] if len(received) == 1 else b"".join(received)
            received.clear()
        else:
            data = self._take_first(max_bytes)
        self.buffered -= len(data)
        if self.ended:
            self._close_window()
        elif self.window is not None:
            self._grant(len(data))
        elif self.unread - self.buffered >= frame.INITIAL_CREDIT // 2:
            self.window = Window(self.mux.pool)
            self._grant(self.unread - self.buffered)
        return data

    def _grant(self, read: int) -> None:
        """Lets the peer send as much again as was read, and more where that makes it faster."""
        assert self.window is not None
        granted = self.window.read(read, self.mux.clock())
        if granted:
            self.unread = self.buffered
            self.mux.port.send(frame.CREDIT, 0, self.number, frame.pack_u32(granted))

    def _close_window(self) -> None:
        """The peer sends nothing more; what it has sent is held until it is read, or until nobody wants it."""
        if self.window is not None and not self.buffered:
            self.window.close()

    def _take_first(self, max_bytes: int) -> bytes:
        """Exactly so many bytes, of more that there are. Joined once: a peer may send them one by one."""
        pieces, missing = [], max_bytes
        while missing > 0:
            piece = self.received.popleft()
            pieces.append(piece)
            missing -= len(piece)
        if missing:
            self.received.appendleft(piece[missing:])
            pieces[-1] = piece[:missing]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    # What is sent.

    def send_head(self, head: bytes, body: bytes = b"", *, end: bool = False) -> None:
        """Answers with a packed head and, where it fits into one frame and the credit, a body. The caller sees to
        both; raises `LocalProtocolError` when it does not fit."""
        if len(head) + len(body) > frame.MAX_PAYLOAD - 2 or len(body) > self.may_send:
            raise LocalProtocolError(f"an answer of {len(head)} + {len(body)} bytes does not fit into its frame")
        if not self.sent_end:
            self.may_send -= len(body)
            self._send(frame.HEAD, end, frame.pack_headed(head, body))

    def write(self, data: bytes | memoryview) -> int:
        """Sends as much as credit allows; returns how many bytes that was."""
        sent = 0
        while sent < len(data) and self.may_send > 0 and not self.sent_end:
            piece = bytes(data[sent : sent + min(CHUNK, self.may_send)])
            self.may_send -= len(piece)
            sent += len(piece)
            self.mux.port.send(frame.DATA, 0, self.number, piece)
        return sent

    def end(self, trailers: bytes | None = None) -> None:
        """Sends nothing more; the answering side says how it went. Raises `LocalProtocolError` for trailers that no
        frame can hold. Where the direction is over already it does nothing."""
        if trailers is not None and len(trailers) > frame.MAX_PAYLOAD - 2:
            raise LocalProtocolError(f"trailers of {len(trailers)} bytes do not fit into a frame")
        if self.sent_end:
            return
        if trailers is None:
            self._send(frame.DATA, True, b"")
        else:
            self._send(frame.DATA, True, frame.pack_headed(trailers, b""), TRAILERS)

    def stop(self) -> None:
        """Wants no more of what the peer sends; what was received is dropped."""
        if self.stopping:
            return
        self.stopping = True
        self.received.clear()
        self.buffered = 0
        self._close_window()
        if not self.ended:
            self.mux.port.send(frame.STOP, 0, self.number, b"")

    def reset(self, status: int, detail: str, fate: Fate = Fate.MAY_HAVE_RUN) -> None:
        """Cuts both directions short and tells the peer why. On a stream that is over it does nothing."""
        if self.mux.port.streams.get(self.number) is self:
            self.mux.port.send(frame.RESET, 0, self.number, frame.pack_reset(Reset(status, fate, detail)))
            self._forget()
        self.cut = self.cut or not self.ended
        self.ended = self.sent_end = True
        self._close_window()

    def _send(self, kind: int, end: bool, payload: bytes, flags: int = 0) -> None:
        if end:
            flags |= END
            self.sent_end = True
        self.mux.port.send(kind, flags, self.number, payload)
        if end and self.ended:
            self._forget()

    def _forget(self) -> None:
        streams = self.mux.port.streams
        if streams.get(self.number) is self:
            del streams[self.number]
