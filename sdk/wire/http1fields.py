"""Which fields of an HTTP message go on with a call, and what of them may stand where.

What belongs to one connection stays behind (RFC 9110, 7.6.1). What comes from another node is written to a connection
only when it could have been read from one, so no field of one program becomes two, or a body, for another. These rules
hold for every version of HTTP.
"""

import ipaddress
from typing import Final, TypeVar

from sdk.head import Metadata

from .http1head import Fields, Malformed, is_text, is_token

VIA: Final = "micro"
"""What this network calls itself in `Via` (RFC 9110, 7.6.3)."""

HOP_BY_HOP: Final = frozenset((
    "connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "http2-settings",
    "proxy-authorization", "proxy-authenticate", "proxy-authentication-info", "micro-fate",
))  # fmt: skip
"""Names of fields that belong to one connection, what opens a node to a program, and what only a node says to one: an
instance that hands on what became of a call of its own would say it of the call that it has answered."""

_NO_TRAILERS = HOP_BY_HOP | {
    "content-length", "host", "content-encoding", "content-type", "content-range", "trailer", "expect", "range",
    "authorization", "cookie", "set-cookie", "cache-control", "max-forwards", "forwarded", "via", "micro-service",
}  # fmt: skip
"""What may not stand behind a body: whoever reads it there has acted on its absence already (RFC 9110, 6.5.1)."""

_MOST_KNOWN = 1024
_MOST_KNOWN_SIZE = 2048

_Known = TypeVar("_Known")


def forwarded_by(host: str, scheme: str = "http") -> bytes:
    """What `Forwarded` says of a program at that address (RFC 7239)."""
    return (f'for="[{host}]";proto={scheme}' if ":" in host else f"for={host};proto={scheme}").encode()


def service_of_host(authority: str) -> str:
    """The service that a Host header or an absolute target names; empty for addresses and for this host itself."""
    if authority.startswith("["):
        return ""
    name = authority.partition(":")[0]
    if name.lower() == "localhost" or (name[-1:].isdigit() and _is_address(name)):
        return ""
    return name


def trailers_of(fields: Fields) -> Metadata:
    """The trailers of a message that may go on."""
    return tuple(part for field in fields if field[0] not in _NO_TRAILERS for part in field)


def trailer_lines_untrusted(trailers: Metadata) -> bytes:
    """Trailers as lines; raises `Malformed` where one is none. Those that may not go on are left out."""
    return "".join(f"{name}: {value}\r\n" for name, value in pairs(trailers) if name not in _NO_TRAILERS).encode(
        "latin-1"
    )


def connection_options(fields: Fields) -> frozenset[str]:
    """What the Connection fields list."""
    said = [value for name, value in fields if name == "connection"]
    return frozenset(option.strip(" \t").lower() for value in said for option in value.split(",")) if said else _NONE


_NONE: Final[frozenset[str]] = frozenset()


def pairs(metadata: Metadata) -> Fields:
    """Metadata as fields, each of which is one; raises `Malformed`."""
    fields = [(name.lower(), value) for name, value in zip(metadata[::2], metadata[1::2], strict=True)]
    for name, value in fields:
        if not is_token(name) or not is_text(value) or (not value.isascii() and max(value) > "\xff"):
            raise Malformed("a field of the call cannot be said in HTTP")
    return fields


def remember(memo: dict[bytes, _Known], key: bytes, value: _Known) -> _Known:
    """Keeps what was read from these bytes, among at most 1,024 others, unless they are long; returns it."""
    if len(key) <= _MOST_KNOWN_SIZE:
        if len(memo) >= _MOST_KNOWN:
            memo.clear()
        memo[key] = value
    return value


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
