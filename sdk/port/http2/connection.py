"""Frames in: what the rules of RFC 9113 say of a connection, whichever end of it this is.

The payload of a frame is looked at here; what a header block or a body means is the serving or the calling port's to
say. A peer that breaks a rule of one stream hears RST_STREAM and goes on, one that breaks a rule of the connection
hears GOAWAY and is done.

The file is longer than others: a rule for each type of frame, all of one connection's state.
"""

import math
from abc import abstractmethod
from typing import Final

from sdk.errors import RemoteProtocolError
from sdk.port import Sink
from sdk.port.limits import LOOK, Limits
from sdk.port.standstill import Standstill
from sdk.wire import frame
from sdk.wire.credit import CreditPool
from sdk.wire.hpack import Decoder, Headers, HeadersTooLong
from sdk.wire.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADER,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LEAST_FRAME,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_STREAM,
    MAX_WINDOW,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    ConnectionFault,
    ErrorCode,
    StreamFault,
    parse_settings_untrusted,
    unpad_untrusted,
)

from .exchange import Exchange
from .limits import MAX_BLOCK, MAX_CONTINUATIONS, MAX_FRAMES, WIDE, Patience
from .sending import Sending

_unpack: Final = HEADER.unpack_from

_SIZES: Final = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
"""Payloads that have one length only."""


class TooLong(StreamFault):
    """A header list that is too long: the stream cannot go on, the connection can."""


class Connection(Sending):
    """One end of an HTTP/2 connection, seen as a port. Implements the machine's verbs."""

    def __init__(
        self, sink: Sink, *, name: str, pool: CreditPool, settings: dict[int, int], limits: Limits, serving: bool
    ) -> None:
        """With `serving` the peer begins, with the preface."""
        super().__init__(sink, name=name, pool=pool, settings=settings)
        self._decoder = Decoder()
        self._patience = Patience()
        self._max_streams = math.inf
        """Streams that the peer lets us open."""
        self._last = 0
        """The highest stream that was opened, by whichever side opens them."""
        self._look_at = -math.inf
        self._stall = limits.stall or math.inf
        self._untaken = Standstill()
        self._serving = serving
        self._preface = PREFACE if serving else b""
        self._settled = False  # the peer's first SETTINGS came
        self._special = True  # only one kind of frame may come now
        self._buffer = b""
        self._received = 0
        self._block: list[bytes] = []  # the header block whose end has not come yet
        self._block_size = 0
        self._block_stream = 0
        self._block_flags = 0

    # What the two ports make of it.

    @abstractmethod
    def _on_block(self, stream: int, block: bytes, end: bool) -> None:
        """A header block; it has to be read, whatever comes of it."""

    @abstractmethod
    def _on_body(self, stream: int, exchange: Exchange, body: bytes, end: bool) -> None:
        """Body bytes, within the window."""

    @abstractmethod
    def _on_reset(self, stream: int, exchange: Exchange, error: int) -> None:
        """The peer broke a stream off; it is forgotten already."""

    @abstractmethod
    def _on_fault(self, stream: int, exchange: Exchange, fault: RemoteProtocolError) -> None:
        """The peer broke a rule of a stream, which is forgotten already, and knows of it."""

    @abstractmethod
    def _on_go_away(self, last: int, error: int, detail: str) -> None:
        """The peer takes no new streams, and none of ours above the last."""

    @abstractmethod
    def _on_pong(self, payload: bytes) -> None:
        """The answer to a PING of ours."""

    @abstractmethod
    def _end_of_read(self) -> None:
        """All that came has been handled."""

    @abstractmethod
    def _on_standstill(self, stream: int, exchange: Exchange, detail: str) -> None:
        """Nothing of a stream has moved for too long. It is not forgotten yet."""

    # What a subclass may do as well.

    def on_settled(self) -> None:
        """The peer's first settings came: somebody is there who speaks HTTP/2."""

    # The machine's verbs.

    def receive_data(self, data: bytes, now: float) -> bool:
        """Takes bytes of the peer and handles at most 64 frames; True when more wait: call again with nothing.

        Raises `RemoteProtocolError` when the peer broke a rule of the connection. It has been told.
        """
        if self.dead:
            return False
        self.now = now
        try:
            more = self._receive_untrusted(data)
            if not more:
                self._end_of_read()
        except RemoteProtocolError as fault:
            error = fault.error if isinstance(fault, ConnectionFault) else ErrorCode.PROTOCOL_ERROR
            self._write_go_away(self._last if self._serving else 0, error, fault.detail)
            raise
        return more

    def connection_lost(self, reason: str) -> None:
        """The connection is gone: what is queued goes with it, and the sink learns of it, once."""
        if not self.dead:
            self.dead = True
            self._out, self._buffer, self.queued, self.held = [], b"", 0, 0
            self._block = []
            self._ready.clear()
            self._leaving.clear()
            self._left.clear()
            exchanges, self._exchanges = self._exchanges, {}
            self.sink.on_dead(self, reason)
            for exchange in exchanges.values():
                if exchange.unread is not None:
                    exchange.unread.close()

    def next_timeout(self) -> float:
        """When to look at the clocks that `Limits` tells of."""
        return self._look_at

    def handle_timeout(self, now: float) -> None:
        """Ends the connection, or those of its streams, that have stood still for too long."""
        self._look_at = now + LOOK
        waits = (self._writes, self.progress()) if self._out or self._writing else None
        if self._untaken.lasts(waits, now) >= self._stall:
            self.close(f"{self.name} has taken nothing of what was sent to it for {self._stall:g} s")
            return
        for stream, exchange in list(self._exchanges.items()):
            lacks = exchange.expected > 0 and exchange.room > 0
            if not lacks and exchange.pending is None:
                exchange.still = None
                continue
            if exchange.still is None:
                exchange.still = Standstill()
            if exchange.still.lasts((exchange.moved, exchange.expected), now) >= self._stall:
                what = "taken nothing of what waits for it" if exchange.pending else "sent nothing of the rest"
                self._on_standstill(stream, exchange, f"{self.name} has {what} for {self._stall:g} s")

    # Frames.

    def _receive_untrusted(self, data: bytes) -> bool:
        """Handles the frames in what came; whether more of them wait."""
        buffer = self._buffer + data if self._buffer else data
        start, size = 0, len(buffer)
        if self._preface:
            start = len(self._preface)
            if buffer[:start] != self._preface[:size]:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{self.name} does not begin as HTTP/2 does")
            if size < start:
                self._buffer = buffer
                return False
            self._preface = b""
        budget, unpack = MAX_FRAMES, _unpack
        while size - start >= 9:
            high, low, kind, flags, stream = unpack(buffer, start)
            length = high << 8 | low
            if length > LEAST_FRAME:
                detail = f"{self.name} sent a frame of {length} bytes; {LEAST_FRAME} are allowed"
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, detail)
            stop = start + 9 + length
            if stop > size:
                break
            if not budget:
                self._buffer = buffer[start:]
                return True
            budget -= 1
            payload = buffer[start + 9 : stop]
            start = stop
            stream &= MAX_STREAM
            try:
                if self._special:
                    self._on_special_untrusted(kind, flags, stream, payload)
                elif kind == DATA:
                    self._on_data_untrusted(flags, stream, payload)
                elif kind == HEADERS:
                    self._on_headers_untrusted(flags, stream, payload)
                else:
                    self._on_other_untrusted(kind, flags, stream, payload)
            except StreamFault as fault:
                self._break(stream, fault)
        self._buffer = buffer[start:] if start < size else b""
        if self._received >= WIDE // 2:
            self._write(WINDOW_UPDATE, 0, 0, frame.pack_u32(self._received))
            self._received = 0
        return False

    def _on_special_untrusted(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """A frame where only one kind may come: SETTINGS at the beginning, CONTINUATION within a header block."""
        if not self._settled:
            if kind != SETTINGS or flags & ACK:
                raise self._fault("did not begin with SETTINGS")
            self._settled, self._special = True, False
            self._on_settings_untrusted(flags, payload)
            self.on_settled()
            return
        if kind != CONTINUATION or stream != self._block_stream:
            raise self._fault("sent another frame within a header block")
        self._add_to_block(payload)
        if flags & END_HEADERS:
            block, self._block = b"".join(self._block), []
            self._special = False
            self._on_block(stream, block, bool(self._block_flags & END_STREAM))

    def _on_data_untrusted(self, flags: int, stream: int, payload: bytes) -> None:
        """Body bytes (6.1)."""
        length = len(payload)
        self._received += length
        exchange = self._exchanges.get(stream)
        if exchange is None:
            self._stray(stream)
            return
        if exchange.got_end:
            raise StreamFault(ErrorCode.STREAM_CLOSED, f"{self.name} sent body bytes after their end")
        if length > exchange.room:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, f"{self.name} sent more on a stream than its window")
        exchange.room -= length
        end = flags & END_STREAM != 0
        if flags & PADDED:
            payload = unpad_untrusted(payload)
            self._open_room(stream, exchange, length - len(payload))
            length = len(payload)
        if not length and not end:
            self._patience.lose(self.now, "send frames that say nothing")
        if exchange.expected >= 0:
            exchange.expected -= length
            if exchange.expected < 0 or (end and exchange.expected):
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, f"{self.name} sent a body that is not as long as it said")
        self._on_body(stream, exchange, payload, end)

    def _on_headers_untrusted(self, flags: int, stream: int, payload: bytes) -> None:
        """A header block, or its beginning (6.2)."""
        if not stream:
            raise self._fault("sent HEADERS on stream 0")
        if flags & PADDED:
            payload = unpad_untrusted(payload)
        if flags & WITH_PRIORITY:
            if len(payload) < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"{self.name} sent HEADERS without their priority")
            payload = payload[5:]
        if flags & END_HEADERS:
            self._on_block(stream, payload, flags & END_STREAM != 0)
            return
        self._special = True
        self._block_stream, self._block_flags, self._block_size = stream, flags, 0
        self._add_to_block(payload)

    def _add_to_block(self, payload: bytes) -> None:
        self._block.append(payload)
        self._block_size += len(payload)
        if len(self._block) > 1 + MAX_CONTINUATIONS or self._block_size > MAX_BLOCK:
            detail = f"{self.name} sent a header block of more than {MAX_BLOCK} bytes or {MAX_CONTINUATIONS} frames"
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, detail)

    def _on_other_untrusted(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """A frame that is neither a body's nor a header block's; of unknown types nothing is thought (5.5)."""
        if kind in _SIZES and len(payload) != _SIZES[kind]:
            fault = StreamFault if kind == PRIORITY and stream else ConnectionFault
            raise fault(ErrorCode.FRAME_SIZE_ERROR, f"{self.name} sent a frame of type {kind} and {len(payload)} bytes")
        if kind in (SETTINGS, PING, GOAWAY) and stream:
            raise self._fault(f"sent a frame of type {kind} on a stream")
        if kind in (PRIORITY, RST_STREAM) and not stream:
            raise self._fault(f"sent a frame of type {kind} on no stream")
        if kind == WINDOW_UPDATE:
            increment = int.from_bytes(payload, "big") & MAX_WINDOW
            if stream > self._last or (stream and not stream & 1):
                raise self._fault("opened the window of a stream that is not open")
            if not increment:
                fault = StreamFault if stream else ConnectionFault
                raise fault(ErrorCode.PROTOCOL_ERROR, f"{self.name} opened a window by nothing")
            self._open_window(stream, increment)
        elif kind == RST_STREAM:
            self._on_rst_stream(stream, int.from_bytes(payload, "big"))
        elif kind == SETTINGS:
            self._on_settings_untrusted(flags, payload)
        elif kind == PING:
            if flags & ACK:
                self._on_pong(payload)
            else:
                self._write_answer(PING, ACK, 0, payload)
        elif kind == GOAWAY:
            if len(payload) < 8:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"{self.name} sent GOAWAY of {len(payload)} bytes")
            last, error = int.from_bytes(payload[:4], "big") & MAX_STREAM, int.from_bytes(payload[4:8], "big")
            self._on_go_away(last, error, payload[8:208].decode(errors="replace"))
        elif kind in (PUSH_PROMISE, CONTINUATION):
            raise self._fault("pushed" if kind == PUSH_PROMISE else "continued a header block that was not begun")

    def _on_settings_untrusted(self, flags: int, payload: bytes) -> None:
        """The peer's settings (6.5), or that it has seen ours."""
        if flags & ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"{self.name} acknowledged settings with settings")
            return
        # A new first window costs a look at every stream, so it weighs as much as there are of them.
        self._patience.lose(self.now, "change its settings", 1 + len(self._exchanges) // 100)
        settings = parse_settings_untrusted(payload)
        self._max_frame = settings.get(MAX_FRAME_SIZE, self._max_frame)
        self._max_streams = settings.get(MAX_CONCURRENT_STREAMS, self._max_streams)
        if HEADER_TABLE_SIZE in settings:
            self._encoder.limit_table(settings[HEADER_TABLE_SIZE])
        if INITIAL_WINDOW_SIZE in settings:
            difference = settings[INITIAL_WINDOW_SIZE] - self._first_window
            self._first_window += difference
            for exchange in self._exchanges.values():
                exchange.window += difference
                if exchange.window > MAX_WINDOW:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"{self.name} opens windows too far")
            for stream, exchange in list(self._exchanges.items()):
                if exchange.pending is not None:
                    self._go_on(stream, exchange)
        self._write_answer(SETTINGS, ACK, 0, b"")

    def _on_rst_stream(self, stream: int, error: int) -> None:
        """The peer broke a stream off (6.4)."""
        if stream > self._last or not stream & 1:
            raise self._fault("broke off a stream that was never opened")
        self._cut.pop(stream, None)
        exchange = self._exchanges.get(stream)
        if exchange is not None:
            self._forget(stream, exchange)
            self._on_reset(stream, exchange, error)

    # Rules that were broken.

    def _fault(self, what: str) -> ConnectionFault:
        return ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{self.name} {what}")

    def _stray(self, stream: int) -> None:
        """A frame of a stream that is not open: it may have crossed our RST_STREAM, else there is no excuse (5.1)."""
        if stream > self._last or not stream & 1:
            raise self._fault(f"sent a frame on stream {stream}, which is not open")
        if stream not in self._cut:
            raise StreamFault(ErrorCode.STREAM_CLOSED, f"{self.name} sent a frame on a stream that is closed")

    def _break(self, stream: int, fault: StreamFault) -> None:
        """Ends a stream whose rules the peer broke."""
        self._patience.lose(self.now, "break the rules of streams")
        exchange = self._exchanges.get(stream)
        if exchange is not None:
            self._forget(stream, exchange)
        self._write_reset(stream, fault.error, provoked=True)
        if exchange is not None:
            self._on_fault(stream, exchange, fault)

    def _decode_untrusted(self, block: bytes) -> Headers:
        """The header list in a block. Raises `TooLong`, or `ConnectionFault` where the table is lost."""
        try:
            return self._decoder.decode_untrusted(block)
        except HeadersTooLong as error:
            raise TooLong(ErrorCode.ENHANCE_YOUR_CALM, f"{self.name}: {error.detail}") from None
        except RemoteProtocolError as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"{self.name}: {error.detail}") from None

    def _forget(self, stream: int, exchange: Exchange) -> None:
        """A stream is over; what of it waits to be sent is dropped."""
        del self._exchanges[stream]
        if exchange.pending is not None:
            self._unblock(stream, exchange)
        if exchange.unread is not None:
            exchange.unread.close()

    def _open_room(self, stream: int, exchange: Exchange, size: int) -> None:
        """Lets the peer send more on a stream."""
        exchange.room += size
        if size and not exchange.got_end:
            self._write(WINDOW_UPDATE, 0, stream, frame.pack_u32(size))
