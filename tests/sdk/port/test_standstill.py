"""What stands still is seen by looking."""

from sdk.port.standstill import Standstill


def test_what_shows_the_same_mark_stands_still_since_it_was_first_seen() -> None:
    still = Standstill()
    assert still.lasts((1, 2), 10.0) == 0
    assert still.lasts((1, 2), 15.0) == 5
    assert still.lasts((1, 3), 20.0) == 0
    assert still.lasts((1, 3), 21.0) == 1


def test_what_need_not_move_stands_never_still() -> None:
    still = Standstill()
    assert still.lasts(None, 10.0) == 0
    assert still.lasts(None, 20.0) == 0
    assert still.lasts(1, 30.0) == 0
    assert still.lasts(None, 40.0) == 0
    assert still.lasts(1, 50.0) == 0
