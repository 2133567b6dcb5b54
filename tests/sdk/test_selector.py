from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from sdk.selector import EJECT_AFTER, FIRST_EJECTION, Load, choose


def answered(load: Load, now: float, latency: float, *, ok: bool = True) -> None:
    load.started()
    load.finished(now, ok, now - latency)


def shares(loads: list[Load], now: float = 1.0, calls: int = 1000) -> Counter[int]:
    random = Random(1)
    return Counter(choose(loads, random, now) for _ in range(calls))


def test_a_slow_target_gets_the_smallest_share() -> None:
    loads = [Load(), Load(), Load()]
    for load, latency in zip(loads, (0.01, 0.01, 0.2), strict=True):
        answered(load, 1.0, latency)
    counts = shares(loads)
    assert counts[2] == 0
    assert abs(counts[0] - counts[1]) < 100


def test_calls_that_pend_count_as_cost() -> None:
    loads = [Load(), Load()]
    for load in loads:
        answered(load, 1.0, 0.01)
    for _ in range(3):
        loads[0].started()
    assert shares(loads) == {1: 1000}
    loads[0].abandoned()
    assert loads[0].pending == 2


def test_a_new_target_gets_one_call_and_no_second_before_it_answered() -> None:
    loads = [Load(), Load()]
    answered(loads[0], 1.0, 0.01)
    assert shares(loads) == {1: 1000}
    loads[1].started()
    assert shares(loads) == {0: 1000}


def test_a_heavier_target_gets_more() -> None:
    light, heavy = Load(), Load(weight=3.0)
    for load in (light, heavy):
        answered(load, 1.0, 0.01)
    assert shares([light, heavy])[1] == 1000


def test_a_peak_counts_at_once_and_fades_with_time() -> None:
    load = Load()
    answered(load, 1.0, 0.01)
    answered(load, 1.0, 0.5)
    assert load.latency == 0.5
    answered(load, 11.0, 0.01)
    assert 0.01 < load.latency < 0.25
    assert load.cost(100.0) < 0.001


def test_failing_fast_is_no_way_to_be_preferred() -> None:
    failing, slow = Load(), Load()
    answered(failing, 1.0, 0.0001, ok=False)
    answered(slow, 1.0, 0.5)
    assert shares([failing, slow]) == {1: 1000}


def test_after_seven_failures_in_a_row_a_target_is_ejected_and_probed_with_one_call() -> None:
    loads = [Load(), Load(), Load()]
    for load in loads:
        answered(load, 0.0, 0.01)
    for _ in range(EJECT_AFTER):
        answered(loads[0], 1.0, 0.0, ok=False)
    assert shares(loads)[0] == 0
    later = 1.0 + FIRST_EJECTION
    assert not loads[0].ejected(later)
    loads[0].started()
    assert loads[0].ejected(later)
    loads[0].finished(later, False, later)
    assert loads[0].ejected(later + FIRST_EJECTION)
    assert not loads[0].ejected(later + 2 * FIRST_EJECTION)
    answered(loads[0], 10.0, 0.01)
    assert loads[0].failures == 0


def test_six_failures_and_a_success_eject_nobody() -> None:
    load = Load()
    for _ in range(3):
        for _ in range(EJECT_AFTER - 1):
            answered(load, 1.0, 0.0, ok=False)
        answered(load, 1.0, 0.01)
    assert not load.ejected(1.0)


def test_never_more_than_half_is_ejected() -> None:
    loads = [Load() for _ in range(4)]
    for number, load in enumerate(loads):
        for _ in range(EJECT_AFTER):
            answered(load, 1.0 + number / 100, 0.0, ok=False)
    assert set(shares(loads, now=1.1)) == {0, 1}


@given(st.integers(1, 9), st.integers(), st.lists(st.tuples(st.integers(0, 8), st.floats(0, 5), st.booleans())))
def test_some_target_is_always_chosen(count: int, seed: int, history: list[tuple[int, float, bool]]) -> None:
    loads = [Load() for _ in range(count)]
    for number, (index, latency, ok) in enumerate(history):
        answered(loads[index % count], float(number), latency, ok=ok)
    assert 0 <= choose(loads, Random(seed), float(len(history))) < count


def test_one_seed_gives_one_sequence() -> None:
    loads = [Load() for _ in range(5)]
    one, other = Random(7), Random(7)
    assert [choose(loads, one, 1.0) for _ in range(50)] == [choose(loads, other, 1.0) for _ in range(50)]
