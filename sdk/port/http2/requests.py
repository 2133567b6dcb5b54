"""Requests: header lists ↔ heads of calls, in both directions.

A request whose content type is gRPC's is a call of protocol `grpc`, CONNECT a raw one, any other one of protocol
`http`. What a list means is worked out once for each different list; all that differs from call to call is its id, at
the end of the packed head.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

import msgpack

from sdk.errors import RemoteProtocolError
from sdk.head import IDEMPOTENT, IDEMPOTENT_METHODS, CallHead, Metadata, parse_call_head_untrusted, path_of
from sdk.wire.frame import MAX_HOPS, MAX_OPEN, NO_DEADLINE, pack_open
from sdk.wire.hpack import Headers
from sdk.wire.timeout import FIELD, parse_timeout_untrusted

from .fields import (
    GRPC,
    OF_ONE_HOP,
    VIA,
    length_untrusted,
    malformed,
    only_fields,
    split_untrusted,
    without,
)

_PSEUDO: Final = frozenset((":method", ":scheme", ":authority", ":path"))
_OF_GRPC: Final = OF_ONE_HOP | {"content-type", FIELD, "micro-service", "host"}
_OF_HTTP: Final = OF_ONE_HOP | {"content-type", "micro-service", "host", "expect", "cookie"}
_SEVEN: Final = b"\x97"  # msgpack for an array of seven
_ID_FOLLOWS: Final = b"\xc4\x10"  # msgpack for 16 bytes
_ADDRESS: Final = re.compile(r"[0-9.]+|\[.*").fullmatch
_PATH: Final = re.compile(r"[/*][^\0-\x20\x7f]*").fullmatch
_CONTENT_TYPES: Final = {
    "application/msgpack": "application/grpc+msgpack",
    "application/x-msgpack": "application/grpc+msgpack",
    "application/json": "application/grpc+json",
    "application/octet-stream": "application/grpc+bytes",
    "application/protobuf": "application/grpc+proto",
    "application/x-protobuf": "application/grpc+proto",
}

MAX_OPENED: Final = MAX_OPEN + 8
"""Longest payload of an OPEN without a path, as the first node takes it."""

_pack = msgpack.Packer(autoreset=True).pack


class Request(NamedTuple):
    """What a header list asks for."""

    names: tuple[str, ...]
    """Services that it may mean, the likeliest last; none where it names none."""
    hosted: bool
    """Whether the first of them is the name of a host."""
    rest: bytes
    """Its packed `CallHead`, from behind the service up to the call id."""
    ms: int
    """Milliseconds it may take, or `NO_DEADLINE`."""
    grpc: bool
    """Whether it is answered as gRPC is."""
    raw: bool
    """Whether it is a tunnel, whose bytes nobody looks into."""
    length: int
    """How long its body is to be, in bytes, or -1."""
    expects: bool
    """It waits for a `100` before it sends its body."""
    credentials: str
    """What it shows in `Proxy-Authorization`."""
    known: dict[str, bytes]
    """What `opened` gave, by service."""

    def opened(self, service: str) -> bytes:
        """The payload of the OPEN of a call of this service, up to the call id; empty where no OPEN can hold it."""
        opened = self.known.get(service)
        if opened is None:
            head = b"".join((_SEVEN, _pack(service), self.rest, bytes(16)))
            opened = pack_open(MAX_HOPS, b"", self.ms, head, b"")[:-16] if len(head) <= MAX_OPEN else b""
            self.known[service] = opened
        return opened


def is_grpc(content_type: str) -> bool:
    """Whether a content type is one of gRPC's."""
    return content_type.startswith(GRPC) and content_type[len(GRPC) :][:1] in ("", "+", ";")


def first_meant(meant_by: Callable[[str], str]) -> Callable[[Request], str]:
    """Which of the services that a request may mean it does: the one that its host means by `meant_by`, else the first
    of the others that is one, else the likeliest."""

    def service_of(request: Request) -> str:
        names = request.names
        if request.hosted:
            if meant := meant_by(names[0]):
                return meant
            names = names[1:] or names
        return names[-1] if len(names) == 1 else next((name for name in names if meant_by(name) == name), names[-1])

    return service_of


def read_request_untrusted(headers: Headers, forwarded: str = "", otherwise: str = "", pins: Metadata = ()) -> Request:
    """What a header list asks for; `forwarded` is what `Forwarded` is to say of its sender, and `otherwise` the service
    that is meant where the list does not name one in so many words. `pins` is metadata that the call has besides,
    behind that of the list. Raises `StreamFault` for what is no request."""
    pseudo, fields = split_untrusted(headers, _PSEUDO)
    method, path, scheme = pseudo.get(":method", ""), pseudo.get(":path", ""), pseudo.get(":scheme", "")
    first = dict(reversed(fields))
    authority = pseudo.get(":authority") or first.get("host", "")
    if method == "CONNECT" and not scheme and not path:
        return _tunnel(authority, fields, first.get("proxy-authorization", ""))
    if not method or not scheme or _PATH(path) is None:
        raise malformed(f"a request with method {method!r}, scheme {scheme!r} and path {path[:100]!r}")
    content_type = first.get("content-type", "")
    grpc = method == "POST" and is_grpc(content_type)
    try:
        ms = parse_timeout_untrusted(first[FIELD]) if FIELD in first else NO_DEADLINE
    except RemoteProtocolError as error:
        raise malformed(error.detail) from None
    if grpc:
        protocol, flags, metadata = "grpc", 0, without(fields, _OF_GRPC) + pins
    else:
        protocol, flags = "http", IDEMPOTENT if method in IDEMPOTENT_METHODS else 0
        te = (":te", "trailers") if "te" in first else ()
        metadata = (":method", method, ":scheme", scheme, ":authority", authority, *te, *without(fields, _OF_HTTP))
        cookies = [value for name, value in fields if name == "cookie"]
        if cookies:  # 8.2.3: apart they are HTTP/2's only
            metadata += ("cookie", "; ".join(cookies))
        metadata += pins
        metadata += ("forwarded", forwarded, "via", VIA) if forwarded else ("via", VIA)
    host = ""
    if first.get("micro-service"):
        names: tuple[str, ...] = (first["micro-service"],)
    else:
        host = _host(authority)
        names = tuple(filter(None, (host, _first_segment(path) if grpc else "", otherwise)))
    parts = (path, protocol, flags, content_type, metadata)
    return Request(
        names=names,
        hosted=bool(host),
        rest=b"".join((*map(_pack, parts), _ID_FOLLOWS)),
        ms=ms,
        grpc=grpc,
        raw=False,
        length=length_untrusted(fields),
        expects=first.get("expect", "").lower() == "100-continue",
        credentials=first.get("proxy-authorization", ""),
        known={},
    )


def _tunnel(authority: str, fields: list[tuple[str, str]], credentials: str) -> Request:
    """A raw call to the service that a CONNECT names (8.5), pinned as it says."""
    service = authority.rpartition(":")[0] or authority
    if not service or service.startswith(":"):
        raise malformed(f"CONNECT takes service:port, and not {authority[:100]!r}")
    pins = (field for field in fields if field[0].startswith("micro-") and field[0] != "micro-service")
    parts = ("", "tcp", 0, "", tuple(part for field in pins for part in field))
    return Request(
        names=(service,),
        hosted=True,
        rest=b"".join((*map(_pack, parts), _ID_FOLLOWS)),
        ms=NO_DEADLINE,
        grpc=False,
        raw=True,
        length=-1,
        expects=False,
        credentials=credentials,
        known={},
    )


def _host(authority: str) -> str:
    """The host of an authority, where it can be the name of a service: addresses, and this host itself, are none."""
    host = authority.rpartition("@")[2].partition(":")[0]
    return "" if _ADDRESS(host) is not None or host.lower() == "localhost" else host


def _first_segment(path: str) -> str:
    """The service that the path of a gRPC call names."""
    segment = path[1:].partition("/")[0]
    package = segment.rpartition(".")[0]
    return package or segment.lower()


def write_request_untrusted(packed: bytes, authority: str) -> tuple[Headers, bool]:
    """The header list of a call, but for its time, from a packed `CallHead`, and whether it is gRPC's. Raises
    `RemoteProtocolError` where it can have none."""
    key = (packed[:-16] if packed[-18:-16] == _ID_FOLLOWS else packed, authority)
    known = _written.get(key)
    if known is None:
        head = parse_call_head_untrusted(packed)
        write = _write_http_untrusted if head.protocol == "http" else _write_grpc_untrusted
        known = write(head, authority), head.protocol != "http"
        if len(packed) <= _MOST_KNOWN_SIZE:
            if len(_written) >= _MOST_KNOWN:
                _written.clear()
            _written[key] = known
    return known


_MOST_KNOWN = 1024
_MOST_KNOWN_SIZE = 1024
_written: dict[tuple[bytes, str], tuple[Headers, bool]] = {}


def _write_grpc_untrusted(head: CallHead, authority: str) -> Headers:
    if head.protocol not in ("rpc", "grpc"):
        raise RemoteProtocolError(f"a call of protocol {head.protocol!r} cannot be made over HTTP/2")
    path, content_type = head.endpoint, head.content_type
    if head.protocol == "rpc":
        content_type = content_type if is_grpc(content_type) else _CONTENT_TYPES.get(content_type, GRPC)
        path = path_of(head.service, path)
    if _PATH(path) is None:
        raise RemoteProtocolError(f"{path[:100]!r} cannot be the path of a call")
    leading = (":method", "POST", ":scheme", "http", ":path", path, ":authority", authority)
    fields = only_fields(head.metadata, _OF_GRPC)
    return (*leading, "te", "trailers", *_typed(content_type or GRPC), *fields)


def _write_http_untrusted(head: CallHead, authority: str) -> Headers:
    pseudo = _leading(head.metadata)
    method, path = pseudo.get(":method", ""), head.endpoint
    if not method or method == "CONNECT" or ":upgrade" in pseudo or _PATH(path) is None:
        raise RemoteProtocolError(f"a request {method[:20]!r} of {path[:100]!r} cannot be made over HTTP/2")
    fields = only_fields(head.metadata, OF_ONE_HOP | {"host", "content-type"})
    leading = (
        ":method", method, ":scheme", pseudo.get(":scheme") or "http", ":path", path,
        ":authority", pseudo.get(":authority") or authority,
    )  # fmt: skip
    return (*leading, *_typed(head.content_type), *fields)


def _leading(metadata: Metadata) -> dict[str, str]:
    """The entries of metadata that are pseudo-header fields."""
    return {name: value for name, value in zip(metadata[::2], metadata[1::2], strict=True) if name.startswith(":")}


def _typed(content_type: str) -> Headers:
    return only_fields(("content-type", content_type), frozenset()) if content_type else ()
