"""What becomes of the instances that a registry lacks when it is back.

While it was away nobody could renew, and one that keeps its records in memory has lost them all. What runs is told to
it again with the next renewals; what has ended is found by trying to connect.
"""

from collections.abc import Callable, Mapping
from typing import Final

import trio

from sdk.registry.records import Key
from sdk.types import Instance
from tunnel.transport.tls import Tls

from .check import Check, Kind
from .probe import probe

GRACE: Final = 45.0
"""Seconds until an instance that runs must be in the registry again: half as much again as the interval at which
services renew when nobody says otherwise."""

_CONNECTING: Final = 2.0
"""Seconds within which a connection must be accepted."""
_AT_ONCE: Final = 50


async def await_return(lacking: Mapping[Key, Instance], give_up: Callable[[Key], None]) -> None:
    """Calls `give_up` for those that nobody listens for as soon as that is known, for the others after `GRACE`."""
    room = trio.CapacityLimiter(_AT_ONCE)

    async def try_one(key: Key, address: str) -> None:
        check = Check(
            kind=Kind.TCP, address=address, path="", interval=_CONNECTING, timeout=_CONNECTING, failures=1, successes=1
        )
        async with room:
            ended = await probe(check, Tls())
        if ended:
            give_up(key)

    until = trio.current_time() + GRACE
    async with trio.open_nursery() as nursery:
        for key, instance in lacking.items():
            nursery.start_soon(try_one, key, instance.address)
    await trio.sleep_until(until)
    for key in lacking:
        give_up(key)
