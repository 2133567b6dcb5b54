"""The proxy port: accepts programs, finds out by their first bytes what they speak, and hands them to the switch.

Until a connection has said what it speaks, and then its HELLO, it may send 16 KiB and take 5 s; it is answered with
nothing and closed after that. What is said inside TLS that ends here is found out in the same way.
"""

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple, TypeVar

import trio

from sdk.doors import Doors
from sdk.errors import MicroError, Status
from sdk.firstbytes import first_bytes
from sdk.head import CallHead, pack_call_head, parse_call_head_untrusted
from sdk.port.limits import DEFAULT, Limits
from sdk.rawsocket import RawSocket, take_over
from sdk.splice import splice
from sdk.timers import Timers
from sdk.wire.frame import PREFACE
from sdk.wire.http2 import PREFACE as HTTP2
from sdk.wire.sniff import ANY, Beginnings

from .answering import AnsweringPort
from .asking import Request, read_asked, turn_away
from .attached import Attached
from .callers import Callers
from .connect import METHOD, ConnectPort, ConnectRequest
from .crowd import Crowd
from .doorkeeper import OUTSIDE, Doorkeeper
from .sni import HANDSHAKE, ClientHello, ServerNamePort
from .socks import VERSION, SocksPort, SocksRequest
from .speaks import RAW, is_looked_into
from .switch import Switch
from .tcp import TcpPort
from .termination import ProgramTls, Termination
from .visit import Visit

FIRST_BYTES = 5.0
"""Seconds in which a connection says what it speaks."""

LEAVING = 1.0
"""Seconds that those have who connected last to say what they want, and then that programs have to close connections
which were ended."""

LOOK = 0.02
"""Seconds between looks for that."""

SILENT = 1.0
"""Seconds that a program may be silent before it is one that waits for the back end to speak first: all that this port
knows itself begins at once. Only where there is a back end whose bytes nobody looks into."""

P = TypeVar("P", bound=AnsweringPort)

Serve = Callable[[Visit, bytes], Awaitable[None]]
"""Serves a connection from which these bytes were read."""

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
        self,
        switch: Switch,
        timers: Timers,
        tokens: Sequence[bytes] = (),
        *,
        termination: Termination | None = None,
        back_end: BackEnd | None = None,
        limits: Limits = DEFAULT,
        attached: Attached | None = None,
    ) -> None:
        """`timers` close programs that say no HELLO; `tokens` are those that `Doorkeeper` asks for; `termination` is
        with what TLS ends here, if it does; `back_end` is whom the port stands before, if before one; `limits` are
        those of programs that speak HTTP, and of the bodies of all requests; `attached` takes services that attach;
        without it none can."""
        self._doorkeeper = Doorkeeper(tokens)
        self._switch = switch
        self._termination = termination
        self._crowd = Crowd()
        self._callers = callers = Callers(
            switch,
            timers,
            self._doorkeeper,
            refused=self._refused,
            otherwise=back_end.service if back_end else "",
            limits=limits,
            attached=attached or Attached(),
        )
        self._warned: dict[str, None] = {}
        self._said = ""
        self._draining = False
        self._doors = Doors()
        self._arriving = 0
        """Connections that have not said yet what they speak."""
        self.refused = 0
        """Connections that were closed without a call: from outside, of no known protocol, or one too many."""
        self._raw_back_end = back_end.service if back_end and back_end.protocol == RAW else ""
        calls: dict[bytes, Serve] = {PREFACE[:6]: callers.frames, HTTP2[:16]: callers.http2}
        inside: dict[bytes, Serve] = {PREFACE[:6]: callers.frames, VERSION: self._socks}
        methods: dict[str, Serve] = {METHOD: self._connect}
        if not self._raw_back_end:
            inside |= calls
            methods[ANY] = callers.http1
        self._inside_calls: Final = Beginnings(calls, {ANY: callers.http1})
        self._inside_tls: Final = Beginnings(inside, methods)
        self._protocols: Final = Beginnings({**inside, HANDSHAKE: self._tls}, methods)

    async def serve(self, listeners: Sequence[trio.SocketListener]) -> None:
        """Accepts until cancelled, or until `leave`, and serves whom it has accepted."""
        async with trio.open_nursery() as nursery:
            await self._doors.serve(self._serve_one, listeners, nursery)

    def set_tokens(self, tokens: Sequence[bytes]) -> None:
        """Asks programs for these tokens from now on; those that are connected stay, whatever they showed."""
        self._doorkeeper.replace(tokens)

    def set_termination(self, termination: Termination | None) -> None:
        """Shows this certificate from now on; connections that are open stay."""
        self._termination = termination

    def go_away(self) -> None:
        """Tells every program to open nothing new here. What they open before they hear of it is taken."""
        self._draining = True
        self._callers.go_away()

    def refuse(self) -> None:
        """Refuses from now on what programs open all the same."""
        self._callers.refuse()

    async def leave(self) -> None:
        """Accepts nobody any more, and ends connections of HTTP/1.1 so that no request is lost on one: a program that
        has connected has a moment to ask, and is refused; one that asks while its connection ends is told so."""
        await self._doors.close()
        with trio.move_on_after(LEAVING):
            await trio.sleep(LOOK)
            while self._arriving:  # noqa: ASYNC110 - an event would cost every connection something
                await trio.sleep(LOOK)
        self._callers.take_leave()
        with trio.move_on_after(LEAVING):
            while not self._callers.left:  # noqa: ASYNC110 - likewise
                await trio.sleep(LOOK)

    @property
    def heard(self) -> bool:
        """Whether every program has heard that it should open nothing new here."""
        return self._callers.heard

    def statistics(self) -> dict[str, int]:
        """Counts for people."""
        return {"open": len(self._callers), "refused": self.refused}

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
        visit = Visit(socket=transport, due=trio.current_time() + FIRST_BYTES)
        if self._doorkeeper.turns_away(visit.host):
            self._refuse(visit, OUTSIDE)
        elif too_many:
            self._refuse(visit, too_many)
        else:
            await self._recognise(visit, self._protocols)

    async def _recognise(self, visit: Visit, protocols: Beginnings[Serve]) -> None:
        """Serves a connection by one of these protocols, whichever it speaks."""
        self._arriving += 1
        try:
            first = await self._first_bytes(visit, protocols)
        finally:
            self._arriving -= 1
        serve = protocols.spoken(first)
        if serve is not None:
            await serve(visit, first)
        elif self._raw_back_end:
            await self._pass_through(visit, first)
        else:
            self._refuse(visit, "it speaks nothing that this port knows" if first else "it said nothing")

    async def _first_bytes(self, visit: Visit, protocols: Beginnings[Serve], first: bytes = b"") -> bytes:
        """What tells the protocol, or what came of it in time; `first` was read already."""
        patience = SILENT if self._raw_back_end else math.inf
        return await first_bytes(visit.transport, protocols, first, due=visit.due, patience=patience)

    async def _pass_through(self, visit: Visit, first: bytes) -> None:
        """A program that speaks with the back end, and not with this port."""
        objection = self._doorkeeper.objection(visit.host, b"")
        if objection or self._draining:
            self._refuse(visit, objection or "this node is stopping")
            return
        port = TcpPort(self._switch, name=visit.name, clock=trio.current_time)
        port.open(pack_call_head(CallHead(self._raw_back_end, "", RAW)))
        await splice(port, visit.transport, first)
        if port.reset is not None:
            self._say(f"a connection of {port.name} was broken off: {port.reset.detail}")

    async def _connect(self, visit: Visit, first: bytes) -> None:
        """A program that asks for a service in HTTP."""
        await self._asked(ConnectRequest(), ConnectPort, visit, first.lstrip(b"\r\n"))  # RFC 9112, 2.2

    async def _socks(self, visit: Visit, first: bytes) -> None:
        """A program that does so in SOCKS5."""
        await self._asked(SocksRequest(partial(self._doorkeeper.objection, visit.host)), SocksPort, visit, first)

    async def _asked(self, request: Request, kind: type[AnsweringPort], visit: Visit, first: bytes) -> None:
        port = self._port(kind, visit)
        asked = await self._read(request, port, visit, first)
        if asked is not None:
            await self._carry(port, visit, *asked, request.token)

    async def _tls(self, visit: Visit, first: bytes) -> None:
        """A program that names a service to it in TLS, or this node."""
        port, termination = self._port(ServerNamePort, visit), self._termination
        if termination is None and self._raw_back_end:
            await self._pass_through(visit, first)
            return
        request = ClientHello(self._switch.ingress.meant_by, termination.is_for if termination else None)
        asked = await self._read(request, port, visit, first)
        if asked is None:
            return
        head, behind = asked
        if termination is not None and not head:
            await self._terminate(visit, termination, behind)
        elif self._raw_back_end:
            await self._pass_through(visit, behind)
        else:
            await self._carry(port, visit, head, behind, request.token)

    def _port(self, kind: type[P], visit: Visit) -> P:
        return kind(self._switch, name=visit.name, clock=trio.current_time)

    async def _read(
        self, request: Request, port: AnsweringPort, visit: Visit, first: bytes
    ) -> tuple[bytes, bytes] | None:
        """The packed head of the call that the program asks for, and what came behind; None where it asks for none that
        it could get."""
        asked, reason = await read_asked(request, visit, first)
        if asked is None:
            self._refused(visit, reason)
            if words := request.data_to_send():
                port.turn_away(words)
                await splice(port, visit.transport)
        return asked

    async def _carry(self, port: AnsweringPort, visit: Visit, head: bytes, behind: bytes, token: bytes) -> None:
        """Makes of the connection a raw call with this head, or of what it carries calls to the same service."""
        objection = self._doorkeeper.objection(visit.host, token)
        if objection:
            self._refused(visit, objection)
            turn_away(port, Status.UNAUTHENTICATED, objection)
        elif self._draining:
            turn_away(port, Status.UNAVAILABLE, "this node is stopping")
        else:
            call = parse_call_head_untrusted(head)
            meant = self._switch.ingress.meant_by(call.service)
            if meant and meant != call.service:
                call = call._replace(service=meant)
                head = pack_call_head(call)
            if port.established and is_looked_into(self._switch.ingress.spoken_by(call.service)):
                await self._look_inside(port, replace(visit, inside=call, token=token), head, behind)
                return
            port.open(head)
        await splice(port, visit.transport, behind)
        if port.refused and not objection:
            self._say(f"a connection of {port.name} was refused: {port.refused}")

    async def _look_inside(self, port: AnsweringPort, visit: Visit, head: bytes, behind: bytes) -> None:
        """Serves what a program has to say to a service whose calls can be told apart. What is none of them, such as
        TLS or a program that waits for the service to speak first, is carried raw."""
        try:
            await visit.transport.send_all(port.established)
        except trio.BrokenResourceError:
            return  # it has left
        port.welcomed()
        visit = replace(visit, due=trio.current_time() + FIRST_BYTES)
        first = await self._first_bytes(visit, self._inside_calls, behind)
        serve = self._inside_calls.spoken(first)
        if serve is not None:
            await serve(visit, first)
            return
        port.open(head)
        await splice(port, visit.transport, first)
        if port.reset is not None:
            self._say(f"a connection of {port.name} was broken off: {port.reset.detail}")

    async def _terminate(self, visit: Visit, termination: Termination, first: bytes) -> None:
        """Ends TLS here, and serves what is inside."""
        tls = ProgramTls(visit.socket, termination.context, first)
        try:
            with trio.move_on_at(visit.due) as handshaking:
                await tls.handshake()
        except MicroError as error:
            self._refused(visit, error.detail)
            return
        if handshaking.cancelled_caught:
            self._refused(visit, "its TLS handshake did not end within the time that it has")
        else:
            await self._recognise(replace(visit, tls=tls), self._inside_tls)

    def _refuse(self, visit: Visit, reason: str) -> None:
        """Closes a connection that can be told nothing."""
        visit.transport.close()
        self._refused(visit, reason)

    def _refused(self, visit: Visit, reason: str) -> None:
        """Counts it; the log has one line for each address."""
        self.refused += 1
        if visit.host not in self._warned:
            if len(self._warned) > 1000:
                self._warned.clear()
            self._warned[visit.host] = None
            _log.warning("refused a connection from %s to the proxy port: %s", visit.socket.peer, reason)

    def _say(self, what: str) -> None:
        """One line for a person, unless it is the last one once more: SOCKS5 and TLS tell the program a number only."""
        if what != self._said:
            self._said = what
            _log.warning("%s", what)
