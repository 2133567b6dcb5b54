"""The driver: two tasks, one end. Machines and transports here do what the test says, and note what happens to them."""

import math
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from sdk.connection import CLOSED_HERE, LAST_WORDS, READ_SIZE, run_connection
from sdk.errors import RemoteProtocolError
from sdk.timers import Timers


class Machine:
    """Says what it is told to say; of what it hears, `quit` is an error and `crash` a defect."""

    def __init__(self, output: bytes = b"") -> None:
        self.wake: Callable[[], None] = lambda: None
        self.close: Callable[[str], None] = lambda reason: None
        self.output = output
        self.heard: list[bytes] = []
        self.reasons: list[str] = []
        self.more = 0
        """How often it wants to be called again after bytes came."""
        self.deadline = math.inf
        self.drains = 0

    def say(self, data: bytes) -> None:
        if not self.output:
            self.wake()
        self.output += data

    def receive_data(self, data: bytes, now: float) -> bool:
        assert type(data) is bytes
        assert now == pytest.approx(trio.current_time())
        self.heard.append(data)
        if data == b"quit":
            self.say(b"goodbye")
            raise RemoteProtocolError("the peer said quit")
        if data == b"crash":
            raise ZeroDivisionError
        if data:
            self.wanted = self.more
        self.wanted -= 1
        return self.wanted >= 0

    def data_to_send(self, now: float) -> bytes:
        data, self.output = self.output, b""
        self.drains += 1
        return data

    def connection_lost(self, reason: str) -> None:
        self.reasons.append(reason)

    def next_timeout(self) -> float:
        return self.deadline

    def handle_timeout(self, now: float) -> None:
        self.deadline = math.inf
        self.close("it took too long")


class Full:
    """A transport that is never ready to send, and has nothing to read until it is told."""

    def __init__(self, events: list[str]) -> None:
        self.events = events
        self.inbox_end, self._inbox = trio.open_memory_channel[bytes](math.inf)
        self.writing = trio.Event()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._inbox.receive()

    async def send_all(self, data: bytes) -> None:
        self.writing.set()
        await trio.sleep_forever()

    async def aclose(self) -> None:
        self.events.append("closed")


async def test_bytes_go_through_both_ways_and_the_peers_end_is_the_end(nursery: trio.Nursery) -> None:
    machine, (near, far) = Machine(b"hello"), memory_stream_pair()
    nursery.start_soon(run_connection, machine, near)
    assert await far.receive_some() == b"hello"
    await far.send_all(b"one")
    await wait_all_tasks_blocked()
    machine.say(b"two")
    machine.say(b"three")
    assert await far.receive_some() == b"twothree"
    await far.send_eof()
    assert await far.receive_some() == b""
    assert machine.heard == [b"one"]
    assert machine.reasons == ["the peer closed the connection"]


async def test_what_was_read_already_comes_first(nursery: trio.Nursery) -> None:
    machine, (near, far) = Machine(), memory_stream_pair()
    await far.send_all(b"second")
    async with trio.open_nursery() as inner:
        inner.start_soon(lambda: run_connection(machine, near, first=b"first"))
        await wait_all_tasks_blocked()
        await far.aclose()
    assert machine.heard == [b"first", b"second"]


async def test_a_machine_that_has_more_is_called_again_after_others_had_their_turn(nursery: trio.Nursery) -> None:
    machine, (near, far) = Machine(), memory_stream_pair()
    machine.more = 5
    nursery.start_soon(run_connection, machine, near)
    await wait_all_tasks_blocked()
    await far.send_all(b"x")
    turns = 0
    while len(machine.heard) < 6:
        turns += 1
        await trio.lowlevel.checkpoint()
    assert turns >= 5
    assert machine.heard == [b"x", b"", b"", b"", b"", b""]
    await far.aclose()


async def test_at_most_64_kib_are_read_at_a_time(nursery: trio.Nursery) -> None:
    machine, (near, far) = Machine(), memory_stream_pair()
    await far.send_all(bytes(3 * READ_SIZE + 1))
    await far.send_eof()
    await run_connection(machine, near)
    assert [len(data) for data in machine.heard] == [READ_SIZE] * 3 + [1]
    assert READ_SIZE == 65536


async def test_a_peer_that_breaks_the_rules_hears_the_last_words_and_the_reason_is_the_rule() -> None:
    machine, (near, far) = Machine(), memory_stream_pair()
    await far.send_all(b"quit")
    fault = await run_connection(machine, near)
    assert machine.reasons == [str(fault)] == ["the peer said quit"]
    assert await far.receive_some() == b"goodbye"
    assert await far.receive_some() == b""


async def test_a_machine_closes_with_a_reason_once_its_output_has_gone_out(nursery: trio.Nursery) -> None:
    machine, (near, far) = Machine(), memory_stream_pair()
    async with trio.open_nursery() as inner:
        inner.start_soon(run_connection, machine, near)
        await wait_all_tasks_blocked()
        machine.say(b"x" * 100_000)
        machine.close("draining")
        machine.close("a later reason")
        machine.say(b"the end")
    received = b""
    while data := await far.receive_some():
        received += data
    assert received == b"x" * 100_000 + b"the end"
    assert machine.reasons == ["draining"]


async def test_closing_after_the_end_is_nothing() -> None:
    machine, (near, far) = Machine(), memory_stream_pair()
    await far.aclose()
    await run_connection(machine, near)
    machine.close("too late")
    machine.say(b"too late")
    assert machine.reasons == ["the peer closed the connection"]


async def test_a_transport_that_breaks_gives_the_reason() -> None:
    class Breaking(Full):
        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            raise trio.BrokenResourceError("connection reset by peer")

    machine, events = Machine(), list[str]()
    assert await run_connection(machine, Breaking(events)) is None
    assert machine.reasons == ["connection reset by peer"]
    assert events == ["closed"]


async def test_a_transport_closed_by_somebody_else_on_this_side_is_the_end(nursery: trio.Nursery) -> None:
    machine, (near, _) = Machine(), memory_stream_pair()
    async with trio.open_nursery() as inner:
        inner.start_soon(run_connection, machine, near)
        await wait_all_tasks_blocked()
        await near.aclose()
    [reason] = machine.reasons
    assert reason


class BreaksOnWrite(Full):
    """The peer said something, closed, and does not take what is sent."""

    async def send_all(self, data: bytes) -> None:
        self.writing.set()
        raise trio.BrokenResourceError("broken pipe")


async def test_what_the_peer_said_before_it_left_is_heard_although_writing_to_it_breaks() -> None:
    machine, events = Machine(b"hello"), list[str]()
    transport = BreaksOnWrite(events)

    async def say_why() -> None:
        await transport.writing.wait()
        await wait_all_tasks_blocked()
        transport.inbox_end.send_nowait(b"quit")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(say_why)
        await run_connection(machine, transport)
    assert machine.reasons == ["the peer said quit"]


async def test_a_connection_that_cannot_be_written_to_ends_soon_though_nothing_is_read(
    autojump_clock: MockClock,
) -> None:
    machine, events = Machine(b"hello"), list[str]()
    start = trio.current_time()
    await run_connection(machine, BreaksOnWrite(events))
    assert trio.current_time() - start <= 2 * LAST_WORDS
    assert machine.reasons == ["broken pipe"]
    assert events == ["closed"]


async def test_a_writer_stuck_on_a_full_socket_does_not_keep_a_connection_that_ended(autojump_clock: MockClock) -> None:
    machine, events = Machine(b"hello"), list[str]()
    transport = Full(events)
    transport.inbox_end.send_nowait(b"")
    start = trio.current_time()
    await run_connection(machine, transport)
    assert trio.current_time() - start == pytest.approx(LAST_WORDS)
    assert machine.reasons == ["the peer closed the connection"]
    assert events == ["closed"]


async def test_a_reader_goes_on_while_the_writer_is_stuck(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    machine = Machine(b"hello")
    transport = Full([])
    nursery.start_soon(run_connection, machine, transport)
    await transport.writing.wait()
    for data in (b"one", b"two"):
        transport.inbox_end.send_nowait(data)
        machine.say(b"more")
    await trio.sleep(10)
    assert machine.heard == [b"one", b"two"]
    assert machine.output == b"moremore"
    assert not machine.reasons
    machine.close("enough")
    await trio.sleep(1)
    assert machine.reasons == ["enough"]


async def test_a_caller_that_cancels_lets_the_last_words_out(nursery: trio.Nursery) -> None:
    machine, (near, far) = Machine(), memory_stream_pair()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as inner:
            inner.start_soon(run_connection, machine, near)
            await wait_all_tasks_blocked()
            machine.say(b"RESET")
            scope.cancel()
    assert scope.cancelled_caught
    assert machine.reasons == [CLOSED_HERE]
    assert await far.receive_some() == b"RESET"
    assert await far.receive_some() == b""


async def test_a_caller_that_cancels_waits_no_longer_than_that_for_a_full_socket(autojump_clock: MockClock) -> None:
    machine, events = Machine(b"hello"), list[str]()
    start = trio.current_time()
    with trio.move_on_after(1):
        await run_connection(machine, Full(events))
    assert trio.current_time() - start == pytest.approx(1 + LAST_WORDS)
    assert machine.reasons == [CLOSED_HERE]
    assert events == ["closed"]


async def test_a_reason_that_was_given_survives_a_cancellation(autojump_clock: MockClock) -> None:
    machine = Machine(b"hello")
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as inner:
            inner.start_soon(run_connection, machine, Full([]))
            await wait_all_tasks_blocked()
            machine.close("draining")
            await wait_all_tasks_blocked()
            scope.cancel()
    assert machine.reasons == ["draining"]


async def test_a_connection_cancelled_before_it_began_is_lost_once_and_closed() -> None:
    machine, events = Machine(), list[str]()
    with trio.CancelScope() as scope:
        scope.cancel()
        await run_connection(machine, Full(events))
    assert scope.cancelled_caught
    assert machine.reasons == [CLOSED_HERE]
    assert events == ["closed"]


async def test_a_defect_of_ours_is_raised_after_the_same_clean_up() -> None:
    machine, (near, far) = Machine(), memory_stream_pair()
    await far.send_all(b"crash")
    timers = Timers()
    with pytest.RaisesGroup(ZeroDivisionError):
        await run_connection(machine, near, timers=timers)
    assert machine.reasons == ["an error of this side: ZeroDivisionError"]
    assert await far.receive_some() == b""


async def test_a_machine_that_fails_at_the_end_leaves_no_open_transport() -> None:
    class Failing(Machine):
        def connection_lost(self, reason: str) -> None:
            raise ZeroDivisionError

    events: list[str] = []
    transport = Full(events)
    transport.inbox_end.send_nowait(b"")
    with pytest.raises(ZeroDivisionError):
        await run_connection(Failing(), transport)
    assert events == ["closed"]


async def test_a_transport_that_cannot_be_closed_holds_up_a_second_at_most(autojump_clock: MockClock) -> None:
    class Stuck(Full):
        async def aclose(self) -> None:
            await trio.sleep_forever()

    machine, transport = Machine(), Stuck([])
    transport.inbox_end.send_nowait(b"")
    start = trio.current_time()
    await run_connection(machine, transport)
    assert trio.current_time() - start == pytest.approx(1)


async def test_a_machine_is_timed_as_long_as_its_connection_lives(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    machine, timers, (near, _) = Machine(), Timers(), memory_stream_pair()
    machine.deadline = trio.current_time() + 3
    nursery.start_soon(timers.run)
    start = trio.current_time()
    await run_connection(machine, near, timers=timers)
    assert 3 <= trio.current_time() - start < 3.1
    assert machine.reasons == ["it took too long"]
    machine.deadline = trio.current_time() + 1
    timers.poke(machine)
    await trio.sleep(2)
    assert machine.deadline < math.inf


async def test_output_that_gathers_while_the_writer_is_busy_is_one_write(nursery: trio.Nursery) -> None:
    class Slow(Full):
        def __init__(self) -> None:
            super().__init__([])
            self.sent: list[bytes] = []
            self.ready = trio.Event()

        async def send_all(self, data: bytes) -> None:
            self.sent.append(data)
            await self.ready.wait()

    machine, transport = Machine(), Slow()
    nursery.start_soon(run_connection, machine, transport)
    await wait_all_tasks_blocked()
    for n in range(10):
        machine.say(b"%d" % n)
        await wait_all_tasks_blocked()
    assert transport.sent == [b"0"]
    transport.ready.set()
    await wait_all_tasks_blocked()
    assert transport.sent == [b"0", b"123456789"]
    nursery.cancel_scope.cancel()
