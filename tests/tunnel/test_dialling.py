import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
import trio.lowlevel
import trio.testing
from trio.testing import MockClock

from tunnel.dialling import LONGEST_PAUSE, Dialler, Outcome, Seed, SeedState
from tunnel.identity import NodeId

PEER = b"p" * 16


class Script:
    """Stands where the tunnel does: answers each try from a list, the last answer for ever."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.tried: list[float] = []
        self.peer_leaves_at = 0.0
        self._outcomes = list(outcomes)

    async def attempt(self, seed: Seed) -> Outcome:
        self.tried.append(trio.current_time())
        outcome = self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]
        if outcome.lasted:
            seed.state = SeedState.LINKED
            await trio.sleep(outcome.lasted)
        return outcome

    async def peer_gone(self, peer: NodeId) -> None:
        assert peer == PEER
        await trio.sleep_until(self.peer_leaves_at)

    @property
    def pauses(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.tried, self.tried[1:], strict=False)]


@asynccontextmanager
async def running(script: Script) -> AsyncIterator[Dialler]:
    dialler = Dialler(script.attempt, script.peer_gone, Random(1))
    dialler.add("there")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialler.run)
        yield dialler
        nursery.cancel_scope.cancel()


async def test_pauses_grow_to_half_a_minute_and_are_never_the_same(autojump_clock: MockClock) -> None:
    script = Script(Outcome("no"))
    async with running(script):
        await trio.sleep(1000)
    assert 0.1 <= script.pauses[0] <= 0.2
    assert 0.15 <= script.pauses[1] <= 0.3
    assert all(LONGEST_PAUSE / 2 <= pause <= LONGEST_PAUSE for pause in script.pauses[15:])
    assert len(set(script.pauses)) == len(script.pauses) > 40


async def test_after_a_steady_link_the_first_pause_is_short_again(autojump_clock: MockClock) -> None:
    script = Script(*[Outcome("no")] * 20, Outcome("it broke", lasted=100.0, peer=PEER), Outcome("no"))
    async with running(script) as dialler:
        await trio.sleep(1000)
        assert script.pauses[20] - 100 <= 0.2
        assert dialler.seeds()[0].state is SeedState.WAITING


async def test_after_a_link_that_broke_at_once_the_pauses_go_on_growing(autojump_clock: MockClock) -> None:
    script = Script(Outcome("it broke", lasted=0.01, peer=PEER))
    async with running(script):
        await trio.sleep(1000)
    assert script.pauses[-1] > 10


async def test_an_address_of_a_linked_peer_rests_until_that_link_is_gone(autojump_clock: MockClock) -> None:
    script = Script(Outcome("", peer=PEER))
    script.peer_leaves_at = 500.0
    async with running(script) as dialler:
        await trio.sleep(499)
        assert [(seed.state, seed.attempts) for seed in dialler.seeds()] == [(SeedState.LINKED, 1)]
        await trio.sleep(2)
        assert script.tried[1] == pytest.approx(500.2, abs=0.1)


async def test_an_address_of_this_node_itself_is_tried_about_once_a_minute(autojump_clock: MockClock) -> None:
    script = Script(Outcome("it is this node", itself=True))
    async with running(script) as dialler:
        await trio.sleep(600)
        assert dialler.seeds()[0].state is SeedState.ITSELF
    assert all(48 <= pause <= 72 for pause in script.pauses)


async def test_addresses_come_and_go_while_it_runs(autojump_clock: MockClock) -> None:
    script = Script(Outcome("no"))
    async with running(script) as dialler:
        await trio.sleep(1)
        dialler.add("there")
        dialler.add("elsewhere")
        await trio.sleep(1)
        assert [seed.address for seed in dialler.seeds()] == ["there", "elsewhere"]
        dialler.remove("there")
        dialler.remove("elsewhere")
        dialler.remove("nowhere")
        await trio.lowlevel.checkpoint()
        tried = len(script.tried)
        await trio.sleep(100)
        assert len(script.tried) == tried
        assert dialler.seeds() == []


async def test_the_log_says_what_is_wrong_once_and_again_when_it_changes(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    script = Script(*[Outcome("no")] * 5, *[Outcome("never")] * 5, Outcome("no"))
    async with running(script) as dialler:
        await trio.sleep(1000)
        [seed] = dialler.seeds()
        assert (seed.address, seed.last_error, seed.attempts) == ("there", "no", len(script.tried))
    assert [record.getMessage() for record in caplog.records] == [
        f"no link with there: {why}; it is tried for ever" for why in ("no", "never", "no")
    ]


async def test_a_node_whose_own_link_has_broken_is_called_back_three_times(autojump_clock: MockClock) -> None:
    script = Script(Outcome("no"))
    dialler = Dialler(script.attempt, script.peer_gone, Random(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialler.run)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):  # told again while it is at it, it goes on as it is
            dialler.call_back(PEER, ("one", "two", "three"), lambda: False)
        await trio.sleep(100)
        assert len(script.tried) == 6, "two of its addresses, three times"
        assert script.tried[-1] < 2
        assert dialler.seeds() == []
        dialler.call_back(PEER, ("one",), lambda: False)
        await trio.sleep(100)
        assert len(script.tried) == 9, "the next time anew"
        nursery.cancel_scope.cancel()


async def test_who_is_linked_again_is_not_called_back(autojump_clock: MockClock) -> None:
    script = Script(Outcome("no"))
    async with running(script) as dialler:
        await trio.sleep(0.01)
        tried = len(script.tried)
        dialler.call_back(PEER, ("elsewhere",), lambda: True)
        dialler.call_back(b"q" * 16, ("there",), lambda: False)  # it is dialled for ever as it is
        await trio.sleep(0.05)
        assert len(script.tried) == tried
        assert [seed.address for seed in dialler.seeds()] == ["there"]


async def test_a_dialler_that_has_ended_dials_nobody(autojump_clock: MockClock) -> None:
    script = Script(Outcome("no"))
    async with running(script) as dialler:
        await trio.sleep(0.01)
    tried = len(script.tried)
    dialler.call_back(PEER, ("elsewhere",), lambda: False)
    dialler.add("elsewhere too")
    await trio.sleep(1)
    assert len(script.tried) == tried
