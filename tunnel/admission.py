"""How many strangers a link port bears at once, and how often it complains about them."""

from typing import Final

MAX_IN_PROGRESS: Final = 64
"""Handshakes at one time."""
MAX_PER_SECOND: Final = 200
"""Handshakes begun per second; one costs about a millisecond of CPU."""
COMPLAINT_EVERY: Final = 60.0
"""Seconds between two equal complaints about one host: a peer with a wrong token tries for ever."""
MAX_COMPLAINTS: Final = 1000
"""Complaints that are remembered."""


class Admission:
    """Counts handshakes in progress and begun, in a bucket that fills at the allowed rate."""

    def __init__(self) -> None:
        self.in_progress = 0
        self.refused = 0
        """Connections closed before their handshake began."""
        self._left = float(MAX_PER_SECOND)
        self._since = 0.0
        self._complaints: dict[tuple[str, str], float] = {}

    def begin(self, now: float) -> bool:
        """Whether one more handshake may begin; if so `end` must be called after it."""
        self._left = min(self._left + (now - self._since) * MAX_PER_SECOND, MAX_PER_SECOND)
        self._since = now
        if self.in_progress >= MAX_IN_PROGRESS or self._left < 1:
            self.refused += 1
            return False
        self._left -= 1
        self.in_progress += 1
        return True

    def end(self) -> None:
        """A handshake is over, however it went."""
        self.in_progress -= 1

    def may_complain(self, host: str, reason: str, now: float) -> bool:
        """Whether this is new enough to be worth a line in the log."""
        complaints = self._complaints
        last = complaints.get((host, reason))
        if last is not None and now - last < COMPLAINT_EVERY:
            return False
        if len(complaints) >= MAX_COMPLAINTS:
            complaints.clear()
        complaints[host, reason] = now
        return True
