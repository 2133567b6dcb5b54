"""Which of many lines a log has: the first of each kind, and then how many more there were.

A back end that is down fails every call, thousands in a second, and a line for each of them is some 20 GB in a day that
say one thing.
"""

import math
from typing import Final

WINDOW: Final = 10.0
"""Seconds after which the first lines are told again."""

FIRST: Final = 10
"""Lines of one kind that are told in such a time."""

MAX_KINDS: Final = 100
"""Kinds that are counted apart in such a time: callers can name any number of services."""

OTHERS: Final = ""
"""The kind of all that come after these."""


class Restraint:
    """Counts lines by their kind."""

    def __init__(self) -> None:
        self.until = math.inf
        """When `withheld` has something to tell, in seconds of the caller's clock."""
        self._end = -math.inf
        self._lines: dict[str, int] = {}

    def may_tell(self, kind: str, now: float) -> bool:
        """Counts a line of this kind, and says whether it is one of the first. Ask `withheld` before, at `until`."""
        if now >= self._end:
            self._end = now + WINDOW
            self._lines = {}
        if kind not in self._lines and len(self._lines) >= MAX_KINDS:
            kind = OTHERS
        count = self._lines[kind] = self._lines.get(kind, 0) + 1
        if count > FIRST:
            self.until = self._end
        return count <= FIRST

    def withheld(self) -> list[tuple[str, int]]:
        """How many lines of which kind were not told since it was asked last; `OTHERS` is the kind of those that were
        of too many."""
        found = [(kind, count - FIRST) for kind, count in self._lines.items() if count > FIRST]
        self.until, self._end = math.inf, -math.inf
        return found
