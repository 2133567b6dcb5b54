"""Attached services as processes that are killed, on every command with a proxy port, and behind a firewall."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from sdk import Client
from sdk.errors import MicroError, NotFound, Unavailable
from tests.namespaces import joined
from tests.processes import PATIENCE, Running, start

SLOW = """
import os
import trio
from sdk import Service
service = Service("slow", attach=NODE)
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


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"MICRO_REGISTRY": "sqlite", "MICRO_REGISTRY_ADDRESS": str(tmp_path / "r.db"), "MICRO_NETWORK_TOKEN": "key"}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def program(node: str) -> str:
    """A service that attaches to this node."""
    return SLOW.replace("NODE", repr(node))


def slow(node: str, env: dict[str, str]) -> Running:
    return start("python", "-c", program(node), env=env)


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


@pytest.mark.peers
def test_a_service_where_only_outgoing_connections_are_allowed_is_called_when_it_shows_the_token(
    require: Callable[[str], str], env: dict[str, str], stack: ExitStack
) -> None:
    for each in ("ip", "nft"):
        require(each)
    here, there = stack.enter_context(joined())
    subprocess.run(["ip", "netns", "exec", there, "nft", "-f", "-"], input=OUTWARD, text=True, check=True)
    micro = str(Path(sys.executable).with_name("micro"))

    def inside(host: str, *command: str, **more: str) -> Running:
        return stack.enter_context(Running(["ip", "netns", "exec", host, *command], {**os.environ, **env, **more}))

    node = inside(here, micro, "proxy", "--address", ":8081", MICRO_PROXY_TOKEN="a secret of programs")
    node.wait_until_ready()
    attached = (sys.executable, "-c", program("10.11.12.1:8081"))
    stranger = inside(there, *attached)
    status, stderr = stranger.wait()
    assert status == 1
    assert "set MICRO_PROXY_TOKEN" in stderr
    service = inside(there, *attached, MICRO_PROXY_TOKEN="a secret of programs")
    service.wait_until_ready()
    call = ["ip", "netns", "exec", here, micro, "call", "slow", "Slow.Pid", "{}"]
    own = {**os.environ, **env, "MICRO_PROXY": "127.0.0.1:8081"}
    done = subprocess.run(call, env=own, check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.strip() == str(service.process.pid), done.stderr
