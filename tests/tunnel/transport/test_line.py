import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.tunnel.transport.lines import fill, line_of
from tunnel.transport.line import MemoryLine
from tunnel.transport.memory import MemoryStream, memory_pair


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
