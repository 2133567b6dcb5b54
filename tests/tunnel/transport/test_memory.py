import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sdk.errors import Conflict, Unavailable
from tunnel.transport.memory import CHUNKS, MemoryNetwork, memory_pair


async def test_closing_is_the_end_at_the_other_end_and_an_error_at_this_one() -> None:
    here, there = memory_pair("a")
    await here.send_all(b"last")
    await here.send_all(b"")
    await here.aclose()
    await here.aclose()
    assert await there.receive_some() == b"last"
    assert await there.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await there.send_all(b"x")
    with pytest.raises(trio.ClosedResourceError):
        await here.send_all(b"x")
    with pytest.raises(trio.ClosedResourceError):
        await here.receive_some()


async def test_what_is_dialled_is_accepted() -> None:
    network = MemoryNetwork()
    async with network.listen("a") as listener:
        here = await network.dial("a")
        there = await listener.accept()
        assert (here.peer, there.peer) == ("mem://a", "a dialler of mem://a")
        await here.send_all(b"hello")
        assert await there.receive_some(2) == b"he"
        assert await there.receive_some() == b"llo"


async def test_nobody_listens_where_nobody_listens() -> None:
    network = MemoryNetwork()
    for _ in range(2):
        with pytest.raises(Unavailable, match="mem://a: nobody listens there"):
            await network.dial("a")
        async with network.listen("a"):
            with pytest.raises(Conflict, match="mem://a is taken"):
                network.listen("a")


async def test_networks_know_nothing_of_each_other() -> None:
    async with MemoryNetwork().listen("a"):
        with pytest.raises(Unavailable):
            await MemoryNetwork().dial("a")


async def test_a_writer_waits_for_a_reader_that_is_behind(autojump_clock: MockClock) -> None:
    here, there = memory_pair("a")
    sent = 0

    async def write() -> None:
        nonlocal sent
        while True:
            await here.send_all(b"x")
            sent += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        assert sent == CHUNKS
        await there.receive_some()
        await wait_all_tasks_blocked()
        assert sent == CHUNKS + 1
        nursery.cancel_scope.cancel()
