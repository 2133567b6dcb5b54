"""Frames out: header blocks, bodies within the peer's windows, and credit for what has left.

A body frame goes out at once where the windows of its stream and of the connection allow it. Else it waits, in the
order of its stream, and trailers behind it; when a window opens, the streams that wait for it take turns, one frame
each. Credit for body bytes is given back to the far end when they were written to the socket.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

from sdk.port import Sink, Wake
from sdk.wire import frame
from sdk.wire.credit import CreditPool, Window
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
        self._pool = pool
        self._encoder = Encoder()
        self._exchanges: dict[int, Exchange] = {}
        self._cut: dict[int, None] = {}  # streams that we broke while the peer could still send
        self._blocked: dict[int, Exchange] = {}  # those with something that waits for a window
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
        return b"".join(out)

    def _grant_all(self, now: float) -> None:
        """Gives credit for what was written, and remembers what is about to be."""
        left, self._left, self._leaving = self._left, self._leaving, {}
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

    # Frames.

    def _write(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Queues one frame."""
        out = self._out
        if not out:
            self.wake()
        size = len(payload)
        self.queued += size + 9
        out += (_pack(size >> 8, size & 0xFF, kind, flags, stream), payload)

    def _write_block(self, stream: int, block: bytes, end: bool) -> None:
        """Queues a header block, in as many frames as it takes."""
        flags = END_STREAM if end else 0
        size = self._max_frame
        if len(block) <= size:
            self._write(HEADERS, flags | END_HEADERS, stream, block)
            return
        self._write(HEADERS, flags, stream, block[:size])
        for at in range(size, len(block), size):
            last = END_HEADERS if at + size >= len(block) else 0
            self._write(CONTINUATION, last, stream, block[at : at + size])

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
        self._write_block(stream, block + more if more else block, end)

    # Bodies.

    def _write_body(self, stream: int, exchange: Exchange, body: bytes, end: bool, trailers: Headers = ()) -> None:
        """Sends body bytes as far as windows allow, and at the end trailers; the rest waits."""
        size = len(body)
        if end:
            exchange.sent_end = True
        if size > exchange.window or size > self._window or size > self._max_frame or exchange.pending is not None:
            pending = exchange.pending
            if pending is None:
                pending = exchange.pending = []
                self._blocked[stream] = exchange
            if body:
                pending.append(body)
                exchange.waiting += size
                self.held += size
            exchange.last = trailers
            self._write_pending()
            return
        if size:
            exchange.window -= size
            self._window -= size
            self._write(DATA, END_STREAM if end and not trailers else 0, stream, body)
            self._count_written(stream, exchange, size)
        elif end and not trailers:
            self._write(DATA, END_STREAM, stream, b"")
        if end:
            if trailers:
                self._write_headers(stream, trailers, True)
            self._sent_all(stream, exchange)

    def _write_pending(self) -> None:
        """Sends what waits and may go now: one frame of each stream, and again."""
        going = True
        while going:
            going = False
            for stream, exchange in list(self._blocked.items()):
                pending = exchange.pending
                if pending is None:  # what went before has ended it
                    continue
                if pending:
                    room = min(exchange.window, self._window, self._max_frame)
                    if room <= 0:
                        continue
                    going = True
                    self._write_piece(stream, exchange, pending, room)
                elif exchange.sent_end and not exchange.last:
                    self._write(DATA, END_STREAM, stream, b"")
                if not pending:
                    trailers, ended = exchange.last, exchange.sent_end
                    self._unblock(stream, exchange)
                    if ended:
                        if trailers:
                            self._write_headers(stream, trailers, True)
                        self._sent_all(stream, exchange)

    def _write_piece(self, stream: int, exchange: Exchange, pending: list[bytes], room: int) -> None:
        """Sends the first that waits of a stream, or as much of it as there is room for."""
        body = pending[0]
        if len(body) > room:
            body, pending[0] = body[:room], body[room:]
        else:
            del pending[0]
        size = len(body)
        exchange.window -= size
        self._window -= size
        exchange.waiting -= size
        self.held -= size
        last = not pending and exchange.sent_end and not exchange.last
        self._write(DATA, END_STREAM if last else 0, stream, body)
        self._count_written(stream, exchange, size)

    def _unblock(self, stream: int, exchange: Exchange) -> None:
        """Nothing of a stream waits any more; what still did is dropped."""
        if exchange.pending is not None:
            self.held -= exchange.waiting
            exchange.pending, exchange.waiting, exchange.last = None, 0, ()
            del self._blocked[stream]

    def _count_written(self, stream: int, exchange: Exchange, size: int) -> None:
        """Body bytes go out: credit is due for them once half of the first is used, and then each time."""
        written = exchange.written = exchange.written + size
        if written >= INITIAL_CREDIT // 2 or exchange.unread is not None:
            exchange.written = 0
            self._leaving[stream] = self._leaving.get(stream, 0) + written

    # What the peer says of its side.

    def _open_window(self, stream: int, increment: int) -> None:
        """The peer takes more (6.9)."""
        if not stream:
            self._window += increment
            if self._window > MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"{self.name} opens its window too far")
        elif (exchange := self._exchanges.get(stream)) is not None:
            exchange.window += increment
            if exchange.window > MAX_WINDOW:
                raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, f"{self.name} opens the window of a stream too far")
        if self._blocked:
            self._write_pending()
