"""Raw TCP over real sockets: a node that programs reach by a mapped port or CONNECT, and a server that is no service of
ours behind it."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from proxy.dialer import TcpDialer
from proxy.listener import ProxyListener
from proxy.mapped import MappedPort
from proxy.speaks import Way
from sdk.head import CallHead, pack_call_head
from sdk.port import Port
from sdk.rawsocket import RawSocket, bound_address, listen_tcp, open_tcp, take_over
from sdk.timers import Timers
from sdk.types import Instance

from .chain import Node

DB = pack_call_head(CallHead("db", "", protocol="tcp"))
"""The head of a raw call to the service `db`."""

Handler = Callable[[trio.SocketStream], Awaitable[object]]


class RawNode:
    """A switch, its dialer, a mapped port and a proxy port."""

    def __init__(self, nursery: trio.Nursery) -> None:
        def dial(node: Node, address: str) -> Port:
            return self.dialer.raw_to(address)

        self.node = Node(b"n" * 16, "here", dial)
        self.switch = self.node.switch
        self.dialer = TcpDialer(self.switch, nursery)
        self.node.egress._connect.update({Way.HTTP: self.dialer.http_to, Way.GRPC: self.dialer.grpc_to})
        self.mapped = MappedPort(self.switch, "db")
        self.proxy = ProxyListener(self.switch, Timers())
        self.mapped_address = ""
        self.proxy_address = ""

    def offer(self, *addresses: str, protocol: str = "tcp") -> None:
        """The service `db` is at these addresses."""
        self.node.routes.instances["db"] = tuple(
            Instance(id=f"db-{address}", address=address, metadata={"protocol": protocol}) for address in addresses
        )

    async def no_calls(self) -> None:
        """Waits until every call is over."""
        while self.node.open_calls:
            await trio.lowlevel.checkpoint()


@asynccontextmanager
async def raw_node(handler: Handler | None = None) -> AsyncIterator[RawNode]:
    """A node; with a handler, it serves the connections to `db`."""
    async with trio.open_nursery() as nursery:
        node = RawNode(nursery)
        listeners = await listen_tcp("127.0.0.1:0")
        node.mapped_address = bound_address(listeners[0])
        nursery.start_soon(node.mapped.serve, listeners)
        listeners = await listen_tcp("127.0.0.1:0")
        node.proxy_address = bound_address(listeners[0])
        nursery.start_soon(node.proxy.serve, listeners)
        if handler is not None:
            node.offer(await serve(nursery, handler))
        yield node
        nursery.cancel_scope.cancel()


async def serve(nursery: trio.Nursery, handler: Handler) -> str:
    """Accepts connections; the address."""
    listeners = await listen_tcp("127.0.0.1:0")
    nursery.start_soon(trio.serve_listeners, handler, listeners)
    return bound_address(listeners[0])


async def connected() -> tuple[RawSocket, RawSocket]:
    """A TCP connection's two ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        dialled = await open_tcp(f"127.0.0.1:{server.getsockname()[1]}")
        return dialled, RawSocket(server.accept()[0])


async def echo(stream: trio.abc.Stream) -> None:
    """Sends back what comes, until its end."""
    async for data in stream:
        await stream.send_all(data)


async def break_off(stream: trio.SocketStream) -> None:
    """Waits for the first bytes and breaks the connection."""
    await stream.receive_some()
    take_over(stream).abort()


async def read_to_end(stream: trio.abc.Stream) -> bytes:
    """All that comes until the end."""
    received = bytearray()
    while data := await stream.receive_some():
        received += data
    return bytes(received)


async def is_reset(stream: trio.abc.Stream) -> bool:
    """Whether the connection breaks, and does not just end, when it is read to there."""
    try:
        await read_to_end(stream)
    except trio.BrokenResourceError:
        return True
    return False
