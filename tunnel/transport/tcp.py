"""Links over plain TCP: the shortest way, where nothing stands between two nodes. WebSockets come to the same port."""

from typing import Final

from sdk.connection import Transport
from sdk.errors import RemoteProtocolError, Unavailable
from sdk.rawsocket import RawSocket, open_tcp
from tunnel.handshake import PREFACE

_UPGRADE: Final = b"GET "


async def dial(address: str) -> RawSocket:
    """Connects to `host:port`; raises `Unavailable` naming the reason."""
    return await open_tcp(address)


async def first_bytes(socket: Transport) -> bytes:
    """The first bytes of whoever connected, as many as it takes to tell a node from a WebSocket.

    Raises `RemoteProtocolError` or `Unavailable` when it is neither.
    """
    first = b""
    while not first.startswith(_UPGRADE):
        data = await socket.receive_some(len(_UPGRADE) - len(first) if first else None)
        first += data
        if not data:
            raise Unavailable("it closed the connection before it said anything" if not first else _stranger(first))
        if first[0] == PREFACE[0]:
            break
        if not _UPGRADE.startswith(first[: len(_UPGRADE)]):
            raise RemoteProtocolError(_stranger(first))
    return first


def _stranger(first: bytes) -> str:
    return f"it is neither a node nor a WebSocket: it began with {first[:16]!r}"
