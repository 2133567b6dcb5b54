"""Attached services as processes that are killed, on every command with a proxy port, and behind a firewall."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from sdk import Client
from sdk.errors import MicroError, NotFound, Unavailable
from tests.namespaces import cut, heal, joined
from tests.processes import PATIENCE, Running, start

SLOW = """
import os
import trio
from sdk import Service
service = Service("slow")
@service.handle("Slow.Sleep")
async def sleep(request):
    print("began", flush=True)
    await trio.sleep_forever()
@service.handle("Slow.Pid")
async def pid(request):
    return os.getpid()
service.run()
"""

ANY = "127.0.0.1:0"

MICRO = str(Path(sys.executable).with_name("micro"))

NODE = "10.11.12.1:8081"
"""Where the node is for services of another host."""

HALF_A_MINUTE = 30.0
"""`VANISHED`, and time for the system to look."""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"MICRO_REGISTRY": "sqlite", "MICRO_REGISTRY_ADDRESS": str(tmp_path / "r.db"), "MICRO_NETWORK_TOKEN": "key"}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def slow(node: str, env: dict[str, str]) -> Running:
    """A service that attaches to this node."""
    return start("python", "-c", SLOW, "--attach", node, env=env)


async def until(fits: Callable[[], object]) -> float:
    """Waits until it is so; the seconds that took."""
    began = trio.current_time()
    with trio.fail_after(PATIENCE):
        while not fits():  # noqa: ASYNC110 - processes have no events
            await trio.sleep(0.01)
    return trio.current_time() - began


async def answers(client: Client) -> float:
    """Waits until the service answers, and returns how long that took."""
    began = trio.current_time()
    with trio.fail_after(PATIENCE):
        while True:
            try:
                await client.call("slow", "Slow.Pid")
                return trio.current_time() - began
            except MicroError:
                await trio.sleep(0.02)


async def test_a_service_that_is_killed_is_gone_at_once_and_its_calls_say_that_they_may_have_run(
    env: dict[str, str], stack: ExitStack
) -> None:
    node = stack.enter_context(start("micro", "proxy", "--address", ANY, env=env)).address("proxy")
    service = stack.enter_context(slow(node, env))
    async with Client(proxy=node) as client, trio.open_nursery() as nursery:
        failed: list[tuple[Unavailable, float]] = []

        async def call() -> None:
            with pytest.raises(Unavailable) as caught:
                with trio.fail_after(PATIENCE):
                    await client.call("slow", "Slow.Sleep")
            failed.append((caught.value, trio.current_time()))

        nursery.start_soon(call)
        await until(lambda: "began" in service.stdout)
        killed = trio.current_time()
        service.send(signal.SIGKILL)
        await until(lambda: failed)
        [(error, at)] = failed
        assert error.may_have_run
        assert at - killed < 1
        with pytest.raises(NotFound):
            await client.call("slow", "Slow.Pid")
        assert "slow" not in (await client.call("go.micro.network", "Network.Services"))["services"]


async def test_a_node_that_is_killed_and_started_again_is_found_by_its_services(
    env: dict[str, str], stack: ExitStack
) -> None:
    node = stack.enter_context(start("micro", "proxy", "--address", ANY, env=env))
    address = node.address("proxy")
    service = stack.enter_context(slow(address, env))
    async with Client(proxy=address) as client:
        assert await client.call("slow", "Slow.Pid") == service.process.pid
        node.stop(signal.SIGKILL)
        service.wait_for("is not attached to")
        stack.enter_context(start("micro", "proxy", "--address", address, env=env))
        await answers(client)
        assert await client.call("slow", "Slow.Pid") == service.process.pid


async def test_services_attach_at_both_ends_of_a_tunnel_and_to_any_node_of_a_network(
    env: dict[str, str], stack: ExitStack
) -> None:
    def node(*command: str) -> Running:
        own = env | {"MICRO_REGISTRY_ADDRESS": env["MICRO_REGISTRY_ADDRESS"] + "-".join(command[:3])}
        return stack.enter_context(start("micro", *command, "--proxy-address", ANY, env=own))

    for here, there in (
        (("tunnel", "--address", ANY), ("tunnel", "--server")),
        (("network", "--address", ANY), ("network", "--address", ANY, "--nodes")),
    ):
        far = node(*here)
        near = node(*there, far.address("link"))
        for ours, theirs in ((near, far), (far, near)):
            with slow(ours.address("proxy"), env) as service:
                async with Client(proxy=theirs.address("proxy")) as client:
                    await answers(client)
                    assert await client.call("slow", "Slow.Pid") == service.process.pid


OUTWARD = """
table inet outward {
  chain in {
    type filter hook input priority 0; policy drop
    ct state established,related accept
    iifname "lo" accept
  }
}
"""


@pytest.fixture
def hosts(require: Callable[[str], str], stack: ExitStack) -> tuple[str, str]:
    """The namespaces of a node's host, and of a service's that allows outgoing connections only."""
    for each in ("ip", "nft"):
        require(each)
    here, there = stack.enter_context(joined())
    subprocess.run(["ip", "netns", "exec", there, "nft", "-f", "-"], input=OUTWARD, text=True, check=True)
    return here, there


class Inside:
    """Starts programs on the two hosts."""

    def __init__(self, stack: ExitStack, env: dict[str, str]) -> None:
        self._stack = stack
        self._env = env | {"MICRO_PROXY": "127.0.0.1:8081"}

    def start(self, host: str, *command: str, **more: str) -> Running:
        argv = ["ip", "netns", "exec", host, sys.executable, *command]
        return self._stack.enter_context(Running(argv, {**os.environ, **self._env, **more}))

    def micro(self, host: str, *command: str, **more: str) -> Running:
        return self.start(host, MICRO, *command, **more)

    def pid(self, host: str) -> str:
        """What the service answers; nothing where it does not."""
        call = self.micro(host, "call", "slow", "Slow.Pid", "{}")
        call.wait()
        return call.stdout.strip()


@pytest.mark.peers
def test_a_service_where_only_outgoing_connections_are_allowed_is_called_when_it_shows_the_token(
    hosts: tuple[str, str], env: dict[str, str], stack: ExitStack
) -> None:
    here, there = hosts
    inside = Inside(stack, env)
    node = inside.micro(here, "proxy", "--address", ":8081", MICRO_PROXY_TOKEN="a secret of programs")
    node.wait_until_ready()
    status, stderr = inside.start(there, "-c", SLOW, MICRO_ATTACH=NODE).wait()
    assert status == 1
    assert "set MICRO_PROXY_TOKEN" in stderr
    service = inside.start(there, "-c", SLOW, MICRO_ATTACH=NODE, MICRO_PROXY_TOKEN="a secret of programs")
    service.wait_until_ready()
    assert inside.pid(here) == str(service.process.pid)


@pytest.mark.peers
def test_a_service_whose_host_vanishes_is_gone_in_half_a_minute_and_comes_back_with_it(
    hosts: tuple[str, str], env: dict[str, str], stack: ExitStack
) -> None:
    here, there = hosts
    inside = Inside(stack, env)
    token = {"MICRO_PROXY_TOKEN": "a secret of programs"}
    inside.micro(here, "proxy", "--address", ":8081", **token).wait_until_ready()
    service = inside.start(there, "-c", SLOW, MICRO_ATTACH=NODE, **token)
    service.wait_until_ready()
    call = inside.micro(here, "call", "slow", "Slow.Sleep", "{}", MICRO_CLIENT_REQUEST_TIMEOUT="90")
    service.wait_for("began")
    cut(here, there)
    began = time.monotonic()
    status, stderr = call.wait(patience=HALF_A_MINUTE)
    assert status == 1
    assert "lost program 10.11.12.2:" in stderr
    assert time.monotonic() - began > 1  # nobody was told
    assert inside.pid(here) == ""
    service.wait_for("is not attached to", patience=HALF_A_MINUTE)
    heal(here, there)
    until = time.monotonic() + PATIENCE
    while inside.pid(here) != str(service.process.pid):
        assert time.monotonic() < until
