"""HPACK, the compression of HTTP/2's header fields (RFC 7541): both directions of one connection.

A header list is one flat tuple of text, `name, value, name, value`, like the metadata of a call; bytes and characters
correspond by Latin-1, so that every value comes through unchanged.

Programs send the same few header blocks again and again: once the fields that repeat are in the table, a block is a
dozen index bytes. So each coder has a memo, in which its user keeps what it has made of a block, or of a list, for as
long as the table stays as it is. That turns the work for a call into one look-up; the frame-level forwarder that this
is measured by spends nothing else on headers. A table that never comes to rest makes the memo useless, which is why
the encoder puts a field into it only at its second appearance: an identifier that differs in every call never gets
there.
"""

from collections import deque
from typing import Any, Final, TypeVar

from sdk.errors import RemoteProtocolError

from .huffman import decode_huffman_untrusted

Headers = tuple[str, ...]
"""name, value, name, value …"""

_Meaning = TypeVar("_Meaning")

TABLE_SIZE: Final = 4096
"""Bytes of a dynamic table, ours and at most the peer's: the value every HTTP/2 implementation starts with."""

MAX_LIST: Final = 65536
"""Bytes of a header list, counted as RFC 7541, 4.1 has it: 32 for each field, and name and value. Envoy takes 60 KiB,
nghttp2 64, Go a megabyte."""

MAX_FIELDS: Final = 256
"""Fields of a header list. Envoy and Apache take 100; a gRPC client may well send more metadata than a browser sends
headers."""

MAX_MEMO: Final = 512
"""Blocks or lists that are remembered."""

MAX_MEMO_BLOCK: Final = 1024
"""Longest block that is, in bytes."""

_OVERHEAD: Final = 32

_STATIC: Final = (
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
)  # fmt: skip
"""The static table (Appendix A); its first entry has the index 1."""

_STATIC_SIZE: Final = len(_STATIC)
_STATIC_INDEX: Final = {field: index for index, field in reversed(list(enumerate(_STATIC, 1)))}
_STATIC_NAME: Final = {name: index for index, (name, _) in reversed(list(enumerate(_STATIC, 1)))}

NEVER_INDEXED: Final = frozenset(
    ("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token")
)
"""Fields that no table along the way may hold, because what is in a table can be guessed at by its size (7.1.3).

They are written so whichever way they came: as literals that are never indexed, from an index, or by HTTP/1.1. That is
all that is known of secrets here. The mark by which a program may say so of any other field is read and not kept: the
head of a call, which may go on in frames and end in HTTP/1.1, has no place for it, and a name that a program has marked
once says nothing of others. Whatever else has a secret to hide is put into a table, at most, once it has been repeated
on one connection."""

NOT_INDEXED: Final = frozenset(
    ("content-length", "date", "grpc-message", "grpc-timeout", "traceparent", "tracestate", "x-request-id")
)
"""Fields that differ from call to call: in the table they would only push out those that repeat."""

_RESIZED: Final = ("", "")
"""Stands for a change of the table that is none of its fields."""

_MAX_STRING: Final = 128
"""Longest string that is remembered, in bytes as Huffman has it: most are shorter, and to decode one takes a step for
each of its characters."""

_MAX_INDEXED: Final = 1024
_MAX_SEEN: Final = 256
_MAX_SHIFT: Final = 21


class HeadersTooLong(RemoteProtocolError):
    """A header list of more bytes or fields than are taken. It was read to its end, so that the connection can go
    on."""


class Decoder:
    """Reads the header blocks of a connection, in the order in which they came.

    A block that says nothing by entries of the dynamic table means the same whatever is in it. It is remembered apart,
    with what it puts there: some programs (nginx) put the same fields into the table with every answer.
    """

    def __init__(self) -> None:
        self.changes = 0
        """Grows whenever the table changes."""
        self._memo: dict[bytes, Any] = {}  # empty after a block that changed the table
        self._apart: dict[bytes, tuple[Any, tuple[tuple[str, str], ...]]] = {}  # what a block means, and puts there
        self._strings: dict[bytes, str] = {}
        self._put: list[tuple[str, str]] = []  # by the last block
        self._leaned = False  # the last block names entries of the dynamic table, or resizes it
        self._fields: deque[tuple[str, str]] = deque()
        self._size = 0
        self._limit = TABLE_SIZE

    def recall(self, block: bytes, kind: type[_Meaning]) -> _Meaning | None:
        """What the user made of this block when it came before, and `remember`ed, if that is of this kind. Then the
        block is decoded with that; else nothing has happened."""
        meaning = self._memo.get(block)
        if meaning is not None:
            return meaning if type(meaning) is kind else None
        known = self._apart.get(block)
        if known is None:
            return None
        meaning, put = known
        if type(meaning) is not kind:
            return None
        for field in put:
            self._insert(field)
        return meaning

    def remember(self, block: bytes, meaning: object) -> None:
        """Keeps what a block means, which was decoded last."""
        if len(block) > MAX_MEMO_BLOCK:
            return
        if not self._leaned:
            if len(self._apart) >= MAX_MEMO:
                self._apart.clear()
            self._apart[block] = meaning, tuple(self._put)
        elif not self._put:
            if len(self._memo) >= MAX_MEMO:
                self._memo.clear()
            self._memo[block] = meaning

    def decode_untrusted(self, block: bytes) -> Headers:
        """The header list in a block.

        Raises `HeadersTooLong` for a list that is over a limit, and `RemoteProtocolError` for what is no header block:
        then the connection cannot go on.
        """
        try:
            return self._decode(block)
        except IndexError:
            raise RemoteProtocolError("a header block ends within a field") from None

    def _decode(self, block: bytes) -> Headers:
        headers: list[str] = []
        at, end, room = 0, len(block), MAX_LIST
        self._put, self._leaned = [], False
        while at < end:
            first = block[at]
            at += 1
            if first & 0x80:
                index = first & 0x7F
                if index == 0x7F:
                    index, at = _integer(block, at, 0x7F)
                field = self._field(index)
            elif first & 0x60 == 0x20:
                if headers:
                    raise RemoteProtocolError("the size of the header table changes within a header block")
                self._leaned = True
                self._put.append(_RESIZED)
                limit = first & 0x1F
                if limit == 0x1F:
                    limit, at = _integer(block, at, 0x1F)
                self._resize(limit)
                continue
            else:
                mask = 0x3F if first & 0x40 else 0x0F
                index = first & mask
                if index == mask:
                    index, at = _integer(block, at, mask)
                if index:
                    name = self._field(index)[0]
                else:
                    name, at = self._string(block, at)
                value, at = self._string(block, at)
                field = (name, value)
                if first & 0x40:
                    self._insert(field)
                    self._put.append(field)
            room -= len(field[0]) + len(field[1]) + _OVERHEAD
            if room >= 0:
                headers += field
        if room < 0 or len(headers) > 2 * MAX_FIELDS:
            raise HeadersTooLong(f"header lists of up to {MAX_LIST} bytes and {MAX_FIELDS} fields are taken")
        return tuple(headers)

    def _field(self, index: int) -> tuple[str, str]:
        if index > _STATIC_SIZE:
            if index - _STATIC_SIZE > len(self._fields):
                raise RemoteProtocolError(f"a header block names entry {index} of the table, which has no such entry")
            self._leaned = True
            return self._fields[index - _STATIC_SIZE - 1]
        if not index:
            raise RemoteProtocolError("a header block names entry 0 of the table")
        return _STATIC[index - 1]

    def _insert(self, field: tuple[str, str]) -> None:
        self._changed()
        self._fields.appendleft(field)
        self._size += len(field[0]) + len(field[1]) + _OVERHEAD
        self._evict()

    def _resize(self, limit: int) -> None:
        if limit > TABLE_SIZE:
            raise RemoteProtocolError(f"a header table of {limit} bytes is over the limit of {TABLE_SIZE}")
        self._changed()
        self._limit = limit
        self._evict()

    def _changed(self) -> None:
        self.changes += 1
        if self._memo:
            self._memo = {}

    def _evict(self) -> None:
        while self._size > self._limit:
            name, value = self._fields.pop()
            self._size -= len(name) + len(value) + _OVERHEAD

    def _string(self, block: bytes, at: int) -> tuple[str, int]:
        """A string (5.2), and where it ends."""
        first = block[at]
        length = first & 0x7F
        at += 1
        if length == 0x7F:
            length, at = _integer(block, at, 0x7F)
        end = at + length
        if end > len(block):
            raise RemoteProtocolError("a header block ends within a string")
        data = block[at:end]
        if not first & 0x80:
            return data.decode("latin-1"), end
        text = self._strings.get(data)
        if text is None:
            text = decode_huffman_untrusted(data).decode("latin-1")
            if length <= _MAX_STRING:
                if len(self._strings) >= MAX_MEMO:
                    self._strings.clear()
                self._strings[data] = text
        return text, end


def _integer(block: bytes, at: int, value: int) -> tuple[int, int]:
    """An integer that fills its prefix (5.1), and where it ends."""
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > _MAX_SHIFT:
            raise RemoteProtocolError("a header block holds an integer of more than four bytes")


class Encoder:
    """Writes the header blocks of a connection. They have to be sent in the order in which they were made."""

    def __init__(self) -> None:
        self.memo: dict[Any, Any] = {}
        """Blocks, by whatever the user knows them by; empty after a block that changed the table. Written by
        `remember`."""
        self.changes = 0
        """Grows with every list that would now be written in another way."""
        self._fields: deque[tuple[str, str]] = deque()
        self._numbers: dict[tuple[str, str], int] = {}  # of each field in the table: how many were put in before it
        self._inserted = 0
        self._size = 0
        self._limit = TABLE_SIZE
        self._told: tuple[int, ...] = ()
        self._seen: dict[tuple[str, str], None] = {}

    def remember(self, key: object, made: object, since: int) -> None:
        """Keeps a block, or what holds several, unless `changes` has grown `since` they were begun."""
        if self.changes == since:
            if len(self.memo) >= MAX_MEMO:
                self.memo.clear()
            self.memo[key] = made

    def limit_table(self, size: int) -> None:
        """The peer lets the table have so many bytes; it hears with the next block what is made of it (4.2)."""
        size = min(size, TABLE_SIZE)
        if size != self._limit:
            # Of several changes the smallest is told too: the peer has emptied its table for it.
            lowest = min((size, *self._told))
            self._told = (size,) if lowest == size else (lowest, size)
            self._limit = size
            self._changed()
            self._evict()

    def encode(self, headers: Headers) -> bytes:
        """A block that says this header list. What Latin-1 has no letters for goes out as UTF-8."""
        out = bytearray()
        if self._told:
            for size in self._told:
                _write_integer(out, 0x20, 0x1F, size)
            self._told = ()
            self._changed()
        for at in range(0, len(headers), 2):
            field = (headers[at], headers[at + 1])
            index = _STATIC_INDEX.get(field)
            if index is None and (number := self._numbers.get(field)) is not None:
                index = _STATIC_SIZE + self._inserted - number
            if index is None:
                self._write_literal(out, field)
            else:
                _write_integer(out, 0x80, 0x7F, index)
        return bytes(out)

    def _write_literal(self, out: bytearray, field: tuple[str, str]) -> None:
        name, value = _to_bytes(field[0]), _to_bytes(field[1])
        size = len(name) + len(value) + _OVERHEAD
        index = _STATIC_NAME.get(field[0], 0)
        if field[0] in NEVER_INDEXED:
            _write_integer(out, 0x10, 0x0F, index)
        elif field[0] in NOT_INDEXED or size > min(_MAX_INDEXED, self._limit) or self._is_new(field):
            _write_integer(out, 0, 0x0F, index)
        else:
            _write_integer(out, 0x40, 0x3F, index)
            self._changed()
            self._fields.appendleft(field)
            self._numbers[field] = self._inserted
            self._inserted += 1
            self._size += size
            self._evict()
        for text in (value,) if index else (name, value):
            _write_integer(out, 0, 0x7F, len(text))
            out += text

    def _is_new(self, field: tuple[str, str]) -> bool:
        """Whether a field has not appeared before, or so long ago that it is forgotten."""
        seen = self._seen
        if field in seen:
            del seen[field]
            return False
        if len(seen) >= _MAX_SEEN:
            del seen[next(iter(seen))]
        seen[field] = None
        self.changes += 1
        return True

    def _changed(self) -> None:
        self.changes += 1
        self.memo.clear()

    def _evict(self) -> None:
        while self._size > self._limit:
            field = self._fields.pop()
            del self._numbers[field]
            self._size -= len(_to_bytes(field[0])) + len(_to_bytes(field[1])) + _OVERHEAD


def _to_bytes(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode(errors="replace")


def _write_integer(out: bytearray, first: int, mask: int, value: int) -> None:
    """An integer (5.1) behind the bits of its field."""
    if value < mask:
        out.append(first | value)
        return
    out.append(first | mask)
    value -= mask
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
