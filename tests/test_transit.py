"""Five real nodes, and two ways from end to end: nodes on the way die, and nodes sleep.

a - b - e        the short way
a - c - d - e    the long way, which has no node in common with it
"""

import itertools
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from sdk import Client
from sdk.errors import MicroError
from tests.processes import PATIENCE, Running, start

NODE = ("micro", "network", "--address", "127.0.0.1:0", "--proxy-address", "127.0.0.1:0", "--resolver", "static")
LINKS = {"a": "", "b": "a", "c": "a", "d": "c", "e": "bd"}
"""Whom each node dials."""

GAP = 0.5
"""Seconds without an answer, at most, after a node on the way was killed."""

BACK = 15.0
"""Seconds, at most, until all agree again with a node that slept: 2 where the machine has nothing else to do."""


class World:
    """The five nodes, and a greeter at the far end."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.nodes: dict[str, Running] = {}
        for name, dialled in LINKS.items():
            others = ",".join(self.nodes[other].address("link") for other in dialled)
            self.nodes[name] = self._start(name, *NODE, "--name", name, *(["--nodes", others] if others else []))
        self._start("e", "python", "examples/greeter.py")

    def __getitem__(self, name: str) -> Running:
        return self.nodes[name]

    async def clients(self, stack: AsyncExitStack) -> dict[str, Client]:
        """One for each node."""
        return {
            name: await stack.enter_async_context(Client(proxy=node.address("proxy")))
            for name, node in self.nodes.items()
        }

    def _start(self, place: str, *command: str) -> Running:
        env = {"MICRO_REGISTRY_ADDRESS": str(self._folder / f"{place}.db"), "MICRO_NETWORK_TOKEN": "sesame"}
        return self._stack.enter_context(start(*command, env=env))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, stack)


async def hops_to_greeter(client: Client) -> list[int]:
    reply = await client.call("go.micro.network", "Network.Routes", {"service": "greeter"})
    return [route["hops"] for route in reply["routes"]]


async def until_hops(client: Client, hops: int) -> None:
    with trio.fail_after(PATIENCE):
        while await hops_to_greeter(client) != [hops]:  # noqa: ASYNC110 - what is asked has no event
            await trio.sleep(0.02)


async def test_calls_go_on_over_the_other_path_when_a_node_on_the_way_is_killed(tmp_path: Path) -> None:
    gaps: list[float] = []
    # On a busy machine a gap is as long as some process waits for its turn: the shortest tells what rerouting takes.
    while not gaps or (gaps[-1] >= GAP and len(gaps) < 4):
        with ExitStack() as stack:
            folder = tmp_path / f"world-{len(gaps)}"
            folder.mkdir()
            gaps.append(await gap_after_a_kill(World(folder, stack)))
    assert min(gaps) < GAP, gaps


async def gap_after_a_kill(world: World) -> float:
    """Kills a node on the way, and returns the longest time without an answer after that, in seconds."""
    answers: list[float] = []
    failures: list[str] = []
    async with AsyncExitStack() as stack:
        clients = await world.clients(stack)
        client = clients["a"]
        await until_hops(client, 2)
        with trio.fail_after(PATIENCE):
            while not await complete(clients):  # noqa: ASYNC110 - what is asked has no event
                await trio.sleep(0.02)

        async def call_all_the_time() -> None:
            while True:
                try:
                    await client.call("greeter", "Greeter.Hello", {"name": "John"})
                    answers.append(trio.current_time())
                except MicroError as error:
                    failures.append(str(error))
                await trio.sleep(0.001)

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(call_all_the_time)
            await trio.sleep(0.5)
            killed = trio.current_time()
            world["b"].send(signal.SIGKILL)
            await trio.sleep(1.5)
            nursery.cancel_scope.cancel()
        ended = trio.current_time()
        await until_hops(client, 3)
    around = [killed, *(at for at in answers if at > killed), ended]
    gap = max(after - before for before, after in itertools.pairwise(around))
    print(f"\ngap after kill -9 of a node on the way: {gap * 1000:.0f} ms, {len(failures)} calls failed")  # noqa: T201 - to be seen with -s
    return gap


async def roots(clients: dict[str, Client]) -> set[str]:
    found: set[str] = set()
    for client in clients.values():
        status: dict[str, Any] = await client.call("go.micro.network", "Network.Status")
        found.add(status["link_state_root"])
    return found


@pytest.mark.timeout(200)
async def test_a_node_that_slept_condemns_nobody_and_is_soon_back(world: World) -> None:
    async with AsyncExitStack() as stack:
        clients = await world.clients(stack)
        await until_hops(clients["a"], 2)
        # 5 s is about what its neighbours bear; after 70 s they have taken it for dead, and forgotten it.
        for sleeper, seconds in (("b", 5), ("c", 70)):
            before = len(world[sleeper].stderr)
            world[sleeper].send(signal.SIGSTOP)
            await trio.sleep(seconds)
            world[sleeper].send(signal.SIGCONT)
            woke = trio.current_time()
            with trio.fail_after(PATIENCE):
                while True:
                    with trio.move_on_after(1):
                        try:
                            if len(await roots(clients)) == 1 and await complete(clients):
                                break
                        except MicroError:
                            pass
                    await trio.sleep(0.05)
            took = trio.current_time() - woke
            print(f"\nafter {seconds} s of sleep all agree again in {took:.2f} s")  # noqa: T201 - to be seen with -s
            assert took < BACK
            assert "was silent" not in world[sleeper].stderr[before:]


async def complete(clients: dict[str, Client]) -> bool:
    """Whether every node sees all five, and both ways are there."""
    for client in clients.values():
        nodes = (await client.call("go.micro.network", "Network.Nodes"))["nodes"]
        links = (await client.call("go.micro.network", "Network.Connections"))["connections"]
        if len(nodes) != len(LINKS) or len(links) < 2:
            return False
    return True
