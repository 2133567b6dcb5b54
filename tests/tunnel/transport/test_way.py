from typing import Any

import pytest
import trio
from trio.testing import MockClock, check_two_way_stream, wait_all_tasks_blocked

from tests.tunnel.transport.lines import fill, line_of
from tunnel.transport import Connected
from tunnel.transport.memory import MemoryStream, memory_pair
from tunnel.transport.way import CHUNKS, RECEIVE_BUFFER, SEND_BUFFER


async def read(stream: MemoryStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.receive_some()
    return data


async def test_a_writer_waits_for_a_reader_that_is_behind(autojump_clock: MockClock) -> None:
    here, there = memory_pair("a")
    await fill(here)
    with trio.move_on_after(100) as scope:
        await here.send_all(b"x")
    assert scope.cancelled_caught
    assert CHUNKS == 64
    await there.receive_some()
    await here.send_all(b"x")


# Rough lines.


@pytest.mark.parametrize(
    "quality", [{"jitter": 0.2}, {"loss": 0.3}, {"rate": 100_000}, {"jitter": 0.2, "loss": 0.3, "rate": 100_000}]
)
async def test_it_keeps_every_promise_of_trios_streams(quality: dict[str, Any], autojump_clock: MockClock) -> None:
    async def pair() -> tuple[MemoryStream, MemoryStream]:
        return memory_pair("a", line_of(0.5, **quality))

    async def clogged() -> tuple[MemoryStream, MemoryStream]:
        ends = await pair()
        for end in ends:
            with trio.move_on_after(60):
                await end.send_all(bytes(2 * RECEIVE_BUFFER))
        return ends

    await check_two_way_stream(pair, clogged)


async def test_every_byte_arrives_in_order_however_rough_it_is(autojump_clock: MockClock) -> None:
    here, there = memory_pair("a", line_of(0.2, jitter=0.3, loss=0.3, rate=50_000))
    sent = b"".join(number.to_bytes(4, "big") for number in range(100_000))
    got = b""

    async def write() -> None:
        for start in range(0, len(sent), 7001):
            await here.send_all(sent[start : start + 7001])
        await here.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        while data := await there.receive_some(5000):
            got += data
    assert got == sent


async def test_a_transfer_takes_as_long_as_its_bytes_do_at_the_rate(autojump_clock: MockClock) -> None:
    here, there = memory_pair("a", line_of(0.5, rate=10_000))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.send_all, bytes(300_000))
        await read(there, 300_000)
    assert trio.current_time() == pytest.approx(30.5)


async def test_connections_share_the_rate_and_directions_do_not(autojump_clock: MockClock) -> None:
    line = line_of(0.0, rate=10_000)
    pairs = [memory_pair("a", line) for _ in range(2)]
    done = []

    async def transfer(out: MemoryStream, in_: MemoryStream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(out.send_all, bytes(300_000))
            await read(in_, 300_000)
        done.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for here, there in pairs:
            nursery.start_soon(transfer, here, there)
        nursery.start_soon(transfer, pairs[0][1], pairs[0][0])
    assert done == [pytest.approx(30), pytest.approx(60, abs=10), pytest.approx(60)]
    assert done[1] > 50, "both have their turns"


async def test_a_writer_waits_when_a_socket_would_be_full_and_goes_on_when_half_has_left(
    autojump_clock: MockClock,
) -> None:
    here, _there = memory_pair("a", line_of(0.0, rate=10_000))
    await here.send_all(bytes(SEND_BUFFER))
    assert trio.current_time() == 0
    await here.wait_send_all_might_not_block()
    assert trio.current_time() == pytest.approx(SEND_BUFFER / 2 / 10_000)
    await here.send_all(bytes(SEND_BUFFER))
    assert trio.current_time() == pytest.approx(SEND_BUFFER / 10_000)


async def test_a_writer_waits_for_a_reader_that_is_behind_also_over_a_rough_line(autojump_clock: MockClock) -> None:
    here, there = memory_pair("a", line_of(0.1, loss=0.01))
    await here.send_all(bytes(RECEIVE_BUFFER))
    with trio.move_on_after(100) as scope:
        await here.send_all(b"x")
    assert scope.cancelled_caught
    await there.receive_some()
    await here.send_all(b"x")


def test_the_same_seed_gives_the_same_run_and_another_one_another() -> None:
    async def run(seed: str) -> list[float]:
        here, there = memory_pair("a", line_of(0.2, seed=seed, jitter=0.05, loss=0.1, rate=100_000))
        times = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.send_all, bytes(200_000))
            size = 0
            while size < 200_000:
                size += len(await there.receive_some())
                times.append(trio.current_time())
        return times

    first, again, other = (trio.run(run, seed, clock=MockClock(autojump_threshold=0)) for seed in ("1", "1", "2"))
    assert first == again != other


async def test_losses_within_a_long_write_do_not_wait_for_the_timer(autojump_clock: MockClock) -> None:
    here, there = memory_pair("a", line_of(0.01, loss=0.01, rate=100_000))
    gaps, last = [], 0.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.send_all, bytes(2_000_000))
        size = 0
        while size < 2_000_000:
            size += len(await there.receive_some())
            gaps.append(trio.current_time() - last)
            last = trio.current_time()
    assert 0.06 < max(gaps) < 0.1


async def test_at_the_healing_of_a_rough_line_bytes_go_on_from_where_they_were(autojump_clock: MockClock) -> None:
    line = line_of(0.5, rate=10_000)
    here, there = memory_pair("a", line)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.send_all, bytes(300_000))
        await trio.sleep(10)
        line.sever()
        with trio.move_on_after(600) as scope:
            await read(there, 1)
        assert scope.cancelled_caught
        line.heal()
        await read(there, 300_000)
    assert trio.current_time() == pytest.approx(30.5 + 600)


async def test_during_a_cut_a_rough_line_takes_no_more_than_a_socket(autojump_clock: MockClock) -> None:
    line = line_of(0.5, rate=10_000)
    here, there = memory_pair("a", line)
    line.sever()
    await here.send_all(bytes(SEND_BUFFER))
    with trio.move_on_after(600) as scope:
        await here.send_all(b"x")
    assert scope.cancelled_caught
    line.heal()
    await here.wait_send_all_might_not_block()
    assert trio.current_time() == pytest.approx(600 + SEND_BUFFER / 2 / 10_000)
    await read(there, SEND_BUFFER)
    assert trio.current_time() == pytest.approx(600 + 0.5 + SEND_BUFFER / 10_000)


async def test_what_a_reset_has_swept_away_keeps_nobody_waiting(autojump_clock: MockClock) -> None:
    line = line_of(0.5, rate=10_000)
    here, _ = memory_pair("a", line)
    await here.send_all(bytes(SEND_BUFFER))
    line.reset()
    with pytest.raises(trio.BrokenResourceError, match="reset"):
        await here.send_all(b"x")
    here, there = memory_pair("a", line)
    await here.send_all(b"hello")
    assert await there.receive_some() == b"hello"
    assert trio.current_time() == pytest.approx(0.5005)


async def test_a_line_may_become_rough_and_smooth_again_while_bytes_are_under_way(autojump_clock: MockClock) -> None:
    line = line_of(0.5)
    here, there = memory_pair("a", line)
    await here.send_all(b"1")
    line.rate = 10
    await here.send_all(b"2" * 10)
    line.rate = float("inf")
    await here.send_all(b"3")
    await here.aclose()
    got = []
    while data := await there.receive_some():
        got.append((trio.current_time(), data))
    assert got == [(0.5, b"1"), (1.5, b"2" * 10), (1.5, b"3")]


async def test_a_writer_that_waits_while_its_line_becomes_smooth_sends_the_rest(autojump_clock: MockClock) -> None:
    line = line_of(0.1, jitter=0.05)
    here, there = memory_pair("a", line)
    sent = bytes(range(256)) * (RECEIVE_BUFFER // 256 + 100)
    got = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.send_all, sent)
        await wait_all_tasks_blocked()
        line.jitter = 0.0
        while len(got) < len(sent):
            got += await there.receive_some(1000)
    assert got == sent


async def test_two_tasks_may_not_write_at_once(autojump_clock: MockClock) -> None:
    here, _there = memory_pair("a", line_of(0.0, rate=10))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.send_all, bytes(2 * SEND_BUFFER))
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await here.send_all(b"x")
        nursery.cancel_scope.cancel()


async def test_a_writer_that_wants_little_to_lie_there_waits_until_half_of_that_is_left(
    autojump_clock: MockClock,
) -> None:
    here, _there = memory_pair("a", line_of(0.0, rate=10_000))
    Connected(here, "mem", "mem://a").set_depth(4096)
    for number in range(10):
        await here.send_all(bytes(4096))
        assert trio.current_time() == pytest.approx(max(0, 4096 * number - 2048) / 10_000)


async def test_losses_between_short_writes_of_who_waits_for_room_do_not_wait_for_the_timer_either(
    autojump_clock: MockClock,
) -> None:
    here, there = memory_pair("a", line_of(0.01, loss=0.01, rate=100_000))
    here.set_depth(4096)
    gaps, last, size = [], 0.0, 400_000
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            for _ in range(size // 4000):
                await here.send_all(bytes(4000))

        nursery.start_soon(send)
        while size:
            size -= len(await there.receive_some())
            gaps.append(trio.current_time() - last)
            last = trio.current_time()
    assert 0.06 < max(gaps) < 0.15
