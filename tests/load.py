"""A constant load of unary and streaming calls on `tests.ledger`, and what became of each of them.

    async with Load([Native(client, deadline=20), ...]) as load:      # programs of `tests.callers`
        await load.progress(100)            # a hundred calls that begin now are answered
        ...
    assert not broken_promises(load.calls, runs_in(folder), deadline=20)

The load is closed: a fixed number of tasks call all the time, each one call after the other. So with every call that a
fault takes down at most one other begins before the fault is known.
"""

import enum
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import trio

from tests.processes import PATIENCE

PAUSE = 0.01
"""Seconds that a task waits after a call that was not answered, as programs do that do not want to make it worse."""

GRACE = 2.0
"""Seconds by which the end of a call may be late on a busy machine."""


class Outcome(enum.Enum):
    """How a call ended, as its caller was told."""

    ANSWERED = "answered"
    FAILED = "failed by its handler"
    NOT_RUN = "not run"
    MAY_HAVE_RUN = "may have run"
    LATE = "no answer before its deadline"


class Kind(enum.Enum):
    """What sort of call it is."""

    UNARY = "one message each way"
    IDEMPOTENT = "the same, and it may run more than once"
    STREAMING = "several messages each way"


class Caller(Protocol):
    """A program that calls."""

    @property
    def tasks(self) -> Sequence[Kind]:
        """What it does all the time, at once."""

    async def call(self, id: str, kind: Kind) -> tuple[Outcome, str]:
        """Makes one call; how it ended, and what its caller was told, where it was not answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call that is over."""

    id: str
    """Its own, as the ledger has it."""
    program: str
    """What sort of program made it."""
    kind: Kind
    """What sort of call it was."""
    outcome: Outcome
    """How it ended."""
    detail: str
    """What its caller was told, where it was not answered."""
    began: float
    """When it was made."""
    ended: float
    """When it was over."""

    @property
    def idempotent(self) -> bool:
        """It may run more than once."""
        return self.kind is Kind.IDEMPOTENT


class Load:
    """The load, inside `async with`: it begins with the block and ends with the call that each task is at."""

    def __init__(self, callers: Iterable[Caller]) -> None:
        self.calls: list[Call] = []
        """All that are over."""
        self.in_flight = 0
        """Calls that are not over."""
        self._callers = list(callers)
        self._numbers = itertools.count()
        self._stopping = False
        self._changed = trio.lowlevel.ParkingLot()
        self._manager: AbstractAsyncContextManager[trio.Nursery] = trio.open_nursery()

    async def __aenter__(self) -> Self:
        nursery = await self._manager.__aenter__()
        for caller in self._callers:
            for kind in caller.tasks:
                nursery.start_soon(self._call_all_the_time, caller, kind)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._stopping = True
        return await self._manager.__aexit__(kind, error, traceback)

    async def progress(self, count: int) -> None:
        """Waits until so many calls were answered that begin from now on."""
        now, seen, answered = trio.current_time(), len(self.calls), 0
        with trio.fail_after(PATIENCE):
            while answered < count:
                await self._changed.park()
                answered += sum(
                    call.outcome in (Outcome.ANSWERED, Outcome.FAILED) and call.began >= now
                    for call in self.calls[seen:]
                )
                seen = len(self.calls)

    async def _call_all_the_time(self, caller: Caller, kind: Kind) -> None:
        while not self._stopping:
            id, began = str(next(self._numbers)), trio.current_time()
            self.in_flight += 1
            outcome, detail = await caller.call(id, kind)
            self.in_flight -= 1
            self.calls.append(
                Call(
                    id=id,
                    program=type(caller).__name__,
                    kind=kind,
                    outcome=outcome,
                    detail=detail,
                    began=began,
                    ended=trio.current_time(),
                )
            )
            self._changed.unpark_all()
            if outcome is not Outcome.ANSWERED:
                await trio.sleep(PAUSE)


def broken_promises(calls: Iterable[Call], runs: Counter[str], *, deadline: float) -> list[str]:
    """The calls whose callers were told something else than what became of them."""
    broken = []
    known = set()
    for call in calls:
        ran = runs[call.id]
        known.add(call.id)
        match call.outcome:
            case Outcome.ANSWERED:
                kept = ran == 1 or (call.idempotent and ran > 1)
            case Outcome.FAILED:
                kept = ran == 1  # an error of the application is an answer: not even what may run twice is repeated
            case Outcome.NOT_RUN:
                kept = ran == 0
            case Outcome.MAY_HAVE_RUN | Outcome.LATE:
                kept = ran <= 1 or call.idempotent
        if not kept:
            broken.append(f"ran {ran} times: {call}")
        if call.ended - call.began > deadline + GRACE:
            broken.append(f"went on for {call.ended - call.began:.1f} s: {call}")
    if strangers := runs.keys() - known:
        broken.append(f"ran and were never called: {sorted(strangers)}")
    return broken


def those(calls: Sequence[Call], outcome: Outcome) -> list[Call]:
    """The calls that ended so."""
    return [call for call in calls if call.outcome is outcome]


def summary(calls: Sequence[Call]) -> str:
    """How many ended how, for a person; and by which sort of program, where they were not answered."""
    counts = Counter((call.outcome, "" if call.outcome is Outcome.ANSWERED else f" ({call.program})") for call in calls)
    order = tuple(Outcome)
    found = sorted(counts, key=lambda each: (order.index(each[0]), each[1]))
    return ", ".join(f"{counts[outcome, whose]} {outcome.value}{whose}" for outcome, whose in found)
