"""Frames out: header blocks, bodies within the peer's windows, and credit for what has left.

A body frame goes out at once where the windows of its stream and of the connection allow it. Else it waits, in the
order of its stream, and trailers behind it; when a window opens, the streams that wait for it take turns, one frame
each. Credit for body bytes is given back to the far end when they were written to the socket.
"""

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from sdk.port import Sink, Wake
from sdk.wire import frame
from sdk.wire.credit import USED, CreditPool, Window
from sdk.wire.frame import CREDIT, INITIAL_CREDIT
from sdk.wire.hpack import Encoder, Headers
from sdk.wire.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FIRST_WINDOW,
    GOAWAY,
    HEADER,
    HEADERS,
    LEAST_FRAME,
    MAX_WINDOW,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ConnectionFault,
    ErrorCode,
    StreamFault,
    pack_settings,
)

from .exchange import Exchange
from .limits import MAX_ANSWERS, MAX_CUT, WIDE

_pack: Final = HEADER.pack

_DUE: Final = int(USED * INITIAL_CREDIT)
"""Body bytes of a stream before which no credit is due, so that nobody need count: most calls have fewer."""


def _no_number() -> int:
    """Stands in for `progress` where nobody has told."""
    return 0


def _nobody(*_: object) -> None:
    """Stands in for `wake` and `close` until a driver takes the port."""


class Sending(ABC):
    """The half of a port that writes frames."""

    def __init__(self, sink: Sink, *, name: str, pool: CreditPool, settings: dict[int, int]) -> None:
        self.sink = sink
        self.name = name
        self.streams: dict[int, Any] = {}
        self.queued = 0
        self.dead = False
        self.draining = False
        """Either side said GOAWAY: nothing new is opened on this connection."""
        self.peer = b""
        self.delay_ms = 0
        self.trusted = False
        self.wake: Wake = _nobody
        self.close: Callable[[str], None] = _nobody
        """Ends the connection from this side; set, like `wake`, by the driver."""
        self.now = -math.inf
        """When the frames at hand came."""
        self.held = 0
        """Body bytes that wait for the peer's windows."""
        self.progress: Callable[[], int] = _no_number
        """Set by whoever has the socket: counts the pieces of writes that it could not take whole."""
        self._writes = 0  # how often the driver asked for output
        self._writing = False  # it has got some, and not written all of it
        self._pool = pool
        self._encoder = Encoder()
        self._exchanges: dict[int, Exchange] = {}
        self._cut: dict[int, None] = {}  # streams that we broke while the peer could still send
        self._ready: dict[int, Exchange] = {}  # those that wait for the window of the connection alone
        self._window = FIRST_WINDOW
        self._first_window = FIRST_WINDOW
        self._max_frame = LEAST_FRAME
        self._answers = 0
        self._leaving: dict[int, int] = {}
        self._left: dict[int, int] = {}
        self._out: list[bytes] = []
        self._write(SETTINGS, 0, 0, pack_settings(settings))
        self._write(WINDOW_UPDATE, 0, 0, frame.pack_u32(WIDE - FIRST_WINDOW))

    @abstractmethod
    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Queues one frame of the switch; on a dead port it vanishes."""

    @abstractmethod
    def next_stream(self) -> int:
        """A number for a stream to be opened here; raises `Unavailable` (not run) when it takes no more."""

    @abstractmethod
    def was_sent(self, stream: int) -> bool:
        """Whether the OPEN of a stream may have reached the peer."""

    def ahead(self) -> int:
        """Bytes that a new call would wait for: all that are queued. What waits for the window of a stream is its
        own affair."""
        return self.queued

    @abstractmethod
    def _sent_all(self, stream: int, exchange: Exchange) -> None:
        """The last of what we send on a stream has been queued."""

    # The machine's verbs.

    def data_to_send(self, now: float) -> bytes:
        """All that waits, in one piece. Being asked again means that what was given last has been written."""
        if self._left or self._leaving:
            self._grant_all(now)
        out, self._out = self._out, []
        self.queued = 0
        self._answers = 0
        self._writes += 1
        self._writing = bool(out)
        return b"".join(out)

    def _grant_all(self, now: float) -> None:
        """Gives credit for what was written, and remembers what is about to be."""
        left, self._left = self._left, {}
        for stream, size in left.items():
            exchange = self._exchanges.get(stream)
            if exchange is None or stream not in self.streams:
                continue
            window = exchange.unread
            if window is None:
                window = exchange.unread = Window(self._pool)
            granted = window.read(size, now)
            if granted:
                self.sink.on_frame(self, CREDIT, 0, stream, frame.pack_u32(granted))
        # Whoever was granted credit may have sent more within the call: that goes out now as well.
        self._left, self._leaving = self._leaving, {}

    # Frames.

    def _write(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Queues one frame."""
        out = self._out
        if not out:
            self.wake()
        size = len(payload)
        self.queued += size + 9
        out += (_pack(size >> 8, size & 0xFF, kind, flags, stream), payload)

    def _write_answer(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Queues what the peer provoked; one that provokes more than it reads is a flood."""
        self._answers += 1
        if self._answers > MAX_ANSWERS:
            detail = f"{self.name} lets more than {MAX_ANSWERS} answers pile up"
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, detail)
        self._write(kind, flags, stream, payload)

    def _write_reset(self, stream: int, error: ErrorCode, *, provoked: bool = False) -> None:
        """Breaks a stream off towards the peer, of which frames may still be under way."""
        cut = self._cut
        if len(cut) >= MAX_CUT:
            del cut[next(iter(cut))]
        cut[stream] = None
        write = self._write_answer if provoked else self._write
        write(RST_STREAM, 0, stream, frame.pack_u32(error))

    def _write_go_away(self, last: int, error: ErrorCode, detail: str = "") -> None:
        text = detail.encode()[:200]
        self._write(GOAWAY, 0, 0, frame.pack_u32(last) + frame.pack_u32(error) + text)

    def _write_headers(self, stream: int, headers: Headers, end: bool, more: bytes = b"") -> None:
        """Queues a header list, and `more` fields as they are, in as many frames as it takes."""
        encoder = self._encoder
        block = encoder.memo.get(headers)
        if block is None:
            since = encoder.changes
            block = encoder.encode(headers)
            encoder.remember(headers, block, since)
        if more:
            block += more
        flags = END_STREAM if end else 0
        size = self._max_frame
        if len(block) <= size:
            self._write(HEADERS, flags | END_HEADERS, stream, block)
            return
        self._write(HEADERS, flags, stream, block[:size])
        for at in range(size, len(block), size):
            last = END_HEADERS if at + size >= len(block) else 0
            self._write(CONTINUATION, last, stream, block[at : at + size])

    # Bodies.

    def _write_body(self, stream: int, exchange: Exchange, body: bytes, end: bool, trailers: Headers = ()) -> None:
        """Sends body bytes as far as windows allow, and at the end trailers; the rest waits."""
        size = len(body)
        if end:
            exchange.sent_end = True
        pending = exchange.pending
        if pending is None and (
            (size <= exchange.window and size <= self._window and size <= self._max_frame) or not size
        ):
            if size:
                exchange.window -= size
                self._window -= size
                self._write(DATA, END_STREAM if end and not trailers else 0, stream, body)
                exchange.written += size
                if exchange.written >= _DUE or exchange.unread is not None:
                    self._count_written(stream, exchange)
            elif end and not trailers:
                self._write(DATA, END_STREAM, stream, b"")
            if end:
                if trailers:
                    self._write_headers(stream, trailers, True)
                self._sent_all(stream, exchange)
            return
        if pending is None:
            pending = exchange.pending = deque()
        if size:
            pending.append(body)
            exchange.waiting += size
            self.held += size
        exchange.last = trailers
        self._go_on(stream, exchange)

    def _go_on(self, stream: int, exchange: Exchange) -> None:
        """Sends what waits of a stream, unless others have waited longer for the window of the connection."""
        if not self._ready:
            while self._window > 0 and self._write_piece(stream, exchange):
                pass
        if exchange.pending and exchange.window > 0:
            self._ready.setdefault(stream, exchange)

    def _write_ready(self) -> None:
        """Lets the streams that wait for the window of the connection alone take turns, one frame each."""
        ready = self._ready
        while ready and self._window > 0:
            stream = next(iter(ready))
            exchange = ready.pop(stream)
            if self._write_piece(stream, exchange):
                ready[stream] = exchange

    def _write_piece(self, stream: int, exchange: Exchange) -> bool:
        """Sends one frame of what waits of a stream; whether its own window lets another one follow."""
        pending = exchange.pending
        room = min(exchange.window, self._window, self._max_frame)
        if not pending or room <= 0:
            return False
        pieces = []
        size = 0
        while pending and size < room:
            piece = pending.popleft()
            if len(piece) > room - size:
                pending.appendleft(piece[room - size :])
                piece = piece[: room - size]
            pieces.append(piece)
            size += len(piece)
        exchange.window -= size
        self._window -= size
        exchange.waiting -= size
        exchange.moved += size
        self.held -= size
        over = not pending and exchange.sent_end
        self._write(DATA, END_STREAM if over and not exchange.last else 0, stream, b"".join(pieces))
        exchange.written += size
        if exchange.written >= _DUE or exchange.unread is not None:
            self._count_written(stream, exchange)
        if pending:
            return exchange.window > 0
        trailers = exchange.last
        self._unblock(stream, exchange)
        if over:
            if trailers:
                self._write_headers(stream, trailers, True)
            self._sent_all(stream, exchange)
        return False

    def _unblock(self, stream: int, exchange: Exchange) -> None:
        """Nothing of a stream waits any more; what still did is dropped."""
        self.held -= exchange.waiting
        exchange.pending, exchange.waiting, exchange.last = None, 0, ()
        self._ready.pop(stream, None)

    def _count_written(self, stream: int, exchange: Exchange) -> None:
        """Enough body bytes go out that credit is due for them, once they have."""
        self._leaving[stream] = self._leaving.get(stream, 0) + exchange.written
        exchange.written = 0

    # What the peer says of its side.

    def _open_window(self, stream: int, increment: int) -> None:
        """The peer takes more (6.9)."""
        if not stream:
            self._window += increment
            if self._window > MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"{self.name} opens its window too far")
            self._write_ready()
        elif (exchange := self._exchanges.get(stream)) is not None:
            exchange.window += increment
            if exchange.window > MAX_WINDOW:
                raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, f"{self.name} opens the window of a stream too far")
            if exchange.pending is not None:
                self._go_on(stream, exchange)
