"""Raw connections over real sockets: how they end, and that nothing is lost or left behind."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from proxy.tcp import TcpPort
from sdk import splice as module
from sdk.errors import Status
from sdk.rawsocket import RawSocket
from sdk.splice import STOPPING, splice
from sdk.wire.frame import INITIAL_CREDIT, Open
from sdk.wire.mux import Mux, MuxStream
from tests.proxy.raw import DB, connected, is_reset, read_to_end


class Spliced:
    """A program's socket, and the stream that its connection has become."""

    def __init__(self, program: RawSocket) -> None:
        self.program = program
        self.ended = trio.Event()
        self.dead: list[str] = []
        self._streams: list[MuxStream] = []
        self._changed = trio.Event()
        mux = Mux(on_open=self._on_open, on_dead=self.dead.append)
        self.port = TcpPort(mux, name="program", clock=trio.current_time)
        mux.attach(self.port)
        self.port.open(DB)
        [self.stream] = self._streams

    def _on_open(self, stream: MuxStream, opened: Open) -> None:
        stream.on_change = self._change
        self._streams.append(stream)

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def received(self, size: int) -> bytes:
        """Takes what came from the program, when it is so much or its end."""
        data = b""
        while len(data) < size and not (self.stream.ended and not self.stream.received):
            data += self.stream.take()
            if len(data) < size and not self.stream.ended:
                await self._changed.wait()
        return data

    async def send(self, data: bytes) -> None:
        """Sends to the program."""
        while data := data[self.stream.write(data) :]:
            await self._changed.wait()


@asynccontextmanager
async def spliced(first: bytes = b"") -> AsyncIterator[Spliced]:
    program, transport = await connected()
    joined = Spliced(program)

    async def run() -> None:
        await splice(joined.port, transport, first)
        joined.ended.set()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            yield joined
            nursery.cancel_scope.cancel()
    program.close()


async def test_bytes_go_both_ways_and_each_direction_ends_by_itself() -> None:
    async with spliced(b"read before: ") as joined:
        await joined.program.send_all(b"request")
        await joined.program.send_eof()
        assert await joined.received(1000) == b"read before: request"
        assert not joined.ended.is_set()
        await joined.send(b"the answer to all of it")
        joined.stream.end()
        assert await read_to_end(joined.program) == b"the answer to all of it"
        await joined.ended.wait()
        assert joined.dead == ["the connection is at its end"]


async def test_the_answer_may_end_first() -> None:
    async with spliced() as joined:
        await joined.send(b"banner")
        joined.stream.end()
        assert await read_to_end(joined.program) == b"banner"
        assert not joined.ended.is_set()
        await joined.program.send_all(b"goes on")
        assert await joined.received(7) == b"goes on"
        joined.program.close()
        await joined.ended.wait()
        assert joined.stream.ended


async def test_megabytes_pass_in_both_directions_at_once_and_are_the_same_bytes() -> None:
    much = bytes(range(256)) * 20_000
    got: list[bytes] = []
    async with spliced() as joined:

        async def sends() -> None:
            await joined.program.send_all(much)
            await joined.program.send_eof()

        async def reads() -> None:
            got.append(await read_to_end(joined.program))

        async def answers() -> None:
            await joined.send(much[::-1])
            joined.stream.end()

        async with trio.open_nursery() as nursery:
            for task in (sends, reads, answers):
                nursery.start_soon(task)
            assert await joined.received(len(much) + 1) == much
        assert got == [much[::-1]]
        await joined.ended.wait()


async def test_a_program_that_does_not_read_holds_up_whoever_sends_to_it_and_not_what_it_sends() -> None:
    async with spliced() as joined:
        much = bytes(32 << 20)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(joined.send, much)
            await trio.testing.wait_all_tasks_blocked(0.1)  # until the sockets' buffers are full
            assert joined.stream.may_send == 0
            await joined.program.send_all(b"still heard")
            assert await joined.received(11) == b"still heard"
            received = 0
            while received < len(much):
                received += len(await joined.program.receive_some())


async def test_a_callee_that_does_not_read_holds_up_the_program() -> None:
    async with spliced() as joined, trio.open_nursery() as nursery:
        nursery.start_soon(joined.program.send_all, bytes(32 << 20))
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert joined.stream.buffered == INITIAL_CREDIT
        await joined.send(b"answers come all the same")
        assert await joined.program.receive_some() == b"answers come all the same"
        nursery.cancel_scope.cancel()


async def test_a_call_that_is_reset_is_a_connection_that_breaks() -> None:
    async with spliced() as joined:
        await joined.send(b"half of it")
        assert await joined.program.receive_some() == b"half of it"
        joined.stream.reset(Status.UNAVAILABLE, "gone")
        assert await is_reset(joined.program)
        await joined.ended.wait()


async def test_a_connection_that_breaks_is_a_call_that_is_cut_short() -> None:
    async with spliced() as joined:
        await joined.program.send_all(b"half")
        assert await joined.received(4) == b"half"
        joined.program.abort()
        await joined.ended.wait()
        assert "reset by peer" in joined.dead[0]
        assert joined.stream.cut


async def test_a_call_that_was_reset_before_there_was_a_connection_sends_nothing_over_it() -> None:
    program, transport = await connected()
    mux = Mux()
    port = TcpPort(mux, name="instance", clock=trio.current_time)
    mux.attach(port)
    stream = mux.open(b"head", b"DROP TABLE", end=False)
    stream.reset(Status.CANCELLED, "the caller has left")
    with trio.fail_after(30):
        await splice(port, transport)
        assert await is_reset(program)
    program.close()


async def test_a_callee_that_wants_no_more_lets_the_connection_end_even_while_it_has_no_credit() -> None:
    async with spliced() as joined:
        await joined.program.send_all(bytes(INITIAL_CREDIT))
        while joined.port.may_send:
            await joined._changed.wait()
        await trio.testing.wait_all_tasks_blocked()
        await joined.send(b"enough")
        joined.stream.end()
        joined.stream.stop()
        assert await read_to_end(joined.program) == b"enough"
        joined.program.close()
        await joined.ended.wait()


async def test_a_program_that_never_closes_is_left_when_both_directions_are_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LINGER", 0.05)
    async with spliced() as joined:
        joined.stream.end()
        assert await read_to_end(joined.program) == b""
        joined.stream.stop()
        await joined.ended.wait()


async def test_a_last_word_arrives_at_a_program_that_goes_on_sending() -> None:
    async with spliced() as joined:
        joined.port._say(b"404" * 10, last=True)
        await joined.program.send_all(bytes(200_000))
        assert await read_to_end(joined.program) == b"404" * 10
        joined.program.close()
        await joined.ended.wait()


async def test_whoever_stops_it_breaks_the_connection_off_and_the_call_too() -> None:
    program, transport = await connected()
    joined = Spliced(program)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(splice, joined.port, transport)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert joined.dead == [STOPPING]
        assert joined.stream.cut
        assert await is_reset(program)
    program.close()


async def stopped_after(words: bytes, *, heard: bool) -> RawSocket:
    """A program whose connection was stopped after these last words, all of which it has heard or not."""
    program, transport = await connected()
    joined = Spliced(program)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(splice, joined.port, transport)
            await trio.testing.wait_all_tasks_blocked()
            joined.port._say(words, last=True)
            if heard:
                assert await read_to_end(program) == words
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    return program


async def test_a_program_that_has_heard_all_there_is_to_hear_is_not_broken_off_by_whoever_stops_it() -> None:
    async with await stopped_after(b"goodbye", heard=True) as program:
        assert not await is_reset(program)


async def test_who_stops_it_in_the_middle_of_the_last_words_breaks_the_connection_off() -> None:
    # Whoever ends it instead lets the program take a part for the whole.
    async with await stopped_after(bytes(32 << 20), heard=False) as program:
        assert await is_reset(program)
