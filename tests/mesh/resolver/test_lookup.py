import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
from trio.testing import MockClock

from mesh.resolver.lookup import LONGEST, MAX_NODES, PERIOD, Found, Lookup, LookupState
from sdk.errors import Unavailable


class Told:
    """A source that says what the test tells it, and what came of that."""

    name = "somewhere"

    def __init__(self) -> None:
        self.says: Callable[[], Found] = lambda: Found(())
        self.takes = 0.0
        self.asked: list[float] = []
        self.found: list[tuple[str, ...]] = []
        self.lookup = Lookup(self, found=self._take, random=Random(1))

    async def find(self) -> Found:
        self.asked.append(trio.current_time())
        await trio.sleep(self.takes)
        return self.says()

    def _take(self, name: str, nodes: tuple[str, ...]) -> None:
        assert name == self.name
        self.found.append(nodes)

    @property
    def state(self) -> tuple[LookupState, int, str]:
        status = self.lookup.status
        return status.state, status.nodes, status.error

    @property
    def pauses(self) -> list[float]:
        return [after - before for before, after in zip(self.asked, self.asked[1:], strict=False)]


@asynccontextmanager
async def asking(told: Told) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(told.lookup.run)
        await trio.testing.wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


def fails(text: str = "nobody there") -> Callable[[], Found]:
    def fail() -> Found:
        raise Unavailable(text)

    return fail


async def test_a_source_is_asked_every_minute_and_never_quite_at_the_same_time(autojump_clock: MockClock) -> None:
    told = Told()
    assert told.state == (LookupState.LOOKING, 0, "")
    told.says = lambda: Found(("a:1", "b:1"))
    async with asking(told):
        assert told.found == [("a:1", "b:1")]
        assert told.state == (LookupState.CURRENT, 2, "")
        await trio.sleep(20 * PERIOD)
    assert all(PERIOD * 0.9 <= pause <= PERIOD * 1.1 for pause in told.pauses)
    assert len(told.pauses) == len(set(told.pauses)) >= 18


async def test_a_failure_keeps_what_is_known_and_is_tried_again_sooner_with_growing_pauses(
    autojump_clock: MockClock,
) -> None:
    told = Told()
    told.says = lambda: Found(("a:1",))
    async with asking(told):
        told.says = fails()
        await trio.sleep(10 * PERIOD)
        assert told.found == [("a:1",)]
        assert told.state == (LookupState.FAILING, 1, "nobody there")
        for number, pause in enumerate(told.pauses[1:]):
            longest = min(PERIOD, 2.0**number)
            assert longest / 2 <= pause <= longest
        told.says = lambda: Found(())
        await trio.sleep(PERIOD)
        assert told.found == [("a:1",), ()]
        assert told.state == (LookupState.CURRENT, 0, "")


async def test_a_failure_is_in_the_log_once_and_so_is_its_end(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    told = Told()
    told.says = fails("nobody there")
    async with asking(told):

        def fail() -> Found:
            raise Unavailable(f"no answer in {trio.current_time()} s")

        told.says = fail
        await trio.sleep(5 * PERIOD)
        told.says = lambda: Found(("a:1",))
        await trio.sleep(5 * PERIOD)
    first, last = (record.getMessage() for record in caplog.records)
    assert "somewhere" in first
    assert "nobody there" in first
    assert "again" in last


async def test_a_part_that_failed_is_told_and_tried_again_soon_and_the_rest_is_taken(autojump_clock: MockClock) -> None:
    told = Told()
    told.says = lambda: Found(("a:1",), "b is gone")
    async with asking(told):
        assert told.found == [("a:1",)]
        assert told.state == (LookupState.FAILING, 1, "b is gone")
        await trio.sleep(2)
        assert len(told.asked) > 1


async def test_an_answer_that_takes_too_long_is_none(autojump_clock: MockClock) -> None:
    told = Told()
    told.takes = LONGEST + 1
    async with asking(told):
        await trio.sleep(LONGEST + 0.1)
        assert told.state == (LookupState.FAILING, 0, "there was no answer within 10 s")
        assert not told.found


@pytest.mark.parametrize(("count", "taken"), [(MAX_NODES, True), (MAX_NODES + 1, False)])
async def test_a_flood_of_nodes_is_refused(autojump_clock: MockClock, count: int, taken: bool) -> None:
    told = Told()
    told.says = lambda: Found(tuple(f"a:{n}" for n in range(count)))
    async with asking(told):
        assert bool(told.found) == taken
        assert (told.state[0] is LookupState.CURRENT) == taken


async def test_an_error_of_a_library_stops_nothing(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    told = Told()

    def break_() -> Found:
        raise ZeroDivisionError("secret")

    told.says = break_
    async with asking(told):
        assert told.state == (LookupState.FAILING, 0, "an error of this node: ZeroDivisionError")
        assert caplog.records[0].exc_info is not None
        told.says = lambda: Found(("a:1",))
        await trio.sleep(2)
        assert told.state == (LookupState.CURRENT, 1, "")
