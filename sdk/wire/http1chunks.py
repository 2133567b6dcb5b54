"""The chunked transfer coding (RFC 9112, 7.1): a body whose length nobody knows when it begins, and trailers behind it.

Chunk sizes are where implementations differ most, and where requests are smuggled: a size in anything but plain
hexadecimal digits, a line that ends in a bare LF, data that runs on past its size are all refused.
"""

import enum
import re
from typing import Final

from .http1head import MAX_HEAD, Fields, Malformed, fields_untrusted

MAX_LINE: Final = 256
"""Longest line of a chunk, in bytes. Nobody uses extensions, and nobody has to read long ones (CVE-2023-39326)."""

MAX_EXTENSIONS: Final = 16384
"""Bytes of extensions in one body, which would otherwise cost reading and carry nothing (Go allows as many)."""

_size_line = re.compile(rb"([0-9A-Fa-f]{1,15})(;[^\x00-\x08\x0a-\x1f\x7f]*)?").fullmatch

LAST: Final = b"0\r\n\r\n"
"""What ends a body without trailers."""


def chunk(data: bytes) -> bytes:
    """Some bytes of a body as one chunk; no bytes are none, for an empty chunk is the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


class _At(enum.Enum):
    """What the next byte belongs to."""

    SIZE = enum.auto()
    DATA = enum.auto()
    LINE_END = enum.auto()
    TRAILERS = enum.auto()
    BEHIND = enum.auto()


class ChunkReader:
    """Takes the chunks of one body apart."""

    __slots__ = ("_at", "_buffer", "_extensions", "_missing", "rest", "trailers")

    def __init__(self) -> None:
        self.trailers: Fields = []
        """What came behind the last chunk."""
        self.rest = b""
        """What came behind the body."""
        self._at = _At.SIZE
        self._buffer = b""
        self._missing = 0
        self._extensions = 0

    @property
    def done(self) -> bool:
        """Whether the body is at its end."""
        return self._at is _At.BEHIND

    @property
    def announced(self) -> bool:
        """Whether bytes have to come: a chunk, a line or the trailers have begun."""
        return self._at is not _At.SIZE or bool(self._buffer)

    def receive_untrusted(self, data: bytes) -> bytes:
        """Takes bytes of the connection, returns those of the body among them; raises `Malformed`."""
        if self._at is _At.DATA and len(data) < self._missing:  # the middle of a long chunk
            self._missing -= len(data)
            return data
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        body: list[bytes] = []
        start, size = 0, len(data)
        while start < size:
            at = self._at
            if at is _At.SIZE:
                stop = self._line_end(data, start)
                if stop < 0:
                    break
                self._missing = self._chunk_size(data[start:stop])
                self._at = _At.DATA if self._missing else _At.TRAILERS
                start = stop + 2
            elif at is _At.DATA:
                piece = data[start : start + self._missing]
                body.append(piece)
                start += len(piece)
                self._missing -= len(piece)
                if not self._missing:
                    self._at = _At.LINE_END
            elif at is _At.LINE_END:
                if size - start < 2 and data[start] == 0x0D:
                    break
                if data[start : start + 2] != b"\r\n":
                    raise Malformed("a chunk is longer than its size says")
                start += 2
                self._at = _At.SIZE
            elif at is _At.TRAILERS:
                stop = self._trailers_end(data, start)
                if stop < 0:
                    break
                self.trailers = fields_untrusted(data[start : stop - 2].decode("latin-1"))
                self._at = _At.BEHIND
                start = stop
            else:
                self.rest = data[start:]
                return b"".join(body)
        self._buffer = data[start:]
        return body[0] if len(body) == 1 else b"".join(body)

    def _line_end(self, data: bytes, start: int) -> int:
        """Where the line of a chunk's size ends, or -1 when that has not come yet."""
        stop = data.find(b"\r\n", start, start + MAX_LINE)
        if stop < 0 and len(data) - start >= MAX_LINE:
            raise Malformed(f"the line of a chunk's size has more than {MAX_LINE} bytes")
        if stop < 0 and data.find(b"\n", start) >= 0:
            raise Malformed("the line of a chunk's size ends in a bare LF")
        return stop

    def _chunk_size(self, line: bytes) -> int:
        matched = _size_line(line)
        if matched is None:
            raise Malformed("the size of a chunk is no hexadecimal number")
        if matched[2]:
            self._extensions += len(matched[2])
            if self._extensions > MAX_EXTENSIONS:
                raise Malformed("the chunks have too many extensions")
        return int(matched[1], 16)

    def _trailers_end(self, data: bytes, start: int) -> int:
        """Where the empty line behind the trailers ends, or -1 when that has not come yet."""
        if data.startswith(b"\r\n", start):
            return start + 2
        stop = data.find(b"\r\n\r\n", start)
        if stop - start > MAX_HEAD or (stop < 0 and len(data) - start > MAX_HEAD):
            raise Malformed(f"the trailers have more than {MAX_HEAD >> 10} KiB", 431)
        return stop + 4 if stop >= 0 else -1
