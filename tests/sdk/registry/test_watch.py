"""The frame of every watch; what the watches of back ends do in it is tried with each of them."""

import pytest
import trio

from sdk.errors import Unavailable
from sdk.registry import Action, Event
from sdk.registry.watch import Watch
from sdk.types import Service


class Counting(Watch):
    """Learns of one service a second; at first of none, and then that the registry is away."""

    def __init__(self) -> None:
        super().__init__()
        self.learned = 0

    async def _learn(self) -> None:
        await trio.sleep(1)
        self.learned += 1
        if self.learned == 2:
            raise Unavailable("it is away")
        if self.learned > 2:
            self._events += [Event(action=Action.CREATE, service=Service(name=f"{self.learned}-{n}")) for n in "ab"]


async def test_a_watch_that_raised_or_was_cancelled_is_asked_again_and_loses_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    watch = Counting()
    with pytest.raises(Unavailable):
        await anext(watch)
    with trio.move_on_after(0.5):
        await anext(watch)
        pytest.fail("there was nothing to tell")
    assert [(await anext(watch)).service.name for _ in range(4)] == ["3-a", "3-b", "4-a", "4-b"]
    with trio.CancelScope() as scope:
        scope.cancel()
        await anext(watch)
        pytest.fail("it was cancelled before")
    assert watch.learned == 4
