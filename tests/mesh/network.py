"""Whole nodes in one process, each in an environment of its own: a registry, a service, a caller.

Links go over the memory transport (or TCP, where a test says so); programs reach their node over TCP, as they do
outside. So the clock of these tests may run as fast as it likes, but waits a millisecond for sockets before it jumps.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import trio

from mesh.config import NodeConfig
from mesh.node import Node, Ready
from sdk import Client, Service
from sdk.registry.memory import MemoryRegistry
from tunnel.identity import DEFAULT_TOKEN, network_key
from tunnel.transport.memory import MemoryNetwork

network_key(DEFAULT_TOKEN, "go.micro")  # slow, and kept: no clock shall jump meanwhile


class RunningNode:
    """A node and the scope it runs in."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.ready: Ready

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        async def started(*, task_status: trio.TaskStatus[Ready]) -> None:
            await self.node.run(task_status=task_status)

        try:
            with self.scope:
                async with trio.open_nursery() as nursery:
                    self.ready = await nursery.start(started)
                    task_status.started()
        finally:
            self.ended.set()

    async def kill(self) -> None:
        """Cancels it and waits until it is gone."""
        self.scope.cancel()
        await self.ended.wait()


class Environment:
    """One place: its registry, and what runs there."""

    def __init__(self, world: "World", name: str) -> None:
        self._world = world
        self.name = name
        self.registry = MemoryRegistry(name)
        self.running: RunningNode | None = None

    async def start(self, *, nodes: tuple[str, ...] = (), **more: Any) -> RunningNode:
        """Starts the environment's node."""
        values: dict[str, Any] = {"address": f"mem://{self.name}", "proxy_address": "127.0.0.1:0", "name": self.name}
        config = NodeConfig(nodes=nodes, **(values | more))
        node = Node(config, registry=MemoryRegistry(self.name), memory=self._world.memory, random=Random(self.name))
        self.running = RunningNode(node)
        await self._world.nursery.start(self.running.run)
        return self.running

    @property
    def proxy(self) -> str:
        """Where programs reach the node."""
        assert self.running is not None
        return self.running.ready.proxy[0]

    async def serve(self, service: Service) -> None:
        """Runs a service here, until it is stopped."""
        await self._world.nursery.start(service.serve)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """A caller here, whose calls go through the node."""
        async with Client(proxy=self.proxy) as client:
            yield client

    async def ask(self, endpoint: str, request: Any = None) -> Any:
        """Asks the node about the network."""
        async with self.client() as client:
            return await client.call("go.micro.network", endpoint, request)

    async def services(self) -> list[str]:
        """The names of the services that can be called here, without the node's own."""
        reply = await self.ask("Network.Services")
        return [name for name in reply["services"] if name != "go.micro.network"]


class World:
    """All environments."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.memory = MemoryNetwork()
        self.places: dict[str, Environment] = {}

    async def open(self, name: str) -> Environment:
        """Makes an environment."""
        place = self.places[name] = Environment(self, name)
        await place.registry.__aenter__()
        return place

    async def line(self, *names: str) -> list[Environment]:
        """Environments with nodes linked in a line, each dialling the one before."""
        places = [await self.open(name) for name in names]
        for before, place in zip([None, *places], places, strict=False):
            await place.start(nodes=(f"mem://{before.name}",) if before else ())
        return places


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """A world that ends with its block."""
    async with trio.open_nursery() as nursery:
        yield World(nursery)
        nursery.cancel_scope.cancel()


def greeter(place: Environment, name: str = "greeter") -> Service:
    """A service with a unary and a streaming endpoint."""
    service = Service(name, registry=place.registry, address="127.0.0.1:0", advertise="127.0.0.1")

    @service.handle("Greeter.Hello")
    async def hello(request: dict[str, str]) -> dict[str, str]:
        return {"msg": f"Hello {request['name']} from {place.name}"}

    @service.handle("Greeter.Count")
    async def count(request: dict[str, int], stream: Any) -> None:
        for n in range(request["to"]):
            await stream.send({"n": n})

    return service


async def until(condition: Callable[[], Awaitable[bool]], *, within: float) -> float:
    """Waits until something holds; returns the seconds that took, and fails when it is too long."""
    began = trio.current_time()
    with trio.fail_after(within):
        while not await condition():  # noqa: ASYNC110 - what is asked has no event
            await trio.sleep(0.01)
    return trio.current_time() - began
