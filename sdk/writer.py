"""Writes what somebody produces: at the end of each turn of the loop in which there was something, or, when a transport
has to be waited for, in a task. What gathers meanwhile is the next write; there is no queue and no timer.
"""

from collections.abc import Callable
from typing import Final, Protocol

import trio

from .turn import current_turn

LIGHT: Final = 16384
"""Bytes of a write up to which the next is tried at the end of its turn: what comes in larger ones will soon have to
wait for room, which only a task can."""


class Sink(Protocol):
    """What is written to. One that has `send_now`, as `RawSocket` does, is written to at the end of a turn."""

    async def send_all(self, data: bytes, /) -> None:
        """Sends everything."""


class Writer:
    """The writing side of one connection."""

    def __init__(self, transport: Sink, take: Callable[[], bytes], over: Callable[[], bool]) -> None:
        """`take` drains what there is to write; being asked again means that it was written. `over` says, when there
        was nothing, that nothing more will come."""
        self._send_all = transport.send_all
        self._send_now: Callable[[bytes], bytes] | None = getattr(transport, "send_now", None)
        self._take = take
        self._over = over
        self._turn = current_turn()
        self._sleeping: trio.lowlevel.Task | None = None
        self._marked = False
        self._light = True
        self._unsent = b""
        self._failed: Exception | None = None

    def wake(self) -> None:
        """There is something to write now, or `over` says another thing."""
        task = self._sleeping
        if task is None:
            return
        if self._light and self._send_now is not None:
            if not self._marked:
                self._marked = True
                self._turn.at_end(self._flush)
        else:
            self._sleeping = None
            trio.lowlevel.reschedule(task)

    async def run(self) -> None:
        """Writes until it is over. Raises what the transport raises."""
        while True:
            if self._failed is not None:
                raise self._failed
            data, self._unsent = self._unsent, b""
            if not data:
                data = self._take()
            if data:
                self._light = len(data) <= LIGHT
                await self._send_all(data)
            elif self._over():
                return
            else:
                self._sleeping = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _flush(self) -> None:
        """Writes while the task sleeps; what does not go out at once, the end, and an error are left to it."""
        self._marked = False
        task, send_now = self._sleeping, self._send_now
        if task is None or send_now is None:
            return
        try:
            while data := self._take():
                self._unsent = send_now(data)
                if self._unsent:
                    break
            else:
                if not self._over():
                    return
        except Exception as error:
            self._failed = error
        self._sleeping = None
        trio.lowlevel.reschedule(task)

    def _abort(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._sleeping = None
        return trio.lowlevel.Abort.SUCCEEDED
