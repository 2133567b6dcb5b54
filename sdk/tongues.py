"""What the programs that connect to a service may speak: frames, gRPC over HTTP/2, and JSON over either HTTP.

It is told from the first bytes of a connection. Each tongue is a port, and what comes of it are streams of a mux, so
handlers know nothing of it. What speaks HTTP is loaded when the first connection does.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

from .connection import run_connection
from .firstbytes import first_bytes
from .port.native import NativePort
from .rawsocket import RawSocket
from .timers import Timers
from .wire.frame import PREFACE, Open
from .wire.http2 import PREFACE as HTTP2
from .wire.mux import Mux, MuxStream
from .wire.sniff import ANY, Beginnings

if TYPE_CHECKING:
    from .httptongues import HttpTongues

Accept = Callable[[MuxStream, Open], None]
"""Takes a stream that a program opened."""


class ServedPort(Protocol):
    """The port of a program that connected to a service."""

    streams: dict[int, Any]
    """Calls that are open, by the number of their streams."""

    def close(self, reason: str) -> None:
        """Ends the connection at once."""

    @property
    def refusing(self) -> bool:
        """Whether it takes no more calls."""

    def go_away(self) -> None:
        """Tells the program to open nothing new here; what it opens before it has heard of it is taken."""

    def refuse(self) -> None:
        """Takes no more calls."""

    @property
    def owing(self) -> bool:
        """Whether some of an answer has not gone out yet."""

    def part(self, reason: str) -> None:
        """Ends the connection once what was said has gone out."""

    async def run(self, transport: RawSocket, timers: Timers, first: bytes) -> None:
        """Serves the connection until it ends; `first` was read already."""


class Tongues:
    """Finds the port for each connection to one service."""

    def __init__(
        self, name: str, accept: Accept, *, listing: Callable[[], bytes], on_change: Callable[[], object]
    ) -> None:
        """`name` is the service's; `listing` says in JSON what it offers; `on_change` is called when a port in
        frames takes no more calls."""
        self._name = name
        self._accept = accept
        self._listing = listing
        self._on_change = on_change
        self._http: HttpTongues | None = None
        self._table: Final = Beginnings[Callable[[RawSocket, float], ServedPort]](
            {PREFACE[:6]: self._frames, HTTP2[:16]: lambda transport, due: self._http_tongues().http2(transport)},
            {ANY: lambda transport, due: self._http_tongues().http1(transport)},
        )

    async def port_for(self, transport: RawSocket, due: float) -> tuple[ServedPort | None, bytes]:
        """The port for what a connection begins with, and those bytes; none where it says nothing that is spoken here,
        or not before `due`. One that speaks frames has to say its HELLO until then as well."""
        first = await first_bytes(transport, self._table, due=due)
        make = self._table.spoken(first)
        return (make(transport, due) if make else None), first

    def _frames(self, transport: RawSocket, due: float) -> ServedPort:
        mux = Mux(on_open=self._accept, clock=trio.current_time)
        port = NativeServedPort(mux, transport.peer, due, self._on_change)
        mux.attach(port)
        return port

    def _http_tongues(self) -> "HttpTongues":
        if self._http is None:
            from .httptongues import HttpTongues

            self._http = HttpTongues(self._name, self._accept, listing=self._listing)
        return self._http


class NativeServedPort(NativePort):
    """The port of a connection in frames: one that says no HELLO in time is closed."""

    def __init__(self, sink: Mux, name: str, hello_due: float, on_change: Callable[[], object]) -> None:
        """`on_change` is called when no more calls are taken."""
        super().__init__(sink, role="instance", dialled=False, name=name)
        self._hello_due = hello_due
        self._on_change = on_change

    owing = False
    """What was answered is written before a connection ends."""

    def refuse(self) -> None:
        """Says so to whoever waits for it."""
        super().refuse()
        self._on_change()

    def next_timeout(self) -> float:
        """When the HELLO must have come."""
        return self._hello_due if self.hello is None else math.inf

    def handle_timeout(self, now: float) -> None:
        """It did not."""
        if self.hello is None:
            self.close(f"{self.name} said no HELLO in time")

    def part(self, reason: str) -> None:
        """Ends the connection once what was said has gone out."""
        self.close(reason)

    async def run(self, transport: RawSocket, timers: Timers, first: bytes) -> None:
        """Serves the connection until it ends."""
        await run_connection(self, transport, timers=timers, first=first)
