"""How much a peer may send ahead of who reads it: a window that grows where the way is long, from a common pool.

Credit is granted when three eighths of the window are used. The time from a grant until the first byte that it allowed
was read is the round trip. Who waits for the window uses as much as it has in each. Who waits for a slow line, or for a
slow reader, would take 1.6 for that: what a grant allows begins to be read only after the five eighths that were still
under way, however large the window is. So a window is doubled as long as it would be used up within one and a quarter
round trips, and grows to no more than about three times what the line holds. (Semke, Mahdavi and Mathis, "Automatic TCP
buffer tuning", 1998, for the idea; gRPC's and Envoy's estimators need a PING for each sample.)

To grant when half is used would be the obvious way, and stalls. Bytes are read by the frame, so a little more than half
is granted and a little less is left, and the next grant has to wait until the first has arrived. Then a sender gets
half of its window in each round trip, which looks just like a slow line, so that the window does not grow either.
"""

from typing import Final

from .frame import INITIAL_CREDIT, MAX_CREDIT

POOL: Final = 64 << 20
"""Bytes that all windows of a process may grow by together: eight streams at their largest."""

SHARE: Final = 8
"""A window takes at most one part in so many of what is left: what it has, it keeps while its stream lives, and streams
that were fast once may then be silent for days. So no number of them leaves nothing for who comes later (Choudhury and
Hahne, "Dynamic queue length thresholds", 1998)."""

USED: Final = 3 / 8
"""Part of the window that has been used when credit is granted. The eighth that is missing to half of it leaves room
for a frame, in windows of some size; the smallest grow once more for want of it."""

HELD_UP: Final = 1.25
"""Round trips within which a sender that waits for the window uses it up."""


class CreditPool:
    """What the windows of a process, or a node, may grow by."""

    __slots__ = ("left",)

    def __init__(self, size: int = POOL) -> None:
        self.left = size
        """Bytes that nobody has taken."""

    def take(self, size: int) -> bool:
        """Takes so many bytes, or none where that is more than an eighth of what is left."""
        if size * SHARE > self.left:
            return False
        self.left -= size
        return True

    def give_back(self, size: int) -> None:
        """Returns bytes that were taken."""
        self.left += size


PROCESS: Final = CreditPool()
"""That of this process, where nothing else is said."""


class Window:
    """The window of one direction of a stream, at the end that reads."""

    __slots__ = ("_ahead", "_asked", "_granted", "_pool", "_round_trip", "_used", "size")

    def __init__(self, pool: CreditPool) -> None:
        self.size = INITIAL_CREDIT
        """Bytes that may have come and not been read, or may still come."""
        self._pool = pool
        self._used = 0  # bytes read since the last grant
        self._granted = -1.0
        self._asked = 0.0
        self._ahead = -1  # bytes to be read before the first that the timed grant allowed; below zero: none is timed
        self._round_trip = 0.0

    def read(self, size: int, now: float) -> int:
        """So many bytes were read; returns the credit to grant for it, which may be none yet."""
        self._used += size
        if self._ahead >= 0:
            self._ahead -= size
            if self._ahead < 0:
                self._round_trip = now - self._asked
        used = self._used
        if used < USED * self.size:
            return 0
        if self._ahead < 0:
            self._asked, self._ahead = now, self.size - used
        if (
            self._granted >= 0
            and (now - self._granted) * self.size < HELD_UP * self._round_trip * used
            and self.size < MAX_CREDIT
            and self._pool.take(self.size)
        ):
            used += self.size
            self.size *= 2
        self._granted, self._used = now, 0
        return used

    def close(self) -> None:
        """Nothing more comes: what the window has grown by goes back to the pool. Called again it does nothing."""
        self._pool.give_back(self.size - INITIAL_CREDIT)
        self.size = INITIAL_CREDIT

    def __del__(self) -> None:
        # Whoever reads a stream that broke may never read it to its end.
        self.close()
