"""Each fault is told once, and never so many that they are remembered for ever."""

from sdk.registry.once import MOST, Once


def test_a_fault_is_told_once_until_it_is_over() -> None:
    once = Once()
    assert [once.first(what) for what in ("one", "other", "one")] == [True, True, False]
    once.over("one")
    once.over("never told")
    assert [once.first(what) for what in ("one", "one", "other")] == [True, False, False]


def test_of_faults_without_end_the_old_ones_are_forgotten() -> None:
    once = Once()
    assert once.first("old")
    for number in range(MOST):
        assert once.first(number)
    assert once.first("old")
    assert not once.first(MOST - 1)
