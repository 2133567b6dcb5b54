import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.linkstate import LinkTerms
from router.metric import FAR, MOST, NEAR, STEPS, LinkMetric, delay_cost, loss_cost


@pytest.mark.parametrize(
    ("delay", "cost"),
    [(0, 0), (NEAR, 0), (0.02, 0), (0.025, 12), (0.065, 48), (FAR - 1e-9, 84), (FAR, MOST), (9, MOST)],
)
def test_a_delay_adds_up_to_96_in_steps_of_12(delay: float, cost: int) -> None:
    assert delay_cost(delay) == cost


@pytest.mark.parametrize(("loss", "cost"), [(0.0, 0), (0.009, 0), (0.011, 12), (0.041, 48), (0.08, MOST), (1.0, MOST)])
def test_a_loss_adds_up_to_96_in_steps_of_12(loss: float, cost: int) -> None:
    assert loss_cost(loss) == cost


@given(st.floats(0, 10), st.floats(0, 10))
def test_what_is_further_never_costs_less(one: float, other: float) -> None:
    near, far = sorted((one, other))
    assert delay_cost(near) <= delay_cost(far)
    assert loss_cost(near) <= loss_cost(far)
    assert delay_cost(far) in range(0, MOST + 1, MOST // STEPS)


def test_what_is_told_first_is_what_is_known_first() -> None:
    assert LinkMetric(delay=0.065, loss=0.02, price=7).terms == LinkTerms(delay=48, loss=24, price=7)
    assert LinkMetric(delay=0.065, loss=0.02, price=7).terms.cost == 80


def test_a_change_that_lasts_is_told() -> None:
    metric = LinkMetric(delay=0.001, price=5)
    told = [metric.observe(0.2, 0.0) for _ in range(30)]
    assert metric.terms == LinkTerms(delay=MOST, price=5)
    assert 1 <= sum(told) <= STEPS


def test_a_single_outlier_is_not_told() -> None:
    metric = LinkMetric(delay=0.001)
    assert not metric.observe(0.1, 0.0)
    assert not any(metric.observe(0.001, 0.0) for _ in range(10))
    assert metric.terms == LinkTerms()


def test_a_step_must_last_two_periods() -> None:
    metric = LinkMetric(delay=0.0225)
    assert delay_cost(0.024) == 12
    outcomes = [metric.observe(0.0245, 0.0) for _ in range(8)]
    assert sum(outcomes) == 1
    first_over = next(n for n in range(8) if 0.0225 + (0.0245 - 0.0225) * (1 - 0.7 ** (n + 1)) >= 0.02375)
    assert outcomes.index(True) == first_over + 1


def test_what_swings_between_two_steps_is_not_told_again_and_again() -> None:
    metric = LinkMetric(delay=0.0237)
    assert sum(metric.observe(0.0237 + (0.02 if n % 2 else -0.02), 0.0) for n in range(200)) <= 1


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=50))
def test_what_is_told_is_always_in_steps(observations: list[tuple[float, float]]) -> None:
    metric = LinkMetric(delay=0.0, price=3)
    for delay, loss in observations:
        before = metric.terms
        assert metric.observe(delay, loss) == (metric.terms != before)
        assert metric.terms.delay % 12 == 0
        assert metric.terms.loss % 12 == 0
        assert metric.terms.price == 3
