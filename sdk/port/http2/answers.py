"""Answers: header lists ↔ reply heads and trailers, in both directions.

A packed `ReplyHead` is what stands in an answer's first header list, followed by what stands in its trailers. So each
list is packed by itself, and a small answer, whose two lists and body go into one frame, is their concatenation.
"""

from typing import Final, NamedTuple, TypeVar

import msgpack

from sdk.errors import RemoteProtocolError, Status
from sdk.head import MAX_HEAD, ReplyHead, Trailers, parse_reply_head_untrusted, parse_trailers_untrusted
from sdk.wire.hpack import Headers
from sdk.wire.http2 import ErrorCode, StreamFault

from .fields import (
    GRPC,
    NOT_BEHIND,
    OF_ONE_HOP,
    VIA,
    escape,
    length_untrusted,
    malformed,
    only_fields,
    split_untrusted,
    unescape,
    without,
)
from .requests import is_grpc

_PSEUDO: Final = frozenset((":status",))
_NONE: Final[frozenset[str]] = frozenset()
_FIRST: Final = OF_ONE_HOP | {"content-type"}
_LAST: Final = NOT_BEHIND | {"grpc-status", "grpc-message"}
_LONGEST: Final = MAX_HEAD - 4
_INTERIM: Final = frozenset(map(str, range(102, 200)))  # 100 and 101 are of one connection
_FIVE, _THREE = b"\x95", b"\x93"  # msgpack for arrays of so many

NOT_GRPC: Final = {
    400: Status.INTERNAL, 401: Status.UNAUTHENTICATED, 403: Status.PERMISSION_DENIED, 404: Status.UNIMPLEMENTED,
    429: Status.UNAVAILABLE, 502: Status.UNAVAILABLE, 503: Status.UNAVAILABLE, 504: Status.UNAVAILABLE,
}  # fmt: skip
"""What it means for a gRPC call when it is answered by HTTP alone ("HTTP to gRPC Status Code Mapping")."""

_pack = msgpack.Packer(autoreset=True).pack


class Begun(NamedTuple):
    """What the first header list of an answer says."""

    packed: bytes
    """The first two items of its `ReplyHead`."""
    status: int
    """The HTTP status; below 200 the answer is still to come."""
    grpc: bool
    """Whether it is gRPC's."""
    ended: bytes
    """The other three items, where the list can be all of a gRPC answer (Trailers-Only); else empty."""
    length: int
    """How long its body is to be, in bytes, or -1."""


OK: Final = b"".join(map(_pack, (0, "", ())))
"""The last three items of a `ReplyHead`, and all of `Trailers`, where nothing is to be said."""


def read_answer_untrusted(headers: Headers, *, grpc: bool) -> Begun:
    """What begins an answer to a call, of gRPC's kind or another; raises `StreamFault` for what does not."""
    pseudo, fields = split_untrusted(headers, _PSEUDO)
    status = pseudo.get(":status", "")
    if len(status) != 3 or not (status.isascii() and status.isdigit()) or status < "100" or status == "101":
        raise malformed(f"an answer with status {status[:20]!r}")
    first = dict(reversed(fields))
    content_type = first.get("content-type", "")
    length = length_untrusted(fields)
    if not grpc:
        metadata = (":status", status, *without(fields, _FIRST), "via", VIA)
        return Begun(_fitting(_pack(content_type) + _pack(metadata)), int(status), grpc, b"", length)
    proper = is_grpc(content_type) and status == "200"
    only = [field for field in fields if field[0] not in ("grpc-status", "grpc-message")]
    if "grpc-status" in first:  # it says more than the HTTP status
        return Begun(_pack(content_type) + _pack(()), 200, True, _read_end(first, without(only, _LAST)), length)
    return Begun(_fitting(_pack(content_type) + _pack(without(only, _FIRST))), int(status), proper, b"", length)


def read_trailers_untrusted(headers: Headers, *, grpc: bool) -> bytes:
    """The three items of `Trailers` in the list that ends an answer, or a request; raises `StreamFault` for what does
    not. Of gRPC, one that says no status is answered for with UNKNOWN."""
    _, fields = split_untrusted(headers, _NONE)
    if not grpc:
        return _fitting(OK[:2] + _pack(without(fields, NOT_BEHIND)))
    return _read_end(dict(reversed(fields)), without(fields, _LAST))


def _fitting(packed: bytes) -> bytes:
    if len(packed) > _LONGEST:
        raise StreamFault(ErrorCode.ENHANCE_YOUR_CALM, f"headers of {len(packed)} bytes do not fit into a frame")
    return packed


def _read_end(first: dict[str, str], metadata: Headers) -> bytes:
    text = first.get("grpc-status", "")
    status = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else Status.UNKNOWN
    message = unescape(first.get("grpc-message", ""))
    return _fitting(b"".join(map(_pack, (int(status), message, metadata))))


def pack_head(begun: bytes, ended: bytes = OK) -> bytes:
    """A packed `ReplyHead` from its parts."""
    return b"".join((_FIVE, begun, ended))


def pack_ended(ended: bytes) -> bytes:
    """Packed `Trailers` from their items."""
    return _THREE + ended


class Answer(NamedTuple):
    """An answer, or the end of one, to be written."""

    headers: Headers
    trailers: Headers
    """What follows the body; where it is empty, the body, or without one the header list, is the end."""


def write_answer_untrusted(packed: bytes, *, grpc: bool, whole: bool, empty: bool) -> Answer:
    """An answer from a packed `ReplyHead`: `whole` says that it also ends the answer, `empty` that no body is in
    between. Raises `RemoteProtocolError` for what is no head."""
    key = (packed, grpc, whole, empty)
    known = _answers.get(key)
    if known is None:
        head = parse_reply_head_untrusted(packed)
        headers = _begin(head, grpc=grpc)
        trailers = _end(Trailers(head.status, head.message, head.trailers), grpc=grpc) if whole else ()
        if grpc and whole and empty and not head.metadata:
            headers, trailers = headers + trailers, ()  # Trailers-Only
        known = _remember(_answers, key, Answer(headers, trailers), len(packed))
    return known


def write_interim_untrusted(packed: bytes) -> Headers:
    """What comes before an answer of HTTP, from a packed `ReplyHead`; raises `RemoteProtocolError` for what cannot."""
    metadata = parse_reply_head_untrusted(packed).metadata
    status = dict(zip(metadata[::2], metadata[1::2], strict=True)).get(":status", "")
    if status not in _INTERIM:
        raise RemoteProtocolError(f"an interim answer with status {status[:20]!r}")
    return (":status", status, *only_fields(metadata, _FIRST | {"content-length"}))


def write_trailers_untrusted(packed: bytes, *, grpc: bool) -> Headers:
    """The header list that ends an answer, from packed `Trailers`; for HTTP it may be empty, and then is none."""
    key = (packed, grpc)
    known = _trailers.get(key)
    if known is None:
        known = _remember(_trailers, key, _end(parse_trailers_untrusted(packed), grpc=grpc), len(packed))
    return known


def _begin(head: ReplyHead, *, grpc: bool) -> Headers:
    fields = only_fields(head.metadata, _FIRST)
    if grpc:
        content_type = head.content_type if is_grpc(head.content_type) else GRPC
        return (":status", "200", *only_fields(("content-type", content_type), _NONE), *fields)
    status = dict(zip(head.metadata[::2], head.metadata[1::2], strict=True)).get(":status", "200")
    if not (len(status) == 3 and status.isascii() and status.isdigit() and status >= "200"):
        raise RemoteProtocolError(f"an answer with status {status[:20]!r} cannot be given over HTTP/2")
    typed = only_fields(("content-type", head.content_type), _NONE) if head.content_type else ()
    return (":status", status, *typed, *fields)


def _end(trailers: Trailers, *, grpc: bool) -> Headers:
    if not grpc:
        return only_fields(trailers.metadata, NOT_BEHIND)
    message = ("grpc-message", escape(trailers.message)) if trailers.message else ()
    return ("grpc-status", str(trailers.status), *message, *only_fields(trailers.metadata, _LAST))


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_MOST_KNOWN = 1024
_MOST_KNOWN_SIZE = 512
_answers: dict[tuple[bytes, bool, bool, bool], Answer] = {}
_trailers: dict[tuple[bytes, bool], Headers] = {}


def _remember(memo: dict[_Key, _Value], key: _Key, value: _Value, size: int) -> _Value:
    if size <= _MOST_KNOWN_SIZE:
        if len(memo) >= _MOST_KNOWN:
            memo.clear()
        memo[key] = value
    return value
