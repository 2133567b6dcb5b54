"""How well the node itself runs: whether its event loop gets to turn."""

from collections import deque
from typing import Final, Never

import trio

PERIOD: Final = 0.1
"""Seconds between two measurements."""
WINDOW: Final = 10.0
"""Seconds a measurement counts."""


class LoopLag:
    """How late the event loop wakes a task that asked for a time: the longest it was kept busy by others."""

    def __init__(self) -> None:
        self._late: deque[float] = deque(maxlen=round(WINDOW / PERIOD))

    @property
    def worst(self) -> float:
        """The longest delay of the last ten seconds, in seconds."""
        return max(self._late, default=0.0)

    def record(self, late: float) -> None:
        """Takes one measurement, in seconds."""
        self._late.append(max(0.0, late))

    async def run(self) -> Never:
        """Measures for ever."""
        while True:
            due = trio.current_time() + PERIOD
            await trio.sleep_until(due)
            self.record(trio.current_time() - due)
