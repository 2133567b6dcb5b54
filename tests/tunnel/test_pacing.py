"""How much is written at a time."""

from tunnel.pacing import LEAST, MOST, TARGET, Pacing


def drive(pacing: Pacing, rate: float, writes: int) -> list[int]:
    """Full writes to a link that carries so many bytes a second; the budgets."""
    now, budgets = 0.0, []
    for _ in range(writes):
        pacing.writing(pacing.budget, now)
        now += pacing.budget / rate
        pacing.written(now)
        budgets.append(pacing.budget)
    return budgets


def test_a_fast_link_is_given_much_at_a_time() -> None:
    assert drive(Pacing(), 1e9, 10)[-1] == MOST


def test_a_slow_link_is_given_ten_milliseconds_worth() -> None:
    assert 0.5 * TARGET < drive(Pacing(), 1_250_000, 10)[-1] / 1_250_000 <= TARGET


def test_a_very_slow_link_still_gets_something() -> None:
    assert drive(Pacing(), 1000, 10)[-1] == LEAST


def test_a_link_that_gets_faster_is_given_more_again() -> None:
    pacing = Pacing()
    drive(pacing, 100_000, 10)
    assert drive(pacing, 1e9, 10)[-1] == MOST


def test_a_change_is_told() -> None:
    pacing = Pacing()
    pacing.writing(MOST, 0.0)
    assert pacing.written(1.0)
    pacing.writing(pacing.budget, 1.0)
    assert not pacing.written(1.009)
