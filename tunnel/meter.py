"""How much a link carries, and how much of it gets lost: counts that are read now and then, made into shares and rates.

Nothing here is called per frame. Loss is what TCP had to send again; a protocol of our own would not learn of it,
since to the link nothing is ever lost, only late.
"""

from typing import Final, NamedTuple

WEIGHT: Final = 0.25
"""Share of the newest look in a rate: what went on four seconds ago still counts for a third."""

KEPT: Final = 31 / 32
"""What is left of a segment at the next look. An idle link sends two segments a second, so it remembers 64."""
FEWEST: Final = 64
"""Segments that loss is a share of at least: one lost out of the first three is no third."""
MOST: Final = 1024
"""Segments that are remembered at most: a busy link knows its loss within seconds."""


class Segments(NamedTuple):
    """What TCP has sent on one connection so far."""

    sent: int
    """Segments with data, those sent again included."""
    again: int
    """Segments sent again."""


class Rate:
    """Bytes a second, smoothed over a few looks."""

    __slots__ = ("_before", "value")

    def __init__(self) -> None:
        self.value = 0.0
        """Bytes a second."""
        self._before = 0

    def look(self, total: int, seconds: float) -> int:
        """Takes a total that rose for so many seconds since the last look; returns by how much it rose."""
        risen, self._before = total - self._before, total
        self.value += WEIGHT * (risen / seconds - self.value)
        return risen


class Loss:
    """The share of segments that had to be sent again, of those sent lately."""

    __slots__ = ("_again", "_before", "_sent")

    def __init__(self) -> None:
        self._before = Segments(0, 0)
        self._sent = self._again = 0.0

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return min(1.0, self._again / max(self._sent, FEWEST))

    def look(self, total: Segments) -> None:
        """Takes the totals of this moment; called at even intervals."""
        sent = self._sent * KEPT + total.sent - self._before.sent
        again = self._again * KEPT + total.again - self._before.again
        self._before = total
        shrink = min(1.0, MOST / sent) if sent else 1.0
        self._sent, self._again = sent * shrink, again * shrink
