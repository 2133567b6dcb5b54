"""What a link travels over: TCP, WebSocket, either of them inside TLS, or the process's own memory. One listening port
serves all but the last.

    tcp://host:port     ws://host:port/path     wss://host:port/path     mem://name     host:port (TCP)
"""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from sdk.connection import Transport
from sdk.errors import BadRequest, RemoteProtocolError, Unavailable
from sdk.netaddress import split_address
from sdk.rawsocket import RawSocket, open_tcp
from tunnel.handshake import PREFACE
from tunnel.meter import Segments

from . import tcp, websocket
from .connect import open_through
from .memory import PROCESS, MemoryNetwork, MemoryStream
from .proxies import Proxies
from .tls import CERT, Tls
from .tlsstream import HANDSHAKE, TlsStream

SCHEMES = ("tcp", "ws", "wss", "mem")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """What connections are made with."""

    network: MemoryNetwork = PROCESS
    """Where `mem://` addresses are."""
    tls: Tls = field(default_factory=Tls)
    """Which certificates are shown and believed."""
    proxies: Proxies = field(default_factory=Proxies)
    """Through which proxy `tcp`, `ws` and `wss` go out."""


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
    """One of `SCHEMES`, or `tls` for what was accepted without a WebSocket inside."""
    address: str
    """The other end: the address that was dialled, or where it came from."""
    first: bytes = b""
    """Bytes that were read to tell the protocol."""
    socket: RawSocket | None = None
    """The TCP connection at the bottom; None in memory."""

    def segments(self) -> Segments | None:
        """What TCP has sent on it so far; None where there is no TCP, or where the system does not tell."""
        return None if self.socket is None else tcp.segments(self.socket)

    def set_depth(self, size: int) -> None:
        """Lets about so many bytes lie in the TCP connection, or in the one in memory, unsent."""
        bottom = self.socket or self.transport
        if isinstance(bottom, RawSocket | MemoryStream):
            bottom.set_depth(size)


def split_scheme(address: str) -> tuple[str, str]:
    """The scheme of an address and what follows it; raises `BadRequest` for one that is not known."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return "tcp", address
    if scheme not in SCHEMES:
        raise BadRequest(f"{address!r} has a scheme that is not known; known are {', '.join(SCHEMES)}")
    return scheme, rest


async def dial(address: str, ways: Ways) -> Connected:
    """Connects. Raises `Unavailable` or `RemoteProtocolError` naming address and reason when there is nobody to link
    with, `BadRequest` for an address that is none."""
    scheme, rest = split_scheme(address)
    if scheme == "mem":
        return Connected(await ways.network.dial(rest), scheme, address)
    host = rest.partition("/")[0]
    proxy = ways.proxies.between(*split_address(host))
    socket = await open_tcp(host) if proxy is None else await open_through(proxy, host)
    transport: Transport = socket
    if scheme == "ws":
        transport = await websocket.dial(address, socket)
    elif scheme == "wss":
        secured = await _secure(address, socket, ways.tls, host)
        transport = await _upgrade(address, secured)
    return Connected(transport, scheme, address, socket=socket)


async def _secure(address: str, socket: RawSocket, tls: Tls, host: str) -> TlsStream:
    """Speaks TLS with whoever the certificate says is that host."""
    name = split_address(host)[0] or "localhost"
    stream = TlsStream(socket, tls.dialling, host=name.partition("%")[0])
    try:
        await stream.handshake()
    except BaseException as error:
        socket.close()
        if isinstance(error, RemoteProtocolError | Unavailable):
            raise type(error)(f"cannot connect to {address}: {error}") from None
        raise
    return stream


async def _upgrade(address: str, stream: TlsStream) -> Transport:
    try:
        return await websocket.dial(address, stream)
    except Unavailable:
        # By TLS 1.3 a dialler is through with the handshake before the other end has looked at its certificate.
        if stream.failure:
            raise Unavailable(f"cannot connect to {address}: {stream.failure}") from None
        raise


async def accept(transport: Acceptable, ways: Ways, *, direct_only: bool = False) -> Connected:
    """Finds out what the other end speaks, by its first bytes; `direct_only` as in `websocket.accept`.

    Raises `RemoteProtocolError` or `Unavailable` when it is nothing that leads to a link. Closing is the caller's.
    """
    peer = transport.peer
    if isinstance(transport, MemoryStream):
        return Connected(transport, "mem", peer)
    assert isinstance(transport, RawSocket)
    first = await tcp.first_bytes(transport)
    stream: RawSocket | TlsStream = transport
    plain, upgraded = "tcp", "ws"
    if first[:1] == HANDSHAKE:
        if ways.tls.accepting is None:
            raise RemoteProtocolError(f"it speaks TLS, and this node has no {CERT}")
        stream = TlsStream(transport, ways.tls.accepting, first=first)
        await stream.handshake()
        first = await tcp.first_bytes(stream)
        plain, upgraded = "tls", "wss"
    if first[:1] == PREFACE[:1]:
        return Connected(stream, plain, peer, first, transport)
    above = await websocket.accept(stream, first, direct_only=direct_only)
    return Connected(above, upgraded, peer, socket=transport)
