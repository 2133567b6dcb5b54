"""The raw TCP port: one connection that carries one call, its bytes as they are.

It stands on either side of the switch: for a program that connected to a port which is mapped to a service, and for an
instance that is called. A connection without credit is not read, so whoever writes into it waits; what came from the
switch is counted as consumed when the next write begins, so nothing piles up for a program that does not read. END is
the FIN of TCP, in both directions apart; RESET is its RST.
"""

from collections.abc import Callable
from typing import Any

from sdk.errors import Status, Unavailable
from sdk.head import ReplyHead, pack_reply_head
from sdk.port import Sink, Wake
from sdk.wire import frame
from sdk.wire.credit import PROCESS, CreditPool, Window
from sdk.wire.frame import CREDIT, DATA, END, HEAD, INITIAL_CREDIT, OPEN, RESET, STOP, TRAILERS, Fate, Reset

STREAM = 1
"""The number of the one stream."""

PIECE = 61440
"""Most bytes of one read: with their header they fit one record of a link."""

_ANSWERED = frame.pack_headed(pack_reply_head(ReplyHead()), b"")


def _nobody(*_: object) -> None:
    """Stands in for `wake` until a driver takes the port."""


class TcpPort:
    """One TCP connection, seen as a port with one stream. Implements `Port`."""

    def __init__(self, sink: Sink, *, name: str, clock: Callable[[], float], pool: CreditPool = PROCESS) -> None:
        """`name` is what people call the other end; its window grows from `pool`, by what `clock` measures."""
        self.sink = sink
        self.name = name
        self.streams: dict[int, Any] = {}
        self.queued = 0
        self.dead = False
        self.peer = b""
        self.delay_ms = 0
        self.trusted = False
        self.may_send = INITIAL_CREDIT
        """Bytes from the connection that the far end has credit for."""
        self.reset: Reset | None = None
        """Why the connection has to be broken off, if it has."""
        self.wake: Wake = _nobody
        """Set by the driver; called when there is something to write, to read again, or to end."""
        self._pool = pool
        self._clock = clock
        self._window: Window | None = None
        self._leaving = 0
        self._out: list[bytes] = []
        self._answered = True
        self._sent_end = False
        self._got_end = False
        self._carried = False

    @property
    def now(self) -> float:
        """The time."""
        return self._clock()

    @property
    def may_read(self) -> int:
        """Bytes that may be read from the connection now."""
        return PIECE if self._sent_end else min(PIECE, max(0, self.may_send))

    @property
    def wants_nothing(self) -> bool:
        """Whether nobody is left who would take what comes from the connection."""
        return self._sent_end

    @property
    def finished_writing(self) -> bool:
        """Whether nothing more will be written to the connection."""
        return self._got_end and not self._out

    # What the switch calls.

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Takes one frame; on a dead port it vanishes."""
        if self.dead:
            return
        if kind == DATA:
            body = payload if not flags & TRAILERS else frame.split_headed_untrusted(payload)[1]
            self._take(body, ended=bool(flags & END))
        elif kind == HEAD:
            self._take(frame.split_headed_untrusted(payload)[1], ended=bool(flags & END))
        elif kind == OPEN:
            self._carried = True
            self._answered = False
            self._take(frame.split_open_untrusted(payload).body, ended=bool(flags & END))
        elif kind == CREDIT:
            waited = self.may_send <= 0
            self.may_send += frame.parse_u32_untrusted(payload)
            if waited:
                self.wake()
        elif kind == RESET:
            self.reset = frame.parse_reset_untrusted(payload)
            self._forget()
            self.wake()
        elif kind == STOP and not self._sent_end:
            self._end()
            self.wake()

    def next_stream(self) -> int:
        """The one number there is; raises `Unavailable` (not run) when it is taken or the port is dead."""
        if self.dead or self._carried:
            raise Unavailable(f"{self.name} takes no more calls: its connection is {'gone' if self.dead else 'taken'}")
        return STREAM

    def ahead(self) -> int:
        """Bytes that wait to be written."""
        return self.queued

    def was_sent(self, stream: int) -> bool:
        """Whether the connection was there to take the call."""
        return self._answered

    def close(self, reason: str) -> None:
        """Breaks the connection off."""
        self.reset = self.reset or Reset(Status.UNAVAILABLE, Fate.MAY_HAVE_RUN, reason)
        self.wake()

    # What the driver calls.

    def open(self, head: bytes) -> None:
        """Begins the call that this connection is, with a packed head: at most 64 KiB of bytes may follow at once."""
        self._carried = True
        payload = frame.pack_open(frame.MAX_HOPS, b"", frame.NO_DEADLINE, head, b"")
        self.sink.on_frame(self, OPEN, 0, STREAM, payload)

    def connected(self) -> None:
        """The instance took the connection: the caller hears so, unless it wants to hear nothing any more."""
        self._answered = True
        if not self._sent_end:
            self._pass_on(HEAD, 0, _ANSWERED)

    def receive_data(self, data: bytes) -> None:
        """Bytes came from the connection, at most `may_read`; none are its end."""
        if self._sent_end or self.reset:
            return
        if data:
            self.may_send -= len(data)
            self._pass_on(DATA, 0, data)
        else:
            self._end()

    def data_to_send(self) -> list[bytes]:
        """Drains what waits to be written. Being asked again means that it was written."""
        if self._leaving:
            self._grant(self._leaving)
        out, self._out = self._out, []
        self._leaving, self.queued = self.queued, 0
        if self._got_end and not out:
            self._forget()
        return out

    def connection_lost(self, reason: str) -> None:
        """The connection is gone; called again it does nothing."""
        if not self.dead:
            self.dead = True
            self._out, self.queued = [], 0
            self._forget()
            self.sink.on_dead(self, reason)

    # Inside.

    def _take(self, body: bytes, *, ended: bool) -> None:
        if body:
            self._out.append(body)
            self.queued += len(body)
        self._got_end = self._got_end or ended
        self.wake()

    def _say(self, words: bytes, *, last: bool = False) -> None:
        """Writes something of this node's own to the connection; the last thing ends it."""
        self._out.append(words)  # not queued: nobody used credit for it, so none must be granted for it
        if last:
            self._got_end = self._sent_end = True
        self.wake()

    def _grant(self, written: int) -> None:
        """Lets the far end send again what was written to the connection, once that is worth a frame."""
        if self._got_end or self.reset:
            return
        window = self._window = self._window or Window(self._pool)
        granted = window.read(written, self._clock())
        if granted:
            self._pass_on(CREDIT, 0, frame.pack_u32(granted))

    def _end(self) -> None:
        self._sent_end = True
        self._pass_on(DATA, END, b"")

    def _pass_on(self, kind: int, flags: int, payload: bytes) -> None:
        if STREAM in self.streams:
            self.sink.on_frame(self, kind, flags, STREAM, payload)

    def _forget(self) -> None:
        if self._window is not None:
            self._window.close()
