"""Registries: how soon the network knows of what is registered, and what many services cost.

    python -m benchmarks.registry [--only sqlite,etcd] [--services 10000] [--times 20] [--rounds 3] [--output json]

    sqlite     a file
    service    `micro registry`, which keeps the records in memory
    mdns       multicast DNS; nobody keeps the records but the process that registered them
    etcd       Debian's etcd-server
    consul     an agent in its development mode

Four nodes in a row, all on this host: the first has the registry, and the time is from the registration in this process
until the last one, three links away, tells a program of the route. Then one process registers so many services, 16 at a
time, while another one watches, lists them, and watches anew: seconds, events per second, and the memory by which the
watching process grew and that of the registry's server. Figures are medians of the rounds. Who is not there is named;
Kubernetes is among them, as it registers by itself.
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
from pathlib import Path
from time import perf_counter

import trio

from benchmarks.contenders import MICRO, free_port
from benchmarks.meshed import until_ready
from benchmarks.processes import resident, running
from benchmarks.report import Figures, conclude, medians
from benchmarks.tunnel import stop_on_signals
from router.pace import LONGEST
from sdk import Client
from sdk.registry import Action, Registry, open_registry
from sdk.types import Instance, Service

PROGRAMS = {"sqlite": "", "service": "", "mdns": "", "etcd": "etcd", "consul": "consul"}
"""The back ends, and what of each must be installed."""

NODES = 4
AT_A_TIME = 16
"""Registrations under way at once."""
PATIENCE = 300.0
"""Seconds that one step may take."""
STARTING = 60.0
"""Seconds within which a registry's server must say that it is ready."""
TTL = 600.0
"""Seconds that the many records are good for: longer than they are looked at."""

Processes = list[subprocess.Popen[bytes]]


def serve(name: str, folder: Path, stack: contextlib.ExitStack) -> tuple[str, Processes]:
    """Starts the registry's server, where it has one, until the stack closes; the registry's address. Raises OSError
    when it ends."""
    log = folder / "server"
    if name == "sqlite":
        return str(folder / "registry.db"), []
    if name == "mdns":
        return secrets.token_hex(4), []
    port = free_port()
    where = f"127.0.0.1:{port}"
    words = "ready micro registry"
    command = [MICRO, "registry", "--address", where]
    if name == "etcd":
        between = f"http://127.0.0.1:{free_port()}"
        words = "ready to serve client requests"
        command = [
            "etcd", f"--data-dir={folder / 'etcd'}", "--name=one", f"--listen-client-urls=http://{where}",
            f"--advertise-client-urls=http://{where}", f"--listen-peer-urls={between}",
            f"--initial-advertise-peer-urls={between}", f"--initial-cluster=one={between}",
        ]  # fmt: skip
    elif name == "consul":
        words = "agent: Synced node info"
        ports = {kind: free_port() for kind in ("server", "serf-lan", "serf-wan")}
        command = ["consul", "agent", "-dev", "-bind=127.0.0.1", f"-http-port={port}", "-dns-port=-1", "-grpc-port=-1"]
        command += ["-grpc-tls-port=-1", *(f"-{kind}-port={each}" for kind, each in ports.items())]
    process = stack.enter_context(running(command, log))
    ends = perf_counter() + STARTING
    while words not in log.read_text(errors="replace"):
        if perf_counter() > ends:
            raise OSError(f"{command[0]} has not said {words!r} in {STARTING:g} s: {log.read_text()[-2000:]}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            raise OSError(f"{command[0]} ended: {log.read_text(errors='replace')[-2000:]}")
    return where, [process]


def chain(name: str, address: str, folder: Path, stack: contextlib.ExitStack) -> str:
    """Starts the nodes, the first of them with the registry; the address of the last one's proxy port."""
    token = secrets.token_hex()
    ready: dict[str, str] = {}
    for number in range(NODES):
        log = folder / f"node-{number}"
        env = {
            "MICRO_NETWORK_TOKEN": token,
            "MICRO_REGISTRY": "sqlite" if number else name,
            "MICRO_REGISTRY_ADDRESS": str(folder / f"{number}.db") if number else address,
        }
        command = [MICRO, "network", "--address", "127.0.0.1:0", "--proxy-address", "127.0.0.1:0"]
        command += ["--resolver", "static", "--nodes", f"tcp://{ready['link']}" if ready else ""]
        ready = until_ready(stack.enter_context(running(command, log, env)), log, 0)
    return ready["proxy"]


async def until_routes(registry: Registry, proxy: str, times: int) -> list[float]:
    """Seconds from each registration to its route at the node that is asked; one before them is not counted, as the
    nodes are still meeting. Between them is time enough that none is held back for coming right after another one.

    Raises OSError when the nodes are not in a row.
    """
    found: list[float] = []
    async with Client(proxy=proxy) as client, client.stream("go.micro.network", "Network.Watch", {}) as changes:
        for number in range(times + 1):
            service = record(f"registered-{number}")
            began = perf_counter()
            await registry.register(service, ttl=TTL)
            async for change in changes:
                route = change["route"]
                if change["change"] == "create" and route["service"] == service.name:
                    break
            found.append(perf_counter() - began)
            if route["hops"] != NODES - 1:
                raise OSError(f"the route is {route['hops']} links long: the nodes are not in a row")
            await trio.sleep(LONGEST * 1.2)
    return found[1:]


def record(name: str) -> Service:
    """One instance, where nobody listens."""
    return Service(name=name, instances=(Instance(id=f"{name}-1", address="127.0.0.1:9"),))


async def register_many(registry: Registry, services: int) -> float:
    """Seconds that it takes."""
    left = iter(range(services))

    async def some() -> None:
        for number in left:
            await registry.register(record(f"service-{number:05}"), ttl=TTL)

    began = perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(AT_A_TIME):
            nursery.start_soon(some)
    return perf_counter() - began


async def follow(name: str, address: str, services: int) -> None:
    """The process that watches: it says `ready`, and its figures when all are there."""
    this = Path("/proc/self/statm")

    def held() -> float:
        return int(this.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    async def told() -> float:
        began = 0.0
        names: set[str] = set()
        async with registry.watch() as events:
            opened = perf_counter()
            if not figures:
                print("ready", flush=True)
            async for event in events:
                if event.action is Action.CREATE and event.service.name.startswith("service-"):
                    began = began or perf_counter()
                    names.add(event.service.name)
                    if len(names) == services:
                        break
        return perf_counter() - (opened if figures else began)

    figures: Figures = {}
    async with open_registry(name, address) as registry:
        before = held()
        figures["live_per_s"] = services / await told()
        began = perf_counter()
        listed = await registry.list()
        figures["list_s"] = perf_counter() - began
        assert sum(each.name.startswith("service-") for each in listed) == services
        figures["watch_per_s"] = services / await told()
        figures["watcher_mib"] = held() - before
    print(json.dumps(figures), flush=True)


async def until_line(process: subprocess.Popen[bytes], path: Path, number: int) -> str:
    """A line of what the process prints. Raises OSError when it ends without."""
    log = trio.Path(path)
    while True:
        ended = process.poll() is not None
        printed = await log.read_text()
        lines = printed.splitlines(keepends=True)
        if len(lines) > number and lines[number].endswith("\n"):
            return lines[number]
        if ended:
            raise OSError(f"the process that watches ended: {printed[-2000:]}")
        await trio.sleep(0.02)  # what is measured is measured by the process itself


async def measure(name: str, services: int, times: int) -> Figures:
    """All figures of one back end, once. Raises OSError, or an error of the registry, for one that does not work."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="registry-") as folder, contextlib.ExitStack() as stack:
        address, servers = serve(name, Path(folder), stack)
        with contextlib.ExitStack() as nodes:
            proxy = chain(name, address, Path(folder), nodes)
            with trio.fail_after(PATIENCE):
                async with open_registry(name, address) as registry:
                    seconds = await until_routes(registry, proxy, times)
        figures["route_ms"] = statistics.median(seconds) * 1e3
        figures["slowest_ms"] = max(seconds) * 1e3
        log = Path(folder, "watcher")
        command = [sys.executable, "-m", "benchmarks.registry", "--follow", name, address, str(services)]
        watcher = stack.enter_context(running(command, log))
        with trio.fail_after(PATIENCE):
            await until_line(watcher, log, 0)
            async with open_registry(name, address) as registry:
                figures["register_per_s"] = services / await register_many(registry, services)
                figures |= json.loads(await until_line(watcher, log, 1))
        if servers:
            figures["server_mib"] = resident(servers) / 2**20
    return figures


UNITS = (
    ("route ms", "route_ms", ",.1f"),
    ("slowest", "slowest_ms", ",.1f"),
    ("register/s", "register_per_s", ",.0f"),
    ("told/s", "live_per_s", ",.0f"),
    ("list s", "list_s", ",.2f"),
    ("watch/s", "watch_per_s", ",.0f"),
    ("watcher MiB", "watcher_mib", ",.1f"),
    ("server MiB", "server_mib", ",.1f"),
)
"""Heading, figure, format: `told` is while they are registered, `watch` when all are there already."""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="registries, from a registration to a route, and with many services")
    parser.add_argument("--only", default=",".join(PROGRAMS), help="back ends to measure, of these: %(default)s")
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=20, help="registrations until their route is known")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.add_argument("--follow", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.follow:
        name, address, services = arguments.follow
        trio.run(follow, name, address, int(services))
        return
    chosen = arguments.only.split(",")
    if unknown := sorted(set(chosen) - set(PROGRAMS)):
        parser.error(f"--only: nobody is called {', '.join(unknown)}; there are {', '.join(PROGRAMS)}")
    stop_on_signals()
    lacking = {name: PROGRAMS[name] for name in chosen if PROGRAMS[name] and not shutil.which(PROGRAMS[name])}
    missing = {name: f"{program} is not installed" for name, program in lacking.items()}
    rounds: dict[str, list[Figures]] = {name: [] for name in chosen if name not in missing}
    failed: dict[str, str] = {}
    for number in range(arguments.rounds):
        for name in [name for name in rounds if name not in failed]:
            print(f"round {number + 1} of {arguments.rounds}: {name}", file=sys.stderr, flush=True)
            try:
                rounds[name].append(trio.run(measure, name, arguments.services, arguments.times))
            except Exception as error:  # whatever one back end does, the others are measured
                failed[name] = f"{type(error).__name__}: {error}"
    figures = medians(rounds)
    conclude(arguments.output, figures, missing, failed, tables=lambda: print_table(figures))


def print_table(results: dict[str, Figures]) -> None:
    """The medians for people."""
    print(f"{'':8}", *(f"{unit:>11}" for unit, _, _ in UNITS))
    for name, figures in results.items():
        cells = [format(figures[key], form) if key in figures else "-" for _, key, form in UNITS]
        print(f"{name:8}", *(f"{cell:>11}" for cell in cells))


if __name__ == "__main__":
    main()
