"""A service: handlers with a name, on an address, in a registry.

greeter = Service("greeter")

@greeter.handle("Greeter.Hello")
async def hello(request):
    return {"msg": f"Hello {request['name']}"}

greeter.run()
"""

import logging
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import TypeVar

import trio

from . import types
from .config import ServiceConfig
from .errors import BadRequest, MicroError
from .handler import Function
from .netaddress import join_address, split_address
from .rawsocket import bound_address, listen_tcp
from .registry import Registry, open_registry
from .server import Server

F = TypeVar("F", bound=Function)

DRAIN_SECONDS = 30.0
"""How long open calls may go on when a service stops; as long as Kubernetes waits before it kills."""

FIRST_RETRY_SECONDS = 1.0
"""Pause after a renewal that failed; it doubles, up to the interval."""

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
    ) -> None:
        """`registry` is one that is open already; all else is told in `ServiceConfig`, and the environment overrides
        it."""
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
        self._registry = registry
        self._server = Server(name)
        self._until_stop = trio.CancelScope()
        self._grace = DRAIN_SECONDS

    @property
    def name(self) -> str:
        """What callers call it by."""
        return self._server.name

    def handle(self, endpoint: str) -> Callable[[F], F]:
        """Decorates the handler of an endpoint, such as `Greeter.Hello`.

        `async def hello(request)` answers with what it returns. `async def count(request, stream)` answers with
        `stream.send(message)` as often as it likes; `request` is the first message (None where the caller sent none),
        further ones come from `async for message in stream`. Annotations on `request` and the return type are honoured
        and published. Raises `TypeError` for a function that is neither, or an annotation that no message can become.
        """

        def decorate(function: F) -> F:
            self._server.add(endpoint, function)
            return function

        return decorate

    def run(self) -> None:
        """Runs the service as a program: reads flags and MICRO_* variables, serves until SIGTERM or SIGINT, drains.

        Returns when it was stopped in an orderly way; what keeps it from starting is one line and exit status 1.
        """
        from .run import run

        run(self)

    async def serve(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Listens, registers and answers until `stop` is called; started with the address it is bound to. A service
        that is attached connects instead, see `serve_attached`; it is started with the address of its node.

        Cancelled, it deregisters and cuts open calls short. Raises `Conflict` when the port is taken, `BadRequest` for
        a configuration that makes no sense, and what the registry raises when the first registration fails.
        """
        config = self._config.override(os.environ)
        config.check()
        self._server.name = config.name
        if config.nodes:
            from .attach import serve_attached  # most services never need it

            await serve_attached(
                self._server, config,
                until_stop=self._until_stop, grace=lambda: self._grace, task_status=task_status,
            )  # fmt: skip
            self._until_stop = trio.CancelScope()
            return
        await self._serve_listening(config, task_status)

    async def _serve_listening(self, config: ServiceConfig, task_status: trio.TaskStatus[str]) -> None:
        failed: MicroError | None = None
        async with AsyncExitStack() as stack:
            listeners = await listen_tcp(config.address)
            for listener in listeners:
                stack.push_async_callback(listener.aclose)
            registry = self._registry
            if registry is None:
                registry = open_registry(config.registry, config.registry_address)
                await stack.enter_async_context(registry)
            listener = next((each for each in listeners if each.socket.family == socket.AF_INET), listeners[0])
            record = self._record(config, listener)
            async with trio.open_nursery() as nursery:
                await nursery.start(self._server.serve, listeners)
                try:
                    with self._until_stop:
                        await registry.register(record, ttl=config.register_ttl)
                        task_status.started(bound_address(listener))
                        await _renew(registry, record, config)
                except MicroError as error:
                    failed = error
                    nursery.cancel_scope.cancel()
                finally:
                    await _deregister(registry, record)
                await self._server.drain(self._grace)
        self._until_stop = trio.CancelScope()
        if failed is not None:
            raise failed

    def stop(self, seconds: float = DRAIN_SECONDS) -> None:
        """Ends `serve`: deregisters, takes no new calls, and gives those that are open that many seconds."""
        self._grace = seconds
        self._until_stop.cancel()

    def _record(self, config: ServiceConfig, listener: trio.SocketListener) -> types.Service:
        instance = types.Instance(
            id=f"{config.name}-{secrets.token_hex(8)}",
            address=_advertised(config.advertise, listener),
            metadata={"protocol": "grpc", "native": "1"},
        )
        return types.Service(
            name=config.name,
            version=config.version,
            metadata=config.metadata,
            endpoints=self._server.endpoints,
            instances=(instance,),
        )


async def _renew(registry: Registry, record: types.Service, config: ServiceConfig) -> None:
    """Renews the record until cancelled; a registry in trouble is asked again before the time to live is over."""
    pause, retry = config.register_interval, FIRST_RETRY_SECONDS
    while True:
        await trio.sleep(pause)
        try:
            await registry.register(record, ttl=config.register_ttl)
        except MicroError as error:
            pause = min(retry, config.register_interval)
            retry *= 2
            _log.warning("%s could not renew its registration, trying again in %.1f s: %s", record.name, pause, error)
        else:
            pause, retry = config.register_interval, FIRST_RETRY_SECONDS


async def _deregister(registry: Registry, record: types.Service) -> None:
    with trio.move_on_after(DEREGISTER_SECONDS, shield=True) as scope:
        try:
            await registry.deregister(record)
        except MicroError as error:
            _log.warning("%s could not be deregistered: %s", record.name, error)
    if scope.cancelled_caught:
        _log.warning("%s could not be deregistered in %g s", record.name, DEREGISTER_SECONDS)


def _advertised(advertise: str, listener: trio.SocketListener) -> str:
    """What the registry is told: the given address, with the bound port where it has none."""
    bound = bound_address(listener, host=_own_host())
    if not advertise:
        return bound
    try:
        host, port = split_address(advertise)
    except BadRequest:
        host, port = advertise.strip("[]"), 0
    bound_host, bound_port = split_address(bound)
    return join_address(host or bound_host, port or bound_port)


def _own_host() -> str:
    """The address of this host that others reach it by: that of the interface its packets leave through.

    Connecting a UDP socket sends nothing; the address is one set aside for documentation (RFC 5737).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        host: str = probe.getsockname()[0]
        return host
