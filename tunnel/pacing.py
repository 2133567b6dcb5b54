"""How much to write to a link at a time: about what it carries in ten milliseconds.

What was written can be overtaken by nothing, so on a slow link writes have to be small; on a fast one each has its
price, so they should be large. How long the last full write took tells which: the socket's own buffer is kept as
shallow as a write, so a write returns when the bytes before it have left.
"""

from typing import Final

LEAST: Final = 4096
"""Smallest budget, in bytes: 10 ms of 3 Mbit/s. Slower links wait longer for what is under way."""

MOST: Final = 256 * 1024
"""Largest budget, in bytes."""

TARGET: Final = 0.01
"""Seconds that a write should take at most."""


class Pacing:
    """The budget for one write, from how long those before took."""

    __slots__ = ("_since", "_size", "budget")

    def __init__(self) -> None:
        self.budget = MOST
        """Bytes to write at a time."""
        self._size = 0
        self._since = 0.0

    def written(self, now: float) -> bool:
        """The write that was told of is done; returns whether the budget has changed for that."""
        size, before, seconds = self._size, self.budget, now - self._since
        if seconds <= TARGET / 2:
            self.budget = min(MOST, 2 * before)
        elif seconds > TARGET:
            self.budget = max(LEAST, int(size * TARGET / seconds))
        return self.budget != before

    def writing(self, size: int, now: float) -> None:
        """A write of so many bytes begins. Of one that is less than half full nobody need tell: its bytes may lie in
        the socket, so it says little."""
        self._size, self._since = size, now
