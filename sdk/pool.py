"""Connections of a client: one for each address, shared by all its calls, dialled when a call needs it.

Instances are spoken to in frames, or in gRPC where they know no frames. What speaks gRPC is loaded when one does.

A port is there before its socket and takes frames at once. When nobody answers at the address it dies, and every call
on it is known as not reached.
"""

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import trio

from .connection import Transport, run_connection
from .errors import MicroError, Status
from .port.native import NativePort
from .rawsocket import RawSocket, open_tcp
from .timers import Timers
from .wire.frame import Fate, Hello, Reset
from .wire.mux import Mux, MuxStream

if TYPE_CHECKING:
    from .grpcport import GrpcPort

CONNECT_SECONDS = 5.0
"""Until an address that does not answer counts as dead."""

SWEEP_SECONDS = 0.05
"""How late a call's default deadline may be noticed: cheaper than a cancel scope for each call."""


class _ClientPort(NativePort):
    """The port of a connection to a node or an instance."""

    def __init__(self, sink: Mux, address: str, token: bytes, on_greeted: Callable[[], object]) -> None:
        """`on_greeted` is called when the other end has said HELLO; one that is stopping says GOAWAY right behind it,
        and whoever is woken by the call knows of both."""
        super().__init__(sink, role="client", dialled=True, name=address, token=token)
        self._on_greeted = on_greeted

    @property
    def full(self) -> bool:
        """Whether it takes no more calls, now or ever."""
        return self.dead or self.draining

    def on_hello(self, hello: Hello) -> None:
        """Somebody is there."""
        self._on_greeted()


def _grpc_port(mux: Mux, address: str, on_greeted: Callable[[], object]) -> "GrpcPort":
    from .grpcport import GrpcPort

    return GrpcPort(mux, address, on_greeted)


class Connection:
    """One connection, from before it is dialled until it is lost."""

    __slots__ = ("address", "grpc", "mux", "port", "settled")

    def __init__(self, address: str, token: bytes, *, grpc: bool) -> None:
        self.address = address
        self.grpc = grpc
        """Whether it speaks gRPC, and not frames."""
        self.mux = Mux(clock=trio.current_time)
        self.settled = trio.Event()
        """Set when it is known whether somebody answers there, and takes calls."""
        self.port: _ClientPort | GrpcPort = (
            _grpc_port(self.mux, address, self.settled.set)
            if grpc
            else _ClientPort(self.mux, address, token, self.settled.set)
        )
        self.mux.attach(self.port)

    @property
    def usable(self) -> bool:
        """Whether new calls may go on it, as far as is known."""
        return not self.port.full


class Pool:
    """Dials in a nursery it is given."""

    def __init__(self, nursery: trio.Nursery, token: bytes = b"") -> None:
        """`token` is shown to whoever is dialled."""
        self._nursery = nursery
        self._token = token
        self._by_address: dict[str, Connection] = {}
        self._alive: dict[Connection, None] = {}
        """Draining ones as well, which have been replaced."""
        self._sweeping = False
        self._timers: Timers | None = None
        """For connections in gRPC: frames have no clock here."""

    def connection_to(self, address: str, *, grpc: bool = False) -> Connection:
        """The connection to `host:port`; it is dialled if it is not there or takes no more calls."""
        connection = self._by_address.get(address)
        if connection is None or connection.port.full or connection.grpc is not grpc:
            if connection is not None and connection.grpc:
                connection.port.go_away()  # one that has all the calls it takes ends with them
            connection = self._by_address[address] = Connection(address, self._token, grpc=grpc)
            self._nursery.start_soon(self._run, connection)
        return connection

    def adopt(self, address: str, transport: Transport) -> None:
        """Has calls to this address go over a connection that is there already."""
        connection = self._by_address[address] = Connection(address, self._token, grpc=False)
        self._alive[connection] = None
        self._nursery.start_soon(run_connection, connection.port, transport)

    def sweep(self) -> None:
        """Says that a stream now has a deadline: it is broken off when that has passed."""
        if not self._sweeping:
            self._sweeping = True
            self._nursery.start_soon(self._sweep)

    async def _run(self, connection: Connection) -> None:
        port = connection.port
        self._alive[connection] = None
        try:
            with trio.fail_after(CONNECT_SECONDS):
                transport = await open_tcp(connection.address)
        except (MicroError, trio.TooSlowError) as error:
            reason = str(error).rpartition(": ")[2] or f"no answer in {CONNECT_SECONDS:g} s"
            port.connection_lost(f"cannot connect: {reason}")
        except BaseException:
            port.connection_lost("the client was closed")
            raise
        else:
            await self._run_over(port, transport)
        finally:
            connection.settled.set()
            del self._alive[connection]
            if self._by_address.get(connection.address) is connection:
                del self._by_address[connection.address]

    async def _run_over(self, port: "_ClientPort | GrpcPort", transport: RawSocket) -> None:
        if isinstance(port, _ClientPort):
            await run_connection(port, transport)
            return
        if self._timers is None:
            self._timers = Timers()
            self._nursery.start_soon(self._timers.run)
        port.progress = lambda: transport.pieces
        await run_connection(port, transport, timers=self._timers)

    async def _sweep(self) -> None:
        """Runs as long as there are streams with a deadline."""
        waiting = True
        while waiting:
            await trio.sleep(SWEEP_SECONDS)
            now, waiting = trio.current_time(), False
            for stream in list(self._streams()):
                if stream.deadline <= now:
                    _expire(stream)
                elif stream.deadline < math.inf:
                    waiting = True
        self._sweeping = False

    def _streams(self) -> Iterator[MuxStream]:
        for connection in self._alive:
            streams: dict[int, MuxStream] = connection.port.streams  # type: ignore[assignment]
            yield from streams.values()


def _expire(stream: MuxStream) -> None:
    """Tells the peer that nobody waits any more, and whoever waits that the time is over."""
    detail = "no answer came before the default deadline (MICRO_CLIENT_REQUEST_TIMEOUT)"
    stream.reset(Status.DEADLINE_EXCEEDED, detail)
    stream.break_off(Reset(Status.DEADLINE_EXCEEDED, Fate.MAY_HAVE_RUN, detail))
