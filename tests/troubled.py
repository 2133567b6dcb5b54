"""Registries that get into trouble under a whole node, for tests: each is killed and hangs, and others write to it.

    with Etcd(program, folder) as registry, World(registry) as world:
        async with world.calls():      # a stream that goes on, and one call after the other
            registry.kill()
            await world.until_it_is("stale")

The world is one node, one instance of a service that renews its record often, and a program that knows the node.
"""

import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol, Self

import trio

from sdk import Client
from sdk.registry import open_registry
from sdk.reply import ClientStream
from sdk.types import Instance, Service
from tests.processes import PATIENCE, start_only
from tests.sdk.registry.conftest import KUBECONFIG
from tests.sdk.registry.consulserver import ConsulServer
from tests.sdk.registry.dnsserver import DnsServer
from tests.sdk.registry.etcdserver import EtcdServer
from tests.sdk.registry.kubeserver import KubeServer, slice_of
from tests.sdk.registry.processserver import ProcessServer

MICRO = str(Path(sys.executable).with_name("micro"))

INTERVAL = 1
TTL = 3
"""Seconds between the renewals of the instance, and until its record runs out. No test depends on the first being
kept: a registry that is away is away for longer than the second."""

WRONG_CLOCK = """
import datetime, time
right, right_date, ahead = time.time, datetime.datetime, %d * 3600

class WrongDate(right_date):
    @classmethod
    def now(cls, tz=None):
        return right_date.now(tz) + datetime.timedelta(seconds=ahead)

time.time = lambda: right() + ahead
time.time_ns = lambda: int(time.time() * 1e9)
datetime.datetime = WrongDate
"""
"""As on a host whose clock nobody set; only the superuser can do it to a process from outside."""

SERVICE = """
from sdk import Service

service = Service("greeter")

@service.handle("Greeter.Hello")
async def hello(request):
    return request

@service.handle("Greeter.Chat")
async def chat(request, stream):
    async for message in stream:  # after the request, which opened it
        await stream.send(message)

service.run()
"""


NOBODY = "127.0.0.1:1"
"""An address where nobody is."""


class Trouble(Protocol):
    """A registry with its server. What is written here is written by somebody else: a record that nobody stands for."""

    @property
    def env(self) -> Mapping[str, str]:
        """What a node is told of it."""

    def kill(self) -> None:
        """It ends without a word."""

    def start(self) -> None:
        """It is back, where it was."""

    @property
    def instance_env(self) -> Mapping[str, str]:
        """What an instance is told: another registry where programs cannot write to this one."""

    async def offer(self, service: str, address: str = NOBODY) -> None:
        """Somebody offers a service."""

    async def withdraw(self, service: str) -> None:
        """Somebody offers it no more."""


class Written:
    """What is the same for registries that programs write to."""

    @property
    def env(self) -> Mapping[str, str]:
        raise NotImplementedError

    @property
    def instance_env(self) -> Mapping[str, str]:
        return self.env

    async def offer(self, service: str, address: str = NOBODY) -> None:
        async with open_registry(self.env["MICRO_REGISTRY"]) as registry:
            await registry.register(_record(service, address))

    async def withdraw(self, service: str) -> None:
        async with open_registry(self.env["MICRO_REGISTRY"]) as registry:
            await registry.deregister(_record(service, NOBODY))

    async def lose(self, service: str) -> None:
        """All records of a service are removed by somebody."""
        async with open_registry(self.env["MICRO_REGISTRY"]) as registry:
            for record in await registry.get(service):
                await registry.deregister(record)

    async def has(self, service: str) -> bool:
        """Whether there is a record of the service."""
        async with open_registry(self.env["MICRO_REGISTRY"]) as registry:
            return bool(await registry.get(service))


class Etcd(Written, EtcdServer):
    """Implements `Trouble`."""

    @property
    def env(self) -> Mapping[str, str]:
        return {"MICRO_REGISTRY": f"etcd://127.0.0.1:{self.port}"}

    def spoil(self, service: str) -> None:
        """Somebody writes what is no record."""
        self.put(f"/micro/registry/{service}/1", b'{"name": 7}')


class Consul(Written, ConsulServer):
    """Implements `Trouble`."""

    @property
    def env(self) -> Mapping[str, str]:
        return {"MICRO_REGISTRY": f"consul://127.0.0.1:{self.port}"}


class Sqlite(Written):
    """A file. It has no server: what happens to it is that others lock it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def env(self) -> Mapping[str, str]:
        return {"MICRO_REGISTRY": f"sqlite://{self.path}"}

    def spoil(self, service: str) -> None:
        """Somebody writes what is no record."""
        with self.locked() as database:
            [(revision,)] = database.execute(
                "INSERT INTO changes (name, version, id, record) VALUES (?, 'latest', '1', '{') RETURNING revision",
                (service,),
            ).fetchall()
            database.execute("REPLACE INTO instances VALUES (?, 'latest', '1', '{', ?, 0, 9e999)", (service, revision))

    @contextmanager
    def locked(self) -> Iterator[sqlite3.Connection]:
        """Somebody writes, and lets nobody else do so meanwhile."""
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=PATIENCE)) as database:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")


class Called(Written, ProcessServer):
    """`micro registry`, in memory: what it held is gone when it is started again. Implements `Trouble`."""

    READY = "ready micro registry"

    def __init__(self) -> None:
        super().__init__()
        self._address = f"127.0.0.1:{self.hold_port()}"
        self.command = [MICRO, "registry", "--address", self._address]

    @property
    def env(self) -> Mapping[str, str]:
        return {"MICRO_REGISTRY": f"service://{self._address}"}


class Kubernetes(KubeServer):
    """Implements `Trouble`."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    @property
    def env(self) -> Mapping[str, str]:
        config = self._folder / "config"
        config.write_text(KUBECONFIG.format(port=self.port))
        config.with_name("token").write_text(self.token)
        return {"MICRO_REGISTRY": f"kubernetes://?kubeconfig={config}"}

    @property
    def instance_env(self) -> Mapping[str, str]:
        return {"MICRO_REGISTRY": f"sqlite://{self._folder / 'other.db'}"}

    async def offer(self, service: str, address: str = NOBODY) -> None:
        host, port = address.split(":")
        item = slice_of(service, f"{service}-1", service=service, port=int(port))
        item["endpoints"][0]["addresses"] = [host]
        self.put(item)

    async def withdraw(self, service: str) -> None:
        self.delete(service)


class Dns(DnsServer):
    """Implements `Trouble`."""

    def __init__(self, folder: Path, *services: str) -> None:
        """`services` are those that the node is told of."""
        super().__init__()
        self._folder = folder
        self._services = services

    @property
    def env(self) -> Mapping[str, str]:
        return {"MICRO_REGISTRY": f"dns://{self.address}/example?services={','.join(self._services)}"}

    @property
    def instance_env(self) -> Mapping[str, str]:
        return {"MICRO_REGISTRY": f"sqlite://{self._folder / 'other.db'}"}

    async def offer(self, service: str, address: str = NOBODY) -> None:
        host, port = address.split(":")
        self.keep({("here.example", "A"): [host], (f"_{service}._tcp.example", "SRV"): [f"0 0 {port} here.example."]})

    async def withdraw(self, service: str) -> None:
        self.keep({(f"_{service}._tcp.example", "SRV"): []})


class World:
    """One node, one instance, and what a program sees of them."""

    def __init__(self, registry: Trouble | Sqlite, *, ahead: int = 0) -> None:
        """The clock of the instance is so many hours ahead."""
        self._registry = registry
        self._ahead = ahead
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        flags = ("--address", "127.0.0.1:0", "--proxy-address", "127.0.0.1:0", "--resolver", "static")
        env = {"MICRO_REGISTER_TTL": str(TTL), "MICRO_REGISTER_INTERVAL": str(INTERVAL), **self._registry.instance_env}
        self.node = self._stack.enter_context(start_only("micro", "network", *flags, env=self._registry.env))
        self.instance = self._stack.enter_context(
            start_only("python", "-c", WRONG_CLOCK % self._ahead + SERVICE, env=env)
        )
        try:
            self.node.wait_until_ready()
            self.instance.wait_until_ready()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def proxy(self) -> str:
        """The node's address for programs."""
        return self.node.address("proxy")

    async def registry(self) -> dict[str, Any]:
        """What the node says of its registry."""
        async with Client(proxy=self.proxy) as client:
            status = await client.call("go.micro.network", "Network.Status")
        known: dict[str, Any] = status["registry"]
        return known

    async def services(self) -> set[str]:
        """What has routes, besides the node itself where it could register."""
        async with Client(proxy=self.proxy) as client:
            routes = (await client.call("go.micro.network", "Network.Routes"))["routes"]
        return {route["service"] for route in routes} - {"go.micro.network"}

    async def until_it_is(self, state: str, *, longer_than: float = 0.0) -> dict[str, Any]:
        """Waits until the node has its registry in this state for longer than so many seconds."""
        with trio.fail_after(longer_than + 2 * PATIENCE):
            while (known := await self.registry())["state"] != state or known["for_s"] <= longer_than:  # noqa: ASYNC110 - no event
                await trio.sleep(0.1)
        return known

    async def until_there_are(self, *services: str) -> None:
        """Waits until these have routes, and no others."""
        with trio.move_on_after(2 * PATIENCE):
            while await self.services() != set(services):  # noqa: ASYNC110 - no event
                await trio.sleep(0.1)
            return
        raise AssertionError(f"{await self.services()}, not {set(services)}; the node says:\n{self.node.stderr}")

    @asynccontextmanager
    async def calls(self) -> AsyncIterator["Calls"]:
        """A stream that goes on, and calls one after the other. Each must succeed."""
        async with Client(proxy=self.proxy) as client, client.stream("greeter", "Greeter.Chat", {}) as stream:
            calls = Calls(client, stream)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(calls.run)
                await calls.progress(1)
                yield calls
                await calls.progress(5)
                nursery.cancel_scope.cancel()


class Calls:
    """What goes on all the time."""

    def __init__(self, client: Client, stream: ClientStream) -> None:
        self._client = client
        self._stream = stream
        self._done = 0

    async def run(self) -> None:
        """Talks and calls until cancelled."""
        while True:
            await self._stream.send({"n": self._done})
            assert await self._stream.receive() == {"n": self._done}
            assert await self._client.call("greeter", "Greeter.Hello", {"n": self._done}) == {"n": self._done}
            self._done += 1
            await trio.sleep(0.1)

    async def progress(self, count: int) -> None:
        """Waits for so many more rounds."""
        until = self._done + count
        with trio.fail_after(PATIENCE):
            while self._done < until:  # noqa: ASYNC110 - no event
                await trio.sleep(0.01)


def _record(service: str, address: str) -> Service:
    return Service(name=service, instances=(Instance(id=f"{service}-1", address=address),))
