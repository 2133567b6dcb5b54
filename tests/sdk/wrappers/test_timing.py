from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sdk.wrappers import timed
from sdk.wrapping import AnyCall
from tests.sdk.wrappers.calls import incoming, outgoing

Seen = list[tuple[str, float, str]]


@pytest.fixture
def seen() -> Seen:
    return []


def noting(seen: Seen) -> Any:
    def observe(call: AnyCall, seconds: float, error: BaseException | None) -> None:
        seen.append((call.endpoint, seconds, type(error).__name__))

    return timed(observe)


async def test_calls_that_go_well_fail_or_are_cancelled_are_told_with_their_time(
    autojump_clock: MockClock, seen: Seen
) -> None:
    async def sleep(call: Any) -> Any:
        await trio.sleep(2)
        return "well"

    async def fail(call: Any) -> Any:
        await trio.sleep(3)
        raise ValueError

    assert await noting(seen)(outgoing(), sleep) == "well"
    with pytest.raises(ValueError):
        await noting(seen)(incoming(), fail)
    with trio.move_on_after(1) as scope:
        await noting(seen)(incoming(), sleep)
    assert scope.cancelled_caught
    assert [(endpoint, round(seconds, 9), error) for endpoint, seconds, error in seen] == [
        ("Greeter.Hello", 2, "NoneType"),
        ("Greeter.Hello", 3, "ValueError"),
        ("Greeter.Hello", 1, "Cancelled"),
    ]
