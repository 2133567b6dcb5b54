"""Two real nodes on two hosts, and the cable between them is cut for ten seconds without anybody being told."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from tests.namespaces import cut, heal, joined
from tests.processes import PATIENCE, Done, Running, run, start

MICRO = str(Path(sys.executable).with_name("micro"))

CUT = 10.0
"""Seconds."""
WORKS_AGAIN = 15.0
"""Seconds after the cable is whole within which a call gets through. After ten seconds the pauses between tries are
some seconds long, TCP asks again after one, three and seven of the ten that a try may take, and the program that
calls needs a moment to start."""


class Host:
    """One of the two hosts, with a registry of its own."""

    def __init__(self, namespace: str, registry: Path, stack: ExitStack) -> None:
        self.namespace = namespace
        self._stack = stack
        self._env = {
            "MICRO_REGISTRY_ADDRESS": str(registry),
            "MICRO_NETWORK_TOKEN": "sesame",
            "MICRO_PROXY": "go.micro.network",
        }

    def start(self, *command: str) -> Running:
        return self._stack.enter_context(start("ip", "netns", "exec", self.namespace, *command, env=self._env))

    def run(self, *command: str) -> Done:
        return run("ip", "netns", "exec", self.namespace, *command, env=self._env)

    def node(self, address: str, *more: str) -> Running:
        return self.start(
            MICRO, "network", "--address", address, "--proxy-address", "127.0.0.1:0", "--resolver", "static",
            "--log-level", "info", *more,
        )  # fmt: skip

    def call(self) -> Done:
        return self.run(MICRO, "call", "greeter", "Greeter.Hello", '{"name": "John"}')

    async def call_until_it_works(self) -> None:
        while "Hello John" not in self.call().stdout:
            await trio.lowlevel.checkpoint()


@pytest.fixture
def hosts(require: Callable[[str], str], tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    for program in ("ip", "nft"):
        require(program)
    with joined() as (here, there), ExitStack() as stack:
        yield Host(here, tmp_path / "a.db", stack), Host(there, tmp_path / "b.db", stack)


@pytest.mark.peers
async def test_a_cable_that_was_cut_for_ten_seconds_is_linked_over_again_by_itself(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    at_a = a.node("10.11.12.1:0", "--name", "a")
    at_b = b.node("10.11.12.2:0", "--name", "b", "--nodes", at_a.address("link"))
    b.start(sys.executable, "examples/greeter.py")
    with trio.fail_after(PATIENCE):
        await a.call_until_it_works()
    assert " is down: " not in at_a.stderr + at_b.stderr

    cut(a.namespace, b.namespace)
    began = trio.current_time()
    for node in (at_a, at_b):
        assert "was silent for" in node.wait_for(" is down: ", patience=CUT)
    assert a.call().status != 0
    await trio.sleep_until(began + CUT)
    assert a.call().status != 0
    heal(a.namespace, b.namespace)
    with trio.fail_after(WORKS_AGAIN):
        await a.call_until_it_works()
    assert at_a.stop() == (0, at_a.stderr)
    assert at_b.stop() == (0, at_b.stderr)
