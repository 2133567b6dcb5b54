"""Tries calls again after a pause, where that is safe.

The client itself, and every node, tries again at once and elsewhere; that helps when one instance is gone. This helps
when all of them are, for a moment. Pauses double, and each is drawn between nothing and all of it ("full jitter",
M. Brooker, Exponential Backoff and Jitter, AWS 2015), so that callers who failed together do not come back together.

Each try may be tried again by whoever is below: with `retries` of the client the numbers multiply.
"""

from random import Random
from typing import Any

import trio

from sdk.arguments import COUNT, SECONDS, check
from sdk.errors import MicroError, TooManyRequests, Unavailable
from sdk.wrapping import CallWrapper, OutgoingCall, Proceed

_WANTED = {"times": COUNT, "first": SECONDS, "longest": SECONDS}


def retrying(times: int = 3, *, first: float = 0.05, longest: float = 2.0) -> CallWrapper:
    """Tries a call up to `times` times again, after pauses of at most `first` seconds, doubling up to `longest`.

    Safe is what provably has not run. Calls that are idempotent are also tried again where they may have run, or were
    too many. A caller whose deadline comes before the pause is over gets the error at once. The default deadline of
    unary calls begins anew with each try. Of a stream it is the opening that is tried again.
    """
    check("retrying", _WANTED, {"times": times, "first": first, "longest": longest})
    random = Random()

    async def wrapper(call: OutgoingCall, proceed: Proceed[OutgoingCall]) -> Any:
        for tried in range(times):
            try:
                return await proceed(call)
            except (Unavailable, TooManyRequests) as error:
                pause = random.uniform(0.0, min(longest, first * 2.0**tried))
                if not safe(call, error) or trio.current_effective_deadline() <= trio.current_time() + pause:
                    raise
            await trio.sleep(pause)
        return await proceed(call)

    return wrapper


def safe(call: OutgoingCall, error: MicroError) -> bool:
    """Whether a call that failed like this may be made again."""
    if isinstance(error, Unavailable) and not error.may_have_run:
        return True
    return call.idempotent and isinstance(error, Unavailable | TooManyRequests)
