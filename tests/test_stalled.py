"""One consumer of a thousand has stopped: what that is to the others, in bytes, and what is held for it.

Held for a stream is at most its window, at the end that reads, and nothing at the end that sends or on the way: a
writer waits for credit, and what it has not sent it holds itself.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from mesh.testing import Network
from sdk.codec import MSGPACK
from sdk.head import CallHead, pack_call_head
from sdk.reply import ClientStream
from sdk.stream import Stream
from sdk.wire.credit import CreditPool
from sdk.wire.frame import INITIAL_CREDIT
from sdk.wire.mux import Mux, MuxStream
from tests.tunnel.bench import node
from tunnel.linkport import LinkPort
from tunnel.transport.memory import MemoryNetwork

STREAMS = 1000
PLENTY = 16 * INITIAL_CREDIT
"""Bytes that the writer of the stopped stream would like to send."""
SOME = INITIAL_CREDIT * 5 // 4
"""Bytes that the others send beside it: they need credit for that."""

MESSAGE = 10_000
"""Bytes of a message, where there are messages."""

Pair = tuple[MuxStream, MuxStream]
"""A stream at the end that sends, and at the end that reads."""


class Ends:
    """A link between two tunnels with a mux at each end."""

    def __init__(self, pool: CreditPool) -> None:
        opened, self._accept = trio.open_memory_channel[MuxStream](1)
        self.near = Mux(clock=trio.current_time)
        self.far = Mux(on_open=lambda stream, _: opened.send_nowait(stream), pool=pool, clock=trio.current_time)

    async def open(self, count: int) -> list[Pair]:
        """So many new streams."""
        return [(self.near.open(b"head", end=False), await self._accept.receive()) for _ in range(count)]

    async def at_rest(self) -> None:
        """Waits until the link has nothing to carry, in either direction."""
        for mux in (self.near, self.far, self.near):
            answered = trio.Event()
            assert isinstance(mux.port, LinkPort)
            mux.port.probe(trio.current_time(), answered.set)
            await answered.wait()
            assert not mux.port.dead
            assert mux.port.statistics().queued == 0


@asynccontextmanager
async def linked(network: MemoryNetwork | None = None, pool: CreditPool | None = None) -> AsyncIterator[Ends]:
    """Two tunnels, over TCP or in memory; the windows of the far end grow from the pool."""
    ends = Ends(pool or CreditPool())
    listen = "mem://far" if network else "127.0.0.1:0"
    network = network or MemoryNetwork()
    async with (
        node(0, listen, network=network.seen_from("far"), sink=ends.far) as far,
        node(1, network=network.seen_from("near"), sink=ends.near, seeds=far.tunnel.bound) as near,
    ):
        ends.near.attach((await near.linked(far)).port)
        ends.far.attach((await far.linked(near)).port)
        yield ends


def window(far: MuxStream) -> int:
    """Bytes that the peer may be ahead of who reads."""
    return far.window.size if far.window else INITIAL_CREDIT


async def unread(far: MuxStream, size: int) -> None:
    """Waits until so many bytes have come since credit was granted."""
    while far.unread < size:
        changed = trio.Event()
        far.on_change = changed.set
        await changed.wait()


async def transfer(pair: Pair, size: int) -> None:
    """Sends so many bytes over a stream, and reads them."""
    near, far = map(Stream, pair)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.send_all, bytes(size))
        while size:
            size -= len(await far.receive_some(size))


def free(pairs: list[Pair]) -> list[int]:
    """Of streams whose link is at rest: what each may still send and what it has sent since credit was granted. That is
    its window, unless somebody has taken of it."""
    return [near.may_send + far.unread for near, far in pairs]


async def check_that_the_others_go_on(ends: Ends, pairs: list[Pair]) -> None:
    """The reader of the first stream has stopped. Beside it the others use up what they may send, and then some."""
    [(near, far), *others] = pairs
    windows = [window(out) for _, out in others]
    held = window(far)
    assert held < PLENTY
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Stream(near).send_all, bytes(PLENTY))
        await unread(far, held)
        await ends.at_rest()
        assert free(others) == windows == [window(out) for _, out in others]

        # With nobody reading, each may send what it has left, at once, and all of it arrives.
        for source, out in others:
            size = source.may_send
            assert size > window(out) // 2
            assert source.write(bytes(size)) == size
        for _, out in others:
            await unread(out, window(out))
        for _, out in others:
            out.take()
        await ends.at_rest()
        assert free(others) == [window(out) for _, out in others]

        async with trio.open_nursery() as transfers:
            for pair in others:
                transfers.start_soon(transfer, pair, SOME)
        await ends.at_rest()
        assert free(others) == [window(out) for _, out in others]

        # All the while nothing was granted to the one that stopped, and nothing of it is held but its window.
        assert (near.may_send, far.unread, window(far)) == (0, held, held)
        assert far.buffered <= held
        reader, left = Stream(far), PLENTY
        while left:
            left -= len(await reader.receive_some())
    await ends.at_rest()
    assert (near.may_send + far.unread, far.buffered) == (window(far), 0)


async def test_of_a_thousand_streams_one_that_stops_leaves_the_others_all_of_their_credit() -> None:
    with trio.fail_after(150):  # 65 MB are encrypted on the way: 2 s of a core, of which there may be little
        async with linked() as ends:
            pairs = await ends.open(STREAMS)
            assert free(pairs) == [INITIAL_CREDIT] * STREAMS
            await check_that_the_others_go_on(ends, pairs)


async def test_windows_that_have_grown_are_left_alone_as_well(autojump_clock: MockClock) -> None:
    network, pool = MemoryNetwork(), CreditPool()
    network.line("far", "near").delay = 0.05
    async with linked(network, pool) as ends:
        pairs = await ends.open(50)
        async with trio.open_nursery() as nursery:
            for pair in pairs:
                nursery.start_soon(transfer, pair, 10 * INITIAL_CREDIT)
        await ends.at_rest()
        assert all(INITIAL_CREDIT < window(far) < PLENTY for _, far in pairs)
        assert free(pairs) == [window(far) for _, far in pairs]
        await check_that_the_others_go_on(ends, pairs)


async def test_many_bulk_streams_together_never_hold_more_than_the_pool_and_give_it_back(
    autojump_clock: MockClock,
) -> None:
    size = 4 << 20  # a real one is sixteen times as large
    network, pool = MemoryNetwork(), CreditPool(size)
    network.line("far", "near").delay = 0.05
    async with linked(network, pool) as ends:
        pairs = await ends.open(60)
        grown: list[int] = []
        async with trio.open_nursery() as nursery:
            for near, far in pairs:
                nursery.start_soon(send_and_end, near, 1 << 20)
                nursery.start_soon(read_to_end, far, lambda: grown.append(sum(window(out) for _, out in pairs)))
        assert size // 2 < max(grown) - len(pairs) * INITIAL_CREDIT <= size
        assert pool.left == size


async def send_and_end(near: MuxStream, size: int) -> None:
    stream = Stream(near)
    await stream.send_all(bytes(size))
    await stream.send_eof()


async def read_to_end(far: MuxStream, look: Callable[[], None]) -> None:
    stream = Stream(far)
    while await stream.receive_some():
        look()
    await stream.send_eof()


class Sink:
    """A service that takes what programs send. The stream whose first message says so is not read until `go_on`."""

    def __init__(self) -> None:
        self.go_on = trio.Event()
        self.stopped: list[MuxStream] = []
        self.read = 0
        """Bytes of messages read so far."""

    async def take(self, stop: Any, stream: Any) -> None:
        """The endpoint."""
        if stop:
            self.stopped.append(stream._stream)
            await self.go_on.wait()
        async for message in stream:
            self.read += len(message)


async def send(program: Mux, size: int, *, stop: bool, ended: Callable[[], None]) -> None:
    """Sends so many bytes to the sink, and waits until it has taken them."""
    head = pack_call_head(CallHead("sink", "Sink.Take", "rpc", 0, MSGPACK, ()))
    stream = ClientStream(program.open(head, end=False), MSGPACK, None)
    await stream.send(stop)
    for start in range(0, size, MESSAGE):
        await stream.send(bytes(min(MESSAGE, size - start)))
    await stream.send_eof()
    with pytest.raises(trio.EndOfChannel):
        await stream.receive()
    ended()


@pytest.mark.parametrize("nodes", ["ab", "abc"], ids=["next to each other", "with one between"])
async def test_nodes_hold_nothing_for_a_stream_that_stopped_and_the_others_pass_it(
    nodes: str, autojump_clock: MockClock
) -> None:
    sink = Sink()
    ended: list[str] = []
    async with Network() as net:
        for before, name in zip(["", *nodes], nodes, strict=False):
            await net.node(name, nodes=[before] if before else [])
        await net.offer(nodes[-1], "sink", {"Sink.Take": sink.take})
        await net.converged()
        program = Mux(clock=trio.current_time)
        net.running()["a"].attach(program, "a program")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(send, program, PLENTY, stop=True, ended=lambda: ended.append("stopped")))
            await trio.sleep(1)
            [stalled] = program.port.streams.values()
            [held] = sink.stopped
            assert isinstance(stalled, MuxStream)
            async with trio.open_nursery() as others:
                for _ in range(STREAMS - 1):
                    others.start_soon(partial(send, program, SOME, stop=False, ended=lambda: ended.append("another")))
            assert ended == ["another"] * (STREAMS - 1)
            assert sink.read == SOME * (STREAMS - 1)
            await trio.sleep(1)
            assert (stalled.may_send, held.unread, window(held)) == (0, INITIAL_CREDIT, INITIAL_CREDIT)
            assert held.buffered <= INITIAL_CREDIT
            for running in net.running().values():
                assert [link.statistics().queued for link in running._links()] == [0] * len(running._links())
            sink.go_on.set()
        assert ended[-1] == "stopped"
        assert sink.read == SOME * (STREAMS - 1) + PLENTY
