"""Runs a machine that does its work in steps, each as soon as it is due and in a turn of the loop of its own.

`sdk.timers` gathers deadlines that are close, which is right for hundreds of links and wrong here: a step that is due
now would wait ten milliseconds, and the next one ten more. The checkpoint between two steps is what keeps a long
computation from holding up calls.
"""

import math
from typing import Final, Never

import trio

from sdk.timers import Timed

AT_ONCE: Final = 4
"""Steps that may be run in one turn when it is urgent. To go around a lost link, a network of a hundred nodes takes
three, which are half a millisecond together."""


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
            self._run_one()

    def hurry(self) -> None:
        """Runs what is due here and now, up to `AT_ONCE` steps: the rest has its turn later."""
        for _ in range(AT_ONCE):
            if not self._run_one():
                break

    def _run_one(self) -> bool:
        now = trio.current_time()
        due = self._machine.next_timeout() <= now
        if due:
            self._machine.handle_timeout(now)
        return due
