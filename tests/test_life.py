"""Real nodes and services that come and go, seen from a program three nodes away."""

import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from sdk import Client
from sdk.errors import MicroError, Timeout, Unavailable
from tests.net import kept_address
from tests.processes import PATIENCE, Running, start

NODE = ("micro", "network", "--proxy-address", "127.0.0.1:0", "--resolver", "static")
GREETER = ("python", "examples/greeter.py")
SOON = 20.0
"""Seconds, also on a busy machine; far less than the minute and a half that records live by themselves."""


class World:
    """Nodes a - b - c in a line, and room for what runs beside them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.link = stack.enter_context(kept_address())
        self.node("b", "--address", self.link)
        self.b = self._started
        self.a = self.node("a", "--address", "127.0.0.1:0", "--nodes", self.link)
        self.c = self.node("c", "--address", "127.0.0.1:0", "--nodes", self.link)

    def node(self, name: str, *flags: str) -> Running:
        """Starts a node."""
        return self.start(name, *NODE, "--name", name, *flags)

    def start(self, place: str, *command: str, **env: str) -> Running:
        """Starts a program in one of the environments."""
        env |= {"MICRO_REGISTRY_ADDRESS": str(self._folder / f"{place}.db"), "MICRO_NETWORK_TOKEN": "sesame"}
        self._started = self._stack.enter_context(start(*command, env=env))
        return self._started


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, stack)


async def until(fits: Callable[[], Awaitable[bool]]) -> float:
    """Waits until it is so; the seconds that took. A call that fails meanwhile is no answer."""
    began = trio.current_time()
    with trio.fail_after(PATIENCE):
        while True:
            try:
                if await fits():
                    return trio.current_time() - began
            except MicroError:
                pass
            await trio.sleep(0.01)


async def services(client: Client) -> list[str]:
    names: list[str] = (await client.call("go.micro.network", "Network.Services"))["services"]
    return names


async def test_services_and_nodes_come_and_go(world: World) -> None:
    async with Client(proxy=world.a.address("proxy")) as client:

        async def known() -> bool:
            return "greeter" in await services(client)

        async def unknown() -> bool:
            return not await known()

        async def answers() -> bool:
            return bool(await client.call("greeter", "Greeter.Hello", {"name": "John"}))

        async def fails() -> bool:
            try:
                await answers()
            except Timeout:
                pytest.fail("a call hung")
            except Unavailable as error:
                # One that was on its way when the node was killed may have run; soon the others know better.
                return not error.may_have_run
            return False

        # It stops: gone at once, and not when its record expires in a minute and a half. What is measured here
        # includes the end of a process, and how busy the machine is.
        greeter = world.start("c", *GREETER)
        await until(known)
        greeter.send(signal.SIGTERM)
        assert await until(unknown) < SOON

        # It is killed: gone when its time to live is over.
        greeter = world.start("c", *GREETER, MICRO_REGISTER_TTL="2", MICRO_REGISTER_INTERVAL="1")
        await until(known)
        greeter.send(signal.SIGKILL)
        assert await until(unknown) < SOON

        # The node between is killed: no call hangs. It returns: calls work again, and nobody was restarted.
        world.start("c", *GREETER)
        await until(answers)
        world.b.stop(signal.SIGKILL)
        await until(fails)
        world.node("b", "--address", world.link)
        await until(answers)
        assert await known()
