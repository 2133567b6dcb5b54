"""Real nodes and what they must bear: garbage, connections that say nothing, messages too large to be kept."""

import os
import socket
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from sdk import Client
from tests.processes import PATIENCE, Running, start

NODE = ("micro", "network", "--address", "127.0.0.1:0", "--proxy-address", "127.0.0.1:0", "--resolver", "static")

LARGE = 64 << 20
GROWTH = 16 << 20
"""Bytes a node may grow by while a message of 64 MiB passes."""

SERVICE = """
    from sdk import Service
    big = Service("big")

    @big.handle("Big.Length")
    async def length(request):
        return len(request)

    @big.handle("Big.Echo")
    async def echo(request):
        return request

    big.run()
"""

GARBAGE = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"\x05\x01\x00",
    bytes(range(256)) * 12,
    b"\xff" * 200_000,
)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Running]]:
    """Nodes a - b - c, and a service in c."""
    folder = tmp_path_factory.mktemp("nodes")

    def env(name: str) -> dict[str, str]:
        return {"MICRO_REGISTRY_ADDRESS": str(folder / f"{name}.db"), "MICRO_NETWORK_TOKEN": "sesame"}

    with ExitStack() as stack:
        b = stack.enter_context(start(*NODE, "--name", "b", env=env("b")))
        a, c = (
            stack.enter_context(start(*NODE, "--name", name, "--nodes", b.address("link"), env=env(name)))
            for name in "ac"
        )
        stack.enter_context(start("python", "-c", textwrap.dedent(SERVICE), env=env("c")))
        trio.run(until_known, a, "big")
        yield [a, b, c]
        for node in (a, b, c):
            status, stderr = node.stop()
            assert status == 0
            assert "Traceback" not in stderr


async def until_known(node: Running, service: str) -> None:
    with trio.fail_after(PATIENCE):
        async with Client(proxy=node.address("proxy")) as client:
            while service not in (await client.call("go.micro.network", "Network.Services"))["services"]:  # noqa: ASYNC110
                await trio.sleep(0.02)


def connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), PATIENCE)


def is_closed(connection: socket.socket) -> bool:
    """Reads to the end; raises `TimeoutError` when none comes."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("port", ["proxy", "link"])
@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_ends_its_own_connection_at_once(nodes: list[Running], port: str, garbage: bytes) -> None:
    with connect(nodes[0].address(port)) as connection:
        try:
            connection.sendall(garbage)
        except ConnectionError:
            pass
        connection.settimeout(4)  # less than a silent one is given
        assert is_closed(connection)


async def test_connections_that_say_nothing_are_closed_and_hold_nobody_up(nodes: list[Running]) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(connect(nodes[0].address(port))) for port in ("proxy", "link") * 20]
        silent[0].sendall(b"mi")  # a beginning of something
        silent[1].sendall(b"mi")
        began = trio.current_time()
        async with Client(proxy=nodes[0].address("proxy")) as client:
            for _ in range(20):
                assert await client.call("big", "Big.Length", b"four") == 4
        assert trio.current_time() - began < 4
        for connection in silent:
            assert is_closed(connection)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("endpoint", ["Big.Length", "Big.Echo"])
async def test_a_message_of_64_mib_streams_through(
    nodes: list[Running], endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICRO_CLIENT_REQUEST_TIMEOUT", f"{PATIENCE:.0f}s")
    before = [start_peak(node) for node in nodes]
    message = os.urandom(1024) * (LARGE // 1024)
    async with Client(proxy=nodes[0].address("proxy")) as client:
        reply = await client.call("big", endpoint, message)
        assert reply == (LARGE if endpoint == "Big.Length" else message)
    for node, bytes_before in zip(nodes, before, strict=True):
        assert peak(node) - bytes_before < GROWTH


def start_peak(node: Running) -> int:
    """Forgets the peak of the process's memory, so that it starts again at what is in use now, and returns that."""
    Path(f"/proc/{node.process.pid}/clear_refs").write_text("5")
    return peak(node)


def peak(node: Running) -> int:
    """The most memory the process has had, in bytes."""
    lines = Path(f"/proc/{node.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
