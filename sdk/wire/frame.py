"""The frame: the one unit that programs, nodes and services exchange.

    length u32 | type u8 | flags u8 | stream u32 | payload        (ten bytes of header; length counts the payload)

On the way through a node a frame is never an object: it is the arguments `(kind, flags, stream, payload)` of a call.
Kinds are plain integers for the same reason. `describe` turns one into a line for a log or a failing test.
"""

import enum
import struct
from typing import Final, NamedTuple

import msgpack

from sdk.errors import RemoteProtocolError, Status

HEADER: Final = struct.Struct("!IBBI")
HEADER_SIZE: Final = HEADER.size

HELLO: Final = 1
"""Stream 0, first each way."""
OPEN: Final = 2
"""Opens a call."""
HEAD: Final = 3
"""What answers it: `u16 length | reply head | body`."""
DATA: Final = 4
"""Body bytes; with `TRAILERS` they follow `u16 length | trailers`."""
RESET: Final = 5
"""Ends both directions at once."""
STOP: Final = 6
"""Send me no more: the receiver ends its direction and its writer finds the stream broken."""
CREDIT: Final = 7
"""u32: so many more body bytes may be sent on this stream."""
PING: Final = 8
PONG: Final = 9
GOAWAY: Final = 10
"""u32: the last stream that was accepted, in serial number arithmetic; open nothing new."""
REGISTER: Final = 11
"""Stream 0: an attached service says what it offers on this connection, and its node that it took it. See
`registration`."""
DEREGISTER: Final = 12
"""Stream 0: it offers it no longer, or the node does not take it."""
CONTROL: Final = 13
"""Stream 0 of a link: a piece of a gossip message, `END` on its last piece."""
INTERIM: Final = 14
"""What an answer of HTTP says before it begins (RFC 9110, 15.2): a packed reply head with a status below 200."""

END: Final = 1
"""Flag: this direction sends nothing more."""
TRAILERS: Final = 2
"""Flag of DATA: trailers come before the body bytes."""
BLAMELESS: Final = 4
"""Flag of RESET, from a port to its switch: one connection takes no more calls, and its other end is not at fault."""

MAX_PAYLOAD: Final = 65536
"""Longest payload of a frame, in bytes. Equal on every hop, because credit runs end to end."""
MAX_OPEN: Final = MAX_PAYLOAD - 256
"""Longest OPEN a caller may send: the first node writes a path into it."""
INITIAL_CREDIT: Final = 65536
"""Body bytes that may be sent on a new stream, in each direction, before the first CREDIT."""
MAX_CREDIT: Final = 1 << 23
"""Most credit that may be outstanding on a stream."""
MAX_INTERIM: Final = 32
"""Most INTERIM of one call: nobody has to read them before the next one."""
MAX_INTERIM_SIZE: Final = 16384
"""Longest payload of one, in bytes."""

PREFACE: Final = b"\xffmicro\x01\x01"
"""Opens a connection: magic, lowest and highest version of the protocol spoken. No HTTP, TLS or SOCKS begins so."""
VERSION: Final = 1

NO_DEADLINE: Final = 0xFFFFFFFF
"""`ms left` of a call that may take for ever."""
MAX_HOPS: Final = 3
"""Most links between a call's first node and the service. Topology goes further, calls and routes do not."""
ID_SIZE: Final = 16
"""Bytes of a node id."""

_OPEN_FIXED: Final = struct.Struct("!BB")
_OPEN_TAIL: Final = struct.Struct("!IH")
_unpack_tail: Final = _OPEN_TAIL.unpack_from
_U16: Final = struct.Struct("!H")
_U32: Final = struct.Struct("!I")

# The detail of a RESET may quote what is not UTF-8 (a file name, say); reading it back is strict.
_pack = msgpack.Packer(autoreset=True, unicode_errors="replace").pack


class Fate(enum.IntEnum):
    """What is known of a call that was reset."""

    NOT_REACHED = 0
    """No handler can have seen it: it may be tried again."""
    MAY_HAVE_RUN = 1
    """It may have run, once."""


class Open(NamedTuple):
    """The payload of an OPEN, taken apart."""

    hops: int
    """Links it may still pass."""
    path: bytes
    """Node ids still to go, the receiver first, 16 bytes each; empty from a program."""
    ms: int
    """Milliseconds left, or `NO_DEADLINE`."""
    head: bytes
    """Packed `CallHead`."""
    body: bytes


class Reset(NamedTuple):
    """The payload of a RESET."""

    status: int
    fate: int
    detail: str
    """A sentence for a person: what happened and where."""
    edge: bytes = b""
    """The link that could not be passed: two node ids, or nothing."""


class Hello(NamedTuple):
    """The payload of a HELLO."""

    version: int
    role: str
    """`client`, `instance` or `node`."""
    max_streams: int
    """Most streams the sender lets its peer open at once."""
    token: bytes = b""
    """What a program shows to a proxy port that asks for it; nothing elsewhere."""

    def __repr__(self) -> str:
        shown = ", with a token" if self.token else ""
        return f"<Hello of version {self.version} from a {self.role}, {self.max_streams} streams{shown}>"


def pack_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame as bytes."""
    return HEADER.pack(len(payload), kind, flags, stream) + payload


def pack_open(hops: int, path: bytes, ms: int, head: bytes, body: bytes) -> bytes:
    """The payload of an OPEN."""
    return b"".join((_OPEN_FIXED.pack(hops, len(path) // ID_SIZE), path, _OPEN_TAIL.pack(ms, len(head)), head, body))


def open_layout_untrusted(payload: bytes) -> tuple[int, int, int, int]:
    """Where the parts of an OPEN's payload lie: hops left, milliseconds left, the end of the path and of the head.

    The head begins six bytes behind the path. Raises `RemoteProtocolError` when lengths do not fit.
    """
    size = len(payload)
    if size < 8:
        raise RemoteProtocolError("OPEN is too short")
    hops, count = payload[0], payload[1]
    path_end = 2 + count * ID_SIZE
    if hops > MAX_HOPS or count > MAX_HOPS or size < path_end + 6:
        raise RemoteProtocolError("OPEN has a path that is too long")
    ms, length = _unpack_tail(payload, path_end)
    head_end = path_end + 6 + length
    if size < head_end:
        raise RemoteProtocolError("OPEN is shorter than its head")
    return hops, ms, path_end, head_end


def split_open_untrusted(payload: bytes) -> Open:
    """Takes an OPEN's payload apart; raises `RemoteProtocolError` when lengths do not fit."""
    hops, ms, path_end, head_end = open_layout_untrusted(payload)
    return Open(hops, payload[2:path_end], ms, payload[path_end + 6 : head_end], payload[head_end:])


def reroute_open(payload: bytes, hops: int, path: bytes, ms: int, path_end: int) -> bytes:
    """The payload of an OPEN with another path, and what is left of its hops and time; head and body stay as they
    are."""
    fixed = b"%c%c%b%b" % (hops, len(path) // ID_SIZE, path, _U32.pack(ms))
    return fixed + payload[path_end + 4 :]


def pack_headed(head: bytes, body: bytes) -> bytes:
    """The payload of a HEAD, or of DATA with `TRAILERS`."""
    return _U16.pack(len(head)) + head + body


def split_headed_untrusted(payload: bytes) -> tuple[bytes, bytes]:
    """Takes the payload of a HEAD, or of DATA with `TRAILERS`, apart into packed head and body."""
    if len(payload) < 2:
        raise RemoteProtocolError("frame is too short for its head")
    start = 2 + _U16.unpack_from(payload)[0]
    if len(payload) < start:
        raise RemoteProtocolError("frame is shorter than its head")
    return payload[2:start], payload[start:]


def body_size_untrusted(kind: int, flags: int, payload: bytes) -> int:
    """How many bytes of a HEAD's or DATA's payload count against credit."""
    if kind == DATA and not flags & TRAILERS:
        return len(payload)
    if len(payload) < 2 or (size := len(payload) - 2 - (payload[0] << 8 | payload[1])) < 0:
        raise RemoteProtocolError("frame is shorter than its head")
    return size


def pack_u32(number: int) -> bytes:
    """The payload of a CREDIT or GOAWAY."""
    return _U32.pack(number)


def parse_u32_untrusted(payload: bytes) -> int:
    """The number in a CREDIT or GOAWAY."""
    if len(payload) < 4:
        raise RemoteProtocolError("frame is too short for its number")
    return int.from_bytes(payload[:4], "big")


def pack_reset(reset: Reset) -> bytes:
    """The payload of a RESET."""
    packed: bytes = _pack((reset.status, reset.fate, reset.detail[:1000], reset.edge))
    return packed


def parse_reset_untrusted(payload: bytes) -> Reset:
    """Reads a RESET; a fate that is not known is the worse one."""
    try:
        status, fate, detail, edge, *_ = msgpack.unpackb(payload, use_list=False)
    except Exception as error:
        raise RemoteProtocolError(f"RESET cannot be read: {type(error).__name__}") from None
    if type(status) is not int or type(fate) is not int or type(detail) is not str or type(edge) is not bytes:
        raise RemoteProtocolError("RESET has a field of the wrong type")
    if len(edge) not in (0, 2 * ID_SIZE):
        raise RemoteProtocolError("RESET names an edge that is none")
    if fate != Fate.NOT_REACHED:
        fate = Fate.MAY_HAVE_RUN
    if not 0 < status <= Status.UNAUTHENTICATED:
        status = Status.UNKNOWN
    return Reset(status, fate, detail[:1000], edge)


def pack_hello(hello: Hello) -> bytes:
    """The payload of a HELLO."""
    packed: bytes = _pack(hello if hello.token else hello[:3])
    return packed


def parse_hello_untrusted(payload: bytes) -> Hello:
    """Reads a HELLO; items a newer peer added are skipped."""
    try:
        version, role, max_streams, *more = msgpack.unpackb(payload, use_list=False)
        token = more[0] if more else b""
    except Exception as error:
        raise RemoteProtocolError(f"HELLO cannot be read: {type(error).__name__}") from None
    if type(version) is not int or type(role) is not str or type(max_streams) is not int or max_streams < 1:
        raise RemoteProtocolError("HELLO has a field of the wrong type")
    if type(token) is not bytes:
        raise RemoteProtocolError("HELLO has a token that is no bytes")
    return Hello(version, role, max_streams, token)


_NAMES = {
    HELLO: "HELLO", OPEN: "OPEN", HEAD: "HEAD", DATA: "DATA", RESET: "RESET", STOP: "STOP", CREDIT: "CREDIT",
    PING: "PING", PONG: "PONG", GOAWAY: "GOAWAY", REGISTER: "REGISTER", DEREGISTER: "DEREGISTER", CONTROL: "CONTROL",
    INTERIM: "INTERIM",
}  # fmt: skip


def describe(kind: int, flags: int, stream: int, payload: bytes) -> str:
    """A frame in one line for a person: `DATA 3 END 12 bytes`."""
    words = [_NAMES.get(kind, f"type {kind}"), str(stream)]
    words += [name for bit, name in ((END, "END"), (TRAILERS, "TRAILERS")) if flags & bit]
    return " ".join([*words, f"{len(payload)} bytes"])
