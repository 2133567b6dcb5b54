"""Real services and clients for tests: sockets on loopback, a registry in memory, all inside one event loop."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from sdk import Client, Service
from sdk.config import ClientConfig
from sdk.registry import Registry
from sdk.registry.memory import MemoryRegistry


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[str]:
    """Runs a service for as long as the block; gives the address it is bound to."""
    async with trio.open_nursery() as nursery:
        yield await nursery.start(service.serve)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def greeting(handlers: dict[str, Callable[..., Any]], *, default_deadline: float = 5.0) -> AsyncIterator[Client]:
    """A client beside a running service `greeter` with these handlers."""
    async with MemoryRegistry() as registry:
        service = offering(registry, handlers)
        async with (
            running(service),
            Client(ClientConfig(request_timeout=default_deadline), registry=registry) as client,
        ):
            yield client


def offering(
    registry: Registry, handlers: dict[str, Callable[..., Any]], name: str = "greeter", **options: Any
) -> Service:
    """A service with these handlers, not yet running."""
    service = Service(name, registry=registry, **options)
    for endpoint, function in handlers.items():
        service.handle(endpoint)(function)
    return service


async def hello(request: Any) -> Any:
    return {"msg": f"Hello {request['name']}"}


async def echo(request: Any) -> Any:
    return request


async def count(request: Any, stream: Any) -> None:
    for n in range(request["to"]):
        await stream.send({"n": n})
