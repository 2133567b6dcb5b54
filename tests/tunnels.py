"""Two or more environments for tests, joined by `micro tunnel`: each has a registry of its own, ends and services, all
of them real processes."""

import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import trio

from sdk import Client
from sdk.errors import MicroError
from sdk.registry import open_registry
from tests.processes import PATIENCE, Running, start

LOCAL = "127.0.0.1:0"

SERVICE = """
    import os
    from sdk import Service

    service = Service(os.environ["NAME"])

    @service.handle("Place.Where")
    async def where(request):
        return os.environ["PLACE"]

    service.run()
"""
"""A service that says in which place it runs."""


class Side:
    """One environment."""

    def __init__(self, folder: Path, name: str, stack: ExitStack) -> None:
        self.name = name
        self.env = {
            "MICRO_REGISTRY": "sqlite",
            "MICRO_REGISTRY_ADDRESS": str(folder / f"{name}.db"),
            "MICRO_TUNNEL_TOKEN": "a secret of this test",
        }
        self._stack = stack

    def start(self, *command: str, **env: str) -> Running:
        """Starts a process that ends with the test."""
        return self._stack.enter_context(start(*command, env=self.env | env))

    def serve(self, *flags: str, address: str = LOCAL) -> Running:
        """An end that is dialled."""
        return self.start("micro", "tunnel", "--address", address, "--proxy-address", LOCAL, *flags)

    def dial(self, *servers: Running, flags: tuple[str, ...] = ()) -> Running:
        """An end that dials others."""
        addresses = ",".join(server.address("link") for server in servers)
        return self.start("micro", "tunnel", "--server", addresses, "--proxy-address", LOCAL, *flags)

    def offer(self, service: str) -> Running:
        """A service that says where it is."""
        return self.start("python", "-c", textwrap.dedent(SERVICE), PLACE=self.name, NAME=service)

    @asynccontextmanager
    async def client(self, proxy: str = "go.micro.tunnel") -> AsyncIterator[Client]:
        """A program of this environment with MICRO_PROXY."""
        registry = open_registry("sqlite", self.env["MICRO_REGISTRY_ADDRESS"])
        async with registry, Client(proxy=proxy, registry=registry) as client:
            yield client


@contextmanager
def sides(folder: Path, *names: str) -> Iterator[list[Side]]:
    """So many environments; everything in them ends afterwards."""
    with ExitStack() as stack:
        yield [Side(folder, name, stack) for name in names]


async def where(client: Client, service: str, router: str = "") -> str:
    """The place that answers."""
    metadata = {"Micro-Router": router} if router else {}
    answer: str = await client.call(service, "Place.Where", {}, metadata=metadata)
    return answer


async def until_answered(client: Client, service: str, router: str = "") -> str:
    """The place that answers, once the service is known."""
    with trio.fail_after(PATIENCE):
        while True:
            try:
                return await where(client, service, router)
            except MicroError:
                await trio.sleep(0.02)


def forwarded(end: Running, service: str) -> str:
    """The local address that leads to a service."""
    [address] = [each.partition("=")[0] for each in end.address("forward").split(",") if each.endswith(f"={service}")]
    return address
