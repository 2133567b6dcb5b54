"""A node of nothing but a switch: programs come to it over HTTP/2, and every call goes to one HTTP/2 instance."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from proxy.legs import Failed, Target
from proxy.switch import Switch
from sdk.connection import run_connection
from sdk.errors import Unavailable
from sdk.head import CallHead
from sdk.port.http2 import Http2CallingPort, Http2ServingPort
from sdk.rawsocket import open_tcp, take_over
from sdk.timers import Timers


@dataclass
class OneInstance:
    """Chooses the one port there is, and keeps what it was asked."""

    port: Http2CallingPort
    heads: list[CallHead] = field(default_factory=list)

    def choose(self, head: CallHead, now: float, trusted: bool = False) -> Target:
        self.heads.append(head)
        return Target(self.port, b"", None)

    def again(self, head: CallHead, now: float, failed: Failed, trusted: bool = False) -> Target:
        raise Unavailable("there is nobody else")

    def meant_by(self, host: str) -> str:
        return host

    def spoken_by(self, service: str) -> frozenset[str]:
        return frozenset()

    def extend(self, head: CallHead, hops: int, now: float) -> Target:
        raise NotImplementedError

    def failed_edge(self, edge: bytes, now: float) -> None:
        raise NotImplementedError


class GrpcNode:
    """The switch, its listener, and the connection to the instance."""

    def __init__(self, nursery: trio.Nursery, address: str) -> None:
        self.switch = Switch(me=b"n" * 16, name="node")
        self.calling = Http2CallingPort(self.switch, name=f"instance {address}", authority=address)
        self.chooser = OneInstance(self.calling)
        self.switch.ingress = self.switch.egress = self.chooser
        self.serving: list[Http2ServingPort] = []
        self.address = ""
        self._count = itertools.count()
        self._nursery = nursery
        self._timers = Timers()

    async def start(self, address: str) -> None:
        transport = await open_tcp(address)
        self._nursery.start_soon(self._timers.run)
        self._timers.watch(self.switch)
        self._nursery.start_soon(run_connection, self.calling, transport)
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.address = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        self._nursery.start_soon(trio.serve_listeners, self._serve, listeners)

    async def _serve(self, stream: trio.SocketStream) -> None:
        port = Http2ServingPort(
            self.switch, name="program", ids=lambda: next(self._count).to_bytes(16, "big"), forwarded="for=127.0.0.1"
        )
        self.serving.append(port)
        await run_connection(port, take_over(stream))


@asynccontextmanager
async def grpc_node(address: str) -> AsyncIterator[GrpcNode]:
    """A node in front of the instance at an address."""
    async with trio.open_nursery() as nursery:
        node = GrpcNode(nursery, address)
        await node.start(address)
        yield node
        nursery.cancel_scope.cancel()
