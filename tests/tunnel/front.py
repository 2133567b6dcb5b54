"""A front that passes nothing but HTTP upgrades, as load balancers of clouds do."""

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from sdk.errors import MicroError
from sdk.rawsocket import bound_address, listen_tcp, open_tcp
from tests.net import pump

REFUSAL = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Front:
    """Serves until its block ends. What it does to whoever speaks no HTTP is `manners`."""

    def __init__(self, backend: str, manners: str) -> None:
        self.backend = backend
        self.manners = manners
        """`answers` with an error, `closes`, `resets`, or `waits` for the end of a request that never comes."""
        self.address = ""
        self.asked: list[bytes] = []
        """How each connection began."""

    async def serve(self, client: trio.SocketStream) -> None:
        try:
            async with client:
                await self._serve(client)
        except (MicroError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # nobody is behind it, or somebody has left

    async def _serve(self, client: trio.SocketStream) -> None:
        head = await client.receive_some()
        self.asked.append(bytes(head[:4]))
        while b"\r\n\r\n" not in head:
            if not b"GET ".startswith(head[:4]) and self.manners != "waits":
                if self.manners == "answers":
                    await client.send_all(REFUSAL)
                elif self.manners == "resets":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            if not (more := await client.receive_some()):
                return
            head += more
        if b"upgrade: websocket" not in head.lower():
            await client.send_all(REFUSAL)
            return
        async with await open_tcp(self.backend) as there:
            await there.send_all(head)
            await pump(client, there)


@asynccontextmanager
async def front(backend: str, manners: str = "answers") -> AsyncIterator[Front]:
    made = Front(backend, manners)
    [listener] = await listen_tcp("127.0.0.1:0")
    made.address = bound_address(listener)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, made.serve, [listener])
        yield made
        nursery.cancel_scope.cancel()
