"""How much to write to a link at a time: about what it carries in five milliseconds.

What was written can be overtaken by nothing, so on a slow link writes have to be small; on a fast one each has its
price, so they should be large. How long full writes took lately tells which: the socket's own buffer is kept as shallow
as a write, so that a write returns when the bytes before it have left. A single one tells little: TCP sends in lumps,
so that one write waits for many.
"""

from typing import Final

LEAST: Final = 4096
"""Smallest budget, in bytes: 5 ms of 6.5 Mbit/s. Slower links wait longer for what is under way."""

FIRST: Final = 72 * 1024
"""Budget of a link that nothing is known about, in bytes: a frame of any size, and more. The second full write tells
whether it is fast."""

MOST: Final = 256 * 1024
"""Largest budget, in bytes."""

TARGET: Final = 0.005
"""Seconds that a write should take."""

LATELY: Final = 0.1
"""Seconds of writing that the rate is a mean of."""

STEP: Final = 8
"""The budget follows the rate when it is off by more than one in so many: to tell the socket has its price too."""


class Pacing:
    """The budget for one write, from how long those before took."""

    __slots__ = ("_bytes", "_done", "_seconds", "_since", "_size", "budget")

    def __init__(self) -> None:
        self.budget = FIRST
        """Bytes to write at a time."""
        self._size = 0
        self._since = 0.0
        self._done = -1.0
        self._bytes = 0.0
        self._seconds = 0.0

    def written(self, now: float) -> bool:
        """The write that was told of is done; returns whether the budget has changed for that."""
        size, seconds, idle = self._size, now - self._since, self._since > self._done
        self._done = now
        if idle and seconds <= TARGET:  # its bytes may lie in the socket
            return False
        kept = max(0.0, LATELY - seconds)
        if self._seconds > kept:
            self._bytes *= kept / self._seconds
            self._seconds = kept
        self._bytes += size
        self._seconds += seconds
        before, budget = self.budget, MOST
        if self._bytes * TARGET < MOST * self._seconds:
            budget = max(LEAST, int(self._bytes * TARGET / self._seconds))
        if STEP * abs(budget - before) > before or budget in (LEAST, MOST):
            self.budget = budget
        return self.budget != before

    def writing(self, size: int, now: float) -> None:
        """A write of so many bytes begins. Of one that is less than half full nobody need tell: its bytes may lie in
        the socket, so it says little."""
        self._size, self._since = size, now
