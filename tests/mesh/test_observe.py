import trio
from trio.testing import MockClock

from mesh.observe import PERIOD, LoopLag


def test_no_measurement_is_no_lag() -> None:
    assert LoopLag().worst == 0


def test_the_worst_of_the_last_ten_seconds_counts() -> None:
    lag = LoopLag()
    lag.record(0.5)
    for _ in range(99):
        lag.record(0.01)
    assert lag.worst == 0.5
    lag.record(0.01)
    assert lag.worst == 0.01


async def test_a_loop_that_was_held_up_shows_for_how_long(mock_clock: MockClock) -> None:
    lag = LoopLag()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lag.run)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(PERIOD + 0.3)
        await trio.testing.wait_all_tasks_blocked()
        assert round(lag.worst, 6) == 0.3
        mock_clock.jump(PERIOD)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert round(lag.worst, 6) == 0.3
