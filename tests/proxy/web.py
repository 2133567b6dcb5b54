"""HTTP over real sockets: a node that programs reach by HTTP/1.1, and a web server that is no service of ours.

The server is h11 in a loop. It says what it was asked, as JSON, unless the path wants something else.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import h11
import trio

from proxy.kept import KeptConnections, KeptPort
from proxy.legs import Failed, Target
from proxy.switch import Switch
from sdk.errors import NotFound, Unavailable
from sdk.head import CallHead
from sdk.port.http1calling import CallingHttp1Port
from sdk.port.http1serving import ServingHttp1Port
from sdk.rawsocket import bound_address, listen_tcp, open_tcp, take_over
from sdk.splice import splice
from sdk.wire.http1fields import forwarded_by


class WebNode:
    """A switch between programs and the service `web`, both of which speak HTTP/1.1."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.switch = Switch(me=b"n" * 16, name="here")
        self.switch.ingress = self.switch.egress = self  # type: ignore[assignment]
        self.address = ""
        self.server = WebServer()
        self.dialled = 0
        self._kept = KeptConnections(self._dial)
        self._nursery = nursery
        self._count = 0

    @property
    def open_calls(self) -> int:
        return self.switch.statistics()["open"]

    async def until_idle(self) -> None:
        """Waits until every call is over."""
        while self.open_calls:
            await trio.lowlevel.checkpoint()

    def choose(self, head: CallHead, now: float, trusted: bool = False) -> Target:
        if head.service != "web":
            raise NotFound(f"no service called {head.service!r} is known here")
        return Target(self._kept.port_to(self.server.address), b"", None)

    def again(self, head: CallHead, now: float, failed: Failed, trusted: bool = False) -> Target:
        raise Unavailable("there is no other instance")

    def _dial(self, address: str, on_free: Callable[[KeptPort], None]) -> KeptPort:
        self.dialled += 1
        port = CallingHttp1Port(self.switch, name=f"instance {address}", clock=trio.current_time, on_free=on_free)
        self._nursery.start_soon(self._run, port, address)
        return port

    async def _run(self, port: CallingHttp1Port, address: str) -> None:
        await splice(port, await open_tcp(address))

    async def serve(self, stream: trio.SocketStream) -> None:
        self._count += 1
        transport = take_over(stream)
        port = ServingHttp1Port(
            self.switch,
            name=f"program {transport.peer}",
            clock=trio.current_time,
            forwarded=forwarded_by(transport.peer_host),
            call_ids=self._count.to_bytes(8, "big"),
        )
        await splice(port, transport)


class WebServer:
    """Answers HTTP/1.1 as h11 understands it."""

    def __init__(self) -> None:
        self.address = ""
        self.asked = trio.Event()
        """A request came that is never answered."""
        self.answered = 0
        """Requests that were."""
        self.broken = trio.Event()
        """A connection broke, or ended, in the middle of a request or answer."""

    async def serve(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            while await self._answer(connection, stream):
                connection.start_next_cycle()
        except (h11.RemoteProtocolError, trio.BrokenResourceError):
            self.broken.set()
        finally:
            await stream.aclose()

    async def _answer(self, connection: h11.Connection, stream: trio.SocketStream) -> bool:
        request = await self._next(connection, stream)
        if not isinstance(request, h11.Request):
            return False
        if request.target == b"/early":
            await self._send(connection, stream, 413, b"too long\n", [("Connection", "close")])
            return False
        if request.target == b"/never":
            self.asked.set()
            await self._next(connection, stream)
            await self._next(connection, stream)
            self.broken.set()
            return False
        size = 0
        while isinstance(event := await self._next(connection, stream), h11.Data):
            size += len(event.data)
        assert isinstance(event, h11.EndOfMessage)
        said = {
            "method": request.method.decode(),
            "target": request.target.decode(),
            "fields": [[name.decode(), value.decode()] for name, value in request.headers],
            "size": size,
            "trailers": [[name.decode(), value.decode()] for name, value in event.headers],
        }
        if request.target.startswith(b"/bytes/"):
            await self._send_pieces(connection, stream, int(request.target[7:]))
        elif request.method == b"HEAD":
            await self._send(connection, stream, 200, b"", [])
        else:
            await self._send(connection, stream, 200, json.dumps(said).encode(), [("Content-Type", "application/json")])
        self.answered += 1
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE

    async def _next(self, connection: h11.Connection, stream: trio.SocketStream) -> object:
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some())
        return event

    async def _send(
        self,
        connection: h11.Connection,
        stream: trio.SocketStream,
        status: int,
        body: bytes,
        headers: list[tuple[str, str]],
    ) -> None:
        headers = [*headers, ("Content-Length", str(len(body)))]
        await stream.send_all(connection.send(h11.Response(status_code=status, headers=headers)) or b"")
        if body:
            await stream.send_all(connection.send(h11.Data(data=body)) or b"")
        await stream.send_all(connection.send(h11.EndOfMessage()) or b"")

    async def _send_pieces(self, connection: h11.Connection, stream: trio.SocketStream, size: int) -> None:
        headers = [("Transfer-Encoding", "chunked"), ("Trailer", "X-Size")]
        await stream.send_all(connection.send(h11.Response(status_code=200, headers=headers)) or b"")
        for at in range(0, size, 50_000):
            await stream.send_all(connection.send(h11.Data(data=bytes(min(50_000, size - at)))) or b"")
        await stream.send_all(connection.send(h11.EndOfMessage(headers=[("X-Size", str(size))])) or b"")


@asynccontextmanager
async def web_node() -> AsyncIterator[WebNode]:
    """A node, and a web server behind it."""
    async with trio.open_nursery() as nursery:
        node = WebNode(nursery)
        for serve, named in ((node.server.serve, node.server), (node.serve, node)):
            listeners = await listen_tcp("127.0.0.1:0")
            named.address = bound_address(listeners[0])
            nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield node
        nursery.cancel_scope.cancel()
