"""Links inside one process: networks of whole nodes on a virtual clock, in our tests and in users'."""

import math
from typing import Final

import trio

from sdk.errors import Conflict, Unavailable

CHUNKS: Final = 64
"""Writes that may wait to be read; then the writer waits, as it would for a full socket."""


Piece = tuple[float, bytes]
"""When it arrives, and what."""


class MemoryLine:
    """What lies between two names: all that is sent over it comes late by its delay, and not at all while it is cut.

    A cut is silent, as when a cable breaks: what was sent waits, and arrives when the line is healed.
    """

    def __init__(self) -> None:
        self.delay = 0.0
        """Seconds from one end to the other."""
        self._whole = trio.Event()
        self._whole.set()

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

    async def wait_whole(self) -> None:
        """Waits until it is whole."""
        await self._whole.wait()


class MemoryStream(trio.abc.Stream):
    """One end of a pair of streams."""

    def __init__(
        self,
        send: trio.MemorySendChannel[Piece],
        receive: trio.MemoryReceiveChannel[Piece],
        line: MemoryLine,
        *,
        peer: str,
    ) -> None:
        self._send = send
        self._receive = receive
        self._line = line
        self._rest = b""
        self.peer = peer
        """What a person calls the other end."""
        self.peer_host = ""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has arrived; `b""` when the other end has closed."""
        while not self._rest:
            try:
                at, data = await self._receive.receive()
            except trio.EndOfChannel:
                await self._line.wait_whole()
                return b""
            await trio.sleep_until(at)
            await self._line.wait_whole()
            self._rest = data
        size = max_bytes or len(self._rest)
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Sends everything; raises `trio.BrokenResourceError` when the other end has closed."""
        await self._send.send((trio.current_time() + self._line.delay, bytes(data)))

    async def wait_send_all_might_not_block(self) -> None:
        """It is not known before trying."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Closes both directions at once."""
        self._send.close()
        self._receive.close()
        await trio.lowlevel.checkpoint()


def memory_pair(name: str, line: MemoryLine | None = None) -> tuple[MemoryStream, MemoryStream]:
    """Two connected streams: the end of who dialled `name`, and the end of who listens there."""
    line = line or MemoryLine()
    there, here = trio.open_memory_channel[Piece](CHUNKS), trio.open_memory_channel[Piece](CHUNKS)
    dialled = MemoryStream(there[0], here[1], line, peer=f"mem://{name}")
    return dialled, MemoryStream(here[0], there[1], line, peer=f"a dialler of mem://{name}")


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
        """Gives the name back."""
        self._network.forget(self)
        self._put.close()
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
        """Connects to a name; raises `Unavailable` when nobody listens there. While the line is cut it waits."""
        await trio.lowlevel.checkpoint()
        line = self.line(self._me, name) if self._me else MemoryLine()
        await line.wait_whole()
        if name not in self._listeners:
            raise Unavailable(f"cannot connect to mem://{name}: nobody listens there")
        mine, theirs = memory_pair(name, line)
        self._listeners[name].offer(theirs)
        return mine


PROCESS: Final = MemoryNetwork()
"""The network of this process, where none other is given."""
