"""How often a thing that keeps changing is told: the first change at once, later ones together.

OSPF throttles the generation of LSAs in the same way, and Receptor its routing updates.
"""

from math import inf
from typing import Final

SHORTEST: Final = 0.020
"""Seconds from one telling to the next when changes have just begun."""
LONGEST: Final = 1.0
"""Seconds from one telling to the next when changes do not stop; as long without any, and the pace is forgotten."""


class Pace:
    """When a change may be told. The owner tells when `due` has come, and says so with `told`."""

    __slots__ = ("_interval", "_longest", "_next", "due")

    def __init__(self, *, longest: float = LONGEST) -> None:
        """`longest` are the seconds from one telling to the next when changes do not stop."""
        self._longest = longest
        self._interval = SHORTEST
        self._next = -inf
        self.due = inf
        """When to tell; `inf` while there is nothing to tell."""

    def changed(self, now: float, *, urgent: bool = False) -> None:
        """There is something to tell. What is urgent never waits."""
        self.due = min(self.due, now if urgent else max(now, self._next))

    def told(self, now: float) -> None:
        """Everything there was to tell has been told now."""
        quiet = now - self._next >= self._longest
        self._interval = SHORTEST if quiet else min(2 * self._interval, self._longest)
        self._next = now + self._interval
        self.due = inf
