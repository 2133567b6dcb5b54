"""A stream of the mux keeps every promise of trio's streams: trio's own suite, and what it does not ask."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import check_half_closeable_stream, memory_stream_pair, wait_all_tasks_blocked

from sdk.connection import Transport, run_connection
from sdk.errors import Status
from sdk.port.native import NativePort
from sdk.rawsocket import bound_address, listen_tcp, open_tcp, take_over
from sdk.stream import Stream
from sdk.wire.frame import INITIAL_CREDIT, Fate
from sdk.wire.mux import Mux, MuxStream

Transports = Callable[[], Awaitable[tuple[Transport, Transport]]]


async def in_memory() -> tuple[Transport, Transport]:
    return memory_stream_pair()


async def over_tcp() -> tuple[Transport, Transport]:
    [listener] = await listen_tcp("127.0.0.1:0")
    async with listener:
        near = await open_tcp(bound_address(listener))
        return near, take_over(await listener.accept())


class Port(NativePort):
    """A port that can wait until the peer has taken all that was sent."""

    answered = trio.Event()

    def on_pong(self, payload: bytes, now: float) -> None:
        self.answered.set()

    async def flushed(self) -> None:
        self.answered = trio.Event()
        self.ping(b"12345678")
        await self.answered.wait()


class Ends:
    """A connection, with a mux at each end."""

    def __init__(self) -> None:
        self.opened, self._accept = trio.open_memory_channel[MuxStream](1)
        self.near = Mux()
        self.far = Mux(on_open=lambda stream, _: self.opened.send_nowait(stream))
        self.near_port = Port(self.near, role="client", dialled=True, name="far")
        self.far_port = Port(self.far, role="instance", dialled=False, name="near")
        self.near.attach(self.near_port)
        self.far.attach(self.far_port)

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


@asynccontextmanager
async def connected(transports: Transports) -> AsyncIterator[Ends]:
    ends = Ends()
    near, far = await transports()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_connection, ends.near_port, near)
        nursery.start_soon(run_connection, ends.far_port, far)
        yield ends
        nursery.cancel_scope.cancel()


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    async with connected(in_memory) as ends:
        yield ends


async def settle() -> None:
    """What was sent in memory has arrived."""
    await wait_all_tasks_blocked()


@pytest.mark.parametrize("transports", [in_memory, over_tcp])
async def test_a_stream_keeps_the_promises_of_trio(transports: Transports) -> None:
    async with connected(transports) as ends:
        await check_half_closeable_stream(ends.streams, ends.clogged)
        await ends.near_port.flushed()
        await ends.far_port.flushed()
        assert (ends.near_port.streams, ends.far_port.streams) == ({}, {})


async def test_a_peer_that_closed_is_end_of_file_to_the_reader_and_breakage_to_the_writer(ends: Ends) -> None:
    near, far = await ends.streams()
    await far.send_all(b"last")
    await far.aclose()
    await settle()
    assert await near.receive_some() == b"last"
    assert await near.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError, match="the peer closed the stream"):
        await near.send_all(b"x")


async def test_a_reader_that_waits_sees_the_peers_close(ends: Ends, nursery: trio.Nursery) -> None:
    near, far = await ends.streams()

    async def expect_end() -> None:
        assert await near.receive_some() == b""

    nursery.start_soon(expect_end)
    await settle()
    await far.aclose()


async def test_a_stream_cut_short_gives_what_arrived_and_then_says_why(ends: Ends) -> None:
    near, far = await ends.streams()
    await far.send_all(b"so far")
    far._mux_stream.reset(Status.INTERNAL, "the disk is full", Fate.MAY_HAVE_RUN)
    await settle()
    assert await near.receive_some() == b"so far"
    for _ in range(2):
        with pytest.raises(trio.BrokenResourceError, match="the disk is full"):
            await near.receive_some()
    with pytest.raises(trio.BrokenResourceError, match="the disk is full"):
        await near.send_all(b"x")


async def test_an_abort_breaks_both_directions_of_the_peer_at_once(ends: Ends, nursery: trio.Nursery) -> None:
    near, far = await ends.clogged()
    await settle()
    await far.receive_some()

    async def expect_broken(verb: Awaitable[object]) -> None:
        with pytest.raises(trio.BrokenResourceError, match="never mind"):
            await verb

    nursery.start_soon(expect_broken, far.receive_some())
    nursery.start_soon(expect_broken, far.send_all(bytes(INITIAL_CREDIT)))
    await settle()
    near._mux_stream.reset(Status.CANCELLED, "never mind")
    await settle()
    assert (ends.near_port.streams, ends.far_port.streams) == ({}, {})


async def test_an_end_that_was_seen_stays_the_end_though_the_other_direction_is_cut(ends: Ends) -> None:
    near, far = await ends.streams()
    await far.send_all(b"all of it")
    await far.send_eof()
    await settle()
    far._mux_stream.reset(Status.CANCELLED, "nothing more is wanted")
    await settle()
    assert [await near.receive_some(), await near.receive_some()] == [b"all of it", b""]
    with pytest.raises(trio.BrokenResourceError, match="nothing more is wanted"):
        await near.send_all(b"x")


async def test_a_connection_that_is_lost_breaks_its_streams(ends: Ends) -> None:
    near, _ = await ends.streams()
    ends.near_port.close("enough")
    await settle()
    with pytest.raises(trio.BrokenResourceError, match="far: enough"):
        await near.receive_some()


async def test_a_writer_waits_for_the_reader_and_a_stalled_stream_leaves_others_alone(ends: Ends) -> None:
    near, far = await ends.clogged()
    other_near, other_far = await ends.streams()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.send_all, b"more")
        await settle()
        assert nursery.child_tasks
        await other_near.send_all(b"x")
        assert await other_far.receive_some() == b"x"
        await far.receive_some()
        await settle()
        assert not nursery.child_tasks
    assert await far.receive_some() == b"more"


async def test_a_peer_that_closes_while_one_waits_for_credit_breaks_the_writer(
    ends: Ends, nursery: trio.Nursery
) -> None:
    near, far = await ends.clogged()

    async def expect_broken() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await near.send_all(b"x")

    nursery.start_soon(expect_broken)
    await settle()
    await far.aclose()


async def test_two_tasks_do_not_send_at_once_and_an_end_of_file_is_sending(ends: Ends) -> None:
    near, far = await ends.streams()
    sending = near.send_eof()
    sending.send(None)  # as far as its checkpoint
    with pytest.raises(trio.BusyResourceError):
        await near.send_all(b"x")
    sending.close()
    await near.send_all(b"y")
    assert await far.receive_some() == b"y"


async def test_a_cancelled_reader_loses_nothing(ends: Ends) -> None:
    near, far = await ends.streams()
    await far.send_all(b"x")
    with trio.CancelScope() as scope:
        scope.cancel()
        await near.receive_some()
    assert await near.receive_some() == b"x"


async def test_a_stream_that_both_ends_closed_is_forgotten_by_both(ends: Ends) -> None:
    near, far = await ends.streams()
    await near.aclose()
    await settle()
    assert not ends.far_port.streams or not far._mux_stream.sent_end
    await far.aclose()
    await settle()
    assert (ends.near_port.streams, ends.far_port.streams) == ({}, {})
