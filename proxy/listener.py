"""The proxy port: accepts programs, finds out what they speak, and hands them to the switch.

Until a connection has said what it speaks it may send 16 KiB and take 5 s; it is answered with nothing and closed
after that.
"""

import logging
from collections.abc import Sequence

import trio

from sdk.connection import run_connection
from sdk.errors import RemoteProtocolError
from sdk.netaddress import is_private
from sdk.port.native import NativePort
from sdk.rawsocket import RawSocket, take_over
from sdk.timers import Timers
from sdk.wire.frame import PREFACE

from .switch import Switch

FIRST_BYTES = 5.0
"""Seconds in which a connection says what it speaks."""

MAX_CONNECTIONS = 4096
"""Connections of programs at one time; the files a process may open by default are 1,024 to 65,536."""

_log = logging.getLogger(__name__)


class ProxyListener:
    """Serves programs on the proxy port of a node."""

    def __init__(self, switch: Switch, timers: Timers) -> None:
        self._switch = switch
        self._timers = timers
        self._ports: dict[NativePort, None] = {}
        self._warned: dict[str, None] = {}
        self._draining = False
        self.refused = 0
        """Connections that were closed without a call: from outside, of no known protocol, or one too many."""

    async def serve(self, listeners: Sequence[trio.SocketListener]) -> None:
        """Accepts until cancelled."""
        await trio.serve_listeners(self._serve_one, list(listeners))

    def go_away(self) -> None:
        """Tells every program to open nothing new here."""
        self._draining = True
        for port in self._ports:
            port.go_away()

    def statistics(self) -> dict[str, int]:
        """Counts for people."""
        return {"programs": len(self._ports), "refused": self.refused}

    async def _serve_one(self, stream: trio.SocketStream) -> None:
        transport = take_over(stream)
        if not transport.peer_host or not is_private(transport.peer_host):
            self._refuse(transport, "it is not of this host or a private network, and this port has no token")
            return
        if len(self._ports) >= MAX_CONNECTIONS:
            self._refuse(transport, f"{MAX_CONNECTIONS} programs are connected already")
            return
        first = await self._first_bytes(transport)
        if not first.startswith(PREFACE[:6]):
            self._refuse(transport, "it does not speak frames" if first else "it said nothing")
            return
        port = NativePort(self._switch, role="node", dialled=False, name=f"program {transport.peer}")
        self._ports[port] = None
        if self._draining:
            port.go_away()
        try:
            await run_connection(port, transport, timers=None, first=first)
        finally:
            del self._ports[port]

    async def _first_bytes(self, transport: RawSocket) -> bytes:
        """What tells the protocol, or what came of it in time."""
        first = b""
        with trio.move_on_after(FIRST_BYTES):
            try:
                while len(first) < len(PREFACE) and PREFACE.startswith(first[:6]):
                    data = await transport.receive_some()
                    if not data:
                        break
                    first += data
            except (trio.BrokenResourceError, RemoteProtocolError):
                return b""
        return first

    def _refuse(self, transport: RawSocket, reason: str) -> None:
        """Closes a connection; the log has one line for each address."""
        self.refused += 1
        transport.close()
        if transport.peer_host not in self._warned:
            if len(self._warned) > 1000:
                self._warned.clear()
            self._warned[transport.peer_host] = None
            _log.warning("refused a connection from %s to the proxy port: %s", transport.peer, reason)
