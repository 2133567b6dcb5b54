"""Keeps what went wrong inside a handler from whoever called it."""

import logging
import secrets
from typing import Any

from sdk.arguments import check
from sdk.errors import InternalServerError, MicroError
from sdk.wrapping import HandlerWrapper, IncomingCall, Proceed, parted

from .log import LOGGER

_log = logging.getLogger(__name__)


def recovering(logger: logging.Logger = _log) -> HandlerWrapper:
    """Makes an exception of the handler an `InternalServerError` that says a random id and nothing else; the log has
    the id and the traceback.

    Without it the caller is told the class and the text of the exception, which helps among friends. Errors of calls,
    such as `NotFound`, are meant for the caller and pass, also out of the handler's own nursery.
    """
    check("recovering", {"logger": LOGGER}, {"logger": logger})

    async def wrapper(call: IncomingCall, proceed: Proceed[IncomingCall]) -> Any:
        try:
            return await proceed(call)
        except BaseException as error:
            through, _ = parted(error)
            if through is not None:
                raise
            said = error
            while isinstance(said, BaseExceptionGroup) and len(said.exceptions) == 1:
                said = said.exceptions[0]
            if isinstance(said, MicroError):
                raise
            incident = secrets.token_hex(8)
            logger.error("%s %s raised, told as incident %s", call.service, call.endpoint, incident, exc_info=error)
            detail = f"{call.service} {call.endpoint} failed; its log knows more of incident {incident}"
            raise InternalServerError(detail) from None

    return wrapper
