import pytest
import trio
from trio.testing import MockClock, check_two_way_stream, wait_all_tasks_blocked

from sdk.errors import Conflict, Unavailable
from tunnel.transport.memory import CHUNKS, MemoryLine, MemoryNetwork, MemoryStream, memory_pair


async def fill(stream: MemoryStream) -> None:
    for _ in range(CHUNKS):
        await stream.send_all(b"x")


def line_of(delay: float) -> MemoryLine:
    line = MemoryLine()
    line.delay = delay
    return line


# One connection.


@pytest.mark.parametrize("delay", [0.0, 0.5])
async def test_it_keeps_every_promise_of_trios_streams(delay: float, autojump_clock: MockClock) -> None:
    async def pair() -> tuple[MemoryStream, MemoryStream]:
        return memory_pair("a", line_of(delay))

    async def clogged() -> tuple[MemoryStream, MemoryStream]:
        here, there = await pair()
        await fill(here)
        await fill(there)
        return here, there

    await check_two_way_stream(pair, clogged)


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


async def test_a_reader_that_is_cancelled_loses_nothing(autojump_clock: MockClock) -> None:
    here, there = memory_pair("a", line_of(0.5))
    await here.send_all(b"late")
    with trio.move_on_after(0.4) as scope:
        await there.receive_some()
    assert scope.cancelled_caught
    assert await there.receive_some(1) == b"l"
    assert await there.receive_some() == b"ate"


# The line below it.


async def test_all_that_happens_at_one_end_is_known_at_the_other_after_the_delay(autojump_clock: MockClock) -> None:
    here, there = memory_pair("a", line_of(0.5))
    began = trio.current_time()
    await here.send_all(b"early")
    await trio.sleep(0.2)
    await here.send_all(b"late")
    await here.aclose()
    await there.send_all(b"it cannot be known yet that nobody reads this")
    known = []
    for expected in (b"early", b"late", b""):
        assert await there.receive_some() == expected
        known.append(trio.current_time() - began)
    assert known == pytest.approx([0.5, 0.7, 0.7])
    with pytest.raises(trio.BrokenResourceError, match="other end is closed"):
        await there.send_all(b"x")


async def test_a_writer_that_waits_learns_after_the_delay_that_nobody_reads(autojump_clock: MockClock) -> None:
    here, there = memory_pair("a", line_of(0.5))
    await fill(here)
    await there.aclose()
    began = trio.current_time()
    with pytest.raises(trio.BrokenResourceError):
        await here.send_all(b"x")
    assert trio.current_time() - began == pytest.approx(0.5)


async def test_what_is_sent_first_arrives_first_also_when_the_line_becomes_faster(autojump_clock: MockClock) -> None:
    line = line_of(0.5)
    here, there = memory_pair("a", line)
    await here.send_all(b"1")
    line.delay = 0.0
    await here.send_all(b"2")
    await here.aclose()
    assert [await there.receive_some() for _ in range(3)] == [b"1", b"2", b""]


async def test_nothing_gets_through_a_cut_line_until_it_is_healed(autojump_clock: MockClock) -> None:
    line = line_of(0.1)
    here, there = memory_pair("a", line)
    await here.send_all(b"under way")
    line.sever()
    line.sever()
    assert line.cut
    await here.send_all(b"more")
    with trio.move_on_after(100) as scope:
        await there.receive_some()
    assert scope.cancelled_caught
    line.heal()
    line.heal()
    assert not line.cut
    began = trio.current_time()
    assert [await there.receive_some() for _ in range(2)] == [b"under way", b"more"]
    assert trio.current_time() == began


async def test_who_waits_to_read_is_woken_by_the_healing(autojump_clock: MockClock) -> None:
    line = MemoryLine()
    here, there = memory_pair("a", line)
    line.sever()
    await here.send_all(b"x")
    got = []

    async def read() -> None:
        got.append(await there.receive_some())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        line.heal()
    assert got == [b"x"]


async def test_a_cut_line_does_not_tell_that_an_end_has_closed(autojump_clock: MockClock) -> None:
    line = MemoryLine()
    here, there = memory_pair("a", line)
    line.sever()
    await here.aclose()
    await there.send_all(b"x")
    with trio.move_on_after(100) as scope:
        await there.receive_some()
    assert scope.cancelled_caught
    line.heal()
    assert await there.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await there.send_all(b"x")


async def test_a_writer_that_waits_at_a_cut_line_learns_at_its_healing_that_nobody_reads(
    autojump_clock: MockClock,
) -> None:
    line = MemoryLine()
    here, there = memory_pair("a", line)
    line.sever()
    await fill(here)
    await there.aclose()
    with trio.move_on_after(100) as scope:
        await here.send_all(b"x")
    assert scope.cancelled_caught
    line.heal()
    with pytest.raises(trio.BrokenResourceError):
        await here.send_all(b"x")


@pytest.mark.parametrize("cut", [True, False])
async def test_a_reset_breaks_both_ends_at_once_and_the_line_carries_on(cut: bool, autojump_clock: MockClock) -> None:
    line = line_of(0.5)
    here, there = memory_pair("a", line)
    await here.send_all(b"never to arrive")
    if cut:
        line.sever()
    broken = []

    async def read(stream: MemoryStream) -> None:
        with pytest.raises(trio.BrokenResourceError, match="reset"):
            await stream.receive_some()
        broken.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, here)
        nursery.start_soon(read, there)
        await wait_all_tasks_blocked()
        began = trio.current_time()
        line.reset()
    assert broken == [began, began]
    with pytest.raises(trio.BrokenResourceError, match="reset"):
        await there.send_all(b"x")
    line.heal()
    here, there = memory_pair("a", line)
    await here.send_all(b"hello")
    assert await there.receive_some() == b"hello"


async def test_a_line_forgets_connections_that_are_over() -> None:
    line = MemoryLine()
    here, there = memory_pair("a", line)
    for end in (here, there):
        assert line._ways
        end.close()
    assert not line._ways


# Names.


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


async def test_who_was_not_accepted_is_told_when_the_listener_closes() -> None:
    network = MemoryNetwork()
    async with network.listen("a"):
        here = await network.dial("a")
    assert await here.receive_some() == b""


async def test_dialling_takes_the_way_there_and_back(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    network.line("a", "b").delay = 0.5
    began = trio.current_time()
    async with network.listen("b"):
        await network.seen_from("a").dial("b")
    assert trio.current_time() - began == pytest.approx(1.0)


async def test_dialling_over_a_cut_line_waits_until_it_is_healed(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    network.line("b", "a").sever()
    async with network.listen("b"):
        with trio.move_on_after(100) as scope:
            await network.seen_from("a").dial("b")
        assert scope.cancelled_caught
        await network.seen_from("c").dial("b")
        network.line("a", "b").heal()
        await network.seen_from("a").dial("b")


async def test_a_cut_breaks_no_other_line(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with network.listen("a") as listener:
        here, there = await network.seen_from("b").dial("a"), await listener.accept()
        network.line("c", "a").sever()
        network.line("c", "a").reset()
        await here.send_all(b"hello")
        assert await there.receive_some() == b"hello"
