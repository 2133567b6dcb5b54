"""Which origin, and which instance: tiers and locality over the choice among equals in `sdk.selector`."""

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain
from random import Random
from typing import Generic, Protocol, TypeVar

from sdk.selector import EJECT_AFTER, Load, choose

TIER = 32
"""Path costs less than this far above the cheapest are alike: two links in one region, say."""

FORGET_ABOVE = 4096
"""Loads, and groups, that are kept before idle ones are forgotten: instances come and go."""


def origin_key(service: str, origin: bytes) -> bytes:
    """By what is known how an origin answers calls for a service: another one may be slow there, or broken."""
    return origin + service.encode()


class Costly(Protocol):
    """Something with the cost of getting there."""

    @property
    def cost(self) -> int:
        """Path cost, 1 for a fast link."""


C = TypeVar("C")
S = TypeVar("S")
Way = TypeVar("Way", bound=Costly)


def cheapest_tier(candidates: Sequence[Way]) -> Sequence[Way]:
    """The first candidates, as far as their costs lie in one tier. They are given cheapest first."""
    most = candidates[0].cost + TIER
    if candidates[-1].cost < most:
        return candidates
    return [candidate for candidate in candidates if candidate.cost < most]


def healthy_tier(candidates: Sequence[Way], load: Callable[[Way], Load], now: float) -> Sequence[Way]:
    """The cheapest tier in which one is not ejected, by what is known of each; where all are, the cheapest."""
    rest = candidates
    while rest:
        tier = cheapest_tier(rest)
        if any(not load(candidate).ejected(now) for candidate in tier):
            return tier
        rest = rest[len(tier) :]
    return cheapest_tier(candidates)


class Group(Generic[C]):
    """Equals among which the calls for one service are shared, kept for as long as the table says the same."""

    __slots__ = ("items", "loads", "source")

    def __init__(self, source: Sequence[object], items: Sequence[C], loads: Sequence[Load]) -> None:
        self.source = source
        """What the table said: as long as it gives the same object, nothing has changed."""
        self.items = items
        """Those of them that are chosen among."""
        self.loads = loads
        """What is known of each."""

    def healthy(self, now: float) -> bool:
        """Whether one of them is not ejected."""
        return any(not load.ejected(now) for load in self.loads)

    def without(self, failed: Collection[object]) -> "Group[C] | None":
        """Those of a group that have not failed, known by their loads; None where nobody is left."""
        left = [index for index, load in enumerate(self.loads) if load not in failed]
        if not left:
            return None
        return Group(self.source, [self.items[index] for index in left], [self.loads[index] for index in left])


class Groups(Generic[S, C]):
    """The groups of all services: what is the same for every call is found out once."""

    def __init__(
        self,
        balancer: "Balancer",
        *,
        among: Callable[[Sequence[S]], Sequence[C]],
        key: Callable[[str, C], bytes | str],
        weight: Callable[[C], float] = lambda _: 1.0,
    ) -> None:
        """`among` says who of those in the table is chosen among, and in what form; `key` by what a load is known, for
        a service and one of them; `weight` what its share is among equals."""
        self._balancer = balancer
        self._weight = weight
        self._among = among
        self._key = key
        self._groups: dict[str, Group[C]] = {}
        self._last: list[Load] = []
        balancer.remember(self.loads)

    def of(self, service: str, source: Sequence[S]) -> Group[C]:
        """The group for a service; `source` is what the table says now and is not empty."""
        group = self._groups.get(service)
        if group is None or group.source is not source:
            if len(self._groups) >= FORGET_ABOVE:
                self._groups.clear()
            group = self._groups[service] = self.once(service, source)
        return group

    def once(self, service: str, source: Sequence[S]) -> Group[C]:
        """A group that the table does not know, for one call."""
        items = self._among(source)
        loads: list[Load] = []
        self._last = loads
        for item in items:  # one by one: others may be forgotten meanwhile, but not those that are in it already
            loads.append(self.load(service, item))  # noqa: PERF401 - `extend` need not put them in one by one
        return Group(source, items, loads)

    def loads(self) -> Iterator[Load]:
        """What is counted of all in them, and in the one that is being made, or was last."""
        return chain(self._last, (load for group in self._groups.values() for load in group.loads))

    def load(self, service: str, item: C) -> Load:
        """What is known of one, as far as calls for this service go."""
        load = self._balancer.load(self._key(service, item))
        load.weight = self._weight(item)
        return load


class Balancer:
    """What is known of those who answer calls, by a key of the caller's choice, and the choice among them."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._loads: dict[bytes | str, Load] = {}
        self._in_use: list[Callable[[], Iterator[Load]]] = []
        self._forget_at = FORGET_ABOVE

    def remember(self, in_use: Callable[[], Iterator[Load]]) -> None:
        """Asks from now on which loads are in use elsewhere, before it forgets any."""
        self._in_use.append(in_use)

    def load(self, key: bytes | str) -> Load:
        """What is known of one."""
        load = self._loads.get(key)
        if load is None:
            if len(self._loads) >= self._forget_at:
                self._forget()
            load = self._loads[key] = Load()
        return load

    def _forget(self) -> None:
        """Forgets who has no call and is in no group. Of who is in one there must not be two loads, or a call that
        failed would be tried again where it failed."""
        in_use = {load for loads in self._in_use for load in loads()}
        self._loads = {key: load for key, load in self._loads.items() if load.pending or load in in_use}
        self._forget_at = max(FORGET_ABOVE, 2 * len(self._loads))

    def choose(self, group: Group[C], now: float) -> tuple[C, Load]:
        """Who of a group takes the next call, and its load. The group must not be empty."""
        loads = group.loads
        index = choose(loads, self._random, now) if len(loads) > 1 or loads[0].failures >= EJECT_AFTER else 0
        return group.items[index], group.loads[index]
