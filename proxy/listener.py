"""The proxy port: accepts programs, finds out by their first bytes what they speak, and hands them to the switch.

Until a connection has said what it speaks, and then its HELLO, it may send 16 KiB and take 5 s; it is answered with
nothing and closed after that.
"""

import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeVar

import trio

from sdk.connection import run_connection
from sdk.errors import RemoteProtocolError, Status
from sdk.head import CallHead, pack_call_head
from sdk.port.http1serving import ServingHttp1Port
from sdk.port.http2 import Http2ServingPort, first_known
from sdk.port.native import NativePort
from sdk.rawsocket import RawSocket, take_over
from sdk.timers import Timers
from sdk.wire.frame import PREFACE, RESET, Fate, Reset, pack_reset
from sdk.wire.http1fields import forwarded_by
from sdk.wire.http2 import PREFACE as HTTP2

from .answering import AnsweringPort
from .connect import METHOD, ConnectPort, ConnectRequest, token_of
from .crowd import Crowd
from .doorkeeper import OUTSIDE, Doorkeeper
from .program import ProgramPort
from .sni import HANDSHAKE, ClientHello, ServerNamePort
from .sniff import is_undecided, spoken
from .socks import VERSION, SocksPort, SocksRequest
from .speaks import RAW
from .splice import splice
from .switch import Switch
from .tcp import STREAM, TcpPort

FIRST_BYTES = 5.0
"""Seconds in which a connection says what it speaks."""

METHODS = tuple(
    b"%b " % method for method in (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE")
)
"""What HTTP/1.1 begins with here; CONNECT is another matter."""

FIRST_SIZE = 16384
"""Bytes it may use for that."""

SILENT = 1.0
"""Seconds that a program may be silent before it is one that waits for the back end to speak first: all that this port
knows itself begins at once. Only where there is a back end whose bytes nobody looks into."""

P = TypeVar("P", bound=AnsweringPort)

Request = ConnectRequest | SocksRequest | ClientHello
"""Reads how a program asks for a raw connection."""

Serve = Callable[[RawSocket, bytes, float], Awaitable[None]]
"""Serves a connection, from which these bytes were read, and which has to have said who it wants at that time."""

_log = logging.getLogger(__name__)


class BackEnd(NamedTuple):
    """The one service that a proxy stands before: it is meant by whatever names no other."""

    service: str
    """Its name."""
    protocol: str
    """What it speaks. Before one of raw TCP, a connection that does not ask for a service is its own, whatever it
    speaks."""


class ProxyListener:
    """Serves programs on the proxy port of a node."""

    def __init__(
        self, switch: Switch, timers: Timers, tokens: Sequence[bytes] = (), *, back_end: BackEnd | None = None
    ) -> None:
        """`timers` close programs that say no HELLO; `tokens` are those that `Doorkeeper` asks for; `back_end` is whom
        the port stands before, if before one."""
        self._otherwise = back_end.service if back_end else ""
        self._doorkeeper = Doorkeeper(tokens)
        self._switch = switch
        self._timers = timers
        self._crowd = Crowd()
        self._ports: dict[NativePort | Http2ServingPort | ServingHttp1Port, None] = {}
        self._mine = secrets.token_bytes(8)
        self._count = itertools.count()
        self._warned: dict[str, None] = {}
        self._said = ""
        self._draining = False
        self._refusing = False
        self.refused = 0
        """Connections that were closed without a call: from outside, of no known protocol, or one too many."""
        everywhere: dict[bytes, Serve] = {PREFACE[:6]: self._frames, METHOD: self._connect, VERSION: self._socks}
        looked_into: dict[bytes, Serve] = {
            HTTP2[:16]: self._http2,
            **dict.fromkeys(METHODS, self._http1),
            HANDSHAKE: self._tls,
        }
        self._raw_back_end = back_end.service if back_end and back_end.protocol == RAW else ""
        self._protocols: Final = everywhere if self._raw_back_end else everywhere | looked_into

    async def serve(self, listeners: Sequence[trio.SocketListener]) -> None:
        """Accepts until cancelled."""
        await trio.serve_listeners(self._serve_one, list(listeners))

    def set_tokens(self, tokens: Sequence[bytes]) -> None:
        """Asks programs for these tokens from now on; those that are connected stay, whatever they showed."""
        self._doorkeeper.replace(tokens)

    def go_away(self) -> None:
        """Tells every program to open nothing new here. What they open before they hear of it is taken."""
        self._draining = True
        for port in self._ports:
            port.go_away()

    def refuse(self) -> None:
        """Refuses from now on what programs open all the same."""
        self._refusing = True
        for port in self._ports:
            port.refuse()

    @property
    def heard(self) -> bool:
        """Whether every program has heard that it should open nothing new here."""
        return all(port.refusing for port in self._ports)

    def statistics(self) -> dict[str, int]:
        """Counts for people."""
        return {"open": len(self._ports), "refused": self.refused}

    async def _serve_one(self, stream: trio.SocketStream) -> None:
        transport = take_over(stream)
        too_many = self._crowd.enter(transport.peer_host)
        try:
            await self._admit(transport, too_many)
        except Exception:  # a defect of ours must not take the node down
            _log.exception("the connection of %s ended with an error", transport.peer)
        finally:
            self._crowd.leave(transport.peer_host)
            transport.close()

    async def _admit(self, transport: RawSocket, too_many: str) -> None:
        if not transport.peer_host:
            return  # it left before it was accepted
        if self._doorkeeper.turns_away(transport.peer_host):
            self._refuse(transport, OUTSIDE)
            return
        if too_many:
            self._refuse(transport, too_many)
            return
        due = trio.current_time() + FIRST_BYTES
        first = await self._first_bytes(transport, due)
        serve = spoken(self._protocols, first)
        if serve is None and self._raw_back_end:
            await self._pass_through(transport, first, self._raw_back_end)
        elif serve is None:
            self._refuse(transport, "it speaks nothing that this port knows" if first else "it said nothing")
        else:
            await serve(transport, first, due)

    async def _first_bytes(self, transport: RawSocket, due: float) -> bytes:
        """What tells the protocol, or what came of it in time."""
        first = b""
        with trio.move_on_at(due - FIRST_BYTES + SILENT if self._raw_back_end else due) as scope:
            try:
                while is_undecided(self._protocols, first):
                    data = await transport.receive_some(FIRST_SIZE)
                    if not data:
                        break
                    first += data
                    scope.deadline = due
            except trio.BrokenResourceError:
                return b""
        return first

    async def _frames(self, transport: RawSocket, first: bytes, due: float) -> None:
        """A program that uses the SDK."""
        port = ProgramPort(
            self._switch,
            host=transport.peer_host,
            name=f"program {transport.peer}",
            doorkeeper=self._doorkeeper,
            hello_due=due,
            refused=partial(self._refused, transport),
        )
        if self._draining:
            port.refuse()
        self._ports[port] = None
        try:
            await run_connection(port, transport, timers=self._timers, first=first)
        finally:
            del self._ports[port]
        if port.hello is None:
            self._refused(transport, port.reason)

    async def _http2(self, transport: RawSocket, first: bytes, due: float) -> None:
        """A program that speaks gRPC, or HTTP/2."""
        host = transport.peer_host
        port = Http2ServingPort(
            self._switch,
            name=f"program {transport.peer}",
            ids=self._ids,
            service_of=first_known(self._switch.ingress.knows),
            objection=lambda shown: self._doorkeeper.objection(host, token_of(shown.encode())),
            forwarded=f'for="[{host}]"' if ":" in host else f"for={host}",
            otherwise=self._otherwise,
        )
        if self._draining:
            port.go_away()
        self._ports[port] = None
        try:
            await run_connection(port, transport, timers=self._timers, first=first)
        finally:
            del self._ports[port]

    async def _http1(self, transport: RawSocket, first: bytes, due: float) -> None:
        """A program that speaks HTTP/1.1."""
        host = transport.peer_host
        port = ServingHttp1Port(
            self._switch,
            name=f"program {transport.peer}",
            clock=trio.current_time,
            forwarded=forwarded_by(host),
            call_ids=secrets.token_bytes(8),
            objection=lambda shown: self._doorkeeper.objection(host, token_of(shown)),
            otherwise=self._otherwise,
            known=self._switch.ingress.knows,
        )
        if self._refusing:
            port.refuse()
        elif self._draining:
            port.go_away()
        self._ports[port] = None
        self._timers.watch(port)
        try:
            await splice(port, transport, first)
        finally:
            self._timers.unwatch(port)
            del self._ports[port]

    async def _pass_through(self, transport: RawSocket, first: bytes, service: str) -> None:
        """A program that speaks with the back end, and not with this port."""
        objection = self._doorkeeper.objection(transport.peer_host, b"")
        if objection or self._draining:
            self._refuse(transport, objection or "this node is stopping")
            return
        port = TcpPort(self._switch, name=f"program {transport.peer}", clock=trio.current_time)
        port.open(pack_call_head(CallHead(service, "", RAW)))
        await splice(port, transport, first)
        if port.reset is not None:
            self._say(f"a connection of {port.name} was broken off: {port.reset.detail}")

    def _ids(self) -> bytes:
        """What no other call has: 64 bits that no other process has, and a number."""
        return self._mine + next(self._count).to_bytes(8, "big")

    async def _connect(self, transport: RawSocket, first: bytes, due: float) -> None:
        """A program that asks for a service in HTTP."""
        await self._raw(ConnectRequest(), self._port(ConnectPort, transport), transport, first, due)

    async def _socks(self, transport: RawSocket, first: bytes, due: float) -> None:
        """A program that does so in SOCKS5."""
        request = SocksRequest(partial(self._doorkeeper.objection, transport.peer_host))
        await self._raw(request, self._port(SocksPort, transport), transport, first, due)

    async def _tls(self, transport: RawSocket, first: bytes, due: float) -> None:
        """A program that names a service to it in TLS."""
        request = ClientHello(self._switch.ingress.knows)
        await self._raw(request, self._port(ServerNamePort, transport), transport, first, due)

    def _port(self, kind: type[P], transport: RawSocket) -> P:
        return kind(self._switch, name=f"program {transport.peer}", clock=trio.current_time)

    async def _raw(self, request: Request, port: AnsweringPort, transport: RawSocket, first: bytes, due: float) -> None:
        """Makes of the connection a raw call to the service that it asks for."""
        asked, reason = await _read(request, transport, first, due)
        if asked is None:
            self._refused(transport, reason)
            if words := request.data_to_send():
                port.turn_away(words)
                await splice(port, transport)
            return
        head, behind = asked
        objection = self._doorkeeper.objection(transport.peer_host, request.token)
        if objection:
            self._refused(transport, objection)
            _turn_away(port, Status.UNAUTHENTICATED, objection)
        elif self._draining:
            _turn_away(port, Status.UNAVAILABLE, "this node is stopping")
        else:
            port.open(head)
        await splice(port, transport, behind)
        if port.refused and not objection:
            self._say(f"a connection of {port.name} was refused: {port.refused}")

    def _refuse(self, transport: RawSocket, reason: str) -> None:
        """Closes a connection that can be told nothing."""
        transport.close()
        self._refused(transport, reason)

    def _refused(self, transport: RawSocket, reason: str) -> None:
        """Counts it; the log has one line for each address."""
        self.refused += 1
        if transport.peer_host not in self._warned:
            if len(self._warned) > 1000:
                self._warned.clear()
            self._warned[transport.peer_host] = None
            _log.warning("refused a connection from %s to the proxy port: %s", transport.peer, reason)

    def _say(self, what: str) -> None:
        """One line for a person, unless it is the last one once more: SOCKS5 and TLS tell the program a number only."""
        if what != self._said:
            self._said = what
            _log.warning("%s", what)


async def _read(
    request: Request, transport: RawSocket, data: bytes, due: float
) -> tuple[tuple[bytes, bytes] | None, str]:
    """The packed head of the call that a program asks for, and what came behind; or nothing, and why."""
    with trio.move_on_at(due):
        try:
            while data:
                asked = request.receive_untrusted(data)
                if words := request.data_to_send():
                    await transport.send_all(words)
                if asked is not None:
                    return asked, ""
                data = await transport.receive_some(FIRST_SIZE)
        except (RemoteProtocolError, trio.BrokenResourceError) as error:
            return None, str(error) or "the connection broke"
        return None, "the connection ended within its request"
    return None, f"its request did not end within {FIRST_BYTES:g} s"


def _turn_away(port: AnsweringPort, status: Status, reason: str) -> None:
    port.send(RESET, 0, STREAM, pack_reset(Reset(status, Fate.NOT_REACHED, reason)))
