"""Runs a machine that does its work in steps, each as soon as it is due and in a turn of the loop of its own.

`sdk.timers` gathers deadlines that are close, which is right for hundreds of links and wrong here: a step that is due
now would wait ten milliseconds, and the next one ten more. The checkpoint between two steps is what keeps a long
computation from holding up calls.
"""

import math
from typing import Never

import trio

from sdk.timers import Timed


class Steps:
    """One machine and the task that runs its steps."""

    def __init__(self, machine: Timed) -> None:
        self._machine = machine
        self._due = -math.inf
        self._earlier = trio.Event()

    def poke(self) -> None:
        """Looks again at the machine, whose deadline may have come earlier."""
        if self._machine.next_timeout() < self._due:
            self._earlier.set()

    async def run(self) -> Never:
        """Runs the steps until cancelled."""
        while True:
            self._earlier = trio.Event()
            self._due = self._machine.next_timeout()
            with trio.move_on_at(self._due):
                await self._earlier.wait()
            self._due = -math.inf  # a poke from inside a step needs no answer: the loop looks again
            self.run_one()

    def run_one(self) -> None:
        """Runs one step here and now, if one is due."""
        now = trio.current_time()
        if self._machine.next_timeout() <= now:
            self._machine.handle_timeout(now)
