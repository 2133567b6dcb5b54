"""What a bulk transfer adds to the latency of small calls that share a slow link with it.

    python -m benchmarks.slow_link [--only tcp,ws] [--seconds 20] [--rounds 3] [--mbit 10] [--buffer-ms 20]

Two hosts, which are network namespaces (this takes root), are joined by a cable that tbf shapes to 10 Mbit/s each way,
with a buffer before it that drops what would have to wait for more than 20 ms. A `micro tunnel` at each end, and 128
bytes go over one of its streams every 20 ms, whether or not those before are back, and are sent back from the far host.
That is measured while nothing else is going on, then beside a stream that sends as much as goes in the direction of the
requests, then beside one in the direction of the answers. Printed: p50 and p99 of each as medians of three rounds, the
median of what the bulk transfer has added to the p99 of its round, and what the transfer got of the link.
"""

import argparse
import contextlib
import ctypes
import itertools
import math
import os
import secrets
import shutil
import socket
import statistics
import struct
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from benchmarks.contenders import MICRO, PATIENCE
from benchmarks.processes import running
from benchmarks.tunnel import stop_on_signals
from tests.namespaces import CABLE, joined, shape

MESSAGE = 128
"""Bytes of a small call, and of its answer."""

EVERY = 0.02
"""Seconds from one small call to the next."""

WARM_UP = 2.0
"""Seconds that a bulk transfer has to fill the link before anything is measured."""

COUNT = 8
"""Bytes of a number that the sink answers with, big-endian."""

CHUNK = 65536
"""Bytes of one read or write."""

LINK = 8083
"""The port of the link; each host has all ports to itself."""

ECHO, SINK, SOURCE = 7001, 7002, 7003
"""Ports of the services on the far host, and those that lead to them on the near one."""

CLONE_NEWNET = 0x40000000
"""setns(2): the kind of namespace."""

_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One measurement."""

    p50: float
    """Seconds."""
    p99: float
    """Seconds."""
    rate: float
    """Bytes a second that the bulk transfer has carried meanwhile."""


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Sockets that are made within the block belong to that host, for as long as they live. Await nothing in it."""
    with Path("/proc/thread-self/ns/net").open("rb") as before, Path("/run/netns", namespace).open("rb") as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(before.fileno())


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


# The services.


async def echo(stream: trio.SocketStream) -> None:
    """Sends back what comes."""
    async for data in stream:
        await stream.send_all(data)


async def sink(stream: trio.SocketStream) -> None:
    """Answers with how many bytes have come so far, each time that some come."""
    total = 0
    async for data in stream:
        total += len(data)
        await stream.send_all(total.to_bytes(COUNT, "big"))


async def source(stream: trio.SocketStream) -> None:
    """Sends as much as goes."""
    data = os.urandom(CHUNK)
    while True:
        await stream.send_all(data)


def listen(port: int) -> trio.SocketListener:
    """Listens on this host's loopback."""
    sock = socket.create_server(("127.0.0.1", port))
    sock.setblocking(False)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


async def serve(talk: Callable[[trio.SocketStream], Awaitable[None]], listener: trio.SocketListener) -> None:
    """Talks with each who connects, until they leave."""

    async def until_it_breaks(stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            async with stream:
                await talk(stream)

    await trio.serve_listeners(until_it_breaks, [listener])


# What uses them.


class Bulk:
    """A transfer at full speed with the sink or the source."""

    def __init__(self) -> None:
        self.carried = 0
        """Bytes that have arrived so far."""

    async def run(self, stream: trio.SocketStream, port: int) -> None:
        """Goes on until cancelled."""
        async with stream:
            await (self._up if port == SINK else self._down)(stream)

    async def _up(self, stream: trio.SocketStream) -> None:
        """Sends to the sink."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(source, stream)
            rest = b""
            async for data in stream:
                rest += data
                whole = len(rest) // COUNT * COUNT
                if whole:
                    self.carried = int.from_bytes(rest[whole - COUNT : whole], "big")
                    rest = rest[whole:]

    async def _down(self, stream: trio.SocketStream) -> None:
        """Takes what the source sends."""
        async for data in stream:
            self.carried += len(data)


async def small_calls(stream: trio.SocketStream, seconds: float) -> list[float]:
    """Sends a message every 20 ms for so long; returns the sorted seconds from when each was due to its answer."""
    count, message = int(seconds / EVERY), bytes(MESSAGE)
    latencies: list[float] = []
    began = trio.current_time() + EVERY

    async def send() -> None:
        for number in range(count):
            await trio.sleep_until(began + number * EVERY)
            await stream.send_all(message)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        got = 0
        while len(latencies) < count:
            data = await stream.receive_some(CHUNK)
            if not data:
                raise ConnectionResetError("the stream of small calls has ended")
            got += len(data)
            while (len(latencies) + 1) * MESSAGE <= got:
                latencies.append(trio.current_time() - began - len(latencies) * EVERY)
    return sorted(latencies)


class Pair:
    """A tunnel from the near host to the far one; gone when `stack` closes."""

    def __init__(self, near: str, far: str, scheme: str, folder: Path, stack: contextlib.ExitStack) -> None:
        self._near = near
        self._log = folder / "log"
        self._stack = stack
        self._token = {"MICRO_TUNNEL_TOKEN": secrets.token_hex()}
        ports = {"echo": ECHO, "sink": SINK, "source": SOURCE}
        exposed = ",".join(f"{name}=127.0.0.1:{port}" for name, port in ports.items())
        forwarded = ",".join(f"{port}:{name}" for name, port in ports.items())
        self._start(far, "--address", f"10.11.12.2:{LINK}", "--expose", exposed)
        self._start(near, "--server", f"{scheme}://10.11.12.2:{LINK}", "--forward", forwarded)

    def _start(self, namespace: str, *flags: str) -> None:
        command = ["ip", "netns", "exec", namespace, MICRO, "tunnel", "--proxy-address", "127.0.0.1:0"]
        self._stack.enter_context(running([*command, "--registry", "memory", *flags], self._log, self._token))

    async def ready(self) -> None:
        """Waits until a byte comes back over the tunnel; raises `OSError` when none does."""
        with trio.move_on_after(PATIENCE):
            while True:
                with contextlib.suppress(OSError, trio.BrokenResourceError):
                    async with await self.connect(ECHO):
                        return
                await trio.sleep(0.1)
        raise OSError(f"the tunnel did not start; it printed:\n{self._log.read_text(errors='replace')[-2000:]}")

    async def connect(self, port: int) -> trio.SocketStream:
        """A stream to one of the services; to the echo one a byte has gone and come back."""
        with inside(self._near):
            sock = trio.socket.socket()
        await sock.connect(("127.0.0.1", port))
        stream = trio.SocketStream(sock)
        if port == ECHO:
            await stream.send_all(b".")
            if not await stream.receive_some(1):
                await stream.aclose()
                raise ConnectionResetError("a stream of small calls was refused")
        return stream

    async def measure(self, seconds: float, port: int | None) -> Figures:
        """Small calls, beside a transfer with the service at that port, if any."""
        bulk = Bulk()
        async with await self.connect(ECHO) as calls, trio.open_nursery() as nursery:
            if port is not None:
                transfer = await self.connect(port)
                nursery.start_soon(bulk.run, transfer, port)
                await trio.sleep(WARM_UP)
            before = bulk.carried
            latencies = await small_calls(calls, seconds)
            carried = bulk.carried - before
            if port is not None:
                # An orderly end would go on until all that waits has been carried.
                transfer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            nursery.cancel_scope.cancel()
        at = [latencies[math.ceil(len(latencies) * share) - 1] for share in (0.5, 0.99)]
        return Figures(p50=at[0], p99=at[1], rate=carried / seconds)


KINDS: dict[str, int | None] = {
    "alone": None,
    "bulk with the requests": SINK,
    "bulk with the answers": SOURCE,
}
"""What goes on beside small calls, and the service that does it."""


async def measure(scheme: str, near: str, far: str, *, seconds: float, rounds: int) -> None:
    """Prints the figures of one transport."""
    found: dict[str, list[Figures]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory(prefix="slow-link-") as folder, contextlib.ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            with inside(far):
                for port, talk in ((ECHO, echo), (SINK, sink), (SOURCE, source)):
                    nursery.start_soon(serve, talk, listen(port))
            pair = Pair(near, far, scheme, Path(folder), stack)
            await pair.ready()
            for _, (kind, service) in itertools.product(range(rounds), KINDS.items()):
                found[kind].append(await pair.measure(seconds, service))
            nursery.cancel_scope.cancel()
    for kind, figures in found.items():
        p50, p99, rate = (statistics.median(getattr(each, name) for each in figures) for name in ("p50", "p99", "rate"))
        line = f"{scheme:4} {kind:24} p50 {p50 * 1e3:6.1f} ms   p99 {p99 * 1e3:6.1f} ms"
        if KINDS[kind] is not None:
            added = statistics.median(a.p99 - b.p99 for a, b in zip(figures, found["alone"], strict=True))
            line += f"   added to p99 {added * 1e3:6.1f} ms   bulk {rate * 8e-6:5.2f} Mbit/s"
        print(line, flush=True)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="what bulk adds to the latency of small calls on a slow link")
    parser.add_argument("--only", default="tcp,ws", help="transports; %(default)s unless told")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mbit", type=float, default=10, help="that the cable carries each way, a second")
    parser.add_argument("--buffer-ms", type=float, default=20, help="that a packet may wait for the cable")
    arguments = parser.parse_args()
    schemes = arguments.only.split(",")
    if unknown := set(schemes) - {"tcp", "ws"}:
        parser.error(f"--only: {', '.join(sorted(unknown))} is not measured; tcp and ws are")
    if os.geteuid():
        parser.exit(1, "this takes root, for it makes network namespaces\n")
    if missing := [program for program in ("ip", "tc") if not shutil.which(program)]:
        parser.exit(1, f"{' and '.join(missing)} not found: Debian has it in the package iproute2\n")
    stop_on_signals()
    with joined() as (near, far):
        for name in (near, far):
            print(f"{CABLE} of {name}: {shape(name, mbit=arguments.mbit, buffer_ms=arguments.buffer_ms)}")
        control = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
        print(f"TCP's congestion control: {control}", flush=True)
        for scheme in schemes:
            trio.run(partial(measure, scheme, near, far, seconds=arguments.seconds, rounds=arguments.rounds))


if __name__ == "__main__":
    main()
