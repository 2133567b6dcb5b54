"""One line in the log for each call, made or answered."""

import logging
from typing import Any

import trio

from sdk.arguments import Wanted, check
from sdk.errors import MicroError
from sdk.wrapping import AnyWrapper, C, IncomingCall, Proceed

_log = logging.getLogger(__name__)

LOGGER = Wanted(
    "a logger, such as logging.getLogger(__name__)",
    lambda value: isinstance(value, logging.Logger | logging.LoggerAdapter),
)


def logged(logger: logging.Logger = _log, level: int = logging.INFO) -> AnyWrapper:
    """Logs service, endpoint, how the call ended, and after how many milliseconds.

    Requests, answers and metadata are not in it: they may be secret. Nor is the text of an exception that is no error
    of a call; the text of one that is, is what the caller is told anyway.
    """
    check("logged", {"logger": LOGGER}, {"logger": logger})

    async def wrapper(call: C, proceed: Proceed[C], /) -> Any:
        began, ended = trio.current_time(), "was cancelled"
        try:
            reply = await proceed(call)
            ended = "went well"
            return reply
        except MicroError as error:
            # As a literal: a line break that a peer sent must not look like a line of this log.
            ended = f"failed with {type(error).__name__} {error.detail!r}"
            raise
        except Exception as error:
            ended = f"failed with {type(error).__name__}"
            raise
        finally:
            seconds = trio.current_time() - began
            side = "answered" if isinstance(call, IncomingCall) else "called"
            logger.log(level, "%s %s %s: %s in %.1f ms", side, call.service, call.endpoint, ended, seconds * 1000)

    return wrapper
