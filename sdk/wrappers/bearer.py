"""A shared secret between callers and a service: `Authorization: Bearer …` (RFC 6750, section 2.1).

Nodes pass it on as it is, and `sdk.metadata` does not carry it on to further calls.
"""

import re
from hmac import compare_digest
from typing import Any

from sdk.arguments import kind_of
from sdk.errors import Unauthorized
from sdk.wrapping import CallWrapper, HandlerWrapper, IncomingCall, OutgoingCall, Proceed

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def sending_token(token: str) -> CallWrapper:
    """Sends the token with each call. Raises `ValueError` for one that cannot be sent so."""
    metadata = {"authorization": f"Bearer {_checked(token)}"}

    async def wrapper(call: OutgoingCall, proceed: Proceed[OutgoingCall]) -> Any:
        return await proceed(call.with_metadata(metadata))

    return wrapper


def checking_token(token: str, *others: str) -> HandlerWrapper:
    """Lets calls pass that show one of the tokens; all others end with `Unauthorized`. Several are good while one takes
    the place of another.

    It takes the same time whatever token is shown. Raises `ValueError` for one that cannot be sent so.
    """
    good = [_checked(each).encode() for each in (token, *others)]

    async def wrapper(call: IncomingCall, proceed: Proceed[IncomingCall]) -> Any:
        scheme, _, shown = call.metadata.get("authorization", "").partition(" ")
        found = shown.strip(" ").encode(errors="surrogatepass")
        matches = [compare_digest(found, each) for each in good]  # all of them: not even which one it is shows
        if scheme.lower() == "bearer" and any(matches):
            return await proceed(call)
        why = "the token is not valid" if scheme else "no token was shown"
        raise Unauthorized(f"{call.service} {call.endpoint}: {why}, metadata `authorization: Bearer …` is asked for")

    return wrapper


def _checked(token: str) -> str:
    if not isinstance(token, str):
        raise TypeError(f"token is text, not {kind_of(token)}")
    if not _TOKEN.fullmatch(token):
        raise ValueError("a token is letters, digits and -._~+/ (RFC 6750), and not empty; this one is something else")
    return token
