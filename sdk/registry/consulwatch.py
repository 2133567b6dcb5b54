"""Follows a Consul: waits until a count of changes moves, looks at all there is, and tells what became different."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from sdk.errors import MicroError
from sdk.types import Service

from .consulagents import ConsulAgents
from .records import key_of
from .watch import Watch

# What moves when an instance comes, goes or changes, and when the outcome of a check does.
_MOVING: Final = ("/v1/catalog/services", "/v1/health/state/any")


class ConsulWatch(Watch):
    """Iterates over events."""

    def __init__(self, agents: ConsulAgents, everything: Callable[[], Awaitable[Sequence[Service]]]) -> None:
        """`everything` gives all records of single instances, in the order of their last change."""
        super().__init__()
        self._agents = agents
        self._everything = everything
        self._indexes = dict.fromkeys(_MOVING, 0)
        self._seen = False
        self._not_before = 0.0

    async def _learn(self) -> None:
        if self._seen:
            await self._wait()
        await self.look()

    async def look(self) -> None:
        """Takes in what is there now, and which count of changes the next must exceed."""
        self._seen = False
        await trio.sleep_until(self._not_before)
        began = trio.current_time()
        for path, index in self._indexes.items():
            if not index:
                self._indexes[path] = await self._agents.until_moved(path, 0)
        records = await self._everything()
        # Where something changes all the time, half of it is left to others, and changes that come together are one.
        now = trio.current_time()
        self._not_before = now + (now - began)
        self._events += self._view.replace({key_of(record): record for record in records})
        self._seen = True

    async def _wait(self) -> None:
        """Returns when either count has moved."""
        failed: list[Exception] = []

        async def follow(path: str) -> None:
            try:
                self._indexes[path] = await self._agents.until_moved(path, self._indexes[path])
                self._seen = False
            except (MicroError, trio.ClosedResourceError) as error:
                failed.append(error)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for path in _MOVING:
                nursery.start_soon(follow, path)
        if failed and self._seen:
            raise failed[0]
