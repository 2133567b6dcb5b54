"""Things done at once, and not too many."""

import pytest
import trio

from sdk.errors import Unavailable
from sdk.registry.atonce import at_once


async def test_each_is_done_and_no_more_at_a_time_than_allowed(autojump_clock: trio.testing.MockClock) -> None:
    done: list[int] = []
    busy = most = 0

    async def job(number: int) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await trio.sleep(1)
        busy -= 1
        done.append(number)

    await at_once(job, range(10), limit=4)
    assert sorted(done) == list(range(10))
    assert most == 4
    assert trio.current_time() == pytest.approx(3)
    await at_once(job, (), limit=4)


async def test_the_first_error_ends_the_rest_and_comes_alone(autojump_clock: trio.testing.MockClock) -> None:
    begun: list[int] = []

    async def job(number: int) -> None:
        begun.append(number)
        await trio.sleep(number)
        raise Unavailable(f"number {number}")

    with pytest.raises(Unavailable, match="number 1"):
        await at_once(job, (3, 1, 2, 4), limit=3)
    assert sorted(begun) == [1, 2, 3]


async def test_what_is_closed_meanwhile_comes_alone_as_well() -> None:
    async def job(_: int) -> None:
        await trio.lowlevel.checkpoint()
        raise trio.ClosedResourceError

    with pytest.raises(trio.ClosedResourceError):
        await at_once(job, range(4), limit=2)
