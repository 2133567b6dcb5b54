"""How soon a network knows, and what that costs: `python -m benchmarks.routing [--nodes 10,30,100] [--services …]`.

Networks of degree four run in the simulator of the tests (the machines that run in nodes, on an event heap): times are
virtual and exact, at 10 ms per link each way; CPU is this machine's, for all nodes together. Signatures cost nothing
there; with Ed25519 each statement costs its verifier some 80 µs more, and the second table has them.
"""

import argparse
import gc
import itertools
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from router.gossip import Gossip
from router.linkstate import LinkTerms, distances
from router.servicemap import ServiceMap
from router.table import RoutingTable
from router.wire import Services, pack_services
from tests.router.network import Key, RealKey, entry, gossip, links_message, map_of, said_by, signed_root
from tests.simulate.net import Net
from tests.simulate.node import SimNode

DELAY = 0.010
STEP = 0.005
"""Virtual seconds between looks: the times are exact to that."""


class Bench:
    """One network."""

    def __init__(self, nodes: int, services: int) -> None:
        self.net = Net(1, "random", nodes, delay=DELAY)
        self.services = services
        for number, name in enumerate(self.net.names):
            self.net.offer(name, [f"service-{each:05}" for each in range(number, services, nodes)])

    def settle(self) -> float:
        """Until all that is offered is known as far as it goes; virtual seconds."""
        return self.until(self.agree, step=0.05)

    def until(self, holds: Callable[[], bool], *, step: float = STEP) -> float:
        """Lets time pass until it is so; virtual seconds."""
        began = self.net.engine.now
        while not holds():
            self.net.engine.run(self.net.engine.now + step)
            if self.net.engine.now - began > 120:
                raise RuntimeError("it does not come to agree")
        return self.net.engine.now - began

    def agree(self) -> bool:
        """Whether all nodes know the same links, and all services within three links."""
        nodes = {node.key.id: node for node in self.net.nodes.values()}
        if len({node.gossip.link_state_root for node in nodes.values()}) > 1:
            return False
        for node in nodes.values():
            near = distances(node.key.id, node.gossip.edges, 3)
            if any(node.gossip.services_root(id) != nodes[id].gossip.services_root(id) for id in near):
                return False
        return len(next(iter(nodes.values())).gossip.reachable) == len(nodes)

    def near(self, name: str) -> list[SimNode]:
        """The nodes within three links of this one."""
        node = self.net.nodes[name]
        ids = {other.key.id: other for other in self.net.nodes.values()}
        return [ids[id] for id in distances(node.key.id, node.gossip.edges, 3) if id != node.key.id]

    def service_comes_and_goes(self) -> tuple[float, float, int, int]:
        """Seconds until all within three links know of a service, and of its end; bytes told, links told over."""
        name = self.net.names[len(self.net.names) // 2]
        around, told = self.near(name), self.net.told
        offered = self.net.offers[name]
        self.net.offer(name, [*offered, "new"])
        came = self.until(lambda: all(node.table.origins_of("new") for node in around))
        told = self.net.told - told
        self.net.engine.run(self.net.engine.now + 3)
        self.net.offer(name, offered)
        went = self.until(lambda: not any(node.table.origins_of("new") for node in around))
        within = {node.name for node in around} | {name}
        links = sum(one in within and other in within for one, other in self.net.pairs)
        return came, went, told, links

    def link_fails(self) -> tuple[float, float]:
        """A socket error on a link: seconds until its ends, and until all, have paths without it."""
        one, other = next(pair for pair in self.net.pairs if all(len(self.net.neighbours(name)) > 3 for name in pair))
        a, b = self.net.nodes[one], self.net.nodes[other]
        self.net.lines[one, other].sever()  # so that it stays away
        for wire in list(self.net.lines[one, other].wires):
            for side in (0, 1):
                wire.close(side, "cut")
        a.tell()
        b.tell()
        edge = (a.key.id, b.key.id)
        ends = self.until(lambda: not uses(a, edge) and not uses(b, edge))
        everywhere = ends + self.until(lambda: not any(uses(node, edge) for node in self.net.nodes.values()))
        return ends, everywhere

    def node_dies_silently(self) -> float:
        """Seconds until nobody has a path to it, or through it."""
        name = self.net.names[len(self.net.names) // 2]
        id = self.net.nodes[name].key.id
        self.net.kill(name, silently=True)
        return self.until(lambda: not any(passes(node, id) for node in self.net.nodes.values()))

    def quiet_minute(self) -> float:
        """Bytes of gossip a second and node, when nothing happens."""
        self.net.engine.run(self.net.engine.now + 10)
        told = self.net.told
        self.net.engine.run(self.net.engine.now + 60)
        return (self.net.told - told) / 60 / len(self.net.nodes)


def uses(node: SimNode, edge: tuple[bytes, bytes]) -> bool:
    """Whether a node's paths lead over a link."""
    for way in node.table.ways.values():
        nodes = (node.key.id, *way.path.nodes)
        if any(set(pair) == set(edge) for pair in itertools.pairwise(nodes)):
            return True
    return False


def passes(node: SimNode, id: bytes) -> bool:
    """Whether a node's paths lead to another, or through it."""
    return any(id in way.path.nodes for way in node.table.ways.values())


@contextmanager
def longest_turn(net: Net) -> Iterator[list[float]]:
    """The longest time that one event kept an event loop, in seconds; without garbage collection, which here would go
    through the objects of all nodes."""
    longest = [0.0]
    gc.disable()
    do = SimNode.do

    def timed(self: SimNode, action: Callable[[], None], *, timer: bool = False) -> None:
        began = time.perf_counter()
        do(self, action, timer=timer)
        longest[0] = max(longest[0], time.perf_counter() - began)

    SimNode.do = timed  # type: ignore[method-assign]
    try:
        yield longest
    finally:
        gc.enable()
        SimNode.do = do  # type: ignore[method-assign]


def network(nodes: int, services: int) -> str:
    """One row of the table."""
    began = time.process_time()
    bench = Bench(nodes, services)
    start = bench.settle()
    start_cpu = time.process_time() - began
    bench.net.engine.run(bench.net.engine.now + 10)
    with longest_turn(bench.net) as longest:
        began = time.process_time()
        came, went, told, links = bench.service_comes_and_goes()
        change_cpu = (time.process_time() - began) / 2
        bench.net.engine.run(bench.net.engine.now + 10)
        ends, everywhere = bench.link_fails()
    quiet = bench.quiet_minute()
    dead = bench.node_dies_silently()
    return (
        f"| {nodes} | {services} | {start:.2f} s | {start_cpu:.2f} s | {came * 1000:.0f} ms | {went * 1000:.0f} ms "
        f"| {told / links:.0f} B | {change_cpu * 1000:.0f} ms | {ends * 1000:.0f} / {everywhere * 1000:.0f} ms "
        f"| {dead:.2f} s | {quiet:.0f} B/s | {longest[0] * 1000:.1f} ms |"
    )


def hear(machine: Gossip, key: Key, whole: ServiceMap) -> float:
    """Lets a machine hear all services of one origin, in parts, as over a link; the longest part's seconds."""
    packed = [each.packed for each in whole]
    signed = signed_root(key, whole)
    longest = 0.0
    for start in range(0, len(packed), 600):
        part = tuple(packed[start : start + 600])
        message = pack_services(Services(signed, (0, 0), start + 600 < len(packed), (), part))
        began = time.perf_counter()
        machine.receive(Key("b").id, message, 0.0)
        longest = max(longest, time.perf_counter() - began)
    return longest


def one_table(origins: int, services: int, *, distinct: bool) -> str:
    """A node that takes in so many services of so many origins: CPU, memory, the longest turn."""
    maps = []
    for number in range(origins):
        key = RealKey(f"origin {number}")
        prefix = f"{number}-" if distinct else ""
        maps.append((key, map_of(*(entry(f"{prefix}service-{each:05}") for each in range(services)))))
    machine = gossip(RealKey("me"))
    table = RoutingTable(gossip=machine, format_id=bytes.hex)
    machine.link_up(Key("b").id, LinkTerms(), 0.0)
    said_by(machine)
    # The maps of the origins stay where they are: what is measured is what the node adds.
    messages = [links_message(key, Key("b")) for key, _ in maps]
    gc.collect()
    gc.disable()
    before, began, longest = memory(), time.process_time(), 0.0
    for message in messages:
        machine.receive(Key("b").id, message, 0.0)
    for key, whole in maps:
        longest = max(longest, hear(machine, key, whole))
    while not table.settled:
        turn = time.perf_counter()
        table.handle_timeout(0.0)
        longest = max(longest, time.perf_counter() - turn)
    cpu = time.process_time() - began
    gc.enable()
    began = time.perf_counter()
    gc.collect()
    collection = time.perf_counter() - began
    grown = memory() - before
    assert sum(len(view.services) for view in machine.origins.values()) == origins * services
    kind = "different" if distinct else "the same"
    return (
        f"| {origins} x {services}, {kind} | {cpu:.2f} s | {grown / 2**20:.0f} MB | {grown / origins / services:.0f} B "
        f"| {longest * 1000:.1f} ms | {collection * 1000:.0f} ms |"
    )


def memory() -> int:
    """Bytes this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", default="10,30,100")
    parser.add_argument("--services", default="100,1000,10000")
    options = parser.parse_args()
    print("| entries in one table | CPU | memory | an entry | longest turn | a full garbage collection |")
    print("|---|---|---|---|---|---|")
    for distinct in (False, True):
        print(one_table(10, 10_000, distinct=distinct), flush=True)
    print(
        "\n| nodes | services | start | CPU | service known | gone | told, a link | CPU | link fails, ends / all "
        "| silent death | quiet, a node | longest turn |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for nodes in map(int, options.nodes.split(",")):
        for services in map(int, options.services.split(",")):
            print(network(nodes, services), flush=True)


if __name__ == "__main__":
    main()
