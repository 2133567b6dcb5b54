"""A stream between two nodes keeps every promise of trio's streams, whatever the link travels over."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import check_half_closeable_stream

from sdk.stream import Stream
from sdk.wire.frame import INITIAL_CREDIT
from sdk.wire.mux import Mux, MuxStream
from tests.tunnel.bench import node
from tests.tunnel.transport.certificates import believing, files
from tunnel.linkport import LinkPort
from tunnel.transport.memory import MemoryNetwork

# How one node listens, and what the other puts before the address it is bound to.
WAYS = {
    "tcp": ("127.0.0.1:0", "tcp://"),
    "ws": ("127.0.0.1:0", "ws://"),
    "wss": ("127.0.0.1:0", "wss://"),
    "mem": ("mem://a", ""),
}


class Ends:
    """A link between two tunnels, with a mux at each end."""

    def __init__(self) -> None:
        self.opened, self._accept = trio.open_memory_channel[MuxStream](1)
        self.near = Mux()
        self.far = Mux(on_open=lambda stream, _: self.opened.send_nowait(stream))

    async def streams(self) -> tuple[Stream, Stream]:
        """A new stream, from both ends."""
        stream = self.near.open(b"head", end=False)
        return Stream(stream), Stream(await self._accept.receive())

    async def clogged(self) -> tuple[Stream, Stream]:
        """The same, with all credit used in both directions."""
        ends = await self.streams()
        for stream in ends:
            await stream.send_all(bytes(INITIAL_CREDIT))
        return ends

    async def flushed(self) -> None:
        """Each end has taken all that the other sent."""
        for mux in (self.near, self.far):
            answered = trio.Event()
            assert isinstance(mux.port, LinkPort)
            mux.port.probe(trio.current_time(), answered.set)
            await answered.wait()
            assert not mux.port.dead


@asynccontextmanager
async def linked(way: str, folder: Path) -> AsyncIterator[Ends]:
    listen, scheme = WAYS[way]
    ends, network = Ends(), MemoryNetwork()
    async with (
        node(0, listen, network=network, sink=ends.far, tls=files(folder)) as a,
        node(1, network=network, sink=ends.near, tls=believing(folder), seeds=(scheme + a.tunnel.bound[0],)) as b,
    ):
        link = await b.linked(a)
        assert link.transport == way
        ends.near.attach(link.port)
        ends.far.attach((await a.linked(b)).port)
        yield ends


@pytest.mark.parametrize("way", WAYS)
async def test_a_stream_between_nodes_keeps_the_promises_of_trio(way: str, tmp_path: Path) -> None:
    with trio.fail_after(50):
        async with linked(way, tmp_path) as ends:
            await check_half_closeable_stream(ends.streams, ends.clogged)
            await ends.flushed()
            assert (ends.near.port.streams, ends.far.port.streams) == ({}, {})
