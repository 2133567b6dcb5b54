"""Listeners that let in who has connected already before they close.

The system completes connections before a program accepts them. Those that wait in that moment would be broken off by
closing the listener, and who is at the other end could not tell whether what it has sent was read.
"""

import select
from collections.abc import Awaitable, Callable, Sequence

import trio

ADMIT_WITHIN = 0.25
"""Seconds for which those are let in who wait to be accepted; new ones may come all the time."""


class Doors:
    """The listeners of one port."""

    def __init__(self) -> None:
        self._scope = trio.CancelScope()
        self._listeners: list[trio.SocketListener] = []
        self._shut: trio.Event | None = None

    @property
    def closed(self) -> bool:
        """Whether nobody is let in any more."""
        return self._scope.cancel_called

    async def serve(
        self,
        handler: Callable[[trio.SocketStream], Awaitable[object]],
        listeners: Sequence[trio.SocketListener],
        nursery: trio.Nursery,
    ) -> None:
        """Accepts until `close`, runs `handler` in `nursery` for each connection, and closes the listeners. There may
        be none."""
        self._listeners = list(listeners)
        self._shut = trio.Event()
        try:
            with self._scope:
                if self._listeners:
                    await trio.serve_listeners(handler, self._listeners, handler_nursery=nursery)
                await trio.sleep_forever()
        finally:
            self._shut.set()

    async def close(self) -> None:
        """Lets in who waits, and then nobody: returns when the listeners are closed, if there are any yet."""
        with trio.move_on_after(ADMIT_WITHIN):
            while not self.closed and self._somebody_waits():
                await trio.lowlevel.checkpoint()
        self._scope.cancel()
        if self._shut is not None:
            await self._shut.wait()

    def _somebody_waits(self) -> bool:
        poll = select.poll()
        for listener in self._listeners:
            poll.register(listener.socket.fileno(), select.POLLIN)
        return bool(poll.poll(0))
