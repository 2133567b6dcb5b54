import pytest
import trio
from trio.testing import MockClock, check_two_way_stream, wait_all_tasks_blocked

from sdk.errors import Conflict, Unavailable
from tests.tunnel.transport.lines import fill, line_of
from tunnel.transport.memory import MemoryNetwork, MemoryStream, memory_pair
from tunnel.transport.way import CHUNKS

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


async def test_each_line_of_a_network_has_its_own_luck_which_its_seed_decides(autojump_clock: MockClock) -> None:
    async def seconds_to_connect(seed: int, name: str) -> list[float]:
        network = MemoryNetwork(seed=seed).seen_from(name)
        line = network.line("b", name)
        line.delay, line.jitter = 0.5, 0.4
        async with network.listen("b"):
            times = []
            for _ in range(5):
                began = trio.current_time()
                await network.dial("b")
                times.append(trio.current_time() - began)
        assert all(0.2 <= time <= 1.8 for time in times)
        return [round(time, 6) for time in times]

    first = await seconds_to_connect(1, "a")
    assert await seconds_to_connect(1, "a") == first
    assert await seconds_to_connect(2, "a") != first
    assert await seconds_to_connect(1, "c") != first


async def test_a_network_knows_the_two_directions_of_a_line_whoever_dials(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    network.line("a", "b").rate = 1000
    async with network.listen("a") as at_a, network.listen("b") as at_b:
        from_a, from_b = await network.seen_from("a").dial("b"), await network.seen_from("b").dial("a")
        to_b, to_a = await at_b.accept(), await at_a.accept()
        await from_a.send_all(bytes(1000))
        await to_a.send_all(bytes(1000))
        await from_b.send_all(bytes(500))
        arrived = []
        for end in (to_a, to_b, from_b):
            await end.receive_some()
            arrived.append(trio.current_time())
    assert arrived == pytest.approx([0.5, 1.0, 2.0])
