import math
from collections.abc import Callable

import trio
from trio.testing import MockClock

from mesh.steps import AT_ONCE, Steps


class Work:
    """A machine that has so many steps to do, and then some more later."""

    def __init__(self) -> None:
        self.due = math.inf
        self.steps = 0
        self.done: list[float] = []
        self.then: Callable[[], None] = lambda: None

    def next_timeout(self) -> float:
        return self.due

    def handle_timeout(self, now: float) -> None:
        assert now >= self.due, "called before its time"
        self.done.append(now)
        self.steps -= 1
        if not self.steps:
            self.due = math.inf
        self.then()


async def test_what_is_due_now_is_done_now_with_a_turn_for_others_between_two_steps(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    work, others = Work(), 0
    steps = Steps(work)
    nursery.start_soon(steps.run)
    await trio.sleep(1)
    began = trio.current_time()
    seen: list[int] = []
    work.then = lambda: seen.append(others)
    work.due, work.steps = began, 10
    steps.poke()
    while work.steps:
        await trio.lowlevel.checkpoint()
        others += 1
    assert work.done == [began] * 10
    assert len(set(seen)) >= 5  # two tasks take turns, in either order


async def test_a_deadline_is_kept_to_the_moment_and_an_earlier_one_counts_when_it_is_told(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    work = Work()
    steps = Steps(work)
    began = trio.current_time()
    work.due, work.steps = began + 5, 1
    nursery.start_soon(steps.run)
    await trio.sleep(1)
    work.due = began + 2
    steps.poke()
    await trio.sleep(10)
    work.due, work.steps = began + 12, 1
    steps.poke()
    await trio.sleep(10)
    assert work.done == [began + 2, began + 12]


async def test_a_deadline_that_went_away_is_not_acted_on(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    work = Work()
    steps = Steps(work)
    work.due, work.steps = trio.current_time() + 1, 1
    nursery.start_soon(steps.run)
    await trio.sleep(0.5)
    work.due = math.inf
    await trio.sleep(5)
    assert work.done == []


async def test_a_step_that_makes_the_next_one_due_need_not_poke(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    work = Work()
    steps = Steps(work)
    began = trio.current_time()
    work.due, work.steps = began + 1, 3

    def later() -> None:
        if work.steps:
            work.due += 1
            steps.poke()

    work.then = later
    nursery.start_soon(steps.run)
    await trio.sleep(10)
    assert work.done == [began + 1, began + 2, began + 3]


async def test_what_is_urgent_is_run_here_and_now_but_not_all_of_it(autojump_clock: MockClock) -> None:
    work = Work()
    steps = Steps(work)
    steps.hurry()
    assert work.done == []
    work.due, work.steps = trio.current_time(), 2
    steps.hurry()
    assert len(work.done) == 2
    work.due, work.steps = trio.current_time(), 1000
    steps.hurry()
    assert len(work.done) == 2 + AT_ONCE
