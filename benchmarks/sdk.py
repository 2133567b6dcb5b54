"""The SDK beside what Python programs call each other with otherwise: a caller and a service, in one run.

    python -m benchmarks.sdk [--only sdk,grpc-aio] [--rounds 3] [--seconds 3] [--fetch] [--output json]

    sdk        an SDK client and an SDK service, directly
    node       the same through one `micro network` node
    attached   the same, and the service is attached to the node: it has no port of its own
    grpc       grpcio with threads; grpc-aio with asyncio
    nats       nats-py at both ends of a nats-server (Debian's package)
    http       httpx and an ASGI app that hypercorn serves

128 bytes there and back, 1 and 64 calls in flight; caller and service are processes of their own, all on this host. Of
each: calls/s, p50 and p99 in µs, and the CPU µs per call of the caller and of all processes behind it. The figures are
medians of the rounds. nats-py and hypercorn come from PyPI with --fetch, for this run only. Who is not there is named.
"""

import argparse
import contextlib
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import MICRO, PATHS, free_port
from benchmarks.processes import ROOT, cpu_seconds, running
from benchmarks.report import Figures, conclude, medians
from benchmarks.tunnel import stop_on_signals

IN_FLIGHT = (1, 64)

FETCHED = {"nats": ("nats-py==2.16.0",), "http": ("hypercorn==0.18.0", "httpx==0.28.1")}
"""What contenders need besides what the project has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A service that can be called."""

    kind: str
    """Of the load, as `benchmarks.peers` has it."""
    port: int
    env: dict[str, str]
    """For the load."""
    processes: list[subprocess.Popen[bytes]]
    """Behind the caller."""


class Runner:
    """Starts one contender in a folder, until its stack is closed."""

    def __init__(self, python: str, folder: Path, stack: contextlib.ExitStack) -> None:
        """`python` has what --fetch installed."""
        self._python = python
        self._log = folder / "log"
        self._folder = folder
        self._stack = stack
        self._processes: list[subprocess.Popen[bytes]] = []

    def sdk(self) -> Started:
        """Directly."""
        env = self._registry("own")
        self._start([sys.executable, "-m", "benchmarks.echo"], env)
        return Started(kind="sdk", port=0, env=env, processes=self._processes)

    def node(self) -> Started:
        """Through a node."""
        env = self._registry("own")
        self._start([sys.executable, "-m", "benchmarks.echo"], env)
        return self._by(self._node(env))

    def attached(self) -> Started:
        """Through a node, on the service's own connection to it."""
        proxy = self._node(self._registry("own"))
        self._start([sys.executable, "-m", "benchmarks.echo"], {**self._registry("none"), "MICRO_ATTACH": proxy})
        return self._by(proxy)

    def grpc(self) -> Started:
        """grpcio."""
        return self._peer("grpc", sys.executable, 0)

    def grpc_aio(self) -> Started:
        """grpcio with asyncio."""
        return self._peer("grpc-aio", sys.executable, 0)

    def nats(self) -> Started:
        """A server between the two."""
        port = free_port()
        program = shutil.which("nats-server", path=_paths()) or "nats-server"
        self._processes.append(
            self._stack.enter_context(running([program, "-a", "127.0.0.1", "-p", str(port)], self._log))
        )
        self._until("Server is ready")
        return self._peer("nats", self._python, port)

    def http(self) -> Started:
        """hypercorn."""
        return self._peer("http", self._python, free_port())

    def _registry(self, name: str) -> dict[str, str]:
        path = str(self._folder / f"{name}.db")
        return {"MICRO_REGISTRY": "sqlite", "MICRO_REGISTRY_ADDRESS": path, "MICRO_PROXY": ""}

    def _node(self, env: dict[str, str]) -> str:
        """Starts one; the address of its proxy port."""
        command = [MICRO, "network", "--address", "127.0.0.1:0", "--proxy-address", "127.0.0.1:0"]
        line = self._start(command, {**env, "MICRO_NETWORK_TOKEN": secrets.token_hex()})
        return dict(word.split("=", 1) for word in line.split() if "=" in word)["proxy"]

    def _by(self, proxy: str) -> Started:
        env = {**self._registry("none"), "MICRO_PROXY": proxy}
        return Started(kind="sdk", port=0, env=env, processes=self._processes)

    def _peer(self, kind: str, python: str, port: int) -> Started:
        line = self._start([python, "-m", "benchmarks.peers", "serve", kind, str(port)], {})
        return Started(kind=kind, port=int(line.split()[1]), env={}, processes=self._processes)

    def _start(self, command: list[str], env: dict[str, str]) -> str:
        """Starts a process; its `ready` line."""
        before = self._log.read_text() if self._log.exists() else ""
        self._processes.append(self._stack.enter_context(running(command, self._log, env)))
        return self._until("ready", len(before))

    def _until(self, words: str, start: int = 0) -> str:
        while True:
            lines = self._log.read_text()[start:].splitlines(keepends=True)
            for line in lines:
                if words in line and line.endswith("\n"):
                    return line
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._processes[-1].wait(0.02)
                raise OSError(f"a process ended: {self._log.read_text()}")


CONTENDERS: dict[str, Callable[[Runner], Started]] = {
    "sdk": Runner.sdk,
    "node": Runner.node,
    "attached": Runner.attached,
    "grpc": Runner.grpc,
    "grpc-aio": Runner.grpc_aio,
    "nats": Runner.nats,
    "http": Runner.http,
}


def measure(name: str, python: str, seconds: float) -> Figures:
    """All figures of one contender, once. Raises OSError when it does not start, or fails a call."""
    with tempfile.TemporaryDirectory(prefix="sdk-") as folder, contextlib.ExitStack() as stack:
        started = CONTENDERS[name](Runner(python, Path(folder), stack))
        figures: Figures = {}
        for in_flight in IN_FLIGHT:
            load = [python, "-m", "benchmarks.peers", "load", started.kind, str(started.port)]
            before = cpu_seconds(started.processes)
            done = subprocess.run(
                [*load, str(in_flight), str(seconds)],
                cwd=ROOT,
                env={**os.environ, **started.env},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise OSError(f"the calls failed: {done.stderr[-2000:]}")
            found: Figures = json.loads(done.stdout)
            spent = cpu_seconds(started.processes) - before
            calls = found["per_s"] * (seconds + min(seconds, 0.5))
            found["behind_us"] = spent / calls * 1e6
            figures |= {f"{key}_{in_flight}": value for key, value in found.items()}
        return figures


def fetch(folder: Path, packages: list[str]) -> str:
    """Installs from PyPI into an environment in the folder, beside what this one has; returns its Python."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    command = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return python


UNITS = (
    ("/s", "per_s", ",.0f"),
    ("p50 µs", "p50_us", ",.0f"),
    ("p99 µs", "p99_us", ",.0f"),
    ("caller", "caller_us", ",.1f"),
    ("behind", "behind_us", ",.1f"),
)
"""Of each load: heading, beginning of the figure's name, format; the last two are CPU µs per call."""

WANTED = (("sdk", "grpc-aio", 4.0), ("node", "nats", 1.0), ("attached", "nats", 1.0))
"""How many times as many calls per second as whom, with 64 in flight."""


def print_tables(rounds: dict[str, list[Figures]]) -> None:
    """The medians for people, and what was wanted, as medians of the ratios within each round."""
    print(f"{'':10}", *(f"{f'{each} in flight':>44}" for each in IN_FLIGHT))
    print(f"{'':10}", *(f"{unit:>8}" for _ in IN_FLIGHT for unit, _, _ in UNITS))
    for name, figures in medians(rounds).items():
        cells = [format(figures[f"{key}_{each}"], form) for each in IN_FLIGHT for _, key, form in UNITS]
        print(f"{name:10}", *(f"{cell:>8}" for cell in cells))
    print()
    for ours, theirs, factor in WANTED:
        if rounds.get(ours) and rounds.get(theirs):
            pairs = zip(rounds[ours], rounds[theirs], strict=False)
            ratio = statistics.median(one["per_s_64"] / other["per_s_64"] for one, other in pairs)
            print(f"{ours}: {ratio:.2f} times the calls/s of {theirs} with 64 in flight; at least {factor:g} is wanted")


def _paths() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), PATHS])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="the SDK beside other ways to call")
    parser.add_argument("--only", default=",".join(CONTENDERS), help="contenders to measure, of these: %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="of each load")
    parser.add_argument("--fetch", action="store_true", help="install what is missing from PyPI for this run")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := sorted(set(chosen) - set(CONTENDERS)):
        parser.error(f"--only: nobody is called {', '.join(unknown)}; there are {', '.join(CONTENDERS)}")
    stop_on_signals()
    missing: dict[str, str] = {}
    if "nats" in chosen and not shutil.which("nats-server", path=_paths()):
        missing["nats"] = "Debian's package nats-server is not installed"
    wanted = [package for name in chosen if name not in missing for package in FETCHED.get(name, ())]
    if not arguments.fetch:
        missing |= {name: "--fetch installs what it needs for one run" for name in chosen if name in FETCHED}
    rounds: dict[str, list[Figures]] = {name: [] for name in chosen if name not in missing}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="sdk-") as folder:
        fetched = fetch(Path(folder), wanted) if arguments.fetch and wanted else sys.executable
        for number in range(arguments.rounds):
            for name in [name for name in rounds if name not in failed]:
                print(f"round {number + 1} of {arguments.rounds}: {name}", file=sys.stderr, flush=True)
                try:
                    rounds[name].append(
                        measure(name, fetched if name in FETCHED else sys.executable, arguments.seconds)
                    )
                except OSError as error:
                    failed[name] = str(error)
    conclude(arguments.output, medians(rounds), missing, failed, tables=lambda: print_tables(rounds))


if __name__ == "__main__":
    main()
