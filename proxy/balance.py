"""Which origin, and which instance: tiers and locality over the choice among equals in `sdk.selector`."""

from collections.abc import Sequence
from random import Random
from typing import Protocol, TypeVar

from sdk.selector import Load, choose

TIER = 32
"""Path costs less than this far above the cheapest are alike: two links in one region, say."""

FORGET_ABOVE = 4096
"""Loads kept before those with no call pending are forgotten: instances come and go."""


class Costly(Protocol):
    """Something with the cost of getting there."""

    @property
    def cost(self) -> int:
        """Path cost, 1 for a fast link."""


C = TypeVar("C", bound=Costly)


def cheapest_tier(candidates: Sequence[C]) -> Sequence[C]:
    """The first candidates, as far as their costs lie in one tier. They are given cheapest first."""
    most = candidates[0].cost + TIER
    if candidates[-1].cost < most:
        return candidates
    return [candidate for candidate in candidates if candidate.cost < most]


class Balancer:
    """What is known of those who answer calls, by a key of the caller's choice, and the choice among them."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._loads: dict[bytes | str, Load] = {}

    def load(self, key: bytes | str) -> Load:
        """What is known of one."""
        load = self._loads.get(key)
        if load is None:
            if len(self._loads) >= FORGET_ABOVE:
                self._loads = {each: known for each, known in self._loads.items() if known.pending}
            load = self._loads[key] = Load()
        return load

    def choose(self, keys: Sequence[bytes | str], now: float) -> tuple[int, Load]:
        """Which takes the next call: its index and its load."""
        loads = [self.load(key) for key in keys]
        index = choose(loads, self._random, now)
        return index, loads[index]
