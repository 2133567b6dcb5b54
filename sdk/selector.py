"""Which of several equals takes the next call.

Power of two choices (Mitzenmacher, 2001) on peak-EWMA cost, as Finagle and Linkerd do it: of two picked at random the
one that costs less, where cost = latency * (calls pending + 1) / weight, and latency is an average that jumps up at
once and comes down slowly. Two random picks spread new load without everybody rushing to the one that looks best.

A target that fails is *ejected* after seven failures in a row, and probed with one call when its time is over; the time
doubles with each failed probe. Never more than half of a group is ejected: when everything fails, the fault is likely
elsewhere.

A target that is new, or was ejected, gets its share little by little (Envoy calls it slow start): its caches are cold,
and of what made it fail something may be left.
"""

import math
from collections.abc import Sequence
from random import Random

DECAY = 10.0
"""Seconds in which the memory of a latency falls to 1/e; Finagle's default."""

FAILURE_LATENCY = 1.0
"""Seconds that a failed call counts as, at least: failing fast must not look like being fast."""

UNKNOWN_LATENCY = 1.0
"""Seconds assumed of a target that has not answered yet: it gets a first call at once, and no second one before it
has."""

EJECT_AFTER = 7
"""Failures in a row; between Envoy's and Linkerd's 5 and 7."""

SLOW_START = 10.0
"""Seconds until a target that has begun to answer gets all of its share; Envoy's documentation has as many."""

LEAST_SHARE = 0.1
"""What it gets at first."""

FIRST_EJECTION = 1.0
LONGEST_EJECTION = 60.0
"""Seconds of the first ejection, and the most that doubling makes of it."""


class Load:
    """What is known of one target."""

    __slots__ = ("_probed", "_stamp", "ejected_until", "failures", "latency", "pending", "turn", "warm_at", "weight")

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight
        """Its share among equals."""
        self.pending = 0
        """Calls under way."""
        self.latency = 0.0
        """Peak-EWMA of the time per call, in seconds, as it was at the last answer; 0 until one came."""
        self.failures = 0
        """Failures in a row."""
        self.ejected_until = -math.inf
        """Takes no call before that, unless too many others are ejected as well; then one, as a probe."""
        self.warm_at = -math.inf
        """When it gets all of its share."""
        self.turn = 0
        """When it was last chosen, counted in choices: what taking turns goes by."""
        self._stamp = 0.0
        self._probed = False  # a call that tries it is under way

    def started(self) -> None:
        """A call was sent here."""
        self.pending += 1

    def finished(self, now: float, ok: bool, began: float) -> None:
        """A call that began then is over; `ok` is False where the target was at fault (it was not there, it broke)."""
        self.pending -= 1
        self.observe(now, ok, began)

    def observe(self, now: float, ok: bool, began: float) -> None:
        """The answer to a call came, which itself may go on: a stream is not slow because it is long."""
        latency = now - began
        if ok:
            if self.failures:
                if self.failures >= EJECT_AFTER:
                    self.warm_at = now + SLOW_START
                    self._probed = False
                self.failures = 0
                self.ejected_until = -math.inf
            elif not self.latency:
                self.warm_at = now + SLOW_START
        else:
            latency = max(latency, FAILURE_LATENCY)
            if self._probed or now >= self.ejected_until:  # else it is one of the many that failed at once: nothing new
                self._probed = False
                self.failures += 1
                if self.failures >= EJECT_AFTER:
                    self.ejected_until = now + self._ejection()
        if latency >= self.latency:
            self.latency = latency
        else:
            fade = math.exp((self._stamp - now) / DECAY)
            self.latency = self.latency * fade + latency * (1.0 - fade)
        self._stamp = now

    def waited(self, now: float, began: float) -> None:
        """A caller gave up before the answer came: it would have taken at least so long. No failure, for nobody knows;
        but a target that never answers must not stay the unknown one that costs nothing."""
        latency = now - began
        if latency >= self.latency * math.exp((self._stamp - now) / DECAY):
            self.latency, self._stamp = latency, now

    def abandoned(self) -> None:
        """A call is over and says nothing about the target: its caller went away."""
        self.pending -= 1

    def ejected(self, now: float) -> bool:
        """Whether it is not to be chosen now: its time is not over, or a probe is under way."""
        return self.failures >= EJECT_AFTER and now < self.ejected_until

    def probe(self, now: float) -> None:
        """One that has failed too often takes a call all the same. When its time is over, that call is a probe: it
        takes no other before this one is answered, or as much time again has passed without an answer."""
        if now >= self.ejected_until:
            self._probed = True
            self.ejected_until = now + self._ejection()

    @property
    def probed(self) -> bool:
        """Whether the call that tries it is under way."""
        return self._probed

    def share(self, now: float) -> float:
        """How much of its share it gets, 1 for one that is warm."""
        return max(LEAST_SHARE, 1.0 - max(0.0, self.warm_at - now) / SLOW_START)

    def _ejection(self) -> float:
        """Seconds for which it is ejected, by how often it has failed."""
        doublings = min(self.failures - EJECT_AFTER, 16)
        return min(FIRST_EJECTION * 2.0**doublings, LONGEST_EJECTION)

    def cost(self, now: float) -> float:
        """What choosing it costs, in seconds; an idle target's latency fades, so that a slow one is tried again."""
        if not self.latency:
            return UNKNOWN_LATENCY * self.pending / self.weight
        return self.latency * math.exp((self._stamp - now) / DECAY) * (self.pending + 1) / self.weight


def choose(loads: Sequence[Load], random: Random, now: float) -> int:
    """The index of the target that takes the next call; `loads` must not be empty."""
    count = len(loads)
    first = second = 0
    if count > 1:
        first = int(random.random() * count)
        second = int(random.random() * (count - 1))
        if second >= first:
            second += 1
    one, other = loads[first], loads[second]
    if one.failures >= EJECT_AFTER or other.failures >= EJECT_AFTER:
        candidates = eligible(loads, now)
        first, second = random.sample(candidates, 2) if len(candidates) > 1 else candidates * 2
        one, other = loads[first], loads[second]
    if one.cost(now) > other.cost(now):
        first, second, one, other = second, first, other, one
    if one.warm_at > now and other.warm_at <= now and other.latency and not other.failures:
        if random.random() > one.share(now):
            return second
    if one.failures >= EJECT_AFTER:
        one.probe(now)
    return first


def eligible(loads: Sequence[Load], now: float) -> list[int]:
    """The indices of those that may be chosen: who is not ejected, and so many of the others that it is half of all,
    those first whose ejection ends first."""
    candidates = [index for index, load in enumerate(loads) if not load.ejected(now)]
    missing = (len(loads) + 1) // 2 - len(candidates)
    if missing > 0:
        ejected = [index for index, load in enumerate(loads) if load.ejected(now)]
        candidates += sorted(ejected, key=lambda index: loads[index].ejected_until)[:missing]
    return candidates
