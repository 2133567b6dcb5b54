from hypothesis import given
from hypothesis import strategies as st

from router.linkstate import MAX_COST, LinkState, LinkTerms, distances, edges_of, reachable


def state(name: str, **links: int) -> LinkState:
    told = tuple((other.encode(), LinkTerms(price=cost - 1)) for other, cost in links.items())
    return LinkState(
        network="n", origin=name.encode(), public=b"", epoch=1, seq=1, born=1, name=name, addresses=(), links=told,
        transit=True, radius=3,
    )  # fmt: skip


def test_an_edge_that_only_one_end_reports_does_not_count() -> None:
    assert edges_of([state("a", b=1, c=1), state("b", a=1), state("c")]) == {b"a": {b"b": 1}, b"b": {b"a": 1}, b"c": {}}


def test_an_edge_to_somebody_unknown_does_not_count() -> None:
    assert edges_of([state("a", b=1)]) == {b"a": {}}


def test_an_edge_costs_what_its_dearer_end_says() -> None:
    assert edges_of([state("a", b=3), state("b", a=7)]) == {b"a": {b"b": 7}, b"b": {b"a": 7}}


@given(st.permutations([state("a", b=1, c=2, d=3), state("b", a=1, c=1), state("c", b=1, a=9), state("d", a=1)]))
def test_the_order_of_what_was_told_does_not_show(states: list[LinkState]) -> None:
    listed = [(node, list(neighbours.items())) for node, neighbours in edges_of(states).items()]
    assert listed == [
        (b"a", [(b"b", 1), (b"c", 9), (b"d", 3)]),
        (b"b", [(b"a", 1), (b"c", 1)]),
        (b"c", [(b"a", 9), (b"b", 1)]),
        (b"d", [(b"a", 3)]),
    ]


def test_reachable_is_who_is_joined_by_any_number_of_links_from_near_to_far() -> None:
    names = "abcdefgh"
    line = [state(b, **{a: 1, c: 1}) for a, b, c in zip("_" + names, names, names[1:] + "_", strict=False)]
    parted = [other for other in line if other.origin != b"f"]
    assert b"".join(reachable(b"b", edges_of(line))) == b"bacdefgh"
    assert b"".join(reachable(b"b", edges_of(parted))) == b"bacde"
    assert b"".join(reachable(b"h", edges_of(parted))) == b"hg"
    assert b"".join(reachable(b"x", edges_of(parted))) == b"x"


def test_distances_are_counted_in_links_as_far_as_asked() -> None:
    names = "abcdef"
    line = [state(b, **{a: 50, c: 1}) for a, b, c in zip("_" + names, names, names[1:] + "_", strict=False)]
    assert distances(b"b", edges_of(line), 2) == {b"b": 0, b"a": 1, b"c": 1, b"d": 2}
    assert distances(b"x", edges_of(line), 3) == {b"x": 0}


def test_a_link_costs_one_and_the_sum_of_its_terms() -> None:
    assert LinkTerms().cost == 1
    assert LinkTerms(delay=12, loss=24, price=5).cost == 42
    assert LinkTerms(price=MAX_COST).cost == MAX_COST
