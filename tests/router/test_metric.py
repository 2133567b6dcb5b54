from hypothesis import given
from hypothesis import strategies as st

from router.linkstate import MAX_COST
from router.metric import link_cost


def test_a_near_link_costs_one_and_a_far_one_97() -> None:
    assert [link_cost(delay) for delay in (0.0, 0.0005, 0.010, 0.023)] == [1, 1, 1, 1]
    assert [link_cost(delay) for delay in (0.1201, 1.0, 3600.0, float("inf"))] == [97, 97, 97, 97]


def test_between_them_it_rises_in_eight_equal_steps() -> None:
    costs = [link_cost(microseconds / 1e6) for microseconds in range(9_000, 121_000, 10)]
    assert sorted(set(costs)) == [1, 13, 25, 37, 49, 61, 73, 85, 97]
    assert costs == sorted(costs)


@given(st.floats(min_value=0))
def test_every_delay_has_a_cost_that_can_be_told(delay: float) -> None:
    assert 1 <= link_cost(delay) <= MAX_COST
