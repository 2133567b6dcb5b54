"""Header fields: which of them may stand in a message (RFC 9113, 8.2 and 8.3), which of them go on, and gRPC's own way
of writing a sentence ("gRPC over HTTP2", PROTOCOL-HTTP2.md)."""

import re
from typing import Final
from urllib.parse import unquote

from sdk.head import Metadata
from sdk.wire.hpack import Headers
from sdk.wire.http2 import ErrorCode, StreamFault

GRPC: Final = "application/grpc"
"""What the content type of every gRPC message begins with."""

VIA: Final = "2 micro"
"""What this network adds to `Via` (RFC 9110, 7.6.3)."""

OF_THE_CONNECTION: Final = frozenset(
    ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "http2-settings")
)
"""Fields that say something of one connection; there are none in HTTP/2 (8.2.2)."""

OF_ONE_HOP: Final = OF_THE_CONNECTION | {
    "te", "proxy-authorization", "proxy-authenticate", "proxy-authentication-info", "micro-fate",
}  # fmt: skip
"""Fields that go no further than to the next HTTP program (RFC 9110, 7.6.1 and 11.7), and what only a node says to a
program: an instance that hands on what became of a call of its own would say it of the call that it has answered."""

NOT_BEHIND: Final = OF_ONE_HOP | {
    "content-length", "host", "content-encoding", "content-type", "content-range", "trailer", "expect", "range",
    "authorization", "cookie", "set-cookie", "cache-control", "max-forwards", "forwarded", "via", "micro-service",
}  # fmt: skip
"""Fields that may not be trailers: whoever reads them there has acted on their absence already (RFC 9110, 6.5.1)."""

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_VALUE: Final = re.compile(r"[^\0\r\n \t](?:[^\0\r\n]*[^\0\r\n \t])?|").fullmatch
_ESCAPED: Final = re.compile(r"[^ -$&-~]").sub


def is_field(name: str, value: str) -> bool:
    """Whether this can be a field."""
    return _NAME(name) is not None and _VALUE(value) is not None


def split_untrusted(headers: Headers, pseudo: frozenset[str]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The pseudo-header fields of a message, of which these may be, and all others in order.

    Raises `StreamFault` for a malformed message (8.1.1).
    """
    leading: dict[str, str] = {}
    fields: list[tuple[str, str]] = []
    for at in range(0, len(headers), 2):
        name, value = headers[at], headers[at + 1]
        if _VALUE(value) is None:
            raise malformed(f"the value of field {name!r} has a character that none may have")
        if name[:1] == ":":
            if name not in pseudo or name in leading or fields:
                raise malformed(f"pseudo-header field {name!r} is unknown, repeated or out of place")
            leading[name] = value
        elif _NAME(name) is None:
            raise malformed(f"the name of field {name!r} has a character that none may have")
        elif name in OF_THE_CONNECTION or (name == "te" and value != "trailers"):
            raise malformed(f"field {name!r} is of another version of HTTP")
        else:
            fields.append((name, value))
    return leading, fields


def malformed(detail: str) -> StreamFault:
    """What ends a stream with a malformed message."""
    return StreamFault(ErrorCode.PROTOCOL_ERROR, detail)


def length_untrusted(fields: list[tuple[str, str]]) -> int:
    """How long the body is to be, in bytes; -1 where nothing says so."""
    lengths = {value for name, value in fields if name == "content-length"}
    if not lengths:
        return -1
    [length, *others] = lengths
    if others or not (length.isascii() and length.isdigit() and len(length) < 19):
        raise malformed("content-length is no number, or more than one")
    return int(length)


def without(fields: list[tuple[str, str]], left_out: frozenset[str]) -> Metadata:
    """Fields as metadata, but for some."""
    return tuple(part for field in fields if field[0] not in left_out for part in field)


def only_fields(metadata: Metadata, left_out: frozenset[str]) -> Headers:
    """Metadata as fields: what can be none, and pseudo-header fields, stay behind, and so do those left out."""
    return tuple(
        part
        for name, value in zip(metadata[::2], metadata[1::2], strict=True)
        if name not in left_out and is_field(name, value)
        for part in (name, value)
    )


def escape(message: str) -> str:
    """A `grpc-message`: percent-encoded UTF-8."""
    return _ESCAPED(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode(errors="replace")), message)


def unescape(message: str) -> str:
    """The text of a `grpc-message`; what cannot be decoded stays as it is."""
    return unquote(message) if "%" in message else message
