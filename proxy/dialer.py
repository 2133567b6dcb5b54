"""Connections to instances: one for each address, shared by all calls, made when a call needs it.

A port is there before its socket: it takes frames at once, within credit, and when nobody answers at the address it
dies with every call on it known as not reached.
"""

import logging
from collections.abc import Callable

import trio

from sdk.connection import run_connection
from sdk.errors import MicroError
from sdk.port import Port, Sink
from sdk.port.http1calling import CallingHttp1Port
from sdk.port.http2 import Http2CallingPort
from sdk.port.limits import DEFAULT, Limits
from sdk.port.native import NativePort
from sdk.rawsocket import RawSocket, open_tcp
from sdk.splice import STOPPING, splice
from sdk.timers import Timers

from .kept import KeptConnections, KeptPort
from .several import SeveralConnections
from .tcp import TcpPort

CONNECT = 5.0
"""Seconds until an address that does not answer counts as dead."""

GONE = "the instance is gone from the registry"
"""Why a connection is closed that nobody needs."""

Shared = NativePort | Http2CallingPort
"""A connection that many calls share."""

_log = logging.getLogger(__name__)


class TcpDialer:
    """Dials in a nursery it is given."""

    def __init__(
        self, sink: Sink, nursery: trio.Nursery, *, timers: Timers | None = None, limits: Limits = DEFAULT
    ) -> None:
        """`sink` takes the frames of all ports; `timers` ask those that can be asked whether they live, and end what
        stands still for longer than `limits` say."""
        self._limits = limits
        self._sink = sink
        self._nursery = nursery
        self._timers = timers
        self._native: dict[str, NativePort] = {}
        self._grpc = SeveralConnections(self._dial_http2)
        self._kept = KeptConnections(self._dial_http)

    def port_to(self, address: str) -> Shared:
        """The port to `host:port`; it is dialled if it is not there or takes no more calls."""
        port = self._native.get(address)
        if port is None or port.dead or port.draining:
            port = NativePort(self._sink, role="node", dialled=True, name=f"instance {address}")
            self._native[address] = port
            self._nursery.start_soon(self._run_native, address, port)
        return port

    def grpc_to(self, address: str) -> Shared:
        """Likewise to an instance that speaks gRPC. One that has all the calls it takes on a connection gets
        another."""
        return self._grpc.port_to(address)

    def raw_to(self, address: str) -> TcpPort:
        """A new connection to `host:port` that takes one call, its bytes as they are."""
        port = TcpPort(self._sink, name=f"instance {address}", clock=trio.current_time)
        self._nursery.start_soon(self._run_raw, address, port)
        return port

    def http_to(self, address: str) -> Port:
        """A connection to an instance that speaks HTTP/1.1, for one call: one that was kept, or a new one."""
        return self._kept.port_to(address)

    def keep_only(self, addresses: set[str]) -> None:
        """Closes connections to addresses where no instance is any more, once no call is on them."""
        shared: list[tuple[str, Shared]] = [*self._native.items(), *self._grpc.ports()]
        for address, port in shared:
            if address not in addresses and not port.streams:
                # Going away first: if the address comes back before the connection is gone, a new one is made.
                port.go_away()
                port.close(GONE)
        self._kept.keep_only(addresses)

    def _dial_http2(self, address: str, at_first: int) -> Http2CallingPort:
        port = Http2CallingPort(
            self._sink, name=f"instance {address}", authority=address, limits=self._limits, at_first=at_first
        )
        self._nursery.start_soon(self._run_http2, address, port)
        return port

    def _dial_http(self, address: str, on_free: Callable[[KeptPort], None]) -> CallingHttp1Port:
        port = CallingHttp1Port(
            self._sink, name=f"instance {address}", clock=trio.current_time, on_free=on_free, limits=self._limits
        )
        self._nursery.start_soon(self._run_http, address, port)
        return port

    async def _run_http(self, address: str, port: CallingHttp1Port) -> None:
        transport = await self._connect(address, port)
        if transport is None:
            return
        port.progress = lambda: transport.pieces
        if self._timers is not None:
            self._timers.watch(port)
        try:
            await splice(port, transport)
        except Exception:  # a defect of ours must not take the node down
            _log.exception("the connection to %s ended with an error", address)
        finally:
            if self._timers is not None:
                self._timers.unwatch(port)
            self._kept.forget(address, port)

    async def _run_raw(self, address: str, port: TcpPort) -> None:
        transport = await self._connect(address, port)
        if transport is not None:
            port.connected()
            try:
                await splice(port, transport)
            except Exception:  # a defect of ours must not take the node down
                _log.exception("the connection to %s ended with an error", address)

    async def _connect(self, address: str, port: Shared | TcpPort | CallingHttp1Port) -> RawSocket | None:
        """A connection; where none comes about, the port dies with the reason."""
        try:
            with trio.fail_after(CONNECT):
                return await open_tcp(address)
        except (MicroError, ValueError, trio.TooSlowError) as error:
            # A record may hold what is no address at all; ValueError is Python's for a host that is none.
            port.connection_lost(str(error) or f"nobody answered in {CONNECT:g} s")
            return None
        except BaseException:
            port.connection_lost(STOPPING)
            raise

    async def _run_native(self, address: str, port: NativePort) -> None:
        try:
            await self._run(address, port)
        finally:
            if self._native.get(address) is port:
                del self._native[address]

    async def _run_http2(self, address: str, port: Http2CallingPort) -> None:
        try:
            await self._run(address, port)
        finally:
            self._grpc.forget(address, port)

    async def _run(self, address: str, port: Shared) -> None:
        transport = await self._connect(address, port)
        if transport is None:
            return
        if port.draining:  # the instance went while it was dialled
            transport.close()
            port.connection_lost(GONE)
            return
        if isinstance(port, Http2CallingPort):
            port.progress = lambda: transport.pieces
        try:
            await run_connection(port, transport, timers=self._timers)
        except Exception:  # a defect of ours must not take the node down
            _log.exception("the connection to %s ended with an error", address)
