"""A service: handlers with a name, on an address, in a registry.

greeter = Service("greeter")

@greeter.handle("Greeter.Hello")
async def hello(request):
    return {"msg": f"Hello {request['name']}"}

greeter.run()
"""

import inspect
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, TypeVar, overload

import trio

from . import types
from .advertise import advertised
from .arguments import FUNCTION, SECONDS, TEXTS, WRAPPERS, check, kind_of, optional, text
from .client import Client
from .config import ServiceConfig
from .debug import Debug
from .errors import MicroError
from .handler import Function, Handler
from .health import Check
from .hooks import Hook, Hooks
from .loop import check_loop
from .methods import methods_of
from .rawsocket import bound_address, listen_tcp
from .registry import Registry, check_open, open_registry
from .server import Server
from .wrapping import HandlerWrapper

F = TypeVar("F", bound=Function)
H = TypeVar("H", bound=object)
C = TypeVar("C", bound=Check)
K = TypeVar("K", bound=Hook)

_ADDRESS = "--server-address (MICRO_SERVER_ADDRESS)"

DRAIN_SECONDS = 30.0
"""How long open calls may go on when a service stops; as long as Kubernetes waits before it kills."""

KNOWN_SECONDS = 0.15
"""How long a service that has left the registry goes on as before: three of the looks that followers of a registry
take, so that new callers have gone elsewhere before it refuses them."""

FIRST_RETRY_SECONDS = 1.0
"""Pause after a renewal that failed; it doubles …"""
LONGEST_RETRY_SECONDS = 5.0
"""… up to this, or to the interval: what a registry that is back has lost must not be missed for long."""

DEREGISTER_SECONDS = 2.0
"""Longest time that deregistering may take; after that the record is left to its time to live."""

_log = logging.getLogger(__name__)


class Service:
    """A service of this process. Handlers are added first; then `run`, or `serve` inside a program of one's own."""

    def __init__(
        self,
        name: str,
        *,
        version: str = "latest",
        metadata: Mapping[str, str] | None = None,
        registry: Registry | None = None,
        address: str = "127.0.0.1:0",
        advertise: str = "",
        register_ttl: float = 60.0,
        register_interval: float = 30.0,
        attach: str = "",
        wrappers: Sequence[HandlerWrapper] = (),
    ) -> None:
        """`registry` is one that is open already; `wrappers` are put around each handler, the first outermost (see
        `sdk.wrapping`); all else is told in `ServiceConfig`, and the environment overrides it.

        Raises `TypeError` for an argument of another type than is asked for.
        """
        said = {name: value for name, value in locals().items() if name in _WANTED}
        check("Service", _WANTED, said)
        self._config = ServiceConfig(
            name=name,
            version=version,
            metadata=dict(metadata or {}),
            address=address,
            advertise=advertise,
            register_ttl=register_ttl,
            register_interval=register_interval,
            attach=attach,
        )
        self._registry = check_open(registry)
        self._server = Server(name)
        self._hooks = Hooks(lambda: self.name)
        self._debug = Debug(self._server)
        for wrapper in wrappers:
            self.wrap(wrapper)
        self._serving = False
        self._token: trio.lowlevel.TrioToken | None = None
        self._until_stop = trio.CancelScope()
        self._grace = DRAIN_SECONDS

    @property
    def name(self) -> str:
        """What callers call it by."""
        return self._server.name

    @overload
    def handle(self, endpoint: str) -> Callable[[F], F]: ...

    @overload
    def handle(self, endpoint: H) -> H: ...

    def handle(self, endpoint: Any) -> Any:
        """Decorates the handler of an endpoint, such as `Greeter.Hello`, or a class whose methods are handlers.

        `async def hello(request)` answers with what it returns. `async def count(request, stream)` answers with
        `stream.send(message)` as often as it likes; `request` is the first message (None where the caller sent none),
        further ones come from `async for message in stream`. Annotations on `request` and the return type are honoured
        and published.

        Without a name, `@service.handle` stands before a class: its public async methods answer `Greeter.Hello` and the
        like, see `sdk.methods`. A class whose instances need something is handed in as an instance:
        `service.handle(Greeter(database))`.

        Raises `TypeError` for a function that is no handler, or an annotation that no message can become; `ValueError`
        for an endpoint that has a handler, or no name.
        """
        if isinstance(endpoint, str):
            if not endpoint:
                raise ValueError("an endpoint has a name, such as Greeter.Hello")

            def decorate(function: F) -> F:
                self._server.add(endpoint, function)
                return function

            return decorate
        if callable(endpoint) and not isinstance(endpoint, type) and inspect.isroutine(endpoint):
            raise TypeError(f'which endpoint does {endpoint.__name__} answer? Write @service.handle("Handler.Method")')
        if endpoint is None or isinstance(endpoint, int | float | bytes | list | tuple | dict):
            given = kind_of(endpoint)
            raise TypeError(f'handle: endpoint is its name, such as "Greeter.Hello", or a class, not {given}')
        for name, method in methods_of(endpoint).items():
            self._server.add(name, method)
        return endpoint

    def check(self, name: str) -> Callable[[C], C]:
        """Decorates a check of the service's health, async or plain: when it raises or returns False, `Debug.Health`
        says `not serving`, and why. Checks run whenever somebody asks, so they must be cheap. Raises `TypeError` where
        the name was left out."""
        if not isinstance(name, str):
            raise TypeError('which check is it? Write @service.check("database")')

        def decorate(function: C) -> C:
            check("check", _HOOK, {"function": function})
            self._debug.checks[name] = function
            return function

        return decorate

    def offer(self, handler: Handler) -> None:
        """Offers an endpoint whose handler is made already, as `sdk.grpc.mount` does. Raises `ValueError` where the
        endpoint has one, `TypeError` for a function, which `handle` takes."""
        if not isinstance(handler, Handler):
            raise TypeError(
                f'offer: handler is one that is made already, not {kind_of(handler)}: use @service.handle("A.B")'
            )
        self._server.offer(handler)

    def before_start(self, hook: K) -> K:
        """Decorates a function without arguments, async or plain, that runs before the service listens. What it raises
        is raised by `serve`, and nothing is started."""
        self._hooks.add("before_start", hook)
        return hook

    def after_start(self, hook: K) -> K:
        """Likewise, when the service is registered and answers, before it is reported ready. What it raises ends the
        service."""
        self._hooks.add("after_start", hook)
        return hook

    def before_stop(self, hook: K) -> K:
        """Likewise, when the service is to stop, while it is still registered and answers. What it raises is logged,
        and all hooks of a kind have 5 s; so it is with `after_stop`."""
        self._hooks.add("before_stop", hook)
        return hook

    def after_stop(self, hook: K) -> K:
        """Likewise, when the last call has been answered, or cut short; also where the service was cancelled, or failed
        after `before_start`."""
        self._hooks.add("after_stop", hook)
        return hook

    def wrap(self, wrapper: HandlerWrapper) -> HandlerWrapper:
        """Puts a wrapper around all handlers, inside those that are there; usable as a decorator. See `sdk.wrapping`.

        It goes for handlers that are added later as well.
        """
        self._server.wrap(wrapper)
        return wrapper

    def run(self) -> None:
        """Runs the service as a program: reads flags and MICRO_* variables, serves until SIGTERM or SIGINT, drains.

        Returns when it was stopped in an orderly way; what keeps it from starting is one line and exit status 1. Raises
        `RuntimeError` inside an event loop, and in a thread that is not the main one.
        """
        from .run import run

        run(self)

    async def serve(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Listens, registers and answers until `stop` is called; started with the address it is bound to. A service
        that is attached connects instead, see `serve_attached`; it is started with the address of its node.

        Stopped, it deregisters, answers on until that is known, takes no new calls, and ends when those that are open
        are done. Cancelled, it deregisters and cuts open calls short. Raises `Conflict` when the port is taken,
        `BadRequest` for a configuration that makes no sense, `RuntimeError` for a service that serves already, and what
        the registry raises when the first registration fails, or a hook before or after the start.
        """
        check_loop()
        if self._serving:
            raise RuntimeError(f"{self.name} serves already, and does so once at a time")
        config = self._config.override(os.environ)
        config.check()
        self._server.name = config.name
        instance = f"{config.name}-{secrets.token_hex(8)}"
        self._debug.begin(config.version, instance)
        self._serving, self._token = True, trio.lowlevel.current_trio_token()
        try:
            async with self._hooks.around_life():
                if config.nodes:
                    await self._serve_attached(config, instance, task_status)
                else:
                    await self._serve_listening(config, instance, task_status)
        finally:
            self._serving, self._token = False, None
            self._until_stop = trio.CancelScope()

    async def _serve_attached(self, config: ServiceConfig, instance: str, task_status: trio.TaskStatus[str]) -> None:
        from .attach import serve_attached  # most services never need it

        await serve_attached(
            self._server, config, instance,
            offered=self._offered, until_stop=self._until_stop, grace=lambda: self._grace, task_status=task_status,
        )  # fmt: skip

    async def _serve_listening(self, config: ServiceConfig, instance: str, task_status: trio.TaskStatus[str]) -> None:
        failed: Exception | None = None
        registered = False
        async with AsyncExitStack() as stack:
            listeners = await listen_tcp(config.address, flag=_ADDRESS)
            for listener in listeners:
                stack.push_async_callback(listener.aclose)
            registry = self._registry
            if registry is None:
                registry = open_registry(config.registry, config.registry_address)
                await stack.enter_async_context(registry)
            record = self._record(config, instance, listeners)
            async with trio.open_nursery() as nursery:
                await nursery.start(self._server.serve, listeners)
                try:
                    with self._until_stop:
                        await registry.register(record, ttl=config.register_ttl)
                        registered = True
                        async with self._offered():
                            task_status.started(_bound(listeners))
                            await _renew(registry, record, config)
                except Exception as error:  # the first registration or a hook; calls that came in are still answered
                    failed = error
                finally:
                    # Where even the registration failed, it may have come through, but more words are of no use.
                    await _deregister(registry, record, logging.WARNING if registered else logging.DEBUG)
                await trio.sleep(min(KNOWN_SECONDS, self._grace))
                await self._server.drain(max(self._grace - KNOWN_SECONDS, 0.0))
        if failed is not None:
            raise failed

    @asynccontextmanager
    async def testing(self) -> AsyncIterator[Client]:
        """A client of this service for tests, without sockets or registry; the service answers as long as the block.

            async with greeter.testing() as client:
                assert await client.call("greeter", "Greeter.Hello", {"name": "John"}) == {"msg": "Hello John"}

        Calls take the same way as real ones, codecs and errors included. Hooks run as when it serves; variables are not
        looked at. Raises what a hook raises.
        """
        from .testing import TestingClient  # which loads what only tests need

        self._debug.begin(self._config.version, f"{self.name}-testing")
        async with self._hooks.around_life(), self._offered(), TestingClient(self._server) as client:
            yield client

    def stop(self, seconds: float = DRAIN_SECONDS) -> None:
        """Ends `serve`: deregisters, takes no new calls, and gives those that are open that many seconds. It may be
        called from any thread."""
        check("stop", {"seconds": SECONDS}, {"seconds": seconds})
        scope, token = self._until_stop, self._token

        def stop() -> None:
            self._grace = seconds
            scope.cancel()

        if token is None or (trio.lowlevel.in_trio_task() and trio.lowlevel.current_trio_token() is token):
            stop()
        else:
            with suppress(trio.RunFinishedError):  # it has ended meanwhile
                token.run_sync_soon(stop)

    @asynccontextmanager
    async def _offered(self) -> AsyncIterator[None]:
        """The time in which callers are to call it."""
        async with self._hooks.around_service():
            with self._debug.serving():
                yield

    def _record(self, config: ServiceConfig, id: str, listeners: list[trio.SocketListener]) -> types.Service:
        instance = types.Instance(
            id=id,
            address=advertised(config.advertise, listeners),
            metadata={"protocol": "grpc", "native": "1"},
        )
        return types.Service(
            name=config.name,
            version=config.version,
            metadata=config.metadata,
            endpoints=self._server.endpoints,
            instances=(instance,),
        )


_WANTED = {
    "name": text("greeter"),
    "version": text("1.2"),
    "metadata": optional(TEXTS),
    "address": text("127.0.0.1:8080"),
    "advertise": text("10.0.0.5:8080"),
    "register_ttl": SECONDS,
    "register_interval": SECONDS,
    "attach": text("node:8081"),
    "wrappers": WRAPPERS,
}

_HOOK = {"function": FUNCTION}


def _bound(listeners: list[trio.SocketListener]) -> str:
    """The address that people are told: IPv4 where there are several."""
    return bound_address(min(listeners, key=lambda listener: listener.socket.family != socket.AF_INET))


async def _renew(registry: Registry, record: types.Service, config: ServiceConfig) -> None:
    """Renews the record until cancelled; a registry in trouble is asked again before the time to live is over."""
    pause, retry = config.register_interval, FIRST_RETRY_SECONDS
    while True:
        await trio.sleep(pause)
        try:
            await registry.register(record, ttl=config.register_ttl)
        except MicroError as error:
            pause = min(retry, config.register_interval)
            retry = min(2 * retry, LONGEST_RETRY_SECONDS)
            _log.warning("%s could not renew its registration, trying again in %.1f s: %s", record.name, pause, error)
        else:
            pause, retry = config.register_interval, FIRST_RETRY_SECONDS


async def _deregister(registry: Registry, record: types.Service, level: int) -> None:
    with trio.move_on_after(DEREGISTER_SECONDS, shield=True) as scope:
        try:
            await registry.deregister(record)
        except MicroError as error:
            _log.log(level, "%s could not be deregistered: %s", record.name, error)
    if scope.cancelled_caught:
        _log.log(level, "%s could not be deregistered in %g s", record.name, DEREGISTER_SECONDS)
