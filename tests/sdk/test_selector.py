from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.selector import EJECT_AFTER, FIRST_EJECTION, LEAST_SHARE, SLOW_START, Load, choose, eligible


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


def failed(now: float) -> Load:
    """One that is ejected since this moment."""
    load = Load()
    for _ in range(EJECT_AFTER):
        answered(load, now, 0.0, ok=False)
    return load


def warm(count: int) -> list[Load]:
    """Some that have answered for long."""
    loads = [Load() for _ in range(count)]
    for load in loads:
        answered(load, -SLOW_START, 0.01)
        answered(load, 0.0, 0.01)
    return loads


def test_after_seven_failures_in_a_row_a_target_is_ejected_and_probed_with_one_call() -> None:
    loads = [failed(1.0), *warm(2)]
    for load in loads[1:]:
        for _ in range(9):
            load.started()  # so busy that nobody else costs more
    assert shares(loads)[0] == 0
    later = 1.0 + FIRST_EJECTION
    assert not loads[0].ejected(later)
    loads[0].latency = 0.001
    assert shares(loads, now=later)[0] == 1
    assert loads[0].probed
    loads[0].started()
    loads[0].finished(later, False, later)
    assert not loads[0].probed
    assert loads[0].ejected(later + FIRST_EJECTION)
    assert not loads[0].ejected(later + 2 * FIRST_EJECTION)
    answered(loads[0], 10.0, 0.01)
    assert loads[0].failures == 0
    assert not loads[0].ejected(10.0)


def test_calls_that_were_there_before_keep_nobody_from_being_probed() -> None:
    loads = [failed(1.0), *warm(1)]
    loads[0].pending = 1
    loads[0].latency = 1e-9
    assert shares(loads, now=1.0 + FIRST_EJECTION)[0] == 1


def test_a_probe_that_is_never_answered_is_followed_by_another() -> None:
    loads = [failed(1.0), *warm(1)]
    loads[0].latency = 1e-9
    assert shares(loads, now=2.0)[0] == 1
    assert shares(loads, now=2.9)[0] == 0
    assert shares(loads, now=3.0)[0] == 1


def test_failures_of_calls_from_before_the_ejection_do_not_make_it_longer_but_that_of_the_probe_does() -> None:
    load = failed(1.0)
    for _ in range(50):
        answered(load, 1.5, 0.0, ok=False)
    assert load.ejected_until == 1.0 + FIRST_EJECTION
    choose([load], Random(1), 2.0)
    answered(load, 2.1, 0.0, ok=False)
    assert load.ejected_until == 2.1 + 2 * FIRST_EJECTION


def test_one_alone_is_chosen_whatever_it_does() -> None:
    assert {choose([failed(1.0)], Random(1), now) for now in (1.1, 2.5, 3.0)} == {0}


# Slow start.


def ramp(loads: list[Load], after: float) -> float:
    """The share of the first, so many seconds after it answered first."""
    for load in loads:
        load.latency = 0.01
    loads[0].latency = 1e-9  # the best by far, and so chosen whenever it may be
    return shares(loads, now=after)[0] / 1000


@pytest.mark.parametrize("again", [False, True])
def test_a_target_that_is_new_or_back_gets_its_share_little_by_little(again: bool) -> None:
    loads = [failed(-5.0) if again else Load(), *warm(1)]
    answered(loads[0], 0.0, 0.01)
    found = [ramp(loads, SLOW_START * part) for part in (0.0, 0.5, 0.9, 1.0)]
    assert found == pytest.approx([LEAST_SHARE, 0.5, 0.9, 1.0], abs=0.05)


def test_where_all_are_new_none_is_held_back() -> None:
    loads = [Load(), Load()]
    for load in loads:
        answered(load, 0.0, 0.01)
    assert ramp(loads, 0.1) == 1.0


def test_who_fails_or_has_never_answered_takes_nothing_from_one_that_is_new() -> None:
    for other in (failed(-9.0), Load()):
        fresh = Load()
        answered(fresh, 0.0, 0.01)
        other.pending = 1000
        other.failures = min(other.failures, 1)
        assert shares([fresh, other], now=0.1) == {0: 1000}


def test_a_failure_now_and_then_does_not_start_it_anew() -> None:
    [load] = warm(1)
    answered(load, 1.0, 0.0, ok=False)
    answered(load, 1.1, 0.01)
    assert load.share(1.2) == 1.0


def test_beside_one_that_is_ejected_a_slow_target_still_gets_the_smallest_share() -> None:
    loads = [*warm(3), failed(0.5)]
    loads[2].latency = 0.2
    assert set(shares(loads)) == {0, 1}


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
    assert eligible(loads, 1.1) == [0, 1]
    assert set(shares(loads, now=1.1)) <= {0, 1}


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
