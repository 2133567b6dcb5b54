"""How much a peer may send ahead of who reads it: a window that grows where the way is long, from a common pool.

Credit is granted when half of the window is used. The time from a grant to the first byte that it allowed is the round
trip. A sender that waits for the window is granted half of it every half round trip; of one that waits for a slow line,
what is allowed by a grant begins to come just when the next one is due, however large the window is. So a window is
doubled as long as grants follow one another in less than three quarters of a round trip, and grows no further than to
between one and a half and three times what the line holds. (Semke, Mahdavi and Mathis, "Automatic TCP buffer tuning",
1998, for the idea; gRPC's and Envoy's estimators need a PING for each sample.)
"""

from typing import Final

from .frame import INITIAL_CREDIT, MAX_CREDIT

POOL: Final = 64 << 20
"""Bytes that all windows of a process may grow by together: eight streams at their largest."""

HELD_UP: Final = 0.75
"""Grants that follow one another within this share of a round trip come from a sender that waits for them."""


class CreditPool:
    """What the windows of a process, or a node, may grow by."""

    __slots__ = ("left",)

    def __init__(self, size: int = POOL) -> None:
        self.left = size
        """Bytes that nobody has taken."""

    def take(self, size: int) -> bool:
        """Takes so many bytes, or none."""
        if size > self.left:
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

    __slots__ = ("_ahead", "_asked", "_granted", "_pool", "_round_trip", "size")

    def __init__(self, pool: CreditPool) -> None:
        self.size = INITIAL_CREDIT
        """Bytes that may have come and not been read, or may still come."""
        self._pool = pool
        self._granted = -1.0
        self._asked = 0.0
        self._ahead = -1  # bytes that still come by earlier grants; below zero, nothing is being timed
        self._round_trip = 0.0

    def received(self, size: int, now: float) -> None:
        """Bytes came."""
        if self._ahead >= 0:
            self._ahead -= size
            if self._ahead < 0:
                self._round_trip = now - self._asked

    def grant(self, used: int, unread: int, now: float) -> int:
        """How much credit to grant when `used` bytes were read since the last time, and `unread` had come that were
        not granted anew before that, those included: at least `used`."""
        allowed = self.size - unread
        extra = 0
        if (
            self._granted >= 0
            and now - self._granted < HELD_UP * self._round_trip
            and self.size < MAX_CREDIT
            and self._pool.take(self.size)
        ):
            extra = self.size
            self.size += extra
        self._granted = now
        if self._ahead < 0:
            self._asked, self._ahead = now, allowed
        return used + extra

    def close(self) -> None:
        """Nothing more comes: what the window has grown by goes back to the pool. Called again it does nothing."""
        self._pool.give_back(self.size - INITIAL_CREDIT)
        self.size = INITIAL_CREDIT

    def __del__(self) -> None:
        # Whoever reads a stream that broke may never read it to its end.
        self.close()
