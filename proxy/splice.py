"""Runs a raw TCP port over its socket: one task reads while there is credit, one writes what has come.

Each direction ends by itself. The connection is closed when both have, and broken off when the call was reset: whoever
is at the other end of the socket should not take a call that was cut short for one that came to its end.
"""

import trio

from sdk.rawsocket import RawSocket

from .tcp import PIECE, TcpPort

STOPPING = "this node is stopping"
"""The reason where the connection was ended by whoever runs it."""


LINGER = 2.0
"""Seconds that the other end has to close a connection on which both directions are over."""


async def splice(port: TcpPort, transport: RawSocket, first: bytes = b"") -> None:
    """Carries bytes both ways until both are at their end, the connection breaks, or the call is reset; `first` was
    read from the connection already. It closes the socket."""
    splicing = _Splicing(port, transport)
    reason = STOPPING
    try:
        reason = await splicing.run(first)
    finally:
        port.connection_lost(reason)
        if port.reset is not None or reason == STOPPING:
            transport.abort()
        else:
            transport.close()


class _Splicing:
    def __init__(self, port: TcpPort, transport: RawSocket) -> None:
        self._port = port
        self._transport = transport
        self._scope = trio.CancelScope()
        self._reader: trio.lowlevel.Task | None = None
        self._writer: trio.lowlevel.Task | None = None
        self._reason = "the connection is at its end"
        port.wake = self._wake

    async def run(self, first: bytes) -> str:
        """Runs both tasks; returns why it ended."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                await self._read(first)
        return self._reason

    def _wake(self) -> None:
        if self._port.reset is not None:
            self._scope.cancel()
            return
        if self._writer is not None:
            task, self._writer = self._writer, None
            trio.lowlevel.reschedule(task)
        if self._reader is not None and self._port.may_send > 0:
            task, self._reader = self._reader, None
            trio.lowlevel.reschedule(task)

    async def _read(self, data: bytes) -> None:
        port, receive_some = self._port, self._transport.receive_some
        try:
            if data:
                port.receive_data(data)
            while not port.wants_nothing:
                if port.may_send <= 0:
                    self._reader = trio.lowlevel.current_task()
                    await trio.lowlevel.wait_task_rescheduled(self._abort_reader)
                    continue
                port.receive_data(await receive_some(min(PIECE, port.may_send)))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._broken(error)

    async def _write(self) -> None:
        port, send_all = self._port, self._transport.send_all
        try:
            while True:
                out = port.data_to_send()
                if out:
                    await send_all(out[0] if len(out) == 1 else b"".join(out))
                elif port.finished_writing:
                    self._transport.send_eof()
                    if port.wants_nothing:  # who sends all the same must not make the system throw away the last bytes
                        self._scope.deadline = trio.current_time() + LINGER
                    return
                else:
                    self._writer = trio.lowlevel.current_task()
                    await trio.lowlevel.wait_task_rescheduled(self._abort_writer)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._broken(error)

    def _broken(self, error: Exception) -> None:
        self._reason = str(error) or "the connection broke"
        self._scope.cancel()

    def _abort_reader(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._reader = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _abort_writer(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._writer = None
        return trio.lowlevel.Abort.SUCCEEDED
