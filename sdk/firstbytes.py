"""Reads the beginning of a connection, until it tells what is spoken on it."""

import math
from typing import Any, Protocol

import trio

from .wire.sniff import Beginnings

FIRST_SIZE = 16384
"""Bytes that are read at a time, until it is known what a connection is for."""


class Readable(Protocol):
    """What bytes come by."""

    async def receive_some(self, max_bytes: int | None = None, /) -> bytes:
        """What has arrived; nothing at the end."""


async def first_bytes(
    transport: Readable,
    beginnings: Beginnings[Any],
    first: bytes = b"",
    *,
    due: float,
    patience: float = math.inf,
) -> bytes:
    """What a connection begins with, as far as it has to be read to find it in the table, or what of it came in time.

    `first` was read already; `due` is when it must have been said, on trio's clock; `patience` the seconds that the
    other end may say nothing at all. Of a connection that breaks there is nothing.
    """
    with trio.move_on_at(min(due, trio.current_time() + patience)) as scope:
        try:
            while beginnings.is_undecided(first):
                data = await transport.receive_some(FIRST_SIZE)
                if not data:
                    break
                first += data
                scope.deadline = due
        except trio.BrokenResourceError:
            return b""
    return first
