"""Two lives under one key: an earlier one of this node, which is over, or a twin that runs now.

Both look alike at first: others hold something newer under this node's id than it has said itself. It jumps above that
(RFC 2328, 13.4). What remains of an earlier life can be jumped over; a twin answers by jumping higher. So who has to
jump twice over the same other life within a minute has a twin, and the older of the two gives way. (Receptor detects
duplicate nodes by the epoch of their routing updates in the same way.)
"""

from collections import deque
from dataclasses import dataclass
from math import inf
from typing import Final

from .linkstate import LinkState

JUMP_EVERY: Final = 10.0
"""Seconds at least from one jump to the next, lest twins flood the network with their quarrel."""
TELLING: Final = 60.0
"""Seconds within which two jumps over one other life tell that it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """Another node that runs with this node's key."""

    born: int
    """The epoch of its start."""
    name: str
    """What it calls itself."""
    addresses: tuple[str, ...]
    """Where it says that it can be dialled."""
    withdrawn: bool
    """Whether this node, which is the older one, has given way."""
    since: float
    """When it was found out."""


class Twins:
    """Decides when to jump, and when that was too often."""

    def __init__(self, born: int) -> None:
        self.twin: Twin | None = None
        """The twin, once it is known."""
        self.due = inf
        """When to jump."""
        self._born = born
        self._above = 0
        self._other: LinkState | None = None
        self._after = -inf
        self._jumps: deque[tuple[float, int]] = deque(maxlen=2)

    @property
    def withdrawn(self) -> bool:
        """Whether this node has given way to its twin."""
        return self.twin is not None and self.twin.withdrawn

    def met(self, epoch: int, now: float, state: LinkState | None = None) -> None:
        """Others know something newer under this node's id than what it has said; `state` where that is a link state,
        which says more."""
        if state is not None and state.born != self._born:
            self._other = state
            if self.twin is not None and self._born < state.born and len(self._jumps) == 2:
                self._found(state, now, withdrawn=True)
                self.due = inf
                return
        self._above = max(self._above, epoch)
        self.due = min(self.due, max(now, self._after))

    def jump(self, now: float) -> int:
        """Answers with the epoch to go on in, which is above all that the other life has said or still can say."""
        self.due = inf
        self._after = now + JUMP_EVERY
        other, self._other = self._other, None
        if other is not None:
            self._jumps.append((now, other.born))
            (first, one), (_, two) = self._jumps[0], self._jumps[-1]
            if len(self._jumps) == 2 and one == two and now - first <= TELLING:
                self._found(other, now, withdrawn=False)
        return self._above + 1

    def _found(self, other: LinkState, now: float, *, withdrawn: bool) -> None:
        since = self.twin.since if self.twin else now
        self.twin = Twin(born=other.born, name=other.name, addresses=other.addresses, withdrawn=withdrawn, since=since)
