"""The data phase of a WebSocket (RFC 6455, section 5), without I/O: bytes of messages in, frames out, and back.

The library that makes the upgrade carries data too, at a third of the pace: a link uses nothing of what it offers
there. Only masking comes from `websockets`, whose C part does 64 KiB in a microsecond. Binary messages are one stream
of bytes here, so a fragment is handed on as soon as it is whole, and where a message ends means nothing.
"""

import struct
from collections.abc import Callable
from typing import Final

from sdk.errors import RemoteProtocolError

MAX_MESSAGE: Final = 65536
"""Longest frame, in bytes: sent as well as taken."""

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
UNSUPPORTED: Final = 1003
NO_CODE: Final = 1005
TOO_BIG: Final = 1009

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_DATA = (_BINARY, _CONTINUATION)
_FIN, _MASKED = 0x80, 0x80


class WebSocketFault(RemoteProtocolError):
    """The peer broke the rules of WebSocket."""

    def __init__(self, detail: str, close_with: int = PROTOCOL_ERROR) -> None:
        super().__init__(f"the peer broke the rules of WebSocket: {detail}")
        self.close_with = close_with
        """The code that tells it which."""


class WebSocketFrames:
    """One end. What it has to answer of itself, a PONG or the echo of a CLOSE, waits in `answers`."""

    def __init__(self, *, client: bool, mask: Callable[[], bytes]) -> None:
        """`mask` gives four random bytes: what a client sends is masked with new ones in each frame."""
        self.answers: list[bytes] = []
        """Frames to be sent before anything else; at most one of each kind."""
        self.closed: int | None = None
        """The code that the peer closed with, once it has."""
        self._client = client
        self._mask = mask
        self._buffer = b""
        self._in_message = False
        self._said_close = False

    def pack(self, data: bytes) -> list[bytes]:
        """Binary messages of at most 64 KiB that carry the data: headers and payloads in turn."""
        if len(data) <= MAX_MESSAGE:
            return self._frame(_BINARY, data)
        pieces = (data[start : start + MAX_MESSAGE] for start in range(0, len(data), MAX_MESSAGE))
        return [part for piece in pieces for part in self._frame(_BINARY, piece)]

    def pack_close(self, code: int) -> bytes:
        """The frame that ends this direction; empty when it was sent already."""
        if self._said_close:
            return b""
        self._said_close = True
        return b"".join(self._frame(_CLOSE, b"" if code == NO_CODE else struct.pack("!H", code)))

    def receive_untrusted(self, data: bytes) -> bytes:
        """Takes bytes of the connection; returns those of messages. Raises `WebSocketFault`, after which nothing more
        can be read."""
        buffer = self._buffer + data if self._buffer else data
        start, size = 0, len(buffer)
        out = []
        while size - start >= 2 and self.closed is None:
            first, second = buffer[start], buffer[start + 1]
            length, body = second & 0x7F, start + 2
            if length == 126:
                body += 2
                if size < body:
                    break
                length = buffer[start + 2] << 8 | buffer[start + 3]
            elif length == 127:
                body += 8
                if size < body:
                    break
                length = int.from_bytes(buffer[start + 2 : body], "big")
            if length > MAX_MESSAGE:
                raise WebSocketFault(f"a frame of more than {MAX_MESSAGE} bytes", TOO_BIG)
            if bool(second & _MASKED) == self._client:
                raise WebSocketFault("its frames are masked" if self._client else "its frames are not masked")
            key = b""
            if not self._client:
                key = buffer[body : body + 4]
                body += 4
            if size < body + length:
                break
            payload = buffer[body : body + length]
            start = body + length
            piece = self._take(first, mask(payload, key) if key else payload)
            if piece:
                out.append(piece)
        self._buffer = buffer[start:]
        return out[0] if len(out) == 1 else b"".join(out)

    def _take(self, first: int, payload: bytes) -> bytes:
        """What a frame brings to the stream."""
        kind = first & 0x0F
        if first & 0x70:
            raise WebSocketFault("an extension that nobody asked for")
        if kind in _DATA:
            if (kind == _CONTINUATION) != self._in_message:
                raise WebSocketFault("a fragment where none was due" if kind == 0 else "a message inside another one")
            self._in_message = not first & _FIN
            return payload
        if kind == _TEXT:
            raise WebSocketFault("it sent text; a link is binary", UNSUPPORTED)
        if not first & _FIN or len(payload) > 125:
            raise WebSocketFault("a control frame that is too long or in pieces")
        if kind == _PING:
            self.answers = [b"".join(self._frame(_PONG, payload))]  # the last one may stand for those before (5.5.3)
        elif kind == _CLOSE:
            if len(payload) == 1:
                raise WebSocketFault("a close code of one byte")
            self.closed = int.from_bytes(payload[:2], "big") if payload else NO_CODE
            self.answers = [self.pack_close(self.closed)]
        elif kind != _PONG:
            raise WebSocketFault(f"a frame of type {kind}")
        return b""

    def _frame(self, kind: int, data: bytes) -> list[bytes]:
        size = len(data)
        masked = _MASKED if self._client else 0
        if size < 126:
            header = bytes((_FIN | kind, masked | size))
        elif size < 65536:
            header = struct.pack("!BBH", _FIN | kind, masked | 126, size)
        else:
            header = struct.pack("!BBQ", _FIN | kind, masked | 127, size)
        if not masked:
            return [header, data]
        key = self._mask()
        return [header + key, mask(data, key)]


def mask(data: bytes, key: bytes) -> bytes:
    """The data with every fourth byte XORed with the same byte of the key (5.3); again, the data."""
    return _apply(data, key)


def mask_in_python(data: bytes, key: bytes) -> bytes:
    """The same where `websockets` came without its C part: 1 µs for each KiB, as one big integer."""
    size = len(data)
    keys = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(keys, "big")).to_bytes(size, "big")


_apply: Callable[[bytes, bytes], bytes] = mask_in_python
try:
    from websockets.speedups import apply_mask
except ImportError:
    pass
else:
    _apply = apply_mask
