"""Calls per second through two nodes: client → node → tcp link → node → service, four processes.

    python -m benchmarks.rpc [--in-flight 1,16,64,256] [--seconds 2] [--rounds 3] [--only stick,nodes,sdk]

Three chains in one run, in turns, so that a machine that is busy for a while is busy for all of them:

    stick    the measuring stick (benchmarks/stick.py): nodes that only forward
    nodes    the stick's bare client and service around two real `micro network` nodes
    sdk      an SDK client and an SDK service around them

For each: calls/s, p50 and p99 in µs, and the CPU µs per call of every process, as medians of the rounds; then the
ratios to the stick, and the lag of the nodes' event loops while 64 connections are hot.
"""

import argparse
import contextlib
import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import trio

from benchmarks.stick import call_bare
from sdk import Client

ROOT = Path(__file__).resolve().parent.parent
MICRO = str(Path(sys.executable).with_name("micro"))
"""The command beside this Python."""


@dataclass
class Chain:
    """The processes of one chain, from the one the client talks to."""

    port: int
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)


@dataclass
class Result:
    """One measurement."""

    calls: int
    seconds: float
    p50: float
    p99: float
    cpu: dict[str, float]


def start(*command: str, env: dict[str, str] | None = None) -> tuple[subprocess.Popen[str], str]:
    """Starts a process and waits for its `ready …` line, on either stream."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("ready"):
            return process, line
    raise SystemExit(f"{' '.join(command)} did not start:\n{''.join(lines)}")


@contextlib.contextmanager
def running(chain: Chain) -> Iterator[Chain]:
    """The chain, until the block ends."""
    try:
        yield chain
    finally:
        for process in chain.processes.values():
            process.send_signal(signal.SIGKILL)
            process.wait()


def start_stick() -> Chain:
    """The measuring stick's chain."""
    service, line = start(sys.executable, "-m", "benchmarks.stick", "service", "0")
    b, line_b = start(sys.executable, "-m", "benchmarks.stick", "b", "0", line.split()[1])
    a, line_a = start(sys.executable, "-m", "benchmarks.stick", "a", "0", line_b.split()[1])
    return Chain(int(line_a.split()[1]), {"service": service, "b": b, "a": a})


def start_nodes(folder: Path, *, sdk: bool) -> Chain:
    """Two real nodes and a service behind the second, bare or of the SDK."""
    env = {"MICRO_NETWORK_TOKEN": secrets.token_hex(), "MICRO_REGISTRY": "sqlite"}
    folder.mkdir()
    far = {**env, "MICRO_REGISTRY_ADDRESS": str(folder / "far.db")}
    near = {**env, "MICRO_REGISTRY_ADDRESS": str(folder / "near.db")}
    address = ["--address", "127.0.0.1:0", "--proxy-address", "127.0.0.1:0"]
    if sdk:
        service, _ = start(sys.executable, "-m", "benchmarks.echo", env=far)
    else:
        service, line = start(sys.executable, "-m", "benchmarks.stick", "service", "0")
        record = {
            "name": "greeter",
            "nodes": [
                {
                    "id": "greeter-bare",
                    "address": f"127.0.0.1:{line.split()[1]}",
                    "metadata": {"protocol": "grpc", "native": "1"},
                }
            ],
        }
        command = [MICRO, "register", "service", json.dumps(record)]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, **far}, stdout=subprocess.DEVNULL)
    b, line_b = start(MICRO, "network", "--name", "b", *address, env=far)
    seed = ["--nodes", ready(line_b)["link"]]
    a, line_a = start(MICRO, "network", "--name", "a", *address, *seed, env=near)
    return Chain(int(ready(line_a)["proxy"].rpartition(":")[2]), {"service": service, "b": b, "a": a})


def ready(line: str) -> dict[str, str]:
    """The addresses in a node's `ready …` line."""
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def cpu_seconds(process: subprocess.Popen[str]) -> float:
    """User and system time a process has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def call_sdk(port: int, in_flight: int, seconds: float) -> list[float]:
    """The same load as `call_bare`, by an SDK client."""
    latencies: list[float] = []
    body = b"x" * 128

    async def call(client: Client) -> None:
        while True:
            began = trio.current_time()
            await client.call("greeter", "Greeter.Hello", body, content_type="application/octet-stream")
            latencies.append(trio.current_time() - began)

    async with Client(proxy=f"127.0.0.1:{port}") as client, trio.open_nursery() as nursery:
        for _ in range(in_flight):
            nursery.start_soon(call, client)
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    return sorted(latencies)


def measure(name: str, chain: Chain, in_flight: int, seconds: float) -> Result:
    """One round on one chain."""
    before = {each: cpu_seconds(process) for each, process in chain.processes.items()}
    own = os.times()
    latencies = trio.run(call_sdk if name == "sdk" else call_bare, chain.port, in_flight, seconds)
    spent = {each: cpu_seconds(process) - before[each] for each, process in chain.processes.items()}
    now = os.times()
    spent["client"] = now.user + now.system - own.user - own.system
    count = len(latencies)
    if not count:
        raise SystemExit(f"no call of chain {name!r} was answered")
    cpu = {each: seconds / count * 1e6 for each, seconds in spent.items()}
    return Result(count, seconds, latencies[count // 2] * 1e6, latencies[count * 99 // 100] * 1e6, cpu)


async def wait_for_route(port: int) -> None:
    """Until the node at `port` knows the way to the greeter."""
    async with Client(proxy=f"127.0.0.1:{port}") as client:
        with trio.fail_after(10):
            while "greeter" not in (await client.call("go.micro.network", "Network.Services"))["services"]:  # noqa: ASYNC110
                await trio.sleep(0.05)


async def loop_lag(port: int, seconds: float) -> tuple[float, int]:
    """The longest lag of the near node's loop, in ms, while 64 connections are hot; and the calls/s meanwhile."""
    async with Client(proxy=f"127.0.0.1:{port}") as client, trio.open_nursery() as nursery:
        results: list[int] = []

        async def load() -> None:
            results.append(len(await call_bare(port, 256, seconds, connections=64)))

        nursery.start_soon(load)
        await trio.sleep(seconds * 0.9)
        status = await client.call("go.micro.network", "Network.Status")
    return float(status["loop_lag_ms"]), round(results[0] / seconds)


def report(name: str, in_flight: int, rounds: list[Result]) -> dict[str, float]:
    """Prints the medians of the rounds; returns them."""
    rate = statistics.median(each.calls / each.seconds for each in rounds)
    p50 = statistics.median(each.p50 for each in rounds)
    p99 = statistics.median(each.p99 for each in rounds)
    cpu = {each: statistics.median(one.cpu[each] for one in rounds) for each in ("client", "a", "b", "service")}
    print(
        f"{name:6} {in_flight:9} {rate:9,.0f} {p50:8,.0f} {p99:8,.0f}   "
        + " ".join(f"{cpu[each]:7.1f}" for each in ("client", "a", "b", "service")),
        flush=True,
    )
    return {"rate": rate, "a": cpu["a"], "b": cpu["b"]}


def main() -> None:
    """Runs everything and prints the tables."""
    parser = argparse.ArgumentParser(description="calls per second through two nodes, beside a measuring stick")
    parser.add_argument("--in-flight", default="1,16,64,256")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="stick,nodes,sdk", help="chains to run")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    loads = [int(each) for each in arguments.in_flight.split(",")]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        chains = {}
        for name in names:
            chain = start_stick() if name == "stick" else start_nodes(folder / name, sdk=name == "sdk")
            chains[name] = stack.enter_context(running(chain))
            if name != "stick":
                trio.run(wait_for_route, chain.port)
            measure(name, chain, 16, 0.3)  # warms up
        print(f"{'':6} {'':9} {'':9} {'p50':>8} {'p99':>8}   CPU µs per call")
        print(f"{'chain':6} in flight   calls/s {'µs':>8} {'µs':>8}    client  node a  node b service")
        medians: dict[tuple[str, int], dict[str, float]] = {}
        for in_flight in loads:
            rounds: dict[str, list[Result]] = {name: [] for name in names}
            for _ in range(arguments.rounds):
                for name in names:
                    rounds[name].append(measure(name, chains[name], in_flight, arguments.seconds))
            for name in names:
                medians[name, in_flight] = report(name, in_flight, rounds[name])
        if "stick" in names:
            print("\nof the stick's calls/s:")
            for name in names[1:]:
                ratios = (f"{medians[name, n]['rate'] / medians['stick', n]['rate']:.2f} at {n}" for n in loads)
                print(f"{name:6} {', '.join(ratios)}")
        if "nodes" in names:
            lag, rate = trio.run(loop_lag, chains["nodes"].port, 3.0)
            print(f"\n64 hot connections, 4 calls in flight on each: {rate:,} calls/s, longest loop lag {lag:.0f} ms")


if __name__ == "__main__":
    main()
