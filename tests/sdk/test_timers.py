"""One task for the deadlines of many machines, on a clock that jumps."""

import math
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sdk.timers import GRAIN, Timers


class Alarm:
    """A machine that notes when it was called; each call takes the next of its deadlines."""

    def __init__(self, *deadlines: float) -> None:
        self.deadlines = list(deadlines)
        self.calls: list[float] = []
        self.then: Callable[[], None] = lambda: None

    def next_timeout(self) -> float:
        return self.deadlines[0] if self.deadlines else math.inf

    def handle_timeout(self, now: float) -> None:
        assert now >= self.next_timeout(), "called before its time"
        self.deadlines.pop(0)
        self.calls.append(now)
        self.then()


async def test_each_machine_is_called_at_each_of_its_deadlines_and_at_most_a_grain_late(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    start, timers = trio.current_time(), Timers()
    due = {n: [start + n / 7 + k for k in range(5)] for n in range(50)}
    alarms = {n: Alarm(*each) for n, each in due.items()}
    for alarm in alarms.values():
        timers.watch(alarm)
    nursery.start_soon(timers.run)
    await trio.sleep(20)
    for n, alarm in alarms.items():
        assert len(alarm.calls) == 5
        assert all(0 <= call - when < 2 * GRAIN for call, when in zip(alarm.calls, due[n], strict=True))


async def test_neighbours_are_called_in_one_turn(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    start, timers = trio.current_time(), Timers()
    alarms = [Alarm(start + 1 + n * GRAIN / 10) for n in range(5)]
    for alarm in alarms:
        timers.watch(alarm)
    nursery.start_soon(timers.run)
    await trio.sleep(2)
    assert len({alarm.calls[0] for alarm in alarms}) == 1


async def test_a_machine_that_is_watched_while_the_task_sleeps_is_called_in_time(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    start, timers = trio.current_time(), Timers()
    nursery.start_soon(timers.run)
    timers.watch(Alarm(start + 100))
    await wait_all_tasks_blocked()
    alarm = Alarm(start + 1)
    timers.watch(alarm)
    await trio.sleep(1 + 2 * GRAIN)
    assert len(alarm.calls) == 1


async def test_a_deadline_that_comes_earlier_counts_once_it_is_told(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    start, timers, alarm = trio.current_time(), Timers(), Alarm()
    timers.watch(alarm)
    nursery.start_soon(timers.run)
    for due in (50.0, 9.0, 3.0, 7.0):
        alarm.deadlines = [start + due]
        timers.poke(alarm)
        await wait_all_tasks_blocked()
    await trio.sleep(6)
    assert not alarm.calls  # it was put off again, and nobody had to be told
    await trio.sleep(2)
    assert len(alarm.calls) == 1
    await trio.sleep(100)
    assert len(alarm.calls) == 1


async def test_a_deadline_that_is_put_off_costs_one_look_and_no_call(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    start, timers, alarm = trio.current_time(), Timers(), Alarm(trio.current_time() + 1)
    timers.watch(alarm)
    nursery.start_soon(timers.run)
    await trio.sleep(0.5)
    alarm.deadlines = [start + 10]
    await trio.sleep(9)
    assert not alarm.calls
    await trio.sleep(1)
    assert len(alarm.calls) == 1


async def test_machines_that_come_and_go_leave_little_behind_and_those_that_stay_are_called(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    start, timers = trio.current_time(), Timers()
    staying = [Alarm(start + 1 + n) for n in range(10)]
    for alarm in staying:
        timers.watch(alarm)
        for _ in range(100):
            gone = Alarm(start + 5)
            timers.watch(gone)
            timers.unwatch(gone)
    assert len(timers._heap) < 200
    nursery.start_soon(timers.run)
    await trio.sleep(20)
    assert all(len(alarm.calls) == 1 for alarm in staying)


async def test_a_machine_that_is_not_watched_is_never_called(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    timers = Timers()
    gone, never = Alarm(trio.current_time() + 1), Alarm(trio.current_time() + 1)
    timers.watch(gone)
    nursery.start_soon(timers.run)
    timers.unwatch(gone)
    timers.unwatch(gone)
    timers.poke(gone)
    timers.poke(never)
    await trio.sleep(5)
    assert not gone.calls + never.calls


@pytest.mark.parametrize("first", [True, False])
async def test_a_machine_may_take_itself_and_others_off_while_it_is_called(
    nursery: trio.Nursery, autojump_clock: MockClock, first: bool
) -> None:
    start, timers = trio.current_time(), Timers()
    alarms = [Alarm(start + 1, start + 2) for _ in range(3)]
    for alarm in alarms:
        timers.watch(alarm)
    caller, bystander = (alarms[0], alarms[1]) if first else (alarms[2], alarms[0])

    def leave() -> None:
        timers.unwatch(caller)
        timers.unwatch(bystander)

    caller.then = leave
    nursery.start_soon(timers.run)
    await trio.sleep(5)
    assert [len(caller.calls), len(bystander.calls)] == [1, 0 if first else 1]
    assert sum(len(alarm.calls) for alarm in alarms) == len(caller.calls) + len(bystander.calls) + 2


async def test_a_machine_may_come_back_or_bring_others_while_it_is_called(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    start, timers = trio.current_time(), Timers()
    alarm, other = Alarm(start + 1, start + 3), Alarm(start + 2)

    def again() -> None:
        timers.unwatch(alarm)
        timers.watch(other)
        timers.watch(alarm)
        timers.poke(alarm)

    alarm.then = again
    timers.watch(alarm)
    nursery.start_soon(timers.run)
    await trio.sleep(5)
    assert (len(alarm.calls), len(other.calls)) == (2, 1)


class Insistent(Alarm):
    """It always wants to be called at once."""

    def next_timeout(self) -> float:
        return -math.inf

    def handle_timeout(self, now: float) -> None:
        self.calls.append(now)
        self.then()


@pytest.mark.parametrize("poking", [True, False])
async def test_a_machine_that_insists_does_not_hold_up_the_rest(
    nursery: trio.Nursery, autojump_clock: MockClock, poking: bool
) -> None:
    timers, insistent, other = Timers(), Insistent(), Alarm(trio.current_time() + 1)
    if poking:
        insistent.then = lambda: timers.poke(insistent)
    timers.watch(insistent)
    timers.watch(other)
    calls: list[int] = []

    async def rest() -> None:
        for _ in range(20):
            await trio.lowlevel.checkpoint()
            calls.append(len(insistent.calls))

    nursery.start_soon(timers.run)
    await rest()
    assert calls[-1] <= 21
    if not poking:
        await trio.sleep(2)
        assert len(other.calls) == 1
        assert len(insistent.calls) <= 2 / GRAIN + 30
