"""Answers calls: handlers by endpoint, one task for each call, on whatever port the calls come in.

A `Server` knows streams only. It serves sockets of its own (a service does, in all the tongues there are), or streams
that somebody else's mux hands to `accept` (a node's own services do).
"""

import functools
import json
import logging
import math
from typing import Any

import trio

from .answer import ServerStream
from .connection import LAST_WORDS
from .doors import Doors
from .errors import InternalServerError, MicroError, Status, Unimplemented
from .handler import Function, Handler
from .head import endpoint_of, parse_call_head_untrusted, path_of
from .metadata import around, received
from .rawsocket import RawSocket, take_over
from .stats import EndpointStats
from .timers import Timers
from .tongues import ServedPort, Tongues
from .types import Endpoint
from .wire.frame import NO_DEADLINE, Fate, Open
from .wire.mux import MuxStream
from .wrapping import HandlerWrapper, IncomingCall, Kind, Proceed, answer, compose, parted

MAX_CONNECTIONS = 1000
"""Connections at a time; nodes share one for all their calls, and a process may usually open 1,024 files."""

HELLO_SECONDS = 5.0
"""Until when a connection must have shown what it speaks, and in frames have said HELLO."""

LINGER_SECONDS = 0.25
"""How long calls that crossed the GOAWAY are waited for, and how long a drained connection stays open after that: those
that come later still must be refused, not lost."""

LOOK_SECONDS = 0.05
"""Between looks at answers that are still on their way out of a service that stops."""

_log = logging.getLogger(__name__)


class Server:
    """The endpoints of one service."""

    def __init__(self, name: str, *, also: str = "") -> None:
        """`name` is the service that callers call, `also` another name that they may call it by."""
        self.name = name
        self._also = also
        self.open_calls = 0
        """Calls that handlers are busy with."""
        self._handlers: dict[str, Handler] = {}
        self._listed: list[str] = []
        self._wrappers: list[HandlerWrapper] = []
        self._wrapped: Proceed[IncomingCall] | None = None
        self._ports: dict[ServedPort, None] = {}
        self._arriving = 0
        """Connections that have not shown yet what they speak."""
        self._changed = trio.lowlevel.ParkingLot()
        self._doors = Doors()
        self._drained = trio.Event()

    def add(self, name: str, function: Function, *, listed: bool = True) -> None:
        """Answers the endpoint `name` (`Handler.Method`) with `function(request)` or `function(request, stream)`. One
        that is not `listed` is neither published nor counted."""
        self.offer(Handler(name, function), listed=listed)

    def offer(self, handler: Handler, *, listed: bool = True) -> None:
        """Answers an endpoint with a handler that is made already. Raises `ValueError` where the endpoint has one."""
        name = handler.endpoint.name
        if name in self._handlers:
            raise ValueError(f"{self.name} has a handler for {name} already")
        self._handlers[name] = handler
        if listed:
            self._listed.append(name)

    def wrap(self, wrapper: HandlerWrapper) -> None:
        """Puts a wrapper around all handlers, inside those that are there."""
        self._wrappers.append(wrapper)
        self._wrapped = compose(self._wrappers, answer)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """What can be called, as a registry publishes it."""
        return tuple(self._handlers[name].endpoint for name in self._listed)

    @property
    def stats(self) -> dict[str, EndpointStats]:
        """The counters of these endpoints."""
        return {name: self._handlers[name].stats for name in self._listed}

    def accept(self, stream: MuxStream, opened: Open, nursery: trio.Nursery) -> None:
        """Takes a stream that a peer opened and answers it, in a task of `nursery` if there is a handler for it.

        Raises `RemoteProtocolError` for a head that cannot be read.
        """
        head = parse_call_head_untrusted(opened.head)
        if head.service not in (self.name, self._also):
            # An old record, or an address that changed hands: the caller may look for another instance.
            detail = f"this is {self.name}, not {head.service}"
            stream.reset(Status.UNAVAILABLE, detail, Fate.NOT_REACHED)
            return
        if opened.ms == 0:
            detail = f"the deadline passed before {self.name} was reached"
            stream.reset(Status.DEADLINE_EXCEEDED, detail, Fate.NOT_REACHED)
            return
        handler = self._handlers.get(head.endpoint) or self._handlers.get(endpoint_of(head.endpoint))
        deadline = math.inf if opened.ms == NO_DEADLINE else trio.current_time() + opened.ms / 1000
        call = ServerStream(stream, head, handler.convert if handler else None, deadline)
        if handler is None:
            known = ", ".join(sorted(self._listed)) or "none"
            wanted = endpoint_of(head.endpoint)
            call.fail(Unimplemented(f"{self.name} has no endpoint {wanted}; it has {known}", id=self.name))
            return
        self.open_calls += 1
        nursery.start_soon(self._answer, call, handler, name=head.endpoint)

    async def serve(
        self, listeners: list[trio.SocketListener], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Accepts connections and answers their calls until cancelled, or until `drain` is done; closes the
        listeners. There may be none, where all calls come to `accept`."""
        timers = Timers()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(timers.run)
                task_status.started()
                tongues = Tongues(
                    self.name,
                    lambda stream, opened: self.accept(stream, opened, nursery),
                    listing=self._listing,
                    on_change=self._changed.unpark_all,
                )
                connect = functools.partial(self._serve_connection, timers, tongues)
                await self._doors.serve(connect, listeners, nursery)
                await self._drained.wait()
                nursery.cancel_scope.cancel()
        finally:  # cancelled as well: a test suite starts one service again and again
            self._doors, self._drained = Doors(), trio.Event()

    async def drain(self, seconds: float) -> None:
        """Closes the listeners, takes no more calls, and waits for those that are open, at most that many seconds."""
        await self._doors.close()
        for port in self._ports:
            port.go_away()
        with trio.move_on_after(min(seconds, LINGER_SECONDS)):
            while self._arriving or not all(port.refusing for port in self._ports):
                await self._changed.park()
        for port in self._ports:
            port.refuse()
        with trio.move_on_after(seconds):
            while self.open_calls:
                await self._changed.park()
            while any(port.owing for port in self._ports):
                with trio.move_on_after(LOOK_SECONDS):
                    await self._changed.park()
        if self.open_calls:
            _log.warning("%s stops with %d calls unanswered", self.name, self.open_calls)
        with trio.move_on_after(LINGER_SECONDS):
            while self._ports:
                await self._changed.park()
        for port in self._ports:
            port.part(f"{self.name} is stopping")
        with trio.move_on_after(2 * LAST_WORDS):
            while self._ports:
                await self._changed.park()
        self._drained.set()

    async def _serve_connection(self, timers: Timers, tongues: Tongues, stream: trio.SocketStream) -> None:
        transport = take_over(stream)
        if len(self._ports) + self._arriving >= MAX_CONNECTIONS:
            _log.warning("refused %s: %d connections are open", transport.peer, MAX_CONNECTIONS)
            transport.close()
            return
        try:
            port, first = await self._greet(tongues, transport)
            if port is not None:
                await self._serve_port(port, timers, transport, first)
        except Exception:  # a defect of ours must not take the other connections down
            _log.exception("the connection of %s ended with an error", transport.peer)
        finally:
            transport.close()

    async def _greet(self, tongues: Tongues, transport: RawSocket) -> tuple[ServedPort | None, bytes]:
        self._arriving += 1
        try:
            return await tongues.port_for(transport, trio.current_time() + HELLO_SECONDS)
        finally:
            self._arriving -= 1
            self._changed.unpark_all()

    async def _serve_port(self, port: ServedPort, timers: Timers, transport: RawSocket, first: bytes) -> None:
        self._ports[port] = None
        if self._doors.closed:
            port.refuse()
        try:
            await port.run(transport, timers, first)
        finally:
            del self._ports[port]
            self._changed.unpark_all()

    def _listing(self) -> bytes:
        """What is here, for people who look with a browser or curl."""
        endpoints = [
            {
                "name": endpoint.name,
                "path": path_of(self.name, endpoint.name),
                "stream": endpoint.metadata.get("stream") == "true",
            }
            for endpoint in self.endpoints
        ]
        return json.dumps({"service": self.name, "endpoints": endpoints}).encode()

    async def _answer(self, call: ServerStream, handler: Handler) -> None:
        began = trio.current_time()
        if call.head.metadata or around.get() is not None:  # whoever started the server may be within something
            around.set(received(call.head.metadata))
        try:
            with call.scope:
                await self._run_handler(call, handler)
            if call.scope.cancelled_caught and call.expire(
                f"{self.name} {handler.endpoint.name} did not answer before the deadline"
            ):
                handler.stats.errors += 1
        finally:
            call.finish()
            self.open_calls -= 1
            handler.stats.requests += 1
            handler.stats.latencies.add(trio.current_time() - began)
            if self._doors.closed:
                self._changed.unpark_all()

    async def _run_handler(self, call: ServerStream, handler: Handler) -> None:
        try:
            request = None if handler.eager else await call.first_message()
            if self._wrapped is not None:
                result = await self._wrapped(self._incoming(call, handler, request))
            elif handler.streaming:
                result = await handler.function(request, call)
            else:
                result = await handler.function(request)
            if not handler.streaming:
                await call.reply(result)
            elif result is None:
                await call.end()
            else:
                raise TypeError("a streaming handler returned a value: it answers with stream.send()")
        except trio.BrokenResourceError as error:
            if not call.stopped:
                self._fail(call, handler, error)
        except Exception as error:
            self._fail(call, handler, error)
        except BaseException as error:
            # SystemExit of one call is no reason to end the others. Nor is what tasks of the handler raise on top of
            # their cancellation: left alone it would outlive the scope that the cancellation ends at.
            through, own = parted(error)
            if through is None:
                self._fail(call, handler, error)
            else:
                if own is not None:
                    where = f"{self.name} {handler.endpoint.name}"
                    _log.error("%s raised while it was cancelled", where, exc_info=own)
                raise through from None

    def _fail(self, call: ServerStream, handler: Handler, error: BaseException) -> None:
        handler.stats.errors += 1
        try:
            call.fail(self._unexpected(handler, error))
        except Exception:  # its text raises, or is none, or it is too long: that must not end the service
            said = f"{self.name} {handler.endpoint.name} raised {type(error).__name__}, which cannot be told"
            _log.exception("%s", said)
            call.trailing = ()
            call.fail(InternalServerError(said, id=self.name))

    def _incoming(self, call: ServerStream, handler: Handler, request: Any) -> IncomingCall:
        return IncomingCall(
            service=self.name,
            endpoint=handler.endpoint.name,
            kind=Kind.STREAM if handler.streaming else Kind.UNARY,
            request=request,
            stream=call if handler.streaming else None,
            head=call.head,
            handler=handler,
        )

    def _unexpected(self, handler: Handler, error: BaseException) -> MicroError:
        """What the caller is told of an error: its own class, or that the handler failed, which then is in the log as
        well."""
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]  # a handler that raised inside its own nursery
        if isinstance(error, MicroError):
            error.id = error.id or self.name
            return error
        where = f"{self.name} {handler.endpoint.name}"
        _log.error("%s raised", where, exc_info=error)
        said = f"{type(error).__name__}: {error}".removesuffix(": ")  # many have no words
        return InternalServerError(f"{where} raised {said}", id=self.name)
