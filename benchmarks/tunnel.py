"""Tunnels side by side on loopback: source → near end → far end → sink, one tunnel after the other in one run.

    python -m benchmarks.tunnel [--only haproxy,v2ray,micro-tcp] [--gib 1] [--rounds 3] [--quick] [--output json]

    direct     no tunnel: the ceiling of the load itself
    haproxy    a pair at layer 4, TLS between         stunnel    a pair
    v2ray      VLESS over WebSocket + TLS with mux    ssh        ssh -L, aes128-gcm
    micro-tcp, micro-ws                               `micro tunnel` over these transports

Of each, started afresh for each round; the figures are medians of the rounds:

    bulk          source → sink, over one stream and over 16 at once: MB/s (10^6), CPU s per GiB
    echo          128 bytes, one message in flight on each of 1 and 64 streams: round trips/s, p50 and p99, CPU µs
    connections   opened, one byte echoed, closed, 16 at a time: how many each second, CPU µs of each
    memory        per stream: what 2,000 idle streams add to the resident memory of both ends, / 2,000 / 2;
                  per link: what 8 more near ends, each with a link that carried a byte, add to the far end, / 8

CPU is user and system time of all processes of both ends together. Contenders come in Debian's packages haproxy,
v2ray, stunnel4, openssh-server and openssh-client; one that is not installed is named.
"""

import argparse
import contextlib
import signal
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from benchmarks import load
from benchmarks.contenders import CONTENDERS, Contender, Ports, Tunnel
from benchmarks.processes import cpu_seconds, resident, running
from benchmarks.report import Figures, conclude, medians

GIB = 1 << 30

STREAMS = 16
"""Of the bulk transfer over many, and connections that are opened at once."""

ECHOES = 64
"""Streams of the echo over many."""

CONNECTIONS = 6000
"""Most that are opened in one measurement: a closed one keeps its port for a minute."""

LINKS = 8
"""Near ends that are added to measure the memory of a link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured."""

    gib: float
    """Of each bulk transfer."""
    seconds: float
    """Of each echo, and at most of opening connections."""
    idle: int
    """Streams that are opened to measure their memory."""
    rounds: int
    """How often everything is measured."""


def start_sink(folder: Path, stack: contextlib.ExitStack) -> Ports:
    """The sink, in a process of its own."""
    log = folder / "sink"
    process = stack.enter_context(running([sys.executable, "-m", "benchmarks.load"], log))
    while not (text := log.read_text()).endswith("\n"):
        with contextlib.suppress(subprocess.TimeoutExpired):
            raise SystemExit(f"the sink ended with status {process.wait(0.02)}: {text}")
    words = dict(word.split("=") for word in text.split()[1:])
    return Ports(bulk=int(words["bulk"]), echo=int(words["echo"]))


def measure(contender: Contender, sink: Ports, sizes: Sizes) -> Figures:
    """All figures of one contender, once. Raises OSError when it does not start, breaks a stream or is stuck."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="tunnel-") as folder, contextlib.ExitStack() as stack:
        tunnel = Tunnel(contender, Path(folder), sink, stack)
        ends = tunnel.near + tunnel.far
        # Memory comes first: what busy streams leave behind would be used again, and idle ones would seem free.
        before = resident(ends)
        with load.idle(tunnel.ports.echo, sizes.idle):
            figures["stream_kb"] = (resident(ends) - before) / sizes.idle / 2 / 1000
        load.echo(tunnel.ports.echo, STREAMS, sizes.seconds / 4)  # warms up
        for streams in (1, STREAMS):
            spent = cpu_seconds(ends)
            seconds = load.bulk(tunnel.ports.bulk, int(sizes.gib * GIB), streams)
            figures[f"bulk_{streams}_mb_per_s"] = sizes.gib * GIB / seconds / 1e6
            figures[f"bulk_{streams}_cpu_s_per_gib"] = (cpu_seconds(ends) - spent) / sizes.gib
        for streams in (1, ECHOES):
            spent = cpu_seconds(ends)
            latencies = load.echo(tunnel.ports.echo, streams, sizes.seconds)
            count = len(latencies)
            figures[f"echo_{streams}_per_s"] = count / sizes.seconds
            figures[f"echo_{streams}_p50_us"] = latencies[count // 2] * 1e6
            figures[f"echo_{streams}_p99_us"] = latencies[count * 99 // 100] * 1e6
            figures[f"echo_{streams}_cpu_us"] = (cpu_seconds(ends) - spent) / count * 1e6
        spent = cpu_seconds(ends)
        count, seconds = load.connections(tunnel.ports.echo, STREAMS, sizes.seconds, CONNECTIONS)
        figures["connections_per_s"] = count / seconds
        figures["connection_cpu_us"] = (cpu_seconds(ends) - spent) / count * 1e6
    if contender.link_carries_all:
        figures["link_kb"] = measure_links(contender, sink)
    if not ends:
        figures = {name: value for name, value in figures.items() if "cpu" not in name and name != "stream_kb"}
    return figures


def measure_links(contender: Contender, sink: Ports) -> float:
    """Resident KB of a link, at the far end of a fresh tunnel that already has one."""
    with tempfile.TemporaryDirectory(prefix="tunnel-") as folder, contextlib.ExitStack() as stack:
        tunnel = Tunnel(contender, Path(folder), sink, stack)
        before = resident(tunnel.far)
        for _ in range(LINKS):
            tunnel.add_near()
        return (resident(tunnel.far) - before) / LINKS / 1000


COLUMNS = (
    ("bulk 1", "MB/s", "bulk_1_mb_per_s", ",.0f"),
    ("", "s/GiB", "bulk_1_cpu_s_per_gib", ".2f"),
    ("bulk 16", "MB/s", "bulk_16_mb_per_s", ",.0f"),
    ("", "s/GiB", "bulk_16_cpu_s_per_gib", ".2f"),
    ("echo 1", "/s", "echo_1_per_s", ",.0f"),
    ("", "p50 µs", "echo_1_p50_us", ",.0f"),
    ("", "p99 µs", "echo_1_p99_us", ",.0f"),
    ("", "CPU µs", "echo_1_cpu_us", ",.0f"),
    ("echo 64", "/s", "echo_64_per_s", ",.0f"),
    ("", "p50 µs", "echo_64_p50_us", ",.0f"),
    ("", "p99 µs", "echo_64_p99_us", ",.0f"),
    ("", "CPU µs", "echo_64_cpu_us", ",.1f"),
    ("opened", "/s", "connections_per_s", ",.0f"),
    ("", "CPU µs", "connection_cpu_us", ",.0f"),
    ("memory", "KB/stream", "stream_kb", ",.1f"),
    ("", "KB/link", "link_kb", ",.0f"),
)
"""Group, unit, figure and format."""

WANTED = (
    ("micro-tcp", "bulk_1_mb_per_s", "haproxy", 0.8),
    ("micro-tcp", "bulk_16_mb_per_s", "haproxy", 0.8),
    ("micro-ws", "bulk_1_mb_per_s", "v2ray", 1.0),
    ("micro-ws", "bulk_16_mb_per_s", "v2ray", 1.0),
)
"""Contender, figure, whom it is compared with, and the least ratio that is wanted."""


def print_tables(results: dict[str, Figures], rounds: dict[str, list[Figures]]) -> None:
    """The medians for people: a table of echo, one of the rest, and what was wanted.

    Ratios are medians of those within each round: when the machine is busy, it is so for both.
    """
    for columns in (COLUMNS[:4] + COLUMNS[12:], COLUMNS[4:12]):
        widths = [max(len(group), len(unit), 8) for group, unit, _, _ in columns]
        for row in (0, 1):
            print(f"{'':10}", *(f"{column[row]:>{width}}" for column, width in zip(columns, widths, strict=True)))
        for name, figures in results.items():
            cells = (format(figures[key], form) if key in figures else "-" for _, _, key, form in columns)
            print(f"{name:10}", *(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))
        print()
    for name, figure, other, least in WANTED:
        if name in results and other in results:
            pairs = zip(rounds[name], rounds[other], strict=False)
            ratio = statistics.median(ours[figure] / theirs[figure] for ours, theirs in pairs)
            print(f"{name} {figure}: {ratio:.2f} of {other}'s; at least {least} is wanted")
    for name in ("micro-tcp", "micro-ws"):
        if wanted := results.get(name):
            print(f"{name} KB per idle stream: {wanted['stream_kb']:.1f}; at most 24 is wanted")
            print(f"{name} connections/s: {wanted['connections_per_s']:,.0f}; at least 2,000 is wanted")


def stop_on_signals() -> None:
    """Lets Ctrl-C and SIGTERM end the benchmark without a traceback; what it started is stopped and removed."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stop)


def main() -> None:
    """Measures and prints."""
    names = [contender.name for contender in CONTENDERS]
    parser = argparse.ArgumentParser(description="tunnels side by side on loopback")
    parser.add_argument("--only", default=",".join(names), help="contenders to measure, of these: %(default)s")
    parser.add_argument("--gib", type=float, default=1.0, help="of each bulk transfer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="little of everything, once: whether it works at all")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    arguments = parser.parse_args()
    only = arguments.only.split(",")
    if unknown := sorted(set(only) - set(names)):
        parser.error(f"--only: nobody is called {', '.join(unknown)}; there are {', '.join(names)}")
    sizes = Sizes(gib=arguments.gib, seconds=2.0, idle=2000, rounds=arguments.rounds)
    if arguments.quick:
        sizes = replace(sizes, gib=1 / 32, seconds=0.2, idle=50, rounds=1)
    stop_on_signals()
    load.allow_many_files()
    chosen = [contender for contender in CONTENDERS if contender.name in only]
    missing = {contender.name: what for contender in chosen if (what := contender.missing())}
    failed: dict[str, str] = {}
    rounds: dict[str, list[Figures]] = {each.name: [] for each in chosen if each.name not in missing}
    with tempfile.TemporaryDirectory(prefix="tunnel-") as folder, contextlib.ExitStack() as stack:
        sink = start_sink(Path(folder), stack)
        for number in range(sizes.rounds):
            for contender in chosen:
                if contender.name in missing or contender.name in failed:
                    continue
                print(f"round {number + 1} of {sizes.rounds}: {contender.name}", file=sys.stderr, flush=True)
                try:
                    rounds[contender.name].append(measure(contender, sink, sizes))
                except OSError as error:
                    failed[contender.name] = str(error)
    results = medians(rounds)
    conclude(
        arguments.output,
        results,
        missing,
        failed,
        tables=lambda: print_tables(results, rounds),
        why=lambda what: f"{what} is not installed",
    )


if __name__ == "__main__":
    main()
