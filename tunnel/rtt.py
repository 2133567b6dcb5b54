"""How far away a peer is, and when its silence means that it is dead."""

from typing import Final

SHORTEST: Final = 2.5
LONGEST: Final = 10.0
"""Seconds of silence within which a peer is declared dead. RFC 6298 would wait a second for an answer; a busy Python
process may take longer, and a link declared dead for nothing costs every call on it."""


class RoundTrip:
    """The smoothed round trip and its variation, as RFC 6298 computes them for TCP. Seconds."""

    __slots__ = ("rttvar", "srtt")

    def __init__(self) -> None:
        self.srtt: float | None = None
        """Smoothed round trip; None until the first sample."""
        self.rttvar = 0.0
        """Smoothed deviation from it."""

    def sample(self, rtt: float) -> None:
        """Takes one measured round trip in."""
        if self.srtt is None:
            self.srtt = rtt
            self.rttvar = rtt / 2
        else:
            self.rttvar += (abs(self.srtt - rtt) - self.rttvar) / 4
            self.srtt += (rtt - self.srtt) / 8

    def dead_after(self, interval: float) -> float:
        """Seconds of silence after which a peer that is asked every `interval` seconds counts as dead."""
        return min(max(4 * (self.srtt or 0.0) + 4 * self.rttvar + 2 * interval, SHORTEST), LONGEST)
