"""Programs that speak HTTP to a service: gRPC, and JSON over HTTP/1.1 and HTTP/2.

A call in JSON is made into one of gRPC's, on a mux inside this process, which is answered like any other. It is the
address that says which service is meant: only who names one in `Micro-Service` is told when it is another.
"""

import itertools
import secrets
from collections.abc import Callable
from functools import partial

import trio

from .connection import run_connection
from .head import parse_call_head_untrusted
from .jsoncalls import JsonCalls
from .port.http1serving import ServingHttp1Port
from .port.http2 import Http2ServingPort
from .port.inner import inner_pair
from .rawsocket import RawSocket
from .splice import splice
from .timers import Timers
from .wire.frame import Open
from .wire.http1fields import forwarded_by
from .wire.http1read import PROTOCOL
from .wire.mux import Mux, MuxStream


class HttpTongues:
    """Makes the ports of one service."""

    def __init__(
        self,
        name: str,
        accept: Callable[[MuxStream, Open], None],
        *,
        listing: Callable[[], bytes],
    ) -> None:
        """See `Tongues`."""
        self._name = name
        self._accept = accept
        callees, handlers = Mux(clock=trio.current_time), Mux(on_open=accept, clock=trio.current_time)
        near, far = inner_pair(callees, handlers, name=name, clock=trio.current_time)
        callees.attach(near)
        handlers.attach(far)
        self._json = JsonCalls(callees, name=name, listing=listing)
        self._ids = map(partial(bytes.__add__, secrets.token_bytes(8)), map(_eight, itertools.count()))

    def http1(self, transport: RawSocket) -> "Http1ServedPort":
        """The port of a connection that speaks HTTP/1.1."""
        mux = Mux(on_open=self._json.on_open, clock=trio.current_time)
        port = Http1ServedPort(
            mux,
            name=transport.peer,
            clock=trio.current_time,
            forwarded=forwarded_by(transport.peer_host),
            call_ids=secrets.token_bytes(8),
            otherwise=self._name,
            meant_by=_nobody,
        )
        mux.attach(port)
        return port

    def http2(self, transport: RawSocket) -> "Http2ServedPort":
        """The port of a connection that speaks HTTP/2, gRPC or not."""
        mux = Mux(on_open=self._on_open, clock=trio.current_time)
        port = Http2ServedPort(
            mux,
            name=transport.peer,
            ids=self._ids.__next__,
            forwarded=forwarded_by(transport.peer_host).decode(),
            otherwise=self._name,
        )
        mux.attach(port)
        return port

    def _on_open(self, stream: MuxStream, opened: Open) -> None:
        in_json = parse_call_head_untrusted(opened.head).protocol == PROTOCOL
        (self._json.on_open if in_json else self._accept)(stream, opened)


class Http2ServedPort(Http2ServingPort):
    """The port of a connection that speaks HTTP/2."""

    @property
    def owing(self) -> bool:
        """Whether some of an answer has not gone out yet."""
        return bool(self.streams or self.held or self.queued)

    def part(self, reason: str) -> None:
        """Ends the connection once what was said has gone out."""
        self.close(reason)

    async def run(self, transport: RawSocket, timers: Timers, first: bytes) -> None:
        """Serves the connection until it ends."""
        self.progress = lambda: transport.pieces
        await run_connection(self, transport, timers=timers, first=first)


class Http1ServedPort(ServingHttp1Port):
    """The port of a connection that speaks HTTP/1.1."""

    @property
    def owing(self) -> bool:
        """Whether some of an answer has not gone out yet."""
        return bool(self.streams or self.queued)

    def part(self, reason: str) -> None:
        """Ends the connection once what was said has gone out; an answer that is not complete is cut short."""
        if self.streams:
            self.close(reason)
        else:
            self.take_leave()

    async def run(self, transport: RawSocket, timers: Timers, first: bytes) -> None:
        """Serves the connection until it ends."""
        self.progress = lambda: transport.pieces
        timers.watch(self)
        try:
            await splice(self, transport, first)
        finally:
            timers.unwatch(self)


def _eight(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _nobody(_: str) -> str:
    return ""
