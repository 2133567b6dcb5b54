"""Servicers in a service, and a client beside it: sockets on loopback, a registry in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import sdk.grpc
from sdk import Client, Service
from sdk.config import ClientConfig
from sdk.registry.memory import MemoryRegistry
from tests.sdk.grpc.greetings import pb2_grpc
from tests.sdk.living import running


@asynccontextmanager
async def mounted(
    servicer: Any, add: Any = pb2_grpc.add_GreeterServicer_to_server, **options: Any
) -> AsyncIterator[Client]:
    """A client beside the service `welcome` with this servicer; `options` are those of `mount`."""
    async with MemoryRegistry() as registry:
        service = Service("welcome", registry=registry)
        sdk.grpc.mount(service, servicer, add, **options)
        async with running(service), Client(ClientConfig(), registry=registry) as client:
            yield client


@asynccontextmanager
async def stub_of(servicer: Any, **options: Any) -> AsyncIterator[Any]:
    """The generated stub on a channel to that service."""
    async with mounted(servicer, **options) as client:
        yield pb2_grpc.GreeterStub(sdk.grpc.Channel(client, "welcome"))
