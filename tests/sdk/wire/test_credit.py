"""Windows, at the end of ways of all kinds: a small simulation of a line, its delay and who reads at its end."""

from collections import deque

import pytest

from sdk.wire.credit import POOL, CreditPool, Window
from sdk.wire.frame import INITIAL_CREDIT, MAX_CREDIT

FRAME = 16384
"""Bytes that are sent at a time."""


class Line:
    """A sender with endless data, a line, and a reader with a window."""

    def __init__(
        self, *, delay: float, rate: float, reads: float = 1e12, pool: CreditPool | None = None, write: int = FRAME
    ) -> None:
        """`delay` is the round trip in seconds, `rate` what the line carries and `reads` what the reader takes, in
        bytes a second. The sender writes so many bytes at a time, and no frame holds bytes of two writes."""
        self.window = Window(pool or CreditPool())
        self.received = 0
        self.ahead = 0
        """Most bytes that were received and not read, or on their way, at a time."""
        self._half = delay / 2
        self._rate = rate
        self._reads = reads
        self._write = write

    def run(self, seconds: float) -> None:
        """Lets so much time pass, from the start."""
        may_send, held, now, sent_at, read_at, left = INITIAL_CREDIT, 0, 0.0, 0.0, 0.0, self._write
        flying: deque[tuple[float, int]] = deque()  # when it arrives, and how much
        grants: deque[tuple[float, int]] = deque()
        reading: deque[tuple[float, int]] = deque()  # when it has been read
        while now < seconds:
            while grants and grants[0][0] <= now:
                may_send += grants.popleft()[1]
            while may_send and sent_at <= now:
                size = min(FRAME, may_send, left)
                may_send -= size
                left = left - size or self._write
                sent_at = max(sent_at, now) + size / self._rate
                flying.append((sent_at + self._half, size))
            while flying and flying[0][0] <= now:
                size = flying.popleft()[1]
                self.received += size
                held += size
                read_at = max(read_at, now) + size / self._reads
                reading.append((read_at, size))
            while reading and reading[0][0] <= now:
                size = reading.popleft()[1]
                held -= size
                if granted := self.window.read(size, now):
                    grants.append((now + self._half, granted))
            self.ahead = max(self.ahead, held + sum(size for _, size in flying))
            waits = [queue[0][0] for queue in (flying, grants, reading) if queue]
            now = max(now + 1e-9, min([*waits, sent_at] if may_send else waits))


def test_the_window_of_a_sender_that_waits_for_it_grows_to_the_most_there_is() -> None:
    line = Line(delay=0.1, rate=1e9)
    line.run(4.0)
    assert line.window.size == MAX_CREDIT
    # Without growth it would be 64 KiB in each round trip.
    assert line.received > 20 * INITIAL_CREDIT / 0.1 * 4.0


@pytest.mark.parametrize("write", [FRAME, 2 * FRAME + 8, 5000, 100_005])
@pytest.mark.parametrize(("delay", "rate"), [(0.1, 5e6), (0.04, 12.5e6), (0.2, 125e3), (0.3, 20e6), (0.02, 30e6)])
def test_a_line_is_filled_and_its_window_stays_near_what_it_holds(delay: float, rate: float, write: int) -> None:
    line = Line(delay=delay, rate=rate, write=write)
    line.run(120 * delay)
    holds = delay * rate
    # A frame is seen when its last byte has come, so on a slow line it counts as a part of the way.
    assert line.window.size <= max(INITIAL_CREDIT, 3.5 * (holds + FRAME))
    assert line.received >= 0.85 * rate * 120 * delay - 12 * holds


def test_a_reader_that_is_slower_than_the_line_gets_no_more_ahead_of_it() -> None:
    line = Line(delay=0.1, rate=1e9, reads=200_000)
    line.run(20.0)
    assert line.window.size <= 2 * INITIAL_CREDIT
    assert line.ahead <= 2 * INITIAL_CREDIT


def test_nobody_is_ever_ahead_of_the_reader_by_more_than_the_window() -> None:
    for reads in (1e4, 1e6, 1e8, 1e12):
        line = Line(delay=0.05, rate=1e8, reads=reads)
        line.run(2.0)
        assert line.ahead <= line.window.size


def test_windows_that_share_a_pool_grow_together_no_further_than_it() -> None:
    pool = CreditPool(1 << 20)
    lines = [Line(delay=0.1, rate=1e9, pool=pool) for _ in range(4)]
    for line in lines:
        line.run(3.0)
    assert sum(line.window.size - INITIAL_CREDIT for line in lines) <= 1 << 20
    assert sum(line.window.size - INITIAL_CREDIT for line in lines) + pool.left == 1 << 20
    for line in lines:
        line.window.close()
    assert pool.left == 1 << 20


def test_streams_that_were_fast_once_leave_room_to_grow_for_who_comes_later() -> None:
    pool = CreditPool()
    lines = [Line(delay=0.1, rate=1e9, pool=pool) for _ in range(16)]
    for line in lines:
        line.run(3.0)
    assert lines[0].window.size == MAX_CREDIT
    assert lines[-1].window.size >= 8 * INITIAL_CREDIT


def test_a_window_that_cannot_grow_grants_what_was_read() -> None:
    window = Window(CreditPool(0))
    for round_trip in range(5):
        assert window.read(INITIAL_CREDIT // 4, float(round_trip)) == 0
        assert window.read(INITIAL_CREDIT // 4, float(round_trip)) == INITIAL_CREDIT // 2
    assert window.size == INITIAL_CREDIT


def test_what_a_window_has_grown_by_goes_back_once_however_it_ends() -> None:
    pool = CreditPool()
    line = Line(delay=0.1, rate=1e9, pool=pool)
    line.run(3.0)
    assert pool.left < POOL
    line.window.close()
    line.window.close()
    assert pool.left == POOL
    forgotten = Line(delay=0.1, rate=1e9, pool=pool)
    forgotten.run(3.0)
    assert pool.left < POOL
    del forgotten
    assert pool.left == POOL


def test_a_pool_gives_all_or_nothing_and_never_more_than_an_eighth() -> None:
    pool = CreditPool(80)
    assert pool.take(10)
    assert not pool.take(9)
    assert pool.left == 70
    assert pool.take(8)
    pool.give_back(18)
    assert pool.left == 80
