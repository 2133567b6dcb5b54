"""What a service's author wants done around its life: `before_start`, `after_start`, `before_stop`, `after_stop`.

Two pairs, one inside the other, as `with` blocks are: whoever got past the first half of a pair comes by its second, in
whatever way the service ends.
"""

import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from .arguments import kind_of

Hook = Callable[[], Awaitable[object] | object]
"""An async or a plain function without arguments."""

STOP_SECONDS = 5.0
"""Longest time that all hooks of one kind may take at the end: nobody can be kept from leaving by a database that does
not answer."""

_log = logging.getLogger(__name__)


class Hooks:
    """The hooks of one service; those of a kind run one after the other in the order they were added."""

    def __init__(self, name: Callable[[], str]) -> None:
        """`name` says whose they are, for the log."""
        self._name = name
        self.before_start: list[Hook] = []
        """Run before the service listens. What they raise keeps it from starting."""
        self.after_start: list[Hook] = []
        """Run when the service is registered and answers. What they raise ends it."""
        self.before_stop: list[Hook] = []
        """Run while the service is still registered and answers."""
        self.after_stop: list[Hook] = []
        """Run when the last call has been answered."""

    def add(self, kind: str, hook: Hook) -> None:
        """Adds one to a kind, such as `before_start`. Raises `TypeError` for what is no function."""
        if not callable(hook):
            raise TypeError(f"{kind}: a hook is a function without arguments, not {kind_of(hook)}")
        hooks: list[Hook] = getattr(self, kind)
        hooks.append(hook)

    @asynccontextmanager
    async def around_life(self) -> AsyncIterator[None]:
        """`before_start` and `after_stop`, around all else."""
        await _run(self.before_start)
        try:
            yield
        finally:
            await self._run_at_the_end("after_stop", self.after_stop)

    @asynccontextmanager
    async def around_service(self) -> AsyncIterator[None]:
        """`after_start` and `before_stop`, around the time in which the service is offered."""
        await _run(self.after_start)
        try:
            yield
        finally:
            await self._run_at_the_end("before_stop", self.before_stop)

    async def _run_at_the_end(self, kind: str, hooks: list[Hook]) -> None:
        """Runs every hook, though others fail and though the service was cancelled: they close what is open. Of what
        goes wrong, the log tells."""
        deadline = trio.current_time() + STOP_SECONDS
        for hook in hooks:
            try:
                with trio.move_on_at(deadline, shield=True) as scope:
                    await _run([hook])
            except Exception:  # nobody is left to be told, and the others must have their turn
                _log.exception("%s: a hook %s failed", self._name(), kind)
            if scope.cancel_called:
                _log.warning("%s: the hooks %s did not end in %g s", self._name(), kind, STOP_SECONDS)
                break


async def _run(hooks: list[Hook]) -> None:
    for hook in hooks:
        result = hook()
        if inspect.isawaitable(result):
            await result
