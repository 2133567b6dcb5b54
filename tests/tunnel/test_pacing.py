"""How much is written at a time."""

from tunnel.pacing import FIRST, LEAST, MOST, TARGET, Pacing


def drive(pacing: Pacing, rate: float, writes: int) -> list[int]:
    """Full writes, one behind the other, to a link that carries so many bytes a second; the budgets."""
    now, budgets = 0.0, []
    for _ in range(writes):
        pacing.writing(pacing.budget, now)
        now += pacing.budget / rate
        pacing.written(now)
        budgets.append(pacing.budget)
    return budgets


def test_a_fast_link_is_given_much_at_a_time_from_the_third_write_on() -> None:
    assert drive(Pacing(), 1e9, 2) == [FIRST, MOST]


def test_a_slow_link_is_given_five_milliseconds_worth() -> None:
    budgets = drive(Pacing(), 1_250_000, 10)
    assert all(0.8 * TARGET < budget / 1_250_000 <= 1.2 * TARGET for budget in budgets)


def test_a_very_slow_link_still_gets_something() -> None:
    assert drive(Pacing(), 1000, 10)[-1] == LEAST


def test_a_link_that_gets_faster_is_given_more_again() -> None:
    pacing = Pacing()
    drive(pacing, 100_000, 10)
    assert drive(pacing, 1e9, 200)[-1] == MOST


def test_a_link_that_gets_slower_is_given_less_at_once() -> None:
    pacing = Pacing()
    drive(pacing, 1e9, 10)
    assert drive(pacing, 1_250_000, 2)[-1] == int(TARGET * 1_250_000)


def test_a_link_that_takes_many_writes_at_once_and_then_none_is_known_by_their_mean() -> None:
    pacing, now, carried = Pacing(), 0.0, 0.0
    for _ in range(40):  # 64 KiB fit, then nothing does until they have left: 1.25 MB/s
        while carried < 65536:
            pacing.writing(pacing.budget, now)
            carried += pacing.budget
            now += 0.00005 if carried < 65536 else carried / 1_250_000
            pacing.written(now)
        carried = 0.0
        assert TARGET / 2 < pacing.budget / 1_250_000 < TARGET * 2


def test_a_write_that_a_link_without_work_takes_at_once_says_nothing() -> None:
    pacing = Pacing()
    drive(pacing, 1_250_000, 10)
    before = pacing.budget
    for start in (10.0, 20.0, 30.0):
        pacing.writing(before, start)
        assert not pacing.written(start + 0.0001)


def test_a_change_is_told() -> None:
    pacing = Pacing()
    pacing.writing(FIRST, 0.0)
    assert pacing.written(1.0)
    pacing.writing(pacing.budget, 1.0)
    assert not pacing.written(2.0)
