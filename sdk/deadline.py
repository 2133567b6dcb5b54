"""When a call is over: by the caller's cancel scope or, where it has none, by a default.

What is left goes with the call. The other end, and every node between, may be a little faster than the caller's own
scope; then the scope still has the say, and raises what trio raises.
"""

import math
from typing import NamedTuple

import trio

from .wire.frame import NO_DEADLINE

GRACE = 0.1
"""An answer `DEADLINE_EXCEEDED` that comes so many seconds before the caller's own deadline, or later, means that
deadline."""


class Deadline(NamedTuple):
    """When a call is over, and who says so."""

    ms: int
    """What the other end is told."""
    own: float
    """The caller's cancel scope, or infinity."""
    default: float
    """The default of unary calls, or infinity."""

    async def wait_for_own(self) -> None:
        """The other end was a little faster than the caller's own cancel scope, which then has the say."""
        if trio.current_time() >= self.own - GRACE:
            await trio.sleep_until(self.own + GRACE)


def deadline(default: float) -> Deadline:
    """What is left of the caller's deadline or, where there is none, of the default, in seconds."""
    own = trio.current_effective_deadline()
    now = trio.current_time()
    if own != math.inf:
        # Rounded up: whoever else watches this deadline must not be faster than the caller's own scope.
        return Deadline(_milliseconds(own - now), own, math.inf)
    if default == math.inf:
        return Deadline(NO_DEADLINE, own, math.inf)
    return Deadline(_milliseconds(default), own, now + default)


def _milliseconds(seconds: float) -> int:
    """As OPEN says it, rounded up; a deadline that has passed is 0."""
    return min(int(seconds * 1000) + 1, NO_DEADLINE - 1) if seconds > 0 else 0
