"""Few lines of many: the first of each kind, and the number of the others."""

import math

from mesh.restraint import FIRST, MAX_KINDS, OTHERS, WINDOW, Restraint


def test_the_first_of_each_kind_are_told_and_the_others_counted() -> None:
    restraint = Restraint()
    assert [restraint.may_tell("a", 0.0) for _ in range(FIRST + 3)] == [True] * FIRST + [False] * 3
    assert restraint.may_tell("b", 1.0)
    assert restraint.until == WINDOW
    assert restraint.withheld() == [("a", 3)]
    assert restraint.until == math.inf


def test_they_are_told_again_when_the_time_is_over() -> None:
    restraint = Restraint()
    for _ in range(FIRST):
        assert restraint.may_tell("a", 0.0)
    assert restraint.until == math.inf  # nothing was left out
    assert restraint.may_tell("a", WINDOW)
    for _ in range(FIRST):
        restraint.may_tell("a", WINDOW)
    assert restraint.until == 2 * WINDOW
    assert restraint.withheld() == [("a", 1)]
    assert restraint.may_tell("a", 2 * WINDOW)


def test_many_kinds_are_counted_together_and_take_no_more_memory() -> None:
    restraint = Restraint()
    told = sum(restraint.may_tell(f"kind {number}", 0.0) for number in range(10_000))
    assert told == MAX_KINDS + FIRST
    assert restraint.withheld() == [(OTHERS, 10_000 - told)]
