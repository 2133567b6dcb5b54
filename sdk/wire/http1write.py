"""The heads of calls as HTTP/1.1 heads: the way back of `http1read`, and remembered likewise."""

from http import HTTPStatus
from typing import Final, NamedTuple

from sdk.head import CallHead, Metadata, ReplyHead, parse_call_head_untrusted, parse_reply_head_untrusted

from .http1fields import HOP_BY_HOP, pairs, remember
from .http1head import Fields, Malformed, content_length_untrusted, is_authority, is_protocol, is_text, is_token
from .http1read import PROTOCOL

UNKNOWN: Final = -1
"""In place of a body's length: nobody has said it."""

_PHRASES = {each.value: each.phrase for each in HTTPStatus}

_INTERIM = frozenset(map(str, range(102, 200)))  # 100 and 101 are of one connection

_ID_FOLLOWS = b"\xc4\x10"  # msgpack for 16 bytes: the call id, which alone differs from call to call


class Asking(NamedTuple):
    """A request to be written."""

    lines: bytes
    """Its head, without what frames the body and without the empty line."""
    length: int
    """The length of the body where `lines` say it, else `UNKNOWN`."""
    method: str
    upgrade: str
    """What it wants to speak afterwards; empty for HTTP."""


class Answering(NamedTuple):
    """An answer to be written."""

    lines: bytes
    """Its head, without what frames the body and without the empty line."""
    length: int
    """The length of the body where `lines` say it, else `UNKNOWN`."""
    status: int
    trailers: Metadata
    """What is to come behind the body, where the head said it already."""


_asking: dict[bytes, Asking] = {}
_answering: dict[bytes, Answering] = {}


def write_request_untrusted(packed: bytes) -> Asking:
    """A request from a packed `CallHead`; raises `RemoteProtocolError` for one that no HTTP request can be."""
    known = _asking.get(packed[:-16])
    if known is not None:
        return known
    asking = _write_request(parse_call_head_untrusted(packed))
    return remember(_asking, packed[:-16], asking) if packed[-18:-16] == _ID_FOLLOWS else asking


def write_answer_untrusted(packed: bytes) -> Answering:
    """An answer from a packed `ReplyHead`; raises `RemoteProtocolError` for one that no HTTP answer can be."""
    known = _answering.get(packed)
    return known or remember(_answering, packed, _write_answer(parse_reply_head_untrusted(packed)))


def write_interim_untrusted(packed: bytes) -> bytes:
    """What comes before an answer, whole, from a packed `ReplyHead`; raises `RemoteProtocolError` for what cannot."""
    head = parse_reply_head_untrusted(packed)
    pseudo, fields = _split(head.metadata)
    status = pseudo.get(":status", "")
    if status not in _INTERIM:
        raise Malformed("the interim answer has no status of one")
    lines, _ = _lines([field for field in fields if field[0] != "content-length"])
    return b"HTTP/1.1 %b %b\r\n%b\r\n" % (status.encode(), _PHRASES.get(int(status), "").encode(), lines)


def _write_request(head: CallHead) -> Asking:
    if head.protocol != PROTOCOL:
        raise Malformed(f"a call of protocol {head.protocol} cannot be made over HTTP")
    pseudo, fields = _split(head.metadata)
    method, authority, upgrade = pseudo.get(":method", ""), pseudo.get(":authority", ""), pseudo.get(":upgrade", "")
    if not is_token(method) or method == "CONNECT":
        raise Malformed("the call has no method")
    if not is_authority(authority):
        raise Malformed("the call's authority is none")
    if upgrade and not is_protocol(upgrade):
        raise Malformed("the call wants to upgrade to what is none")
    target = head.endpoint
    if not (target.startswith("/") or target == "*") or not is_text(target) or " " in target or "\t" in target:
        raise Malformed("the call's endpoint is no path")
    lines = [f"{method} {target} HTTP/1.1\r\nhost: {authority}\r\n"]
    if upgrade:
        lines.append(f"connection: upgrade\r\nupgrade: {upgrade}\r\n")
    elif pseudo.get(":te") == "trailers":
        lines.append("connection: te\r\nte: trailers\r\n")
    if head.content_type:
        fields = pairs(("content-type", head.content_type)) + fields
    text, length = _lines(fields)
    return Asking(b"".join((*map(_bytes, lines), text)), length, method, upgrade)


def _write_answer(head: ReplyHead) -> Answering:
    pseudo, fields = _split(head.metadata)
    text = pseudo.get(":status", "")
    if len(text) != 3 or not (text.isascii() and text.isdigit()) or (int(text) < 200 and text != "101"):
        raise Malformed("the answer has no status")
    status = int(text)
    start = f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n"
    if status == HTTPStatus.SWITCHING_PROTOCOLS:
        upgrade = pseudo.get(":upgrade", "")
        if not is_protocol(upgrade):
            raise Malformed("the answer upgrades to what is none")
        start += f"connection: upgrade\r\nupgrade: {upgrade}\r\n"
    if status in (101, 204):  # neither has a body, nor may it say how long one is (RFC 9110, 8.6)
        fields = [field for field in fields if field[0] != "content-length"]
    if head.content_type:
        fields = pairs(("content-type", head.content_type)) + fields
    lines, length = _lines(fields)
    return Answering(start.encode() + lines, length, status, head.trailers)


def _split(metadata: Metadata) -> tuple[dict[str, str], Fields]:
    """The entries whose names begin with a colon, and the fields behind them."""
    at = 0
    while at < len(metadata) and metadata[at].startswith(":"):
        at += 2
    pseudo = dict(zip(metadata[0:at:2], metadata[1:at:2], strict=True))
    return pseudo, pairs(metadata[at:])


def _lines(fields: Fields) -> tuple[bytes, int]:
    """Fields as lines, and the length of the body that they tell of."""
    length = UNKNOWN
    lines = []
    for name, value in fields:
        if name == "content-length":
            if length != UNKNOWN:
                raise Malformed("Content-Length is said more than once")
            length = content_length_untrusted(value)
        elif name == "host" or name in HOP_BY_HOP:
            continue
        lines.append(f"{name}: {value}\r\n")
    return _bytes("".join(lines)), length


def _bytes(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise Malformed("the call's head cannot be said in HTTP") from None
