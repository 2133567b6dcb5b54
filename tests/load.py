"""A constant load of unary and streaming calls on `tests.ledger`, and what became of each of them.

    async with Load(clients, deadline=20) as load:
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
from typing import Self

import trio

from sdk import Client
from sdk.errors import MicroError, Timeout, Unavailable
from tests.ledger import NAME, REASON
from tests.processes import PATIENCE

UNARY = 4
"""Tasks for each client that make unary calls; half of those are marked idempotent."""

STREAMING = 2
"""Tasks for each client that make streaming calls."""

MESSAGES = 5
"""Messages each way of a streaming call, so that it lasts several times as long as a unary one."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call that is over."""

    id: str
    """Its own, as the ledger has it."""
    idempotent: bool
    """It may run more than once."""
    streaming: bool
    """It has several messages each way."""
    outcome: Outcome
    """How it ended."""
    detail: str
    """What its caller was told, where it was not answered."""
    began: float
    """When it was made."""
    ended: float
    """When it was over."""


class Load:
    """The load, inside `async with`: it begins with the block and ends with the call that each task is at."""

    def __init__(self, clients: Iterable[Client], *, deadline: float) -> None:
        """The clients' own default deadline must be the same, in seconds; streams are given it here."""
        self.calls: list[Call] = []
        """All that are over."""
        self.in_flight = 0
        """Calls that are not over."""
        self._clients = list(clients)
        self._deadline = deadline
        self._numbers = itertools.count()
        self._stopping = False
        self._changed = trio.lowlevel.ParkingLot()
        self._manager: AbstractAsyncContextManager[trio.Nursery] = trio.open_nursery()

    async def __aenter__(self) -> Self:
        nursery = await self._manager.__aenter__()
        for client in self._clients:
            for number in range(UNARY):
                nursery.start_soon(self._call_all_the_time, client, False, number % 2 == 0)
            for _ in range(STREAMING):
                nursery.start_soon(self._call_all_the_time, client, True, False)
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

    async def _call_all_the_time(self, client: Client, streaming: bool, idempotent: bool) -> None:
        while not self._stopping:
            id, began = str(next(self._numbers)), trio.current_time()
            self.in_flight += 1
            outcome, detail = await self._call(client, id, streaming, idempotent)
            self.in_flight -= 1
            self.calls.append(
                Call(
                    id=id,
                    idempotent=idempotent,
                    streaming=streaming,
                    outcome=outcome,
                    detail=detail,
                    began=began,
                    ended=trio.current_time(),
                )
            )
            self._changed.unpark_all()
            if outcome is not Outcome.ANSWERED:
                await trio.sleep(PAUSE)

    async def _call(self, client: Client, id: str, streaming: bool, idempotent: bool) -> tuple[Outcome, str]:
        try:
            if streaming:
                with trio.fail_after(self._deadline):
                    await talk(client, id)
            else:
                reply = await client.call(NAME, "Ledger.Work", {"id": id}, idempotent=idempotent)
                assert reply == {"id": id}, reply
        except (Timeout, trio.TooSlowError) as error:
            return Outcome.LATE, str(error)
        except MicroError as error:
            if error.detail == REASON:
                return Outcome.FAILED, str(error)
            if isinstance(error, Unavailable):
                return Outcome.MAY_HAVE_RUN if error.may_have_run else Outcome.NOT_RUN, str(error)
            raise
        return Outcome.ANSWERED, ""


async def talk(client: Client, id: str) -> None:
    """A streaming call: each message is sent when the one before was answered."""
    async with client.stream(NAME, "Ledger.Talk", {"id": id}) as stream:
        assert await stream.receive() == {"id": id}
        for n in range(1, MESSAGES):
            try:
                await stream.send({"n": n})
            except trio.BrokenResourceError:
                pass  # whoever receives is told why
            assert await stream.receive() == {"n": n}
        await stream.send_eof()
        async for message in stream:
            raise AssertionError(f"more came than was asked for: {message}")


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
    """How many ended how, for a person."""
    counts = Counter(call.outcome for call in calls)
    return ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome if counts[outcome])
