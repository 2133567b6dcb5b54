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
from sdk.config import ClientConfig
from sdk.rawsocket import open_tcp
from tests.processes import PATIENCE, Running, start
from tests.tunnel.foreign import (
    CONTROL,
    DATA,
    END,
    OPEN,
    PREFACE,
    RESET,
    Alerted,
    ForeignLink,
    node_id,
    noise_connection,
    pack,
)

NODE = ("micro", "network", "--address", "127.0.0.1:0", "--proxy-address", "127.0.0.1:0", "--resolver", "static")

LARGE = 64 << 20
GROWTH = 16 << 20
"""Bytes a node may grow by while a message of 64 MiB passes."""

FLOOD = 300
"""Strangers at a time; a node admits 64."""
FLOOD_GROWTH = 4 << 20
"""Bytes a node may grow by under them: 64 that it listens to, and what Python keeps of the others."""

NOISE = noise_connection(initiator=True, prologue=PREFACE * 2, static=b"s" * 32, psk=bytes(32))
KEY = PREFACE + b"\x00\x30" + bytes(NOISE.write_message())
ITSELF = b"it is the node's"
"""Stands for the id of the node that is talked to."""
HEAD = b"\xff" * 4 + b"\x00\x04head"
UPGRADE = b"GET / HTTP/1.1\r\nX: " + b"x" * 10_000

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
    b"BREW /pot HTCPCP/1.0\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00",
    b"\x05\x00",
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
    # One that takes longer may have met a machine that is busy; one that says nothing is always given more time.
    assert any(is_closed_after(garbage, nodes[0].address(port), within=4) for _ in range(5))


def is_closed_after(garbage: bytes, address: str, within: float) -> bool:
    """Whether a connection is closed so many seconds after these words."""
    with connect(address) as connection:
        try:
            connection.sendall(garbage)
        except ConnectionError:
            pass
        connection.settimeout(within)
        try:
            return is_closed(connection)
        except TimeoutError:
            return False


async def test_connections_that_say_nothing_are_closed_and_hold_nobody_up(nodes: list[Running]) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(connect(nodes[0].address(port))) for port in ("proxy", "link") * 20]
        silent[0].sendall(b"mi")  # a beginning of something
        silent[1].sendall(b"mi")
        await check_calls(nodes[0])
        for connection in silent:
            assert is_closed(connection)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("endpoint", ["Big.Length", "Big.Echo"])
async def test_a_message_of_64_mib_streams_through(
    nodes: list[Running], endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICRO_CLIENT_REQUEST_TIMEOUT", f"{2 * PATIENCE:.0f}s")
    before = [start_peak(node) for node in nodes]
    message = os.urandom(1024) * (LARGE // 1024)
    async with Client(proxy=nodes[0].address("proxy")) as client:
        reply = await client.call("big", endpoint, message)
        assert reply == (LARGE if endpoint == "Big.Length" else message)
    for node, bytes_before in zip(nodes, before, strict=True):
        assert peak(node) - bytes_before < GROWTH


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize(
    "beginning",
    [b"", PREFACE, KEY, UPGRADE],
    ids=["nothing", "preface", "key", "http"],
)
async def test_a_flood_of_connections_that_go_no_further_costs_little_and_holds_nobody_up(
    nodes: list[Running], beginning: bytes
) -> None:
    b = nodes[1]
    before = start_peak(b)
    with ExitStack() as stack:
        for _ in range(FLOOD):
            stranger = stack.enter_context(connect(b.address("link")))
            if beginning:
                stranger.sendall(beginning)
        await check_calls(nodes[0])
    assert peak(b) - before < FLOOD_GROWTH


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
async def test_a_flood_of_handshakes_costs_little_and_holds_nobody_up(nodes: list[Running]) -> None:
    b = nodes[1]
    before = start_peak(b)
    refused = 0

    async def attack() -> None:
        nonlocal refused
        while True:
            async with await open_tcp(b.address("link")) as socket:
                try:
                    await ForeignLink(socket, dialled=True, token="guess", network="go.micro").meet()
                except (Alerted, EOFError, trio.BrokenResourceError):
                    refused += 1

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(attack)
            while refused < FLOOD:
                await check_calls(nodes[0])
            nursery.cancel_scope.cancel()
    assert peak(b) - before < FLOOD_GROWTH


@pytest.mark.parametrize(
    ("data", "answered"),
    [
        pytest.param(pack(OPEN, 0, 1, b"\x03\x00"), False, id="short"),
        pytest.param(pack(OPEN, 0, 1, b"\x03\xff" + bytes(16 * 255)), False, id="long path"),
        pytest.param(pack(OPEN, 0, 1, b"\x03\x00" + b"\xff" * 6 + b"head"), False, id="long head"),
        pytest.param(pack(OPEN, 0, 1, b"\x03\x00" + HEAD), False, id="no path"),
        pytest.param(pack(OPEN, 0, 1, b"\x03\x01" + bytes(16) + HEAD), False, id="another's path"),
        pytest.param(pack(OPEN, 0, 1, b"\x03\x01" + ITSELF + HEAD), True, id="no head"),
        pytest.param(pack(OPEN, 0, 1, b"\x03\x02" + ITSELF + bytes(16) + HEAD), True, id="path to nowhere"),
        pytest.param(pack(CONTROL, END, 0, b"\xc1" * 100), False, id="gossip"),
        pytest.param(pack(CONTROL, END, 0, os.urandom(50_000)), False, id="much gossip"),
        pytest.param(pack(DATA, 0, 1, b"", length=1 << 31), False, id="long frame"),
    ],
)
async def test_a_node_with_the_token_that_talks_nonsense_is_refused_or_cut_off(
    nodes: list[Running], data: bytes, answered: bool
) -> None:
    a = nodes[0]
    with trio.fail_after(PATIENCE):
        async with await open_tcp(a.address("link")) as socket:
            foreign = ForeignLink(socket, dialled=True, token="sesame", network="go.micro")
            await foreign.meet()
            await foreign.introduce()
            frames = data.replace(ITSELF, node_id(foreign.peer.public))
            if answered:
                await foreign.say_bytes(frames)
                assert (await foreign.hear_one(RESET))[1] == 1
            else:
                before = await cut_off(a)
                await foreign.say_bytes(frames)
                with pytest.raises((EOFError, trio.BrokenResourceError)):
                    await foreign.hear_one(RESET)
                assert await cut_off(a) == before + 1
        await check_calls(a)


async def cut_off(node: Running) -> int:
    """Links that a node ended because its peer broke the rules."""
    async with Client(proxy=node.address("proxy")) as client:
        return int((await client.call("go.micro.network", "Network.Status"))["cut_off"].get("malformed", 0))


async def check_calls(node: Running) -> None:
    """Calls to a service two links away are answered, and half of them within 4 seconds: how long the others take says
    how busy the machine is."""
    took = []
    async with Client(ClientConfig(proxy=node.address("proxy"), request_timeout=PATIENCE)) as client:
        for _ in range(20):
            began = trio.current_time()
            assert await client.call("big", "Big.Length", b"four") == 4
            took.append(trio.current_time() - began)
    assert sorted(took)[len(took) // 2] < 4, took


def start_peak(node: Running) -> int:
    """Forgets the peak of the process's memory, so that it starts again at what is in use now, and returns that."""
    Path(f"/proc/{node.process.pid}/clear_refs").write_text("5")
    return peak(node)


def peak(node: Running) -> int:
    """The most memory the process has had, in bytes."""
    lines = Path(f"/proc/{node.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
