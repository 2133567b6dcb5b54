"""Says whether something is told for the first time, so that the log names each fault once."""

from collections.abc import Hashable
from typing import Final

MOST: Final = 10_000
"""Things that are remembered. Where there were more, each may be told once more: instances come and go with ids of
their own, and so do their faults."""


class Once:
    """What was told."""

    def __init__(self) -> None:
        self._told: set[Hashable] = set()

    def first(self, what: Hashable) -> bool:
        """Whether it was not told yet; from now on it was."""
        if what in self._told:
            return False
        if len(self._told) >= MOST:
            self._told.clear()
        self._told.add(what)
        return True

    def over(self, what: Hashable) -> None:
        """It is so no more; should it be so again, that is told again."""
        self._told.discard(what)
