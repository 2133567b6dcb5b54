import math

import trio
from trio.testing import MockClock

from sdk.deadline import GRACE, deadline
from sdk.wire.frame import NO_DEADLINE


async def test_the_callers_scope_beats_the_default_and_is_rounded_up(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + 0.0105
        due = deadline(5.0)
    assert (due.ms, due.default) == (11, math.inf)
    assert due.own == trio.current_time() + 0.0105


async def test_without_a_scope_the_default_holds_and_without_that_nothing(autojump_clock: MockClock) -> None:
    due = deadline(5.0)
    assert (due.ms, due.own, due.default) == (5001, math.inf, trio.current_time() + 5.0)
    assert deadline(math.inf).ms == NO_DEADLINE


async def test_what_has_passed_is_zero_and_what_is_far_away_stays_a_deadline(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time()
        assert deadline(5.0).ms == 0
    assert deadline(-1.0).ms == 0
    assert deadline(1e12).ms == NO_DEADLINE - 1


async def test_an_answer_just_before_the_callers_own_deadline_leaves_the_say_to_that(autojump_clock: MockClock) -> None:
    with trio.move_on_after(1.0) as scope:
        due = deadline(5.0)
        await due.wait_for_own()  # long before: nothing to wait for
        assert trio.current_time() < due.own - GRACE
        await trio.sleep(1.0 - GRACE / 2)
        await due.wait_for_own()
    assert scope.cancelled_caught
