"""Links inside one process: networks of whole nodes on a virtual clock, in our tests and in users'."""

import math
from collections import deque
from operator import index
from types import TracebackType
from typing import Final

import trio

from sdk.errors import Conflict, Unavailable

CHUNKS: Final = 64
"""Writes that may be under way; then the writer waits, as it would for a full socket."""


class MemoryLine:
    """What lies between two names: all that is sent over it comes late by its delay, and not at all while it is cut.

    A cut is silent, as when a cable breaks: nobody is told, not even of an end that closes meanwhile; what was sent
    waits, and arrives when the line is healed. A reset is what a restarted firewall does: connections break at once.
    """

    def __init__(self) -> None:
        self.delay = 0.0
        """Seconds from one end to the other."""
        self._whole = trio.Event()
        self._whole.set()
        self._ways: dict[_Way, None] = {}

    @property
    def cut(self) -> bool:
        """Whether nothing gets through."""
        return not self._whole.is_set()

    def sever(self) -> None:
        """Cuts it; again it does nothing."""
        if self._whole.is_set():
            self._whole = trio.Event()

    def heal(self) -> None:
        """Makes it whole; again it does nothing."""
        self._whole.set()
        for way in self._ways:
            way.look()

    def reset(self) -> None:
        """Breaks every connection over it, with what is under way, and both ends know at once."""
        ways, self._ways = self._ways, {}
        for way in ways:
            way.snap()

    async def wait_whole(self) -> None:
        """Waits until it is whole."""
        await self._whole.wait()

    def carry(self, way: "_Way") -> None:
        """Tells this direction of a connection when something happens, until `drop`."""
        self._ways[way] = None

    def drop(self, way: "_Way") -> None:
        """It is over."""
        self._ways.pop(way, None)


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


class _Way:
    """One direction of a connection. Each end learns what the other did when the news has come over the line."""

    def __init__(self, line: MemoryLine) -> None:
        self._line = line
        self._pieces: deque[tuple[float, bytes]] = deque()
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
            self.look()
            return data[:most]

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
        """Sends the writer's bytes, once there is room; none are nothing."""
        with self._writing:
            await trio.lowlevel.checkpoint()
            while not self._has_room():
                await self._wait(math.inf if self._line.cut else self._left)
            if data:
                self._pieces.append((trio.current_time() + self._line.delay, data))
                self.look()

    async def wait_room(self) -> None:
        """Waits until the writer need not wait."""
        await self.put(b"")

    def _has_room(self) -> bool:
        if self._ended < math.inf:
            raise trio.ClosedResourceError("this end is closed")
        if self._broken:
            raise trio.BrokenResourceError("the connection was reset")
        if self._left <= trio.current_time() and not self._line.cut:
            raise trio.BrokenResourceError("the other end is closed")
        return len(self._pieces) < CHUNKS

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


class MemoryStream(trio.abc.Stream):
    """One end of a pair of streams."""

    def __init__(self, out: _Way, in_: _Way, *, peer: str) -> None:
        self._out = out
        self._in = in_
        self.peer = peer
        """What a person calls the other end."""
        self.peer_host = ""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has arrived; `b""` when the other end has closed."""
        return await self._in.take(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Sends everything; raises `trio.BrokenResourceError` when it is known that the other end has closed."""
        await self._out.put(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        """Waits until there is room for a write."""
        await self._out.wait_room()

    async def aclose(self) -> None:
        """Closes both directions at once; what was sent arrives."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """The same, without a checkpoint."""
        self._out.close(writer=True)
        self._in.close(writer=False)


def memory_pair(name: str, line: MemoryLine | None = None) -> tuple[MemoryStream, MemoryStream]:
    """Two connected streams: the end of who dialled `name`, and the end of who listens there."""
    line = line or MemoryLine()
    there, here = _Way(line), _Way(line)
    return MemoryStream(there, here, peer=f"mem://{name}"), MemoryStream(here, there, peer=f"a dialler of mem://{name}")


class MemoryListener(trio.abc.Listener[MemoryStream]):
    """Accepts what is dialled under one name."""

    def __init__(self, network: "MemoryNetwork", name: str) -> None:
        self._network = network
        self.name = name
        self._put, self._take = trio.open_memory_channel[MemoryStream](math.inf)

    def offer(self, stream: MemoryStream) -> None:
        """Puts a dialled stream in the queue."""
        self._put.send_nowait(stream)

    async def accept(self) -> MemoryStream:
        """The next stream that somebody dialled."""
        return await self._take.receive()

    async def aclose(self) -> None:
        """Gives the name back, and closes what was dialled and not accepted."""
        self._network.forget(self)
        self._put.close()
        while self._take.statistics().current_buffer_used:
            self._take.receive_nowait().close()
        self._take.close()
        await trio.lowlevel.checkpoint()


class MemoryNetwork:
    """Names that listen, and whoever dials them. Two networks know nothing of each other."""

    def __init__(self) -> None:
        self._listeners: dict[str, MemoryListener] = {}
        self._lines: dict[frozenset[str], MemoryLine] = {}
        self._me = ""

    def seen_from(self, name: str) -> "MemoryNetwork":
        """The same network for somebody who listens under this name: what is dialled through it goes over `line`s."""
        view = MemoryNetwork()
        view._listeners, view._lines, view._me = self._listeners, self._lines, name
        return view

    def line(self, one: str, other: str) -> MemoryLine:
        """What lies between two names."""
        return self._lines.setdefault(frozenset((one, other)), MemoryLine())

    def listen(self, name: str) -> MemoryListener:
        """Takes a name; raises `Conflict` when it is taken."""
        if name in self._listeners:
            raise Conflict(f"mem://{name} is taken")
        listener = self._listeners[name] = MemoryListener(self, name)
        return listener

    def forget(self, listener: MemoryListener) -> None:
        """Frees a listener's name."""
        if self._listeners.get(listener.name) is listener:
            del self._listeners[listener.name]

    async def dial(self, name: str) -> MemoryStream:
        """Connects to a name, which takes the line's delay there and back; raises `Unavailable` when nobody listens
        there. While the line is cut it waits."""
        line = self.line(self._me, name) if self._me else MemoryLine()
        await trio.sleep(2 * line.delay)
        await line.wait_whole()
        if name not in self._listeners:
            raise Unavailable(f"cannot connect to mem://{name}: nobody listens there")
        mine, theirs = memory_pair(name, line)
        self._listeners[name].offer(theirs)
        return mine


PROCESS: Final = MemoryNetwork()
"""The network of this process, where none other is given."""
