"""What every watch is: a view of what was told, events that wait to be told, and a way to learn more; and what is
common to the watches of servers that tell changes over a connection."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Generic, Self, TypeVar

import trio

from . import Event
from .records import View

Source = TypeVar("Source")
W = TypeVar("W", bound="StreamedWatch[Any]")


class Watch(ABC):
    """Iterates over the events of a registry.

    A class and not an async generator: one whose wait was cancelled, or that raised, can be asked again.
    """

    def __init__(self) -> None:
        self._view = View()
        self._events: deque[Event] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """The next event; what `_learn` raises comes out of here."""
        await trio.lowlevel.checkpoint()
        while not self._events:
            await self._learn()
        return self._events.popleft()

    @abstractmethod
    async def _learn(self) -> None:
        """Waits for news and adds the events that they are, of which there may be none."""


class StreamedWatch(Watch, Generic[Source]):
    """Lists what is there and follows the changes that come from a source; begins anew where that was closed."""

    def __init__(self) -> None:
        super().__init__()
        self._source: Source | None = None
        """What the changes come from; None while there is no connection."""
        self._stack = AsyncExitStack()
        """What is closed with it."""

    @abstractmethod
    async def begin(self) -> None:
        """Lists what is there and opens `_source`, in `_stack`, for what changes from there on."""

    @abstractmethod
    async def _follow(self, source: Source) -> None:
        """Waits for the next change; calls `end` where none is to come."""

    async def end(self) -> None:
        """Closes the connection that the changes come over."""
        stack, self._stack, self._source = self._stack, AsyncExitStack(), None
        await stack.aclose()

    async def _learn(self) -> None:
        if self._source is None:
            await self.begin()
        else:
            await self._follow(self._source)


@asynccontextmanager
async def followed(watch: W) -> AsyncIterator[W]:
    """A watch from its beginning to its end."""
    try:
        await watch.begin()
        yield watch
    finally:
        await watch.end()
