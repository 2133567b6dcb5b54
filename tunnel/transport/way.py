"""One direction of a connection in memory."""

import math
from collections import deque
from operator import index
from types import TracebackType
from typing import Final

import trio

from .line import MemoryLine
from .rough import DUPLICATES, SEGMENT

CHUNKS: Final = 64
"""Writes that may be under way over a smooth line; then the writer waits, as it would for a full socket."""
SEND_BUFFER: Final = 64 * 1024
"""Bytes of a connection that may wait to leave over a rough line, and those after which the writer waits until half of
them are gone, unless it wants to wait for fewer."""
RECEIVE_BUFFER: Final = 1024 * 1024
"""Bytes of it that may be under way, or there and not read. Then the writer waits for the reader."""

BUSY: Final = DUPLICATES * SEGMENT
"""Bytes that follow soon on those of a writer who had to wait: such a one has more to send, and so a lost segment is
noticed by those behind it, however small its writes are."""


class _One:
    """Lets one task in at a time."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._taken = False

    def __enter__(self) -> None:
        if self._taken:
            raise trio.BusyResourceError(f"another task is {self._doing} this stream")
        self._taken = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._taken = False


class Way:
    """One direction of a connection. Each end learns what the other did when the news has come over the line."""

    def __init__(self, line: MemoryLine, *, forward: bool) -> None:
        self._line = line
        self._forward = forward
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._size = 0  # bytes in them
        self._leaves = -math.inf  # when the last byte leaves, over a rough line
        self._depth = SEND_BUFFER
        self._ended = math.inf  # when the reader learns that the writer has closed
        self._left = math.inf  # when the writer learns that the reader has closed
        self._broken = False
        self._reading = _One("receiving from")
        self._writing = _One("sending on")
        self._waiting = trio.lowlevel.ParkingLot()
        line.carry(self)

    async def take(self, most: int | None) -> bytes:
        """The reader's next bytes; none at the end."""
        if most is not None and index(most) < 1:
            raise ValueError("max_bytes must be 1 or more")
        with self._reading:
            await trio.lowlevel.checkpoint()
            while (due := self._due()) > trio.current_time():
                await self._wait(due)
            if not self._pieces:
                return b""
            at, data = self._pieces.popleft()
            if most is not None and len(data) > most:
                self._pieces.appendleft((at, data[most:]))
                data = data[:most]
            self._size -= len(data)
            self.look()
            return data

    def _due(self) -> float:
        """When there is something for the reader, as things are."""
        if self._left < math.inf:
            raise trio.ClosedResourceError("this end is closed")
        if self._broken:
            raise trio.BrokenResourceError("the connection was reset")
        if self._line.cut:
            return math.inf
        return self._pieces[0][0] if self._pieces else self._ended

    async def put(self, data: bytes) -> None:
        """Sends the writer's bytes, as there is room; none are nothing."""
        with self._writing:
            await trio.lowlevel.checkpoint()
            waited = not self._has_room()
            await self._wait_room()
            while data:
                if self._line.smooth:
                    self._pieces.append((trio.current_time() + self._line.delay, data))
                    self._size += len(data)
                    self.look()
                    return
                data = self._put_roughly(data, more=waited)
                if data:
                    await self._wait_room()
                    waited = True

    def set_depth(self, size: int) -> None:
        """The writer waits for half of so many bytes to leave, and not for half of `SEND_BUFFER`."""
        self._depth = min(size, SEND_BUFFER)

    async def wait_room(self) -> None:
        """Waits until the writer need not wait."""
        await self.put(b"")

    async def _wait_room(self) -> None:
        while not self._has_room():
            await self._wait(math.inf if self._line.cut else min(self._left, self._room_at()))

    def _has_room(self) -> bool:
        if self._ended < math.inf:
            raise trio.ClosedResourceError("this end is closed")
        if self._broken:
            raise trio.BrokenResourceError("the connection was reset")
        if self._left <= trio.current_time() and not self._line.cut:
            raise trio.BrokenResourceError("the other end is closed")
        if self._line.smooth:
            return len(self._pieces) < CHUNKS
        return self._room_at() <= self._line.now()

    def _room_at(self) -> float:
        """When there is room again, as far as that is a matter of time: over a rough line, when half of what may wait
        has left."""
        if self._line.smooth or self._size >= RECEIVE_BUFFER:
            return math.inf
        return self._leaves - self._depth / 2 / self._line.rate

    def _put_roughly(self, data: bytes, *, more: bool) -> bytes:
        """Sends what there is room for; returns the rest. `more` says that a writer who had to wait goes on."""
        line, now = self._line, self._line.now()
        room = RECEIVE_BUFFER - self._size
        if line.rate < math.inf:
            room = min(room, SEND_BUFFER - int(max(0.0, self._leaves - now) * line.rate))
        start, stop = 0, min(len(data), room)
        direction = line.direction(forward=self._forward)
        for at, length in direction.send(
            stop, now=now, behind=len(data) - stop + more * BUSY, delay=line.delay, quality=line.quality
        ):
            self._pieces.append((at, data[start : start + length]))
            start += length
        self._size += stop
        self._leaves = direction.free
        self.look()
        return data[stop:]

    def put_off(self, since: float, seconds: float) -> None:
        """What was to arrive after a time comes so many seconds later."""
        self._pieces = deque((at + seconds if at > since else at, data) for at, data in self._pieces)
        self._leaves += seconds

    async def _wait(self, until: float) -> None:
        """Waits until something happens, or until a time."""
        with trio.move_on_at(until):
            await self._waiting.park()

    def look(self) -> None:
        """Something has happened."""
        self._waiting.unpark_all()

    def snap(self) -> None:
        """The connection is broken."""
        self._broken = True
        self.look()

    def close(self, *, writer: bool) -> None:
        """One end closes."""
        news = trio.current_time() + self._line.delay
        if writer:
            self._ended = min(self._ended, news)
        else:
            self._left = min(self._left, news)
        if max(self._ended, self._left) < math.inf:
            self._line.drop(self)
        self.look()
