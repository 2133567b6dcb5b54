"""The end of a turn of the loop: when every task that could run has run, and before anything is waited for.

What tasks have produced until then goes out at once, in one write for each connection. A task that is woken for it
would run one turn later, after another look at all sockets, which costs a call that travels alone a fifth of its time
in a node; and writing at once, while the others still run, would give up that what gathers in a turn is one write.

trio calls its instruments at this point. Nothing may be awaited here, and what is done has to be short.
"""

from collections.abc import Callable
from typing import Final

import trio

ROUNDS: Final = 8
"""How often functions at the end of a turn may ask for others before those have to wait for the next turn."""


class Turn(trio.abc.Instrument):
    """The turns of one run of the loop."""

    def __init__(self) -> None:
        self._at_end: list[Callable[[], None]] = []
        self._woken = False
        self._token = trio.lowlevel.current_trio_token()

    def at_end(self, function: Callable[[], None]) -> None:
        """Calls the function, which may not raise, at the end of this turn."""
        self._at_end.append(function)

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        """Called by trio when a task can run again."""
        self._woken = True

    def before_io_wait(self, timeout: float) -> None:
        """Called by trio, which has decided by now how long it will wait."""
        if not self._at_end:
            return
        self._woken = False
        for _ in range(ROUNDS):
            functions, self._at_end = self._at_end, []
            for function in functions:
                function()
            if not self._at_end:
                break
        if (self._woken or self._at_end) and timeout > 0:
            self._token.run_sync_soon(_nothing, idempotent=True)  # there is something to do: it must not wait


_turn: trio.lowlevel.RunVar[Turn] = trio.lowlevel.RunVar("turn")


def current_turn() -> Turn:
    """The turns of the loop that runs here."""
    try:
        return _turn.get()
    except LookupError:
        turn = Turn()
        trio.lowlevel.add_instrument(turn)
        _turn.set(turn)
        return turn


def _nothing() -> None:
    pass
