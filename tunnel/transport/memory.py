"""Connections inside one process: networks of whole nodes on a virtual clock, in our tests and in users'."""

import math
from typing import Final

import trio

from sdk.errors import Conflict, Unavailable

from .line import MemoryLine
from .way import Way


class MemoryStream(trio.abc.Stream):
    """One end of a pair of streams."""

    def __init__(self, out: Way, in_: Way, *, peer: str) -> None:
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

    def set_depth(self, size: int) -> None:
        """Lets about so many bytes wait to leave over a rough line."""
        self._out.set_depth(size)

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


def memory_pair(
    name: str, line: MemoryLine | None = None, *, forward: bool = True
) -> tuple[MemoryStream, MemoryStream]:
    """Two connected streams: the end of who dialled `name`, and the end of who listens there. `forward` tells in which
    of the two directions of the line it was dialled."""
    line = line or MemoryLine()
    there, here = Way(line, forward=forward), Way(line, forward=not forward)
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

    def __init__(self, *, seed: int = 0) -> None:
        """`seed` decides the luck of all that goes over its rough lines."""
        self._seed = seed
        self._listeners: dict[str, MemoryListener] = {}
        self._lines: dict[frozenset[str], MemoryLine] = {}
        self._me = ""

    def seen_from(self, name: str) -> "MemoryNetwork":
        """The same network for somebody who listens under this name: what is dialled through it goes over `line`s."""
        view = MemoryNetwork(seed=self._seed)
        view._listeners, view._lines, view._me = self._listeners, self._lines, name
        return view

    def line(self, one: str, other: str) -> MemoryLine:
        """What lies between two names."""
        names = frozenset((one, other))
        line = self._lines.get(names)
        if line is None:
            line = self._lines[names] = MemoryLine(seed=f"{self._seed} {' '.join(sorted(names))}")
        return line

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
        """Connects to a name, which takes the line's delay there and back, and longer when that is lost; raises
        `Unavailable` when nobody listens there. While the line is cut it waits."""
        line = self.line(self._me, name) if self._me else MemoryLine()
        await trio.sleep(line.seconds_to_connect())
        await line.wait_whole()
        if name not in self._listeners:
            raise Unavailable(f"cannot connect to mem://{name}: nobody listens there")
        mine, theirs = memory_pair(name, line, forward=self._me < name)
        self._listeners[name].offer(theirs)
        return mine


PROCESS: Final = MemoryNetwork()
"""The network of this process, where none other is given."""
