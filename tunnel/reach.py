"""From an address to a proven peer: connects and shakes hands, by another transport where the first meets no node."""

import math
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, TypeVar

import trio

from sdk.connection import Transport
from sdk.errors import MicroError, RemoteProtocolError, Unavailable

from .guesses import Guesses
from .handshake import LinkHandshake
from .rtt import RoundTrip
from .transport import Connected, Ways, dial

HANDSHAKE: Final = 5.0
"""Seconds for everything between the first byte and a proven peer."""
CONNECT: Final = 10.0
"""Seconds for a connection to be made."""
CLOSE: Final = 1.0
"""Seconds for a connection to be closed."""

T = TypeVar("T")
FAILURES: Final = (MicroError, trio.BrokenResourceError, trio.ClosedResourceError)
"""What may come of a connection and a handshake that fail."""


class Reached(NamedTuple):
    """A peer that is proven, and the way to it."""

    connected: Connected
    handshake: LinkHandshake
    round_trip: RoundTrip


class _NoNode(Exception):
    """Whoever answered has not shown that it speaks the link's protocol."""


async def reach(address: str, new_handshake: Callable[[], LinkHandshake], ways: Ways, guesses: Guesses) -> Reached:
    """Connects to the node at an address and shakes hands.

    Raises what the handshake raises when there is a node, `TokenDiffers` and `OwnId` among it; else `Unavailable` with
    all that was tried. Where nobody listens nothing more is tried: the port is the same.
    """
    reasons: list[str] = []
    for way in guesses.at(address):
        try:
            connected = await _within(CONNECT, "it did not answer", dial(way, ways))
        except FAILURES as error:
            reasons.append(_said(error))
            break
        try:
            reached = await _greet(connected, new_handshake())
        except _NoNode as error:
            reasons.append(str(error))
            continue
        except FAILURES:
            guesses.found(address, way)
            raise
        guesses.found(address, way)
        return reached
    guesses.failed(address)
    raise Unavailable("; ".join(reasons))


async def _greet(connected: Connected, handshake: LinkHandshake) -> Reached:
    try:
        hands = shake_hands(handshake, connected)
        return Reached(connected, handshake, await _within(HANDSHAKE, "it did not finish its handshake", hands))
    except BaseException as error:
        await close(connected)
        if isinstance(error, FAILURES) and not handshake.greeted:
            raise _NoNode(_said(error)) from None
        raise


async def shake_hands(handshake: LinkHandshake, connected: Connected) -> RoundTrip:
    """Runs the handshake over a connection; returns what it showed of the round trip.

    Raises what `LinkHandshake.receive_data` raises, after telling the peer, and `Unavailable` when the peer leaves.
    """
    there: Transport = connected.transport
    shortest = math.inf  # a peer may think for a while before one of its answers
    data: bytes | bytearray = connected.first
    try:
        while True:
            handshake.receive_data(bytes(data))
            if handshake.done:
                break
            out = handshake.data_to_send()
            if out:
                await there.send_all(out)
            asked = trio.current_time()
            data = await there.receive_some(4096)
            if not data:
                raise Unavailable("it closed the connection during the handshake")
            if out:
                shortest = min(shortest, trio.current_time() - asked)
    except RemoteProtocolError:
        if out := handshake.data_to_send():
            await there.send_all(out)
        raise
    round_trip = RoundTrip()
    round_trip.sample(shortest)
    return round_trip


async def close(connected: Connected) -> None:
    """Closes a connection that was dialled, within a second, cancelled or not."""
    with trio.move_on_after(CLOSE, shield=True):
        await connected.transport.aclose()


def _said(error: BaseException) -> str:
    return str(error) or "the connection broke during the handshake"


async def _within(seconds: float, failure: str, doing: Awaitable[T]) -> T:
    """What `doing` returns; raises `Unavailable` when that takes too long."""
    with trio.move_on_after(seconds):
        return await doing
    raise Unavailable(f"{failure} within {seconds:.0f} s")
