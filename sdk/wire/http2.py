"""HTTP/2's frames (RFC 9113): nine bytes of header and a payload, and the numbers that stand in them.

    length u24 | type u8 | flags u8 | stream u32 (31 bits) | payload

As with our own frames, one that passes through is never an object. `describe` turns one into a line for a person.
"""

import enum
import struct
from typing import Final

from sdk.errors import RemoteProtocolError

HEADER: Final = struct.Struct("!HBBBI")
"""A frame's header: the upper and the lower part of its length, type, flags, stream."""
HEADER_SIZE: Final = HEADER.size

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client begins with (3.4)."""

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 0x01
ACK: Final = 0x01
END_HEADERS: Final = 0x04
PADDED: Final = 0x08
WITH_PRIORITY: Final = 0x20

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6

FIRST_WINDOW: Final = 65535
"""Every window at the beginning of a connection, in bytes (6.9.2)."""
MAX_WINDOW: Final = 0x7FFFFFFF
LEAST_FRAME: Final = 16384
"""Longest payload that every implementation takes (4.2), and all that we take: behind a longer one a small call would
have to wait."""
MOST_FRAME: Final = 0xFFFFFF
MAX_STREAM: Final = 0x7FFFFFFF
"""The highest number of a stream; there is no way to begin anew on one connection (5.1.1)."""


class ErrorCode(enum.IntEnum):
    """Why a stream or a connection ended (7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class ConnectionFault(RemoteProtocolError):
    """The peer broke a rule that ends the connection (5.4.1)."""

    def __init__(self, error: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.error = error
        """What the GOAWAY says."""


class StreamFault(RemoteProtocolError):
    """The peer broke a rule that ends one stream (5.4.2)."""

    def __init__(self, error: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.error = error
        """What the RST_STREAM says."""


def pack_header(size: int, kind: int, flags: int, stream: int) -> bytes:
    """The header of a frame with a payload of so many bytes."""
    return HEADER.pack(size >> 8, size & 0xFF, kind, flags, stream)


def pack_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame as bytes."""
    return pack_header(len(payload), kind, flags, stream) + payload


def pack_settings(settings: dict[int, int]) -> bytes:
    """The payload of a SETTINGS frame."""
    return b"".join(struct.pack("!HI", *item) for item in settings.items())


def parse_settings_untrusted(payload: bytes) -> dict[int, int]:
    """The settings in a payload (6.5.1), of each the last; raises `ConnectionFault` for values that none may have.
    Settings that are not known here are among them."""
    if len(payload) % 6:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
    settings: dict[int, int] = {}
    for name, value in struct.iter_unpack("!HI", payload):
        settings[name] = value
        if name == ENABLE_PUSH and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")
        if name == INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE is {value}")
        if name == MAX_FRAME_SIZE and not LEAST_FRAME <= value <= MOST_FRAME:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE is {value}")
    return settings


def unpad_untrusted(payload: bytes) -> bytes:
    """The payload of a frame with the flag PADDED, without its padding (6.1)."""
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame has more padding than bytes")
    return payload[1 : len(payload) - payload[0]]


_NAMES = {
    DATA: "DATA", HEADERS: "HEADERS", PRIORITY: "PRIORITY", RST_STREAM: "RST_STREAM", SETTINGS: "SETTINGS",
    PUSH_PROMISE: "PUSH_PROMISE", PING: "PING", GOAWAY: "GOAWAY", WINDOW_UPDATE: "WINDOW_UPDATE",
    CONTINUATION: "CONTINUATION",
}  # fmt: skip


def describe(kind: int, flags: int, stream: int, payload: bytes) -> str:
    """A frame in one line for a person: `HEADERS 3 END_STREAM 12 bytes`."""
    words = [_NAMES.get(kind, f"type {kind}"), str(stream)]
    if flags & END_STREAM and kind in (DATA, HEADERS):
        words.append("END_STREAM")
    if flags & ACK and kind in (SETTINGS, PING):
        words.append("ACK")
    return " ".join([*words, f"{len(payload)} bytes"])
