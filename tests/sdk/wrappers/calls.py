"""Calls as wrappers see them, without a service or a client around."""

from typing import Any

import trio

from sdk.handler import Handler
from sdk.head import CallHead
from sdk.options import Options
from sdk.wrapping import AnyCall, IncomingCall, Kind, OutgoingCall


def outgoing(*, idempotent: bool = False, options: Options | None = None) -> OutgoingCall:
    """A call of `Greeter.Hello`."""
    return OutgoingCall(
        service="greeter",
        endpoint="Greeter.Hello",
        kind=Kind.UNARY,
        request={"password": "s3cret"},
        reply_type=None,
        options=options or {},
        idempotent=idempotent,
    )


def incoming(*metadata: str) -> IncomingCall:
    """The same where it arrives, with metadata as names and values in turn."""

    async def handler(request: Any) -> Any: ...

    return IncomingCall(
        service="greeter",
        endpoint="Greeter.Hello",
        kind=Kind.UNARY,
        request={"password": "s3cret"},
        stream=None,
        head=CallHead("greeter", "Greeter.Hello", metadata=metadata),
        handler=Handler("Greeter.Hello", handler),
    )


async def going_well(call: AnyCall) -> Any:
    """What is inside the wrapper."""
    return "well"


async def hanging(call: AnyCall) -> Any:
    """What never answers."""
    await trio.sleep_forever()
