"""Heads: what opens a call and what answers it.

On the wire a head is a msgpack array, positional so that it packs and unpacks in well under a microsecond; a newer
peer may add items at the end, which are skipped. Metadata is one flat array of keys and values, in order: HTTP
repeats names.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgpack

from .errors import RemoteProtocolError

MAX_HEAD = 65535 - 2
"""Longest packed head, in bytes: the length field before it has 16 bits."""

IDEMPOTENT = 1
"""Flag of a call that may run more than once."""
STREAMING = 2
"""Flag of a call with more than one message in either direction."""
DEFAULT = 4
"""Flag of a call that was sent to a default gateway."""

IDEMPOTENT_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"))
"""HTTP's methods that may run more than once (RFC 9110, 9.2.2)."""

Metadata = tuple[str, ...]
"""key, value, key, value …; keys in lower case."""


class CallHead(NamedTuple):
    """What a call is, for whoever has to route or answer it."""

    service: str
    endpoint: str
    protocol: str = "rpc"
    """`rpc`, `grpc`, `http` or `tcp`."""
    flags: int = 0
    content_type: str = ""
    metadata: Metadata = ()
    call_id: bytes = b""
    """16 bytes that no other call has, given by the caller; last, because all before it repeats from call to call."""


class ReplyHead(NamedTuple):
    """What answers a call; where its frame also ends the answer, status, message and trailers count too."""

    content_type: str = ""
    metadata: Metadata = ()
    status: int = 0
    """gRPC status; meaningful only where the frame ends the answer."""
    message: str = ""
    """gRPC status message: text, or an error as go-micro's JSON."""
    trailers: Metadata = ()


class Trailers(NamedTuple):
    """What ends an answer that came in several frames."""

    status: int = 0
    message: str = ""
    metadata: Metadata = ()


_ID_FOLLOWS = b"\xc4\x10"  # msgpack for 16 bytes

_known: dict[bytes, tuple[str, str, str, int, str, Metadata]] = {}
_MOST_KNOWN = 1024
_MOST_KNOWN_SIZE = 512

_pack = msgpack.Packer(autoreset=True).pack


def endpoint_of(path: str) -> str:
    """The endpoint that the path of a gRPC request names: `/greeter.Greeter/Hello` and `/Greeter/Hello` are both
    `Greeter.Hello`. What is no such path stays as it is."""
    slash, _, rest = path.partition("/")
    handler, _, method = rest.partition("/")
    return f"{handler.rpartition('.')[2]}.{method}" if not slash and method else path


def path_of(service: str, endpoint: str) -> str:
    """The path of a gRPC request for an endpoint of a service: `/greeter.Greeter/Hello`, as protoc and go-micro do it,
    and `/greeter/Hello` where the endpoint has no handler. An endpoint that is a path stays as it is."""
    if endpoint.startswith("/"):
        return endpoint
    handler, _, method = endpoint.rpartition(".")
    return f"/{service}.{handler}/{method}" if handler else f"/{service}/{method}"


def check_names(service: object, endpoint: object) -> None:
    """Raises `TypeError` for names that are no text: the other end could not read the head, and would end the
    connection, with the calls of others on it."""
    for what, name in (("service", service), ("endpoint", endpoint)):
        if not isinstance(name, str):
            raise TypeError(
                f"the {what} of a call is text, not {type(name).__name__}: a call names service, endpoint and "
                "request, such as call('greeter', 'Greeter.Hello', {'name': 'John'})"
            )


def pack_call_head(head: CallHead) -> bytes:
    """Packs what opens a call."""
    packed: bytes = _pack(head)
    return packed


def with_flags(data: bytes, flags: int) -> bytes:
    """A packed call head with other flags; `data` is one that `parse_call_head_untrusted` has read. All else stays byte
    for byte as it is: what a newer peer put at its end is not lost on the way."""
    reader = msgpack.Unpacker()
    reader.feed(data)
    reader.read_array_header()
    for _ in range(3):
        reader.skip()
    start = reader.tell()
    reader.skip()
    packed: bytes = _pack(flags)
    return data[:start] + packed + data[reader.tell() :]


def pack_reply_head(head: ReplyHead) -> bytes:
    """Packs what answers a call."""
    packed: bytes = _pack(head)
    return packed


def pack_trailers(trailers: Trailers) -> bytes:
    """Packs what ends an answer."""
    packed: bytes = _pack(trailers)
    return packed


def parse_call_head_untrusted(data: bytes) -> CallHead:
    """Reads a packed call head; raises `RemoteProtocolError` and nothing else.

    Programs send the same few heads again and again, but for the call id: what was read once is remembered by the bytes
    before the id, at a quarter of the cost. (HTTP/2 proxies do so with header blocks.)
    """
    if data[-18:-16] == _ID_FOLLOWS and (known := _known.get(data[:-16])) is not None:
        return tuple.__new__(CallHead, (*known, data[-16:]))
    try:
        service, endpoint, protocol, flags, content_type, metadata, call_id, *more = msgpack.unpackb(
            data, use_list=False
        )
        "".join((service, endpoint, protocol, content_type, *metadata))  # all of them text, checked in one go
    except Exception as error:
        raise RemoteProtocolError(f"call head cannot be read: {type(error).__name__}") from None
    if type(call_id) is not bytes or len(call_id) > 16 or type(flags) is not int or type(metadata) is not tuple:
        raise RemoteProtocolError("call head has a field of the wrong type")
    if len(metadata) % 2:
        raise RemoteProtocolError("call head has a metadata key without a value")
    if len(call_id) == 16 and not more and len(data) <= _MOST_KNOWN_SIZE and data[-18:-16] == _ID_FOLLOWS:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[data[:-16]] = (service, endpoint, protocol, flags, content_type, metadata)
    return CallHead(service, endpoint, protocol, flags, content_type, metadata, call_id)


def parse_reply_head_untrusted(data: bytes) -> ReplyHead:
    """Reads a packed reply head; raises `RemoteProtocolError` and nothing else."""
    try:
        content_type, metadata, status, message, trailers, *_ = msgpack.unpackb(data, use_list=False)
        "".join((content_type, message, *metadata, *trailers))
    except Exception as error:
        raise RemoteProtocolError(f"reply head cannot be read: {type(error).__name__}") from None
    if type(status) is not int or type(metadata) is not tuple or type(trailers) is not tuple:
        raise RemoteProtocolError("reply head has a field of the wrong type")
    if len(metadata) % 2 or len(trailers) % 2:
        raise RemoteProtocolError("reply head has a metadata key without a value")
    return ReplyHead(content_type, metadata, status, message, trailers)


def parse_trailers_untrusted(data: bytes) -> Trailers:
    """Reads packed trailers; raises `RemoteProtocolError` and nothing else."""
    try:
        status, message, metadata, *_ = msgpack.unpackb(data, use_list=False)
        "".join((message, *metadata))
    except Exception as error:
        raise RemoteProtocolError(f"trailers cannot be read: {type(error).__name__}") from None
    if type(status) is not int or type(metadata) is not tuple or len(metadata) % 2:
        raise RemoteProtocolError("trailers have a field of the wrong type")
    return Trailers(status, message, metadata)


def metadata_to_pairs(metadata: Mapping[str, str] | Iterable[tuple[str, str]]) -> Metadata:
    """Flattens a mapping, or pairs where names repeat; keys go to lower case, as HTTP/2 and gRPC have them."""
    items = metadata.items() if isinstance(metadata, Mapping) else metadata
    return tuple(part for key, value in items for part in (key.lower(), value))


def metadata_to_dict(metadata: Metadata) -> dict[str, str]:
    """The metadata as a mapping; of a repeated name the last value stays."""
    return dict(zip(metadata[::2], metadata[1::2], strict=True))
