"""What every watch is: a view of what was told, events that wait to be told, and a way to learn more."""

from abc import ABC, abstractmethod
from collections import deque
from typing import Self

import trio

from . import Event
from .records import View


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
