"""Links over plain TCP: the shortest way, where nothing stands between two nodes. WebSockets come to the same port."""

import socket
import struct
import sys
from typing import Final

from sdk.connection import Transport
from sdk.errors import RemoteProtocolError, Unavailable
from sdk.rawsocket import RawSocket
from tunnel.handshake import PREFACE
from tunnel.meter import Segments

from .tlsstream import HANDSHAKE

_UPGRADE: Final = b"GET "

# Of struct tcp_info in linux/tcp.h: tcpi_total_retrans, and tcpi_data_segs_out, which kernels before 4.6 lack.
_AGAIN, _SENT = 100, 156
_INFO_SIZE = 160
_unpack_u32 = struct.Struct("=I").unpack_from


def segments(connection: RawSocket) -> Segments | None:
    """What TCP has sent so far; None where the system does not tell, and of a connection that is gone."""
    if sys.platform != "linux":
        return None
    try:
        info = connection.option(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
    except OSError:
        return None
    if len(info) < _INFO_SIZE:
        return None
    return Segments(sent=_unpack_u32(info, _SENT)[0], again=_unpack_u32(info, _AGAIN)[0])


async def first_bytes(connection: Transport) -> bytes:
    """The first bytes of whoever connected, as many as it takes to tell a node, TLS and a WebSocket from each other.

    Raises `RemoteProtocolError` or `Unavailable` when it is none of them.
    """
    first = b""
    while not first.startswith(_UPGRADE):
        data = await connection.receive_some(len(_UPGRADE) - len(first) if first else None)
        first += data
        if not data:
            raise Unavailable("it closed the connection before it said anything" if not first else _stranger(first))
        if first[:1] in (PREFACE[:1], HANDSHAKE):
            break
        if not _UPGRADE.startswith(first[: len(_UPGRADE)]):
            raise RemoteProtocolError(_stranger(first))
    return first


def _stranger(first: bytes) -> str:
    return f"it is neither a node nor a WebSocket: it began with {first[:16]!r}"
