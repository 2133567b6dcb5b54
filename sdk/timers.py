"""One task that watches the deadlines of every machine of a process.

Machines name their next deadline; the task looks again when it is due and not before, so traffic that pushes a
deadline back (as it does with a link's silence) costs nothing. Only a deadline that came *earlier* has to be told, by
`poke`.
"""

import heapq
import itertools
import math
from typing import Final, Never, Protocol

import trio

GRAIN = 0.01
"""Seconds by which a deadline is missed so that neighbours are handled together. Late, never early: a machine that is
called before its time would find nothing to do."""

LEFTOVERS: Final = 64
"""Entries of machines that are gone, which the heap may always have."""


class Timed(Protocol):
    """A machine with deadlines."""

    def next_timeout(self) -> float:
        """When it wants to be called, on trio's clock; infinity for never."""

    def handle_timeout(self, now: float) -> None:
        """Does what is due."""


class Timers:
    """The deadlines of a process, in a heap."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timed]] = []
        self._due: dict[int, float] = {}
        self._count = itertools.count()
        self._earlier = trio.Event()

    def watch(self, machine: Timed) -> None:
        """Begins to watch a machine, or looks again at one whose deadline came earlier."""
        due = machine.next_timeout()
        if due < self._due.get(id(machine), math.inf):
            self._due[id(machine)] = due
            heapq.heappush(self._heap, (due, next(self._count), machine))
            if self._heap[0][2] is machine:
                self._earlier.set()
        else:
            self._due.setdefault(id(machine), math.inf)

    def poke(self, machine: Timed) -> None:
        """Looks again at a watched machine whose deadline came earlier; of one not watched it does nothing."""
        if id(machine) in self._due:
            self.watch(machine)

    def unwatch(self, machine: Timed) -> None:
        """Forgets a machine. What is left of it in the heap is skipped, and cleared away when most of the heap is such:
        to look through it each time would cost a connection as much as there are others."""
        if self._due.pop(id(machine), None) is not None and len(self._heap) > 2 * len(self._due) + LEFTOVERS:
            self._heap = [item for item in self._heap if id(item[2]) in self._due]
            heapq.heapify(self._heap)

    async def run(self) -> Never:
        """Calls each machine when its deadline comes. Runs until cancelled."""
        while True:
            self._earlier = trio.Event()
            due = self._heap[0][0] if self._heap else math.inf
            with trio.move_on_at(due + GRAIN):
                await self._earlier.wait()
            self.handle(trio.current_time())

    def handle(self, now: float) -> None:
        """Calls every machine whose deadline has come, once, and asks it for its next one."""
        ready = []
        while self._heap and self._heap[0][0] <= now:
            due, _, machine = heapq.heappop(self._heap)
            if self._due.get(id(machine)) == due:
                self._due[id(machine)] = math.inf
                ready.append(machine)
        for machine in ready:
            if id(machine) not in self._due:  # unwatched by one before it
                continue
            if machine.next_timeout() <= now:
                machine.handle_timeout(now)
            if id(machine) in self._due:
                self._again(machine, now)

    def _again(self, machine: Timed, now: float) -> None:
        """Puts a machine back at its next deadline, at least a grain away: one that insists must not hold the loop."""
        due = max(machine.next_timeout(), now + GRAIN)
        if due < self._due[id(machine)]:
            self._due[id(machine)] = due
            heapq.heappush(self._heap, (due, next(self._count), machine))
