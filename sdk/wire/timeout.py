"""How long a call may take, as programs say it in HTTP: `grpc-timeout: 500m` ("gRPC over HTTP2", Requests).

grpc-gateway reads the same field of requests in JSON, and so it counts for any request here.
"""

import re
from typing import Final

from sdk.errors import RemoteProtocolError

from .frame import NO_DEADLINE

FIELD: Final = "grpc-timeout"
"""The name of the field."""

_UNITS: Final = {"H": 3_600_000_000_000, "M": 60_000_000_000, "S": 10**9, "m": 10**6, "u": 1000, "n": 1}
_is_timeout: Final = re.compile(r"([0-9]{1,8})([HMSmun])").fullmatch


def parse_timeout_untrusted(text: str) -> int:
    """The milliseconds in a value of it, rounded up; raises `RemoteProtocolError` for what is none."""
    match = _is_timeout(text)
    if match is None:
        raise RemoteProtocolError(f"{FIELD} cannot be read: {text[:20]!r}; it is a number and one of H, M, S, m, u, n")
    return min(-(-int(match[1]) * _UNITS[match[2]] // 10**6), NO_DEADLINE - 1)


def format_timeout(ms: int) -> str:
    """The value for so many milliseconds; of more than eight digits, in whole seconds."""
    return f"{ms}m" if ms < 10**8 else f"{ms // 1000}S"
