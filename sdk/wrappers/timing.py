"""Tells how long each call took, for whatever keeps measurements."""

from collections.abc import Callable
from typing import Any

import trio

from sdk.arguments import FUNCTION, check
from sdk.wrapping import AnyCall, AnyWrapper, C, Proceed

Observe = Callable[[AnyCall, float, BaseException | None], object]
"""Is given the call, the seconds it took, and what it raised."""


def timed(observe: Observe) -> AnyWrapper:
    """Calls `observe` when a call is over, whether it went well, failed or was cancelled.

    It runs between the call and its answer, so it must be quick. Of a stream of the client it is the opening that is
    timed.
    """
    check("timed", {"observe": FUNCTION}, {"observe": observe})

    async def wrapper(call: C, proceed: Proceed[C], /) -> Any:
        began = trio.current_time()
        try:
            reply = await proceed(call)
        except BaseException as error:
            observe(call, trio.current_time() - began, error)
            raise
        observe(call, trio.current_time() - began, None)
        return reply

    return wrapper
