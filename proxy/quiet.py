"""One look each second at all connections of programs that speak HTTP, for those that have gone quiet.

A deadline of each, in a heap, would cost more: it moves with every request.
"""

import math
from typing import Protocol

SWEEP = 1.0
"""Seconds between two looks."""


class Quiet(Protocol):
    """A connection that may be quiet for too long."""

    def handle_timeout(self, now: float) -> None:
        """Ends it if it has been."""


class QuietWatch:
    """Those that are open. It has deadlines, for `Timers`."""

    def __init__(self) -> None:
        self.ports: dict[Quiet, None] = {}
        """Written by whoever opens and closes them."""
        self._looked = -math.inf

    def next_timeout(self) -> float:
        """When to look again."""
        return self._looked + SWEEP

    def handle_timeout(self, now: float) -> None:
        """Looks at all of them."""
        self._looked = now
        for port in list(self.ports):
            port.handle_timeout(now)
