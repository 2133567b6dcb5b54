"""When a call may be tried again, what is kept of it for that, and how often it may be done.

Trying again is safe where no handler can have seen the call, and where the call may run more than once: its caller
says so, or it is HTTP and the method says so. It is worth while where the failure is one of the way or of the
instance, not of the call.

It is bounded, so that a service in trouble does not get a multiple of its load on top: retries are paid from a budget
that calls fill, as in Finagle's `RetryBudget`.
"""

import math
from typing import TYPE_CHECKING, Final

from sdk.errors import Status
from sdk.head import IDEMPOTENT, IDEMPOTENT_METHODS, CallHead, parse_call_head_untrusted
from sdk.wire.frame import Fate, Reset, open_layout_untrusted

if TYPE_CHECKING:
    from sdk.port import Port
    from sdk.selector import Load

SHARE: Final = 0.2
"""Retries that each call adds to the budget."""
PER_SECOND: Final = 10.0
"""Retries that each second adds, for nodes with few calls."""
MEMORY: Final = 10.0
"""Seconds in which what was not used of the budget fades to 1/e: a quiet hour does not pay for a storm."""

MAX_TRIES: Final = 3
"""Times that a call is sent, the first one included."""
MAX_KEPT_TOGETHER: Final = 32 << 20
"""Bytes that a node keeps of all requests. What comes then is carried, but not tried again. (Of one, the body bytes of
the first credit are kept, 64 KiB.)"""


def may_run_twice(head: CallHead) -> bool:
    """Whether it does no harm when a call runs more than once: it is marked so, or HTTP's method says so. An upgrade
    begins a conversation, whatever its method."""
    if head.flags & IDEMPOTENT:
        return True
    if head.protocol != "http":
        return False
    method = ""
    for at in range(0, len(head.metadata), 2):
        key = head.metadata[at]
        if key == ":upgrade":
            return False
        if key == ":method":
            method = head.metadata[at + 1]
    return method in IDEMPOTENT_METHODS


def is_worth_while(reset: Reset, *, over_link: bool) -> bool:
    """Whether somebody else may do better than whoever ended a call so: `over_link`, another node did.

    Not found is the word of a node whose instance has just gone, and exhausted that of one which has enough to do:
    where neither has run, others may have an instance, and time.
    """
    if reset.status == Status.UNAVAILABLE:
        return True
    elsewhere = (Status.NOT_FOUND, Status.RESOURCE_EXHAUSTED)
    return over_link and reset.fate == Fate.NOT_REACHED and reset.status in elsewhere


class Kept:
    """What is kept of one call that was opened, beyond its OPEN: made when it is needed."""

    __slots__ = ("body", "failed", "may_have_run", "opened", "owed", "replaying", "settled", "trailers", "tries")

    def __init__(self, opened: bytes) -> None:
        self.opened = opened
        """The payload of its OPEN, as it came."""
        self.body = bytearray()
        """The body bytes that came after it."""
        self.trailers: bytes | None = None
        """The payload of the frame that ended the request, where that had trailers."""
        self.owed = 0
        """Credit that was granted for it and that the caller has not been given."""
        self.tries = 1
        """How often it was sent."""
        self.failed: list[Load | Port] = []
        """Those who did not answer, and the links that did not carry it."""
        self.may_have_run = False
        """One of the tries may have reached a handler."""
        self.replaying = False
        """It is being sent again at this moment: what else the caller sends waits its turn."""
        self.settled = False
        """While that was done it was answered."""

    @property
    def head(self) -> CallHead:
        """The call's head."""
        _, _, path_end, head_end = open_layout_untrusted(self.opened)
        return parse_call_head_untrusted(self.opened[path_end + 6 : head_end])

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return len(self.opened) + len(self.body) + len(self.trailers or b"")


class Budget:
    """How many retries a node has left: a bucket that calls and time fill, and that leaks."""

    def __init__(self) -> None:
        self.calls = 0
        """Calls that could have been tried again, so far; counted by whoever opens them."""
        self.held = 0
        """Bytes that are kept of all requests, counted likewise."""
        self.spent = 0
        """Retries so far."""
        self._left = PER_SECOND * MEMORY
        self._seen = 0
        self._stamp = -math.inf

    def spend(self, now: float) -> bool:
        """Takes one retry, if there is one."""
        self.fill(now)
        if self._left < 1.0:
            return False
        self._left -= 1.0
        self.spent += 1
        return True

    def fill(self, now: float) -> None:
        """Adds what has come in since this was called last, as if it had come evenly."""
        elapsed, calls = now - self._stamp, self.calls - self._seen
        if elapsed > 0:
            fade = math.exp(-elapsed / MEMORY)
            self._left = self._left * fade + (SHARE * calls / elapsed + PER_SECOND) * MEMORY * (1.0 - fade)
            self._stamp, self._seen = now, self.calls
