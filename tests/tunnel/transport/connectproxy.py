"""An HTTP proxy to test with, which does nothing but CONNECT."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from sdk.errors import MicroError
from sdk.rawsocket import bound_address, listen_tcp, open_tcp
from tests.net import pump
from tests.processes import PATIENCE

GRANTED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class ConnectProxy:
    """A proxy that does CONNECT, and writes down whom it was asked for."""

    def __init__(self, login: str) -> None:
        self.address = ""
        self.asked: list[str] = []
        self._login = base64.b64encode(login.encode()) if login else b""

    async def serve(self, client: trio.SocketStream) -> None:
        async with client:
            head = b""
            while b"\r\n\r\n" not in head:
                part = await client.receive_some()
                if not part:
                    return  # it gave up
                head += part
            first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
            method, target, version = first.decode().split()
            headers = dict(line.lower().split(b": ", 1) for line in lines)
            assert (method, version, headers[b"host"].decode()) == ("CONNECT", "HTTP/1.1", target)
            self.asked.append(target)
            if self._login and headers.get(b"proxy-authorization") != b"basic " + self._login.lower():
                await client.send_all(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
                return
            try:
                there = await open_tcp(target)
            except MicroError:
                await client.send_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno")
                return
            async with there:
                for piece in (GRANTED[:9], GRANTED[9:]):
                    await client.send_all(piece)
                    await trio.lowlevel.checkpoint()
                await pump(client, there)


@asynccontextmanager
async def proxy(login: str = "") -> AsyncIterator[ConnectProxy]:
    made = ConnectProxy(login)
    [listener] = await listen_tcp("127.0.0.1:0")
    made.address = bound_address(listener)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, made.serve, [listener])
        with trio.fail_after(2 * PATIENCE):
            yield made
        nursery.cancel_scope.cancel()
