"""Six real nodes in two environments, for tests of what happens to calls while something of it fails.

    program ┬ a1 ┬ t1 ┬ c1 ┬ three instances
            └ a2 ┴ t2 ┴ c2 ┘

A program knows two nodes of its own environment, and two nodes are there where the service is. Each `a` and each `c` is
linked to each `t`.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import trio

from sdk import Client
from sdk.config import ClientConfig
from sdk.errors import MicroError
from tests.callers import Grpc, Native, Web
from tests.ledger import NAME, runs_of
from tests.ledgerpeers import GRPC, WEB
from tests.load import Caller, Load, Outcome, those
from tests.net import kept_address
from tests.processes import PATIENCE, Running, start_only

NODE = ("micro", "network", "--resolver", "static")
NODES = {"t1": "between 1", "t2": "between 2", "a1": "home", "a2": "home", "c1": "there", "c2": "there"}
"""The environment of each node."""
LINKS = {"t1": 4, "t2": 4, "a1": 2, "a2": 2, "c1": 2, "c2": 2}
"""How many each has when all are there."""

INSTANCES = 3
PROGRAMS = 2
"""Of each sort."""

BALANCED = (("grpc.lb_policy_name", "round_robin"), ("grpc.max_reconnect_backoff_ms", 200))
"""So grpcio uses every node that it knows, and soon comes back to one that was away."""

WORK = "10"
"""Milliseconds that a handler takes."""


class World:
    """The nodes and the instances."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.ledger = folder / "ledger"
        self.ledger.mkdir()
        self.instances: list[Running] = []
        self._folder = folder
        self._stack = stack
        self._nodes: dict[str, Running] = {}
        self._links = {name: stack.enter_context(kept_address()) for name in NODES}
        self._proxies = {name: stack.enter_context(kept_address()) for name in NODES}
        for name in NODES:
            self.begin(name)
        self.instances = [self.instance() for _ in range(INSTANCES)]
        for running in [*self._nodes.values(), *self.instances]:
            running.wait_until_ready()

    def __getitem__(self, name: str) -> Running:
        return self._nodes[name]

    def begin(self, name: str) -> None:
        """Starts a node, where others knew it before."""
        dialled = ",".join(self._links[each] for each in ("t1", "t2")) if name[0] != "t" else ""
        flags = ("--name", name, "--address", self._links[name], "--proxy-address", self._proxies[name])
        self._nodes[name] = self._start(NODES[name], *NODE, *flags, *(("--nodes", dialled) if dialled else ()))

    def instance(self, **how: str) -> Running:
        """Starts an instance of the service."""
        how = {"LEDGER": str(self.ledger), "LEDGER_WORK": WORK, **how}
        return self._start("there", "python", "-m", "tests.ledger", **how)

    def runs(self, instance: Running) -> int:
        """Calls that an instance ran so far."""
        return runs_of(self.ledger, instance.process.pid).total()

    async def settled(self) -> None:
        """Waits until every node has all its links and knows of both places where the service is."""
        async with AsyncExitStack() as stack:
            clients = {
                name: await stack.enter_async_context(Client(proxy=node.address("proxy")))
                for name, node in self._nodes.items()
            }
            with trio.fail_after(PATIENCE):
                while not all([await _is_settled(name, client) for name, client in clients.items()]):  # noqa: ASYNC110 - no event
                    await trio.sleep(0.02)

    async def restart(self, name: str) -> None:
        """Starts a node that has ended, and waits until all is as it was."""
        self.begin(name)
        await trio.to_thread.run_sync(self._nodes[name].wait_until_ready)
        await self.settled()

    async def stop(self, name: str) -> None:
        """Ends a node as one does that is replaced, and waits until it has."""
        status, stderr = await trio.to_thread.run_sync(self._nodes[name].stop)
        assert status == 0, stderr

    async def retried(self) -> tuple[int, int]:
        """How many calls were opened at the nodes of the programs so far, and how many were tried again."""
        calls = retried = 0
        for name in ("a1", "a2"):
            async with Client(proxy=self[name].address("proxy")) as client:
                counts: dict[str, int] = (await client.call("go.micro.network", "Network.Status"))["calls"]
            calls += counts["calls"]
            retried += counts.get("retried", 0)
        return calls, retried

    async def open_calls(self, name: str) -> int:
        """Calls that are open at a node, besides the one that asks."""
        async with Client(proxy=self[name].address("proxy")) as client:
            counts: dict[str, int] = (await client.call("go.micro.network", "Network.Status"))["calls"]
        return counts["open"] - 1

    async def withdrawn(self) -> None:
        """Waits until the first node of a program knows of one place only where the service is."""
        async with Client(proxy=self["a1"].address("proxy")) as client:
            with trio.fail_after(PATIENCE):
                while len(await _routes(client)) != 1:  # noqa: ASYNC110 - what is asked has no event
                    await trio.sleep(0.02)

    @asynccontextmanager
    async def load(self, deadline: float) -> AsyncIterator[Load]:
        """Programs of the first environment that know both of its nodes, and call all the time. Those with the SDK
        find them by name."""
        config = ClientConfig(
            proxy="go.micro.network", registry_address=str(self._folder / "home.db"), request_timeout=deadline
        )
        homes = [self._proxies[name] for name in ("a1", "a2")]
        async with AsyncExitStack() as stack:
            callers: list[Caller] = []
            for _ in range(PROGRAMS):
                client = await stack.enter_async_context(Client(config))
                channel = stack.enter_context(grpc.insecure_channel(f"ipv4:{','.join(homes)}", options=BALANCED))
                web = await stack.enter_async_context(httpx.AsyncClient(timeout=None))
                callers += (
                    Native(client, deadline=deadline),
                    Grpc(channel, deadline=deadline),
                    Web(web, homes, deadline=deadline),
                )
                homes.reverse()
            async with Load(callers) as load:
                await load.progress(100)
                yield load
        answered = {(call.program, call.kind) for call in those(load.calls, Outcome.ANSWERED)}
        assert answered == {(type(caller).__name__, kind) for caller in callers for kind in caller.tasks}

    def _start(self, place: str, *command: str, **env: str) -> Running:
        env |= {"MICRO_REGISTRY_ADDRESS": str(self._folder / f"{place}.db"), "MICRO_NETWORK_TOKEN": "sesame"}
        return self._stack.enter_context(start_only(*command, env=env))


async def _is_settled(name: str, client: Client) -> bool:
    try:
        connections = (await client.call("go.micro.network", "Network.Connections"))["connections"]
        routes = [await _routes(client, service) for service in (NAME, GRPC, WEB)]
    except MicroError:
        return False
    places = INSTANCES if name[0] == "c" else 2
    return len(connections) == LINKS[name] and all(len(each) >= places for each in routes)


async def _routes(client: Client, service: str = NAME) -> list[dict[str, Any]]:
    answer = await client.call("go.micro.network", "Network.Routes", {"service": service})
    routes: list[dict[str, Any]] = answer["routes"]
    return routes
