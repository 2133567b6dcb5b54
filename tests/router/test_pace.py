from math import inf

from hypothesis import given
from hypothesis import strategies as st

from router.pace import LONGEST, SHORTEST, Pace


def test_nothing_is_due_before_anything_has_changed() -> None:
    assert Pace().due == inf


def test_the_first_change_is_due_at_once_and_the_next_after_the_shortest_time() -> None:
    pace = Pace()
    pace.changed(100.0)
    assert pace.due == 100.0
    pace.told(100.0)
    assert pace.due == inf
    pace.changed(100.001)
    pace.changed(100.015)
    assert pace.due == 100.0 + SHORTEST


def test_while_changes_go_on_the_time_between_doubles_up_to_the_longest() -> None:
    pace = Pace()
    now = 100.0
    gaps = []
    for _ in range(10):
        pace.changed(now)
        gaps.append(round(pace.due - now, 3))
        now = pace.due
        pace.told(now)
    assert gaps == [0, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1, 1, 1]


def test_what_is_urgent_is_due_at_once_however_restless_it_was() -> None:
    pace = Pace()
    for _ in range(10):
        pace.changed(100.0)
        pace.told(100.0)
    pace.changed(100.001)
    assert pace.due > 100.5
    pace.changed(100.002, urgent=True)
    assert pace.due == 100.002
    pace.changed(100.003)
    assert pace.due == 100.002


def test_after_a_quiet_time_all_is_as_in_the_beginning() -> None:
    pace = Pace()
    for now in (100.0, 101.0, 102.0):
        for _ in range(10):
            pace.changed(now)
            pace.told(now)
    pace.changed(104.5)
    pace.told(104.5)
    pace.changed(104.501)
    assert pace.due == 104.5 + SHORTEST


@given(st.lists(st.floats(0, 3)))
def test_no_change_waits_longer_than_the_longest_time(gaps: list[float]) -> None:
    pace, now = Pace(), 100.0
    for gap in gaps:
        now += gap
        if pace.due <= now:
            pace.told(now)
        pace.changed(now)
        assert now <= pace.due <= now + LONGEST
