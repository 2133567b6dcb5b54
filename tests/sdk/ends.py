"""The two ends of one call over a pair of ports in memory, with their messages; bytes move while `flowing`."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from sdk.answer import ServerStream
from sdk.head import CallHead
from sdk.reply import ClientStream
from sdk.schema import Convert
from tests.sdk.pair import Pair

HEAD = CallHead("greeter", "Greeter.Chat", "rpc", 0, "application/json")


class Ends:
    """`client` and `server`, and the pair below them."""

    def __init__(self, body: bytes = b"", *, end: bool = False, convert: Convert | None = None) -> None:
        self.pair = Pair()
        here, there = self.pair.call(body, end=end)
        self.client = ClientStream(here, HEAD.content_type, convert)
        self.server = ServerStream(there, HEAD, convert, math.inf)

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Moves bytes between the ends as long as the block runs."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._flow)
            yield
            nursery.cancel_scope.cancel()

    async def _flow(self) -> None:
        while True:
            self.pair.pump()
            await trio.lowlevel.checkpoint()
