"""What becomes of the instances that a registry lacks when it is back.

While it was away nobody could renew, and one that keeps its records in memory has lost them all. What runs is told to
it again with the next renewals; what has ended is found by trying to connect.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Final

import trio

from sdk.errors import MicroError
from sdk.rawsocket import open_tcp
from sdk.registry.records import Key
from sdk.types import Instance

GRACE: Final = 45.0
"""Seconds until an instance that runs must be in the registry again: half as much again as the interval at which
services renew when nobody says otherwise."""

_CONNECTING: Final = 2.0
"""Seconds within which a connection must be accepted."""
_AT_ONCE: Final = 50


async def await_return(lacking: Mapping[Key, Instance], give_up: Callable[[Iterable[Key]], None]) -> None:
    """Calls `give_up` with those that nobody listens for, in portions, as soon as that is known; with the others after
    `GRACE`."""
    with trio.move_on_after(GRACE):
        for portion in _portions(lacking):
            ended: list[Key] = []
            async with trio.open_nursery() as nursery:
                for key, instance in portion:
                    nursery.start_soon(_try, key, instance.address, ended)
            if ended:
                give_up(ended)
        await trio.sleep_forever()
    give_up(lacking)


async def _try(key: Key, address: str, ended: list[Key]) -> None:
    with trio.move_on_after(_CONNECTING), suppress(MicroError, OSError):
        async with await open_tcp(address):
            return
    ended.append(key)


def _portions(lacking: Mapping[Key, Instance]) -> Iterator[list[tuple[Key, Instance]]]:
    items = iter(lacking.items())
    while portion := list(islice(items, _AT_ONCE)):
        yield portion
