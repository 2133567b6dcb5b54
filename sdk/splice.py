"""Runs a port that carries one call at a time over its socket: one task reads while there is credit, one writes what
has come.

Each direction ends by itself. The connection is closed when both have, and broken off when the call was reset: whoever
is at the other end of the socket should not take a call that was cut short for one that came to its end.
"""

import math
from typing import Protocol

import trio

from .port import Wake
from .wire.frame import Reset
from .writer import Writer

STOPPING = "this end is stopping"
"""The reason where the connection was ended by whoever runs it."""

LINGER = 2.0
"""Seconds that the other end has to close a connection on which both directions are over."""


class Connected(Protocol):
    """What such a port runs over: `RawSocket`, and TLS over one."""

    async def receive_some(self, max_bytes: int | None = None, /) -> bytes:
        """What has arrived; nothing at the end."""

    async def send_all(self, data: bytes, /) -> None:
        """Sends everything."""

    async def send_eof(self) -> None:
        """Sends nothing more; receiving goes on."""

    def abort(self) -> None:
        """Closes it so that the other end sees it broken and not ended."""

    def close(self) -> None:
        """Closes it at once."""


class OneCallPort(Protocol):
    """What such a port shows its driver: `TcpPort`, and the ports of HTTP/1.1."""

    wake: Wake
    """Set by the driver; called when there is something to write, to read again, or to end."""
    reset: Reset | None
    """Why the connection has to be broken off, if it has."""

    @property
    def may_read(self) -> int:
        """Bytes that may be read from the connection now."""

    @property
    def wants_nothing(self) -> bool:
        """Whether nobody is left who would take what comes from the connection."""

    @property
    def finished_writing(self) -> bool:
        """Whether nothing more will be written to the connection."""

    def receive_data(self, data: bytes) -> None:
        """Bytes came from the connection, at most `may_read`; none are its end."""

    def data_to_send(self) -> list[bytes]:
        """Drains what waits to be written. Being asked again means that it was written."""

    def connection_lost(self, reason: str) -> None:
        """The connection is gone; called again it does nothing."""


async def splice(port: OneCallPort, transport: Connected, first: bytes = b"") -> None:
    """Carries bytes both ways until both are at their end, the connection breaks, or the call is reset; `first` was
    read from the connection already. It closes the socket."""
    splicing = _Splicing(port, transport)
    reason = STOPPING
    try:
        reason = await splicing.run(first)
    finally:
        port.connection_lost(reason)
        if port.reset is not None or (reason == STOPPING and not splicing.written):
            transport.abort()
        else:
            transport.close()


class _Splicing:
    def __init__(self, port: OneCallPort, transport: Connected) -> None:
        self._port = port
        self._transport = transport
        self._scope = trio.CancelScope()
        self._reader: trio.lowlevel.Task | None = None
        self.written = False
        """All is written, and its end has been said."""
        self._writer = Writer(transport, self._take, lambda: port.finished_writing)
        self._reason = "the connection is at its end"
        port.wake = self._wake

    async def run(self, first: bytes) -> str:
        """Runs both tasks; returns why it ended."""
        if self._port.reset is not None:  # before there was a connection: what the caller sent goes nowhere
            return self._port.reset.detail
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                await self._read(first)
        return self._why()

    def _wake(self) -> None:
        if self._port.reset is not None:
            self._scope.cancel()
            return
        self._writer.wake()
        if self._reader is not None and self._port.may_read > 0:
            task, self._reader = self._reader, None
            trio.lowlevel.reschedule(task)
        self._linger()

    def _take(self) -> bytes:
        out = self._port.data_to_send()
        return out[0] if len(out) == 1 else b"".join(out)

    def _linger(self) -> None:
        """Where both directions are over and the other end has not closed, it has a moment to do so: on a connection
        that is closed with bytes in it the system throws away what was written last."""
        if self.written and self._port.wants_nothing and self._scope.deadline == math.inf:
            self._scope.deadline = trio.current_time() + LINGER

    async def _read(self, data: bytes) -> None:
        port, receive_some = self._port, self._transport.receive_some
        try:
            if data:
                port.receive_data(data)
            while True:
                size = port.may_read
                if not size:
                    self._reader = trio.lowlevel.current_task()
                    await trio.lowlevel.wait_task_rescheduled(self._abort_reader)
                    continue
                data = await receive_some(size)
                port.receive_data(data)
                if not data:
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._broken(error)

    async def _write(self) -> None:
        try:
            await self._writer.run()
            await self._transport.send_eof()
            self.written = True
            self._linger()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._broken(error)

    def _why(self) -> str:
        return self._reason if self._port.reset is None else self._port.reset.detail

    def _broken(self, error: Exception) -> None:
        self._reason = str(error) or "the connection broke"
        self._scope.cancel()

    def _abort_reader(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._reader = None
        return trio.lowlevel.Abort.SUCCEEDED
