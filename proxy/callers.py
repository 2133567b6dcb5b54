"""Programs whose connections carry calls: frames, HTTP/2, HTTP/1.1. Each connection has a port and a driver of its own,
whatever its bytes come by.
"""

import itertools
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import trio

from sdk.connection import run_connection
from sdk.head import Metadata
from sdk.port.http1serving import ServingHttp1Port
from sdk.port.http2 import Http2ServingPort, first_meant
from sdk.port.limits import Limits
from sdk.port.native import NativePort
from sdk.splice import splice
from sdk.timers import Timers
from sdk.wire.http1fields import forwarded_by

from .attached import Attached
from .bodylimit import BodyLimit
from .connect import token_of
from .doorkeeper import Doorkeeper
from .program import ProgramPort
from .switch import Switch
from .visit import Visit

_Port = NativePort | Http2ServingPort | ServingHttp1Port


class Callers:
    """The programs that are connected to one proxy port."""

    def __init__(
        self,
        switch: Switch,
        timers: Timers,
        doorkeeper: Doorkeeper,
        *,
        refused: Callable[[Visit, str], None],
        otherwise: str,
        limits: Limits,
        attached: Attached,
    ) -> None:
        """`timers` ask their ports for what is due; `refused` hears of those that the `doorkeeper` does not let in, and
        why; `otherwise` is the service that requests mean which name none; `limits` are those of programs that speak
        HTTP, and of the bodies of all requests; `attached` takes the services that attach."""
        self._attached = attached
        self._switch = switch
        self._timers = timers
        self._doorkeeper = doorkeeper
        self._refused = refused
        self._otherwise = otherwise
        self._limits = limits
        self._ports: dict[_Port, None] = {}
        self._requests: dict[ServingHttp1Port, None] = {}
        """Those of them that speak HTTP/1.1."""
        self._mine = secrets.token_bytes(8)
        self._count = itertools.count()
        self._draining = False
        self._refusing = False

    def __len__(self) -> int:
        return len(self._ports)

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

    def take_leave(self) -> None:
        """Ends connections of HTTP/1.1: nothing but an answer tells their programs to go."""
        for port in self._requests:
            port.take_leave()

    @property
    def left(self) -> bool:
        """Whether none of those is open."""
        return not self._requests

    @property
    def heard(self) -> bool:
        """Whether every program has heard that it should open nothing new here."""
        return all(port.refusing for port in self._ports)

    async def frames(self, visit: Visit, first: bytes) -> None:
        """A program that uses the SDK."""
        port = ProgramPort(
            BodyLimit(self._switch, self._limits.max_body) if self._limits.max_body else self._switch,
            host=visit.host,
            name=visit.name,
            doorkeeper=self._doorkeeper,
            hello_due=visit.due,
            refused=partial(self._refused, visit),
            shown=visit.token,
            attached=self._attached,
            peer=visit.socket.peer,
            on_attached=visit.socket.watch_closely,
        )
        if self._draining:
            port.refuse()
        with self._there(port):
            await run_connection(port, visit.transport, timers=self._timers, first=first)
        if port.hello is None:
            self._refused(visit, port.reason)

    async def http2(self, visit: Visit, first: bytes) -> None:
        """A program that speaks gRPC, or HTTP/2."""
        host, shown_before = visit.host, visit.token
        otherwise, meant_by, pins = self._meant(visit)
        port = Http2ServingPort(
            self._switch,
            name=visit.name,
            ids=self._ids,
            service_of=first_meant(meant_by),
            objection=lambda shown: self._doorkeeper.objection(host, shown_before or token_of(shown.encode())),
            forwarded=forwarded_by(host, visit.scheme).decode(),
            otherwise=otherwise,
            limits=self._limits,
            pins=pins,
            tunnels=visit.inside is None,
        )
        self._receive(port, visit)
        with self._there(port):
            await run_connection(port, visit.transport, timers=self._timers, first=first)

    async def http1(self, visit: Visit, first: bytes) -> None:
        """A program that speaks HTTP/1.1."""
        host, shown_before = visit.host, visit.token
        otherwise, meant_by, pins = self._meant(visit)
        port = ServingHttp1Port(
            self._switch,
            name=visit.name,
            clock=trio.current_time,
            forwarded=forwarded_by(host, visit.scheme),
            call_ids=secrets.token_bytes(8),
            objection=lambda shown: self._doorkeeper.objection(host, shown_before or token_of(shown)),
            otherwise=otherwise,
            meant_by=meant_by,
            limits=self._limits,
            pins=pins,
        )
        self._receive(port, visit)
        self._timers.watch(port)
        self._requests[port] = None
        try:
            with self._there(port):
                await splice(port, visit.transport, first)
        finally:
            del self._requests[port]
            self._timers.unwatch(port)

    def _receive(self, port: Http2ServingPort | ServingHttp1Port, visit: Visit) -> None:
        """Tells a new port of HTTP what moves its connection, and to take nothing where the node stops."""
        port.progress = lambda: visit.socket.pieces
        if self._refusing:
            port.refuse()
        elif self._draining:
            port.go_away()

    @contextmanager
    def _there(self, port: _Port) -> Iterator[None]:
        """The time in which a port is told when the node stops."""
        self._ports[port] = None
        try:
            yield
        finally:
            del self._ports[port]

    def _meant(self, visit: Visit) -> tuple[str, Callable[[str], str], Metadata]:
        """The service that requests mean which name none, which one the name of a host means to them, and the pins that
        they have besides."""
        if visit.inside is None:
            return self._otherwise, self._switch.ingress.meant_by, ()
        return visit.inside.service, _nobody, visit.inside.metadata

    def _ids(self) -> bytes:
        """What no other call has: 64 bits that no other process has, and a number."""
        return self._mine + next(self._count).to_bytes(8, "big")


def _nobody(_: str) -> str:
    """The host of a request means none, where it was said before which service is meant."""
    return ""
