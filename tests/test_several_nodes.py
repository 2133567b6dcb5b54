"""Programs with two real nodes to call through: one of them is killed while calls are under way."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from sdk import Client
from sdk.errors import MicroError, Unavailable
from sdk.registry.sqlite import SqliteRegistry
from tests.processes import PATIENCE, Running, start
from tests.sdk.living import offering, running

NODE = ("micro", "network", "--address", "127.0.0.1:0", "--proxy-address", "127.0.0.1:0", "--resolver", "static")


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Running]]:
    """Two nodes of one environment."""
    env = {"MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db"), "MICRO_NETWORK_TOKEN": "sesame"}
    with ExitStack() as stack:
        yield [stack.enter_context(start(*NODE, "--name", name, env=env)) for name in "ab"]


class Load:
    """Twenty tasks that call on and on, every other with calls that are idempotent."""

    def __init__(self, client: Client, nursery: trio.Nursery) -> None:
        self._client = client
        self._answers = 0
        self._goal = 0
        self._reached = trio.Event()
        self.lost = 0
        for number in range(20):
            nursery.start_soon(self._keep_calling, bool(number % 2))

    async def until(self, more: int) -> None:
        """Waits for so many answers."""
        self._goal, self._reached = self._answers + more, trio.Event()
        with trio.fail_after(PATIENCE):
            await self._reached.wait()

    async def _keep_calling(self, idempotent: bool) -> None:
        while True:
            try:
                await self._client.call("greeter", "Greeter.Who", idempotent=idempotent)
                self._answers += 1
            except Unavailable as error:
                if idempotent or not error.may_have_run:
                    raise
                self.lost += 1
            if self._answers >= self._goal:
                self._reached.set()


def saying(what: str) -> dict[str, Callable[..., Any]]:
    async def who(request: Any) -> Any:
        return what

    return {"Greeter.Who": who}


async def known(client: Client) -> None:
    """Waits until the nodes know the service."""
    with trio.fail_after(PATIENCE):
        while True:
            try:
                await client.call("greeter", "Greeter.Who")
                return
            except MicroError:
                await trio.sleep(0.01)


@pytest.mark.parametrize("by_name", [False, True])
async def test_when_one_of_two_nodes_is_killed_only_calls_that_may_have_run_are_lost(
    nodes: list[Running], tmp_path: Path, by_name: bool
) -> None:
    addresses = [node.address("proxy") for node in nodes]
    async with SqliteRegistry(str(tmp_path / "registry.db")) as registry, trio.open_nursery() as nursery:
        await nursery.start(offering(registry, saying("here")).serve)
        for address in addresses:
            async with Client(proxy=address) as client:
                await known(client)
        proxy = "go.micro.network" if by_name else ",".join(addresses)
        async with Client(registry=registry, proxy=proxy) as client, trio.open_nursery() as callers:
            load = Load(client, callers)
            await load.until(200)
            assert {connection.address for connection in client._callees.nodes._alive} == set(addresses)
            nodes[0].send(signal.SIGKILL)
            await load.until(500)
            assert load.lost <= 10  # one each of the tasks whose calls are not idempotent
            callers.cancel_scope.cancel()
        nursery.cancel_scope.cancel()


async def test_the_version_and_labels_a_program_wants_are_what_its_node_gives_it(
    nodes: list[Running], tmp_path: Path
) -> None:
    async with (
        SqliteRegistry(str(tmp_path / "registry.db")) as registry,
        running(offering(registry, saying("old"), version="1", metadata={"zone": "eu"})),
        running(offering(registry, saying("new"), version="2", metadata={"zone": "us"})),
        Client(proxy=nodes[0].address("proxy"), registry=registry) as client,
    ):
        with trio.fail_after(PATIENCE):
            seen: set[str] = set()
            while seen != {"old", "new"}:
                try:
                    seen.add(await client.call("greeter", "Greeter.Who"))
                except MicroError:
                    await trio.sleep(0.01)
        for _ in range(10):
            assert await client.call("greeter", "Greeter.Who", version="1") == "old"
            assert await client.call("greeter", "Greeter.Who", version="2") == "new"
            assert await client.call("greeter", "Greeter.Who", labels={"Zone": "eu"}) == "old"
            assert await client.call("greeter", "Greeter.Who", labels={"Zone": "us"}) == "new"
            assert await client.call("greeter", "Greeter.Who", proxy=None, version="1") == "old"
