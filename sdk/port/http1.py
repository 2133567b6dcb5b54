"""What both ends of HTTP/1.1 have in common: a connection that carries one call at a time, seen as a port.

Body bytes pass in both directions as they come. A connection without credit is not read, so whoever writes into it
waits; what came from the other side of the switch counts as consumed when the next write begins, so nothing piles up
for a program that does not read.
"""

import enum
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from sdk.errors import RemoteProtocolError, Status
from sdk.head import Trailers, pack_trailers
from sdk.wire import frame
from sdk.wire.credit import PROCESS, CreditPool, Window
from sdk.wire.frame import CREDIT, DATA, END, INITIAL_CREDIT, MAX_PAYLOAD, TRAILERS, Fate, Reset
from sdk.wire.http1chunks import LAST, ChunkReader
from sdk.wire.http1fields import trailers_of
from sdk.wire.http1head import CHUNKED, UNTIL_CLOSE, Malformed

from . import Sink, Wake
from .limits import DEFAULT, Limits
from .standstill import Standstill

PIECE = 61440
"""Most bytes of one read: with their header they fit one record of a link."""


class Reading(enum.Enum):
    """What the next byte from the connection belongs to."""

    HEAD = enum.auto()
    BODY = enum.auto()
    NEXT = enum.auto()
    """To the next message, whose turn has not come."""
    RAW = enum.auto()
    """To whatever the connection was upgraded to."""
    NOTHING = enum.auto()
    """To nothing that anybody wants."""


def _no_number() -> int:
    """Stands in for `progress` where nobody has told."""
    return 0


def _nobody(*_: object) -> None:
    """Stands in for `wake` until a driver takes the port."""


class Http1Port(ABC):
    """One connection. Implements `Port`, and what a driver of such ports calls."""

    def __init__(
        self,
        sink: Sink,
        *,
        name: str,
        clock: Callable[[], float],
        limits: Limits = DEFAULT,
        pool: CreditPool = PROCESS,
    ) -> None:
        """`name` is what people call the other end; windows grow from `pool`, by what `clock` measures."""
        self.sink = sink
        self.name = name
        self.streams: dict[int, Any] = {}
        self.queued = 0
        self.dead = False
        self.peer = b""
        self.delay_ms = 0
        self.trusted = False
        self.now = clock()
        """When the frame at hand came."""
        self.reset: Reset | None = None
        """Why the connection has to be broken off, if it has."""
        self.wake: Wake = _nobody
        """Set by the driver; called when there is something to write, to read again, or to end."""
        self.progress: Callable[[], int] = _no_number
        """Set by whoever has the socket: counts the pieces of writes that it could not take whole."""
        self._clock = clock
        self._limits = limits
        self._stall = limits.stall or math.inf
        self._pool = pool
        self._window: Window | None = None
        self._stream = 0
        self._reading = Reading.HEAD
        self._buffer = b""
        self._missing = 0
        """Bytes of the body that have not come, `CHUNKED` or `UNTIL_CLOSE`."""
        self._chunks = ChunkReader()
        self._may_send = 0
        """Body bytes that the switch takes now."""
        self._out: list[bytes] = []
        self._owed = 0
        """Bytes of the body that have not been written, `CHUNKED` or `UNTIL_CLOSE`."""
        self._unwritten = 0
        """Bytes in `_out` that used credit."""
        self._leaving = 0
        self._far_ended = False
        """Whoever is on the other side of the switch sends no more body of this call."""
        self._last = False
        """Nothing will be written after what is in `_out`."""
        self._since = self.now
        """When the connection began to wait for a message, as far as timeouts care."""
        self._writes = 0
        """How often the driver asked for output."""
        self._writing = False
        """It has got some, and not written all of it."""
        self._untaken = Standstill()
        self._missed = Standstill()

    @abstractmethod
    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Takes one frame of the switch."""

    @abstractmethod
    def next_stream(self) -> int:
        """The number of the next call that is made here."""

    @abstractmethod
    def was_sent(self, stream: int) -> bool:
        """Whether the call has gone, at least in part, to the connection."""

    @abstractmethod
    def receive_data(self, data: bytes) -> None:
        """Bytes came from the connection, at most `may_read`; none are its end."""

    @property
    def may_read(self) -> int:
        """Bytes that may be read from the connection now."""
        reading = self._reading
        if reading is Reading.BODY or reading is Reading.RAW:
            return min(PIECE, max(0, self._may_send))
        return PIECE

    @property
    def wants_nothing(self) -> bool:
        """Whether nobody is left who would take what comes from the connection."""
        return self._reading is Reading.NOTHING

    @property
    def finished_writing(self) -> bool:
        """Whether nothing more will be written to the connection."""
        return self._last and not self._out

    def data_to_send(self) -> list[bytes]:
        """Drains what waits to be written. Being asked again means that it was written."""
        if self._leaving:
            leaving, self._leaving = self._leaving, 0
            self._grant(leaving)
        out, self._out = self._out, []
        self._leaving, self._unwritten, self.queued = self._unwritten, 0, 0
        self._writes += 1
        self._writing = bool(out)
        return out

    def connection_lost(self, reason: str) -> None:
        """The connection is gone; called again it does nothing."""
        if not self.dead:
            self.dead = True
            self.now = self._clock()
            self._out, self._buffer, self.queued = [], b"", 0
            self._close_window()
            self.sink.on_dead(self, reason)

    def ahead(self) -> int:
        """Bytes that a new call would wait for here."""
        return self.queued

    def close(self, reason: str) -> None:
        """Breaks the connection off."""
        self.reset = self.reset or Reset(Status.UNAVAILABLE, Fate.MAY_HAVE_RUN, reason)
        self.wake()

    # For both ends.

    def _standing_still(self, now: float) -> str:
        """What of that which should move has not for as long as it may; empty where all is well."""
        reading, missing = self._reading, self._missing
        waits = (self._out or self._writing) and reading is not Reading.RAW
        if self._untaken.lasts((self._writes, self.progress()) if waits else None, now) >= self._stall:
            return f"{self.name} has taken nothing of what was sent to it for {self._stall:g} s"
        announced = missing > 0 or (missing == CHUNKED and self._chunks.announced)
        lacks = reading is Reading.BODY and announced and self.may_read > 0
        if self._missed.lasts(self.now if lacks else None, now) >= self._stall:
            return f"{self.name} has sent nothing of the rest of a body for {self._stall:g} s"
        return ""

    def _split_body(self, data: bytes) -> tuple[bytes, bool]:
        """The body bytes in what came, and whether the body is at its end; what is behind it goes to the buffer."""
        missing = self._missing
        if missing >= 0:
            if len(data) < missing:
                self._missing = missing - len(data)
                return data, False
            self._buffer = data[missing:]
            return data[:missing] if self._buffer else data, True
        if missing == UNTIL_CLOSE:
            return data, False
        body = self._chunks.receive_untrusted(data)
        if self._chunks.done:
            self._buffer = self._chunks.rest
            return body, True
        return body, False

    def _trailers(self) -> bytes:
        """The packed trailers of a body that is at its end, or nothing; raises `Malformed` for more than a frame
        holds."""
        trailers = trailers_of(self._chunks.trailers) if self._missing == CHUNKED else ()
        packed = pack_trailers(Trailers(metadata=trailers)) if trailers else b""
        if len(packed) > MAX_PAYLOAD - 2:
            raise Malformed("the trailers are too long for a frame", 431)
        return packed

    def _pass_end(self, trailers: bytes) -> None:
        """Says that a body is at its end, with its packed trailers."""
        if trailers:
            self._pass_on(DATA, END | TRAILERS, frame.pack_headed(trailers, b""))
        else:
            self._pass_on(DATA, END, b"")

    def _begin_body(self, framing: int) -> None:
        self._missing = framing
        if framing == CHUNKED:
            self._chunks = ChunkReader()

    def _write_body(self, body: bytes) -> None:
        """Writes some of a body in its framing; raises `RemoteProtocolError` where it is longer than its head said."""
        if not body:
            return
        if self._owed == CHUNKED:
            self._out += (b"%x\r\n" % len(body), body, b"\r\n")
        else:
            if self._owed != UNTIL_CLOSE:
                if len(body) > self._owed:
                    raise RemoteProtocolError("the body is longer than its Content-Length")
                self._owed -= len(body)
            self._out.append(body)
        self._unwritten += len(body)
        self.queued += len(body)

    def _write_end(self, trailers: bytes = b"") -> None:
        """Writes what ends a body; raises `RemoteProtocolError` where it is shorter than its head said."""
        if self._owed == CHUNKED:
            self._out.append(b"0\r\n%b\r\n" % trailers if trailers else LAST)
        elif self._owed > 0:
            raise RemoteProtocolError("the body is shorter than its Content-Length")

    def _grant(self, written: int) -> None:
        """Lets the far end send again what was written to the connection, once that is worth a frame."""
        if self._far_ended or self._stream not in self.streams:
            return
        window = self._window = self._window or Window(self._pool)
        granted = window.read(written, self._clock())
        if granted:
            self._pass_on(CREDIT, 0, frame.pack_u32(granted))

    def _credit(self, payload: bytes) -> None:
        waited = self._may_send <= 0
        self._may_send += frame.parse_u32_untrusted(payload)
        if waited:
            self.wake()

    def _new_call(self, stream: int) -> None:
        """Forgets what was counted for the call before."""
        self._stream = stream
        self._may_send = INITIAL_CREDIT
        self._unwritten = self._leaving = 0
        self._far_ended = False
        self._close_window()

    def _pass_on(self, kind: int, flags: int, payload: bytes) -> None:
        if self._stream in self.streams:
            self.sink.on_frame(self, kind, flags, self._stream, payload)

    def _reset_call(self, status: Status, fate: Fate, detail: str) -> None:
        self._pass_on(frame.RESET, 0, frame.pack_reset(Reset(status, fate, detail)))

    def leave(self) -> None:
        """Ends the connection once what waits is written, and takes nothing more from it."""
        self._reading, self._buffer = Reading.NOTHING, b""
        self._last = True
        self._close_window()
        self.wake()

    def _close_window(self) -> None:
        if self._window is not None:
            self._window.close()
            self._window = None
