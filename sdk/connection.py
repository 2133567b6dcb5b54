"""Runs a machine over a stream: one task reads, one writes, and neither knows the protocol.

The writer takes all the output there is at the end of a turn of the loop, and what gathers while it has to wait is its
next write. So batching is driven by back-pressure and never by a timer.
"""

from collections.abc import Callable
from typing import Protocol

import trio

from .errors import RemoteProtocolError
from .timers import Timed, Timers
from .writer import Writer

READ_SIZE = 65536
"""Bytes read at a time: one hot connection must not hold up the others."""

LAST_WORDS = 0.2
"""Seconds that a connection that ends has for what is on its way: output that waits to go out, or, where writing broke,
what the peer said before it left."""

CLOSED_HERE = "the connection was closed by this side"
"""The reason where none was given."""

BROKEN = "the connection broke"
"""The reason where the transport gives none."""


class Machine(Timed, Protocol):
    """A protocol without I/O, on one connection."""

    wake: Callable[[], None]
    """Set by the driver; called by the machine when its output goes from empty to something."""
    close: Callable[[str], None]
    """Set by the driver; the machine, or its owner, ends the connection with it and says why."""

    def receive_data(self, data: bytes, now: float) -> bool:
        """Takes bytes; True when it wants to be called again with none, after others had their turn."""

    def data_to_send(self, now: float) -> bytes:
        """Drains the output."""

    def connection_lost(self, reason: str) -> None:
        """The connection is gone, and why."""


class Transport(Protocol):
    """What bytes travel over; any `trio.abc.Stream` is one. One that has `send_now`, as `RawSocket` does, is written to
    at the end of the turn in which there is something to write."""

    async def receive_some(self, max_bytes: int | None = None, /) -> bytes | bytearray:
        """What has arrived; nothing at the end."""

    async def send_all(self, data: bytes, /) -> None:
        """Sends everything."""

    async def aclose(self) -> None:
        """Closes it."""


async def run_connection(
    machine: Machine, transport: Transport, *, timers: Timers | None = None, first: bytes = b""
) -> RemoteProtocolError | None:
    """Drives `machine` until the peer closes, breaks the connection or the rules, or the caller cancels.

    `first` is what was read already, to find out the protocol. However it ends, output that waits has `LAST_WORDS`
    seconds to go out; then `machine.connection_lost` is called with the reason, once, and the transport closed. A fault
    of the peer is never raised, but returned where it broke a rule; an error of ours is raised, in an exception group,
    after the same clean-up.
    """
    connection = _Connection(machine, transport)
    if timers:
        timers.watch(machine)
    try:
        await connection.run(first)
    except Exception as error:
        connection.reason = f"an error of this side: {_kind(error)}"
        raise
    finally:
        if timers:
            timers.unwatch(machine)
        try:
            machine.connection_lost(connection.reason or CLOSED_HERE)
        finally:
            with trio.move_on_after(1, shield=True):
                await transport.aclose()
    return connection.fault


def _kind(error: Exception) -> str:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__


class _Connection:
    """The two tasks, and how they end."""

    def __init__(self, machine: Machine, transport: Transport) -> None:
        self._machine = machine
        self._transport = transport
        self._reading = trio.CancelScope()
        self._writing = trio.CancelScope(shield=True)
        self._ending = False
        self.reason = ""
        """Why it ended; the first reason given stays."""
        self.fault: RemoteProtocolError | None = None
        """The rule that the peer broke."""
        self._broken = ""
        self._writer = Writer(transport, lambda: machine.data_to_send(trio.current_time()), lambda: self._ending)
        machine.wake = self._writer.wake
        machine.close = self._close

    def _close(self, reason: str) -> None:
        """Ends the connection from this side, once what waits has gone out."""
        self.reason = self.reason or reason
        self._reading.cancel()

    async def run(self, first: bytes) -> None:
        """Runs both tasks until they end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            try:
                with self._reading:
                    self._close(await self._read(first))
                self.reason = self.reason or self._broken
            finally:
                # The last words, a RESET or an alert, get a moment to go out, also when the caller cancels.
                self._ending = True
                self._writing.deadline = trio.current_time() + LAST_WORDS
                self._writer.wake()

    async def _read(self, data: bytes | bytearray) -> str:
        receive_some, receive_data = self._transport.receive_some, self._machine.receive_data
        try:
            if not data:
                data = await receive_some(READ_SIZE)
            while data:
                more = receive_data(bytes(data), trio.current_time())
                while more:
                    await trio.lowlevel.checkpoint()
                    more = receive_data(b"", trio.current_time())
                data = await receive_some(READ_SIZE)
        except RemoteProtocolError as error:
            self.fault = error
            return str(error)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            return str(error) or BROKEN
        return "the peer closed the connection"

    async def _write(self) -> None:
        try:
            with self._writing:
                await self._writer.run()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            # The reader goes on for a moment: it knows better why, or the peer said it before it left.
            self._broken = str(error) or BROKEN
            self._reading.deadline = trio.current_time() + LAST_WORDS
