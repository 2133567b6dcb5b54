"""A local port that leads to one service, whatever runs it: each connection to it is a raw TCP call.

Bytes cannot show a token, so only programs of this host and of private networks are let in, always.
"""

import logging
from collections.abc import Sequence

import trio

from sdk.errors import Status
from sdk.head import CallHead, pack_call_head
from sdk.netaddress import is_private
from sdk.rawsocket import RawSocket, take_over
from sdk.splice import splice

from .crowd import Crowd
from .speaks import RAW
from .switch import Switch
from .tcp import TcpPort

PATIENCE = 3.0
"""Seconds that a connection waits for its service to be known …"""

LONGER = 30.0
"""… and for one that is known to take it: many connections at once wait for one another, as they would in a backlog."""

AGAIN = 0.05
"""Seconds to the first look for it; each is half as long again as the one before …"""

MOST = 0.5
"""… up to so many: a thousand connections that wait for half a minute should not keep a node busy."""

_log = logging.getLogger(__name__)


class MappedPort:
    """Serves the connections to one local port."""

    def __init__(self, switch: Switch, service: str) -> None:
        """`service` is who is called."""
        self.refused = 0
        """Connections that were closed without a call."""
        self._switch = switch
        self._service = service
        self._head = pack_call_head(CallHead(service=service, endpoint="", protocol=RAW))
        self._crowd = Crowd()
        self._draining = False
        self._said = ""

    async def serve(self, listeners: Sequence[trio.SocketListener]) -> None:
        """Accepts until cancelled."""
        await trio.serve_listeners(self._serve_one, list(listeners))

    def go_away(self) -> None:
        """Takes no new connections; those that are open go on."""
        self._draining = True

    async def _serve_one(self, stream: trio.SocketStream) -> None:
        transport = take_over(stream)
        too_many = self._crowd.enter(transport.peer_host)
        try:
            await self._carry(transport, too_many)
        except Exception:  # a defect of ours must not take the node down
            _log.exception("the connection of %s ended with an error", transport.peer)
        finally:
            self._crowd.leave(transport.peer_host)
            transport.close()

    async def _carry(self, transport: RawSocket, too_many: str) -> None:
        if not transport.peer_host:
            return  # it left before it was accepted
        if not is_private(transport.peer_host):
            self._refuse(transport, "it is not of this host or a private network")
        elif self._draining:
            self._refuse(transport, "this node is stopping")
        elif too_many:
            self._refuse(transport, too_many)
        else:
            port = await self._open(f"program {transport.peer}")
            await splice(port, transport)
            if port.reset is not None:
                self._say(f"a connection to {self._service} was broken off: {port.reset.detail}")

    async def _open(self, name: str) -> TcpPort:
        """The call that a connection is. Who connects just after this node has started, or its link has broken, waits
        a moment instead of being refused: nothing was read from the connection yet. Of what was refused meanwhile there
        is one line in the log, and only the last counts as a call."""
        began, patience, pause = trio.current_time(), LONGER, AGAIN
        while True:
            port = TcpPort(self._switch, name=name, clock=trio.current_time)
            last = trio.current_time() - began > patience
            self._try(port, told=last)
            if port.reset is None or last:
                return port
            self._say(f"connections to {self._service} wait: {port.reset.detail}")
            patience = PATIENCE if port.reset.status == Status.NOT_FOUND else LONGER
            await trio.sleep(pause)
            pause = min(pause * 1.5, MOST)

    def _try(self, port: TcpPort, *, told: bool) -> None:
        if told:
            port.open(self._head)
            return
        self._switch.patient.add(port)
        try:
            port.open(self._head)
        finally:
            self._switch.patient.remove(port)

    def _refuse(self, transport: RawSocket, reason: str) -> None:
        self.refused += 1
        transport.abort()
        self._say(f"refused a connection from {transport.peer_host} to {self._service}: {reason}")

    def _say(self, what: str) -> None:
        """One line for a person, unless it is the last one once more."""
        if what != self._said:
            self._said = what
            _log.warning("%s", what)
