"""Paths that are used: chosen by cost, kept against swings, left when they die."""

import itertools
from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.choice import GAIN, HALF_LIFE, STEP, Choice
from router.paths import shortest_paths

Graph = dict[bytes, dict[bytes, int]]


def graph(**links: int) -> Graph:
    edges: Graph = {}
    for link, cost in links.items():
        a, b = (name.encode() for name in link)
        edges.setdefault(a, {})[b] = cost
        edges.setdefault(b, {})[a] = cost
    return edges


class Clocked:
    """A choice whose timeouts are handled when they are due."""

    def __init__(self) -> None:
        self.choice = Choice(b"a")
        self.now = 0.0

    def change(self, edges: Graph, closed: Iterable[bytes] = ()) -> None:
        self.choice.topology_changed(edges, frozenset(closed), self.now)

    def run(self, seconds: float) -> list[bytes]:
        until = self.now + seconds
        changed: list[bytes] = []
        while (due := self.choice.next_timeout()) <= until:
            self.now = max(self.now, due)
            changed += self.choice.handle_timeout(self.now)
        self.now = until
        return changed

    def path(self, node: str) -> str:
        return b"".join(self.choice.ways[node.encode()].path.nodes).decode()


@pytest.fixture
def clocked() -> Clocked:
    return Clocked()


def test_the_first_topology_is_computed_at_once(clocked: Clocked) -> None:
    clocked.change(graph(ab=1, bz=1, ac=5, cz=5))
    assert not clocked.choice.settled
    assert set(clocked.run(0)) == {b"b", b"c", b"z"}
    assert clocked.choice.settled
    way = clocked.choice.ways[b"z"]
    assert way.path.nodes == (b"b", b"z")
    assert way.spare is not None
    assert way.spare.nodes == (b"c", b"z")


def test_a_path_is_not_left_for_one_that_is_hardly_better(clocked: Clocked) -> None:
    clocked.change(graph(ab=20, bz=20, ac=25, cz=25))
    clocked.run(100)
    clocked.change(graph(ab=20, bz=20, ac=18, cz=19))
    clocked.run(100)
    assert clocked.path("z") == "bz"
    clocked.change(graph(ab=20, bz=20, ac=18, cz=18))
    clocked.run(100)
    assert clocked.path("z") == "cz"


def test_a_path_is_not_left_before_the_other_has_been_better_for_a_while(clocked: Clocked) -> None:
    clocked.change(graph(ab=20, bz=20, ac=40, cz=40))
    clocked.run(100)
    clocked.change(graph(ab=20, bz=20, ac=10, cz=10))
    clocked.run(HALF_LIFE / 2)
    assert clocked.path("z") == "bz"
    clocked.run(4 * HALF_LIFE)
    assert clocked.path("z") == "cz"


def test_a_cost_that_swings_moves_nothing(clocked: Clocked) -> None:
    clocked.change(graph(ab=20, bz=20, ac=24, cz=24))
    clocked.run(100)
    for number in range(20):
        clocked.change(graph(ab=20, bz=20, ac=5 if number % 2 else 43, cz=24))
        clocked.run(2)
        assert clocked.path("z") == "bz"


def test_a_path_that_died_gives_way_to_its_spare_in_the_first_step(clocked: Clocked) -> None:
    clocked.change(graph(ab=1, bz=1, ac=5, cz=5))
    clocked.run(1)
    clocked.change(graph(ab=1, ac=5, cz=5))
    assert clocked.choice.next_timeout() <= clocked.now
    assert b"z" in clocked.choice.handle_timeout(clocked.now)
    assert clocked.path("z") == "cz"
    assert clocked.choice.ways[b"z"].changed == clocked.now


def test_a_path_that_died_without_a_spare_is_gone_in_the_first_step(clocked: Clocked) -> None:
    clocked.change(graph(ab=1, bz=1))
    clocked.run(1)
    clocked.change(graph(ab=1))
    assert clocked.choice.handle_timeout(clocked.now) == [b"z"]
    assert b"z" not in clocked.choice.ways


def test_a_node_that_closes_ends_the_paths_through_it(clocked: Clocked) -> None:
    edges = graph(ab=1, bz=1, ac=5, cz=5)
    clocked.change(edges)
    clocked.run(1)
    clocked.change(edges, [b"b"])
    clocked.choice.handle_timeout(clocked.now)
    assert clocked.path("z") == "cz"
    assert clocked.path("b") == "b", "it is reached itself"


def test_the_loss_of_a_path_never_waits_but_other_changes_do(clocked: Clocked) -> None:
    for cost in range(1, 30):
        clocked.change(graph(ab=1, bz=1, ac=5, cz=5, az=100 + cost))
        clocked.run(0.001)
    clocked.change(graph(ab=1, bz=1, ac=5, cz=5, az=200))
    assert clocked.choice.next_timeout() > clocked.now
    clocked.change(graph(ab=1, ac=5, cz=5, az=200))
    assert clocked.choice.next_timeout() <= clocked.now


def test_a_change_of_cost_is_no_change_of_nodes_but_is_told(clocked: Clocked) -> None:
    clocked.change(graph(ab=1, bz=1))
    clocked.run(5)
    clocked.change(graph(ab=1, bz=13))
    assert clocked.run(1).count(b"z") >= 1
    assert clocked.choice.ways[b"z"].path.cost == 14
    assert clocked.run(100) == []


def test_a_large_network_is_computed_in_steps(clocked: Clocked) -> None:
    edges: Graph = {b"a": {}}
    for number in range(3 * STEP):
        node = b"%06d" % number
        edges[b"a"][node] = 1
        edges[node] = {b"a": 1}
    clocked.change(edges)
    steps = 0
    while not clocked.choice.settled:
        assert len(clocked.choice.handle_timeout(0.0)) <= STEP
        steps += 1
    assert steps >= 4
    assert len(clocked.choice.ways) == 3 * STEP


def test_a_change_while_it_computes_brings_back_nothing_that_has_died(clocked: Clocked) -> None:
    edges: Graph = {b"a": {}}
    for number in range(2 * STEP):
        node = b"%06d" % number
        edges[b"a"][node] = 1
        edges[node] = {b"a": 1}
    clocked.change(edges)
    clocked.choice.handle_timeout(0.0)
    clocked.choice.handle_timeout(0.0)
    last = b"%06d" % (2 * STEP - 1)
    less = {node: {other: cost for other, cost in links.items() if last not in (node, other)}
            for node, links in edges.items()}  # fmt: skip
    clocked.change(less)
    clocked.run(10)
    assert last not in clocked.choice.ways
    assert len(clocked.choice.ways) == 2 * STEP - 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32))
def test_whatever_happens_no_path_is_dead_long_closed_or_much_dearer_than_the_best(seed: int) -> None:
    random = Random(seed)
    clocked = Clocked()
    names = [bytes((letter,)) for letter in b"abcdefgh"]
    links = {pair: 1 + 12 * random.randrange(4) for pair in [tuple(sorted(random.sample(names, 2))) for _ in range(14)]}
    closed: set[bytes] = set()
    for _ in range(25):
        pair = tuple(sorted(random.sample(names, 2)))
        happens = random.randrange(4)
        if happens == 0:
            links.pop(pair, None)
        elif happens == 3:
            closed ^= {random.choice(names[1:])}
        else:
            links[pair] = 1 + 12 * random.randrange(9)
        edges: Graph = {}
        for (one, other), cost in links.items():
            edges.setdefault(one, {})[other] = cost
            edges.setdefault(other, {})[one] = cost
        clocked.change(edges, closed)
        clocked.choice.handle_timeout(clocked.now)
        waits = clocked.choice.next_timeout() > clocked.now and not clocked.choice.settled
        if not waits:
            check(clocked, edges, closed)
        clocked.run(random.choice([0, 0.01, 0.3, 5, 60]))
    clocked.run(120)
    check(clocked, edges, closed)
    best = shortest_paths(b"a", edges, closed)
    assert clocked.choice.ways.keys() == best.keys()
    for node, way in clocked.choice.ways.items():
        assert way.path.cost <= GAIN * best[node].cost
    assert clocked.choice.next_timeout() == float("inf")


def check(clocked: Clocked, edges: Graph, closed: set[bytes]) -> None:
    for node, way in clocked.choice.ways.items():
        for path in (way.path, way.spare):
            if path is not None:
                assert 1 <= len(path.nodes) <= 3
                assert path.nodes[-1] == node
                assert not closed & set(path.nodes[:-1])
                nodes = (b"a", *path.nodes)
                assert path.cost == sum(edges[one][other] for one, other in itertools.pairwise(nodes))
        if way.spare is not None:
            assert not set(way.spare.nodes[:-1]) & set(way.path.nodes[:-1])
            assert way.spare.nodes != way.path.nodes
