"""Links inside one process: networks of whole nodes on a virtual clock, in our tests and in users'."""

import math
from typing import Final

import trio

from sdk.errors import Conflict, Unavailable

CHUNKS: Final = 64
"""Writes that may wait to be read; then the writer waits, as it would for a full socket."""


class MemoryStream(trio.abc.Stream):
    """One end of a pair of streams."""

    def __init__(
        self, send: trio.MemorySendChannel[bytes], receive: trio.MemoryReceiveChannel[bytes], *, peer: str
    ) -> None:
        self._send = send
        self._receive = receive
        self._rest = b""
        self.peer = peer
        """What a person calls the other end."""
        self.peer_host = ""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has arrived; `b""` when the other end has closed."""
        while not self._rest:
            try:
                self._rest = await self._receive.receive()
            except trio.EndOfChannel:
                return b""
        size = max_bytes or len(self._rest)
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Sends everything; raises `trio.BrokenResourceError` when the other end has closed."""
        await self._send.send(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        """It is not known before trying."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Closes both directions at once."""
        self._send.close()
        self._receive.close()
        await trio.lowlevel.checkpoint()


def memory_pair(name: str) -> tuple[MemoryStream, MemoryStream]:
    """Two connected streams: the end of who dialled `name`, and the end of who listens there."""
    there, here = trio.open_memory_channel[bytes](CHUNKS), trio.open_memory_channel[bytes](CHUNKS)
    dialled = MemoryStream(there[0], here[1], peer=f"mem://{name}")
    return dialled, MemoryStream(here[0], there[1], peer=f"a dialler of mem://{name}")


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
        """Connects to a name; raises `Unavailable` when nobody listens there."""
        await trio.lowlevel.checkpoint()
        if name not in self._listeners:
            raise Unavailable(f"cannot connect to mem://{name}: nobody listens there")
        mine, theirs = memory_pair(name)
        self._listeners[name].offer(theirs)
        return mine


PROCESS: Final = MemoryNetwork()
"""The network of this process, where none other is given."""
