"""No more than so many calls a second, by a token bucket.

The bucket holds `burst` tokens and gets `rate` new ones a second; each call takes one. There is no queue: a call that
finds none is refused at once, because one that waits here costs both ends more than one that is told to come again.
"""

import math
from typing import Any

import trio

from sdk.arguments import COUNT, SECONDS, check
from sdk.errors import TooManyRequests
from sdk.wrapping import AnyWrapper, C, Proceed

_RATE = SECONDS._replace(words="calls a second as a number, such as 100.0")


class TokenBucket:
    """How many calls may pass at some time."""

    __slots__ = ("_left", "_stamp", "burst", "rate")

    def __init__(self, rate: float, burst: int) -> None:
        """`rate` tokens a second, at most `burst` of them at once. Raises `ValueError` where no call could pass."""
        if not 0 < rate < math.inf or burst < 1:
            raise ValueError(f"a rate of {rate:g} calls a second with a burst of {burst} lets no call pass, or all")
        self.rate = rate
        self.burst = burst
        self._left = float(burst)
        self._stamp = -math.inf

    def take(self, now: float) -> float:
        """Takes a token: 0, or else the seconds until there is one again."""
        self._left = min(self.burst, self._left + (now - self._stamp) * self.rate)
        self._stamp = now
        if self._left < 1.0:
            return (1.0 - self._left) / self.rate
        self._left -= 1.0
        return 0.0


def limiting(rate: float, *, burst: int = 1) -> AnyWrapper:
    """Lets `rate` calls a second pass, and up to `burst` at once after a pause; all others end with `TooManyRequests`.

    All calls that go through this wrapper share one bucket; calls of a client that are refused here have not left it.
    Raises `ValueError` for numbers that make no sense, `TypeError` for what is none.
    """
    check("limiting", {"rate": _RATE, "burst": COUNT}, {"rate": rate, "burst": burst})
    bucket = TokenBucket(rate, burst)

    async def wrapper(call: C, proceed: Proceed[C], /) -> Any:
        if wait := bucket.take(trio.current_time()):
            raise TooManyRequests(
                f"{call.service} {call.endpoint}: more than {rate:g} calls a second came; "
                f"the next may come in {wait:.3f} s"
            )
        return await proceed(call)

    return wrapper
