"""What a registry object has written: known for as long as it may stand, and no longer."""

import math

import trio
from trio.testing import MockClock

from sdk.registry.held import LEAST, Held


async def test_what_is_renewed_is_known_and_what_is_not_runs_out(autojump_clock: MockClock) -> None:
    held = Held[int]()
    held.keep("renewed", 1, 10)
    held.keep("killed", 2, 10)
    held.keep("stays", 3, math.inf)
    await trio.sleep(15)
    assert held.get("killed") == 2, "it may only be late"
    held.keep("renewed", 4, 10)
    await trio.sleep(15)
    assert [held.get(key) for key in ("renewed", "killed", "stays", "never")] == [4, None, 3, None]
    assert held.values() == [4, 3]
    assert [held.pop(key) for key in ("killed", "renewed", "stays", "renewed")] == [None, 4, 3, None]
    assert not len(held)


async def test_instances_that_come_and_are_killed_for_days_leave_nothing(autojump_clock: MockClock) -> None:
    held = Held[str]()
    most = 0
    held.keep("stays", "", math.inf)
    for number in range(20_000):
        held.keep(f"killed {number}", "its record", 30)
        if number % 10 == 0:
            await trio.sleep(10)
        most = max(most, len(held))
    assert held.get("stays") == ""
    assert len(held.values()) < 10 * LEAST
    assert most <= 4 * LEAST, "sixty that may stand, and as many again"


async def test_as_many_as_there_are_stay_known(autojump_clock: MockClock) -> None:
    held = Held[int]()
    for number in range(5000):
        held.keep(str(number), number, 30)
    assert held.values() == list(range(5000))
