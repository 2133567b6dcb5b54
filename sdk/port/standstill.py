"""How long something has not moved, seen by looking at it now and then.

Looking costs what moves nothing: no clock is read and no timer set when a byte passes.
"""


class Standstill:
    """Remembers what was seen last."""

    __slots__ = ("_mark", "_since")

    def __init__(self) -> None:
        self._mark: object = None
        self._since = 0.0

    def lasts(self, mark: object, now: float) -> float:
        """Seconds since `mark` was first seen, which is another one after each move; None means that nothing has to
        move. That is at most as long as it has stood still, and less by up to the time between two looks."""
        if mark is None or mark != self._mark:
            self._mark, self._since = mark, now
        return now - self._since
