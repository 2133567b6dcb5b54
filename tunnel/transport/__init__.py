"""What a link travels over: TCP, WebSocket, or the process's own memory. One listening port serves the first two.

    tcp://host:port     ws://host:port/path     mem://name     host:port (TCP)

Dialling and accepting take a nursery that lives as long as the connection: a WebSocket has a task of its own.
"""

from typing import NamedTuple, Protocol

import trio

from sdk.connection import Transport
from sdk.errors import BadRequest
from sdk.rawsocket import RawSocket
from tunnel.handshake import PREFACE
from tunnel.meter import Segments

from . import memory, tcp, websocket

SCHEMES = ("tcp", "ws", "mem")


class Acceptable(Transport, Protocol):
    """What a listener hands out: a socket, or one end of a pair in memory."""

    peer: str
    """The other end, for people."""
    peer_host: str
    """The other end's IP address; empty in memory."""


class Connected(NamedTuple):
    """A connection that is ready for the handshake."""

    transport: Transport
    kind: str
    """One of `SCHEMES`."""
    address: str
    """The other end: the address that was dialled, or where it came from."""
    first: bytes = b""
    """Bytes that were read to tell the protocol."""

    def segments(self) -> Segments | None:
        """What TCP has sent on it so far; None where there is no TCP, or where the system does not tell."""
        below = self.transport.socket if isinstance(self.transport, websocket.WebSocketTransport) else self.transport
        return tcp.segments(below) if isinstance(below, RawSocket) else None


def split_scheme(address: str) -> tuple[str, str]:
    """The scheme of an address and what follows it; raises `BadRequest` for one that is not known."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return "tcp", address
    if scheme not in SCHEMES:
        raise BadRequest(f"{address!r} has a scheme that is not known; known are {', '.join(SCHEMES)}")
    return scheme, rest


async def dial(address: str, nursery: trio.Nursery, network: memory.MemoryNetwork) -> Connected:
    """Connects. Raises `Unavailable` when nobody answers there, `BadRequest` for an address that is none."""
    scheme, rest = split_scheme(address)
    transport: Transport
    if scheme == "mem":
        transport = await network.dial(rest)
    elif scheme == "ws":
        transport = await websocket.dial(rest, nursery)
    else:
        transport = await tcp.dial(rest)
    return Connected(transport, scheme, address)


async def accept(transport: Acceptable, nursery: trio.Nursery) -> Connected:
    """Finds out what the other end speaks, by its first bytes.

    Raises `RemoteProtocolError` or `Unavailable` when it is nothing that leads to a link. Closing is the caller's.
    """
    if isinstance(transport, memory.MemoryStream):
        return Connected(transport, "mem", transport.peer)
    first = await tcp.first_bytes(transport)
    if first[0] == PREFACE[0]:
        return Connected(transport, "tcp", transport.peer, first)
    assert isinstance(transport, RawSocket)
    return Connected(await websocket.accept(transport, first, nursery), "ws", transport.peer)
