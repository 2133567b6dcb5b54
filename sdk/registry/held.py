"""What a registry object has written into its store, for as long as it may stand there.

A node registers for others, who are killed or lose their node, and never say that they are gone. What has run out in
the store is forgotten here as well, or a node that runs for months would know of every instance there ever was.
"""

from typing import Final, Generic, TypeVar

import trio

LEAST: Final = 64
"""So few are not looked through."""

T = TypeVar("T")


class Held(Generic[T]):
    """By key. Time is trio's."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[T, float]] = {}
        self._look_at = LEAST

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, key: str, what: T, ttl: float) -> None:
        """This was written or renewed just now, for `ttl` seconds, infinite for ever. It is known for twice as long,
        so that a renewal that comes late is still one."""
        now = trio.current_time()
        self._kept[key] = (what, now + 2 * ttl)
        if len(self._kept) >= self._look_at:
            self._kept = {each: kept for each, kept in self._kept.items() if kept[1] > now}
            self._look_at = max(LEAST, 2 * len(self._kept))

    def get(self, key: str) -> T | None:
        """What was written under a key; None where nothing was, or it has run out."""
        what, until = self._kept.get(key, (None, 0.0))
        return what if until > trio.current_time() else None

    def pop(self, key: str) -> T | None:
        """Likewise, and forgets it."""
        what = self.get(key)
        self._kept.pop(key, None)
        return what

    def values(self) -> list[T]:
        """All that was written and may stand."""
        now = trio.current_time()
        return [what for what, until in self._kept.values() if until > now]
