import itertools
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from router.paths import Path, Spares, shortest_paths


def graph(**links: int) -> dict[bytes, dict[bytes, int]]:
    edges: dict[bytes, dict[bytes, int]] = {}
    for link, cost in links.items():
        a, b = list(link)
        edges.setdefault(a.encode(), {})[b.encode()] = cost
        edges.setdefault(b.encode(), {})[a.encode()] = cost
    return edges


def spelled(paths: Mapping[bytes, Path]) -> dict[str, int]:
    return {b"".join(path.nodes).decode(): path.cost for path in paths.values()}


def test_a_path_is_the_nodes_to_pass_and_what_they_cost_together() -> None:
    paths = shortest_paths(b"a", graph(ab=1, bc=13))
    assert paths == {b"b": Path((b"b",), 1), b"c": Path((b"b", b"c"), 14)}


def test_no_path_has_more_than_three_links() -> None:
    assert spelled(shortest_paths(b"a", graph(ab=1, bc=1, cd=1, de=1))) == {"b": 1, "bc": 2, "bcd": 3}


def test_where_the_cheapest_path_is_too_long_a_dearer_one_of_three_links_is_found() -> None:
    edges = graph(ab=1, bc=1, cd=1, de=1, ax=10, xe=10)
    assert spelled(shortest_paths(b"a", edges))["xe"] == 20
    assert shortest_paths(b"a", graph(ab=1, bc=1, cd=1, ac=50, de=1))[b"e"] == Path((b"c", b"d", b"e"), 52)


def test_the_cheaper_path_wins_over_the_shorter_one() -> None:
    assert spelled(shortest_paths(b"a", graph(ab=1, bc=1, ac=3))) == {"b": 1, "bc": 2}


def test_of_equal_costs_fewer_links_win_then_smaller_ids() -> None:
    assert spelled(shortest_paths(b"a", graph(ab=1, bc=1, ac=2))) == {"b": 1, "c": 2}
    assert spelled(shortest_paths(b"a", graph(ax=1, ay=1, xz=1, yz=1))) == {"x": 1, "y": 1, "xz": 2}


def test_nothing_passes_through_a_closed_node() -> None:
    edges = graph(ab=1, bc=1, ax=10, xc=10)
    assert spelled(shortest_paths(b"a", edges, {b"b"})) == {"b": 1, "x": 10, "xc": 20}
    assert spelled(shortest_paths(b"b", edges, {b"b"})) == {"a": 1, "c": 1, "ax": 11}, "its own calls do"


def test_who_is_not_in_the_graph_reaches_nobody() -> None:
    assert shortest_paths(b"q", graph(ab=1)) == {}


@given(
    st.dictionaries(st.sampled_from(["".join(pair) for pair in itertools.combinations("abcdef", 2)]), st.integers(1, 4))
)
def test_no_simple_path_of_three_links_is_better_than_the_one_found(links: dict[str, int]) -> None:
    edges = graph(**links)
    best: dict[bytes, tuple[int, int, tuple[bytes, ...]]] = {}
    others = [node for node in edges if node != b"a"]
    for length in (1, 2, 3):
        for nodes in itertools.permutations(others, length):
            steps = list(itertools.pairwise((b"a", *nodes)))
            if all(to in edges.get(node, {}) for node, to in steps):
                candidate = (sum(edges[node][to] for node, to in steps), length, nodes)
                best[nodes[-1]] = min(best.get(nodes[-1], candidate), candidate)
    assert shortest_paths(b"a", edges) == {node: Path(nodes, cost) for node, (cost, _, nodes) in best.items()}


def spare(edges: dict[bytes, dict[bytes, int]], path: str, closed: frozenset[bytes] = frozenset()) -> Path | None:
    nodes = tuple(name.encode() for name in path)
    return Spares(b"a", edges, closed).beside(Path(nodes, 0))


def test_a_spare_has_no_node_in_common_with_the_path_but_the_last() -> None:
    edges = graph(ab=1, bz=1, ac=5, cz=5, bc=1)
    assert spare(edges, "bz") == Path((b"c", b"z"), 10)
    assert spare(edges, "cz") == Path((b"b", b"z"), 2)


def test_the_spare_of_a_link_leads_around_it_and_a_link_may_be_the_spare() -> None:
    edges = graph(az=1, ab=1, bz=1)
    assert spare(edges, "z") == Path((b"b", b"z"), 2)
    assert spare(edges, "bz") == Path((b"z",), 1)


def test_there_is_no_spare_where_all_ways_lead_through_one_node_or_are_too_long() -> None:
    assert spare(graph(ab=1, bz=1, bc=1, cz=1), "bz") is None
    assert spare(graph(ab=1, bz=1, ac=1, cd=1, de=1, ez=1), "bz") is None
    assert spare(graph(ab=1), "b") is None


def test_a_spare_passes_through_no_closed_node() -> None:
    edges = graph(ab=1, bz=1, ac=1, cz=1, ad=9, dz=9)
    assert spare(edges, "bz") == Path((b"c", b"z"), 2)
    assert spare(edges, "bz", frozenset({b"c"})) == Path((b"d", b"z"), 18)


@given(
    st.dictionaries(
        st.sampled_from(["".join(pair) for pair in itertools.combinations("abcdefg", 2)]), st.integers(1, 4), min_size=4
    ),
    st.sets(st.sampled_from([b"b", b"c", b"d"]), max_size=2),
)
def test_a_spare_is_the_best_of_all_that_are_disjoint(links: dict[str, int], closed: set[bytes]) -> None:
    edges = graph(**links)
    spares = Spares(b"a", edges, closed)
    for end, path in shortest_paths(b"a", edges, closed).items():
        inner = set(path.nodes[:-1])
        others = [node for node in edges if node not in {b"a", end, *closed, *inner}]
        best = None
        for count in range(3):
            for between in itertools.permutations(others, count):
                nodes = (*between, end)
                if nodes == path.nodes:
                    continue
                costs = [edges[a].get(b) for a, b in itertools.pairwise((b"a", *nodes))] if b"a" in edges else [None]
                if None not in costs:
                    found = (sum(cost for cost in costs if cost), len(nodes), nodes)
                    best = found if best is None else min(best, found)
        assert spares.beside(path) == (Path(best[2], best[0]) if best else None)
