"""The answer to an HTTP request that leads nowhere, as HTTP/2 has it."""

from itertools import chain

from sdk.port import refusal as in_parts
from sdk.wire.frame import Reset
from sdk.wire.hpack import Headers


def refusal(reset: Reset, special: int = 0) -> tuple[Headers, bytes]:
    """Header list and body that say how a call was reset, the same as over HTTP/1.1; see there of `special`."""
    status, fields, text = in_parts.refusal(reset, special)
    return (":status", str(status), *chain.from_iterable(fields)), text.encode()
