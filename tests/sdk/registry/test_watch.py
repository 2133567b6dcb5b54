"""The frame of every watch; what the watches of back ends do in it is tried with each of them."""

from collections.abc import Iterator

import pytest
import trio

from sdk.errors import Unavailable
from sdk.registry import Action, Event
from sdk.registry.watch import StreamedWatch, Watch, followed
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


class Telling(StreamedWatch[Iterator[str]]):
    """Its source tells of two services and ends; it can be opened twice."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = 0
        self.closed = 0

    async def begin(self) -> None:
        if self.opened == 2:
            raise Unavailable("it is away")
        self.opened += 1
        self._stack.callback(self._close)
        self._source = iter([f"{self.opened}-a", f"{self.opened}-b"])

    async def _follow(self, source: Iterator[str]) -> None:
        name = next(source, "")
        if name:
            self._events.append(Event(action=Action.CREATE, service=Service(name=name)))
        else:
            await self.end()

    def _close(self) -> None:
        self.closed += 1


async def test_a_streamed_watch_begins_anew_where_its_source_ended_and_leaves_none_open() -> None:
    async with followed(Telling()) as watch:
        assert [(await anext(watch)).service.name for _ in range(4)] == ["1-a", "1-b", "2-a", "2-b"]
        assert (watch.opened, watch.closed) == (2, 1)
        with pytest.raises(Unavailable):
            await anext(watch)
        assert watch.closed == 2
        watch.opened = 0
        assert (await anext(watch)).service.name == "1-a"
    assert watch.closed == 3


async def test_a_streamed_watch_that_cannot_begin_says_so_at_once() -> None:
    watch = Telling()
    watch.opened = 2
    with pytest.raises(Unavailable):
        async with followed(watch):
            pytest.fail("there is nobody to follow")
