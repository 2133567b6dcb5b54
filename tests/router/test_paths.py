import itertools
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from router.paths import Path, shortest_paths


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
