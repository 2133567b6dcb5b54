"""The writer: at the end of a turn where it can, in its task where it must."""

from collections.abc import Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from sdk.writer import LIGHT, Writer


class Socket:
    """Takes so many bytes at once; the rest, and all when it is full, only where it is waited for."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.at_once: list[bytes] = []
        self.waited: list[bytes] = []
        self.broken = False

    def send_now(self, data: bytes) -> bytes:
        sent, rest = data[: self.room], data[self.room :]
        if sent and not self.broken:
            self.at_once.append(sent)
        return data if self.broken else rest

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise trio.BrokenResourceError
        self.waited.append(data)


class Source:
    """Something to write, and whether it is all."""

    def __init__(self, socket: object) -> None:
        self.waiting: list[bytes] = []
        self.ended = False
        self.drains = 0
        self.error: Exception | None = None
        self.writer = Writer(socket, self.take, lambda: self.ended)  # type: ignore[arg-type]

    def take(self) -> bytes:
        self.drains += 1
        if self.error:
            raise self.error
        data, self.waiting = b"".join(self.waiting), []
        return data

    def say(self, data: bytes) -> None:
        self.waiting.append(data)
        self.writer.wake()


async def asleep(nursery: trio.Nursery, source: Source) -> None:
    nursery.start_soon(source.writer.run)
    await wait_all_tasks_blocked()


async def test_what_tasks_of_one_turn_produce_goes_out_at_its_end_in_one_write(nursery: trio.Nursery) -> None:
    source = Source(socket := Socket())
    await asleep(nursery, source)
    async with trio.open_nursery() as tasks:
        for word in (b"a", b"b", b"c"):
            tasks.start_soon(_soon, source, word)
    await trio.lowlevel.checkpoint()
    assert [sorted(data) for data in socket.at_once] == [[*b"abc"]]
    assert not socket.waited


async def _soon(source: Source, word: bytes) -> None:
    source.say(word)


async def test_what_does_not_go_out_at_once_is_waited_for_and_comes_first(nursery: trio.Nursery) -> None:
    source = Source(socket := Socket(room=3))
    await asleep(nursery, source)
    source.say(b"hello")
    await wait_all_tasks_blocked()
    assert (socket.at_once, socket.waited) == ([b"hel"], [b"lo"])
    source.say(b"on")
    await wait_all_tasks_blocked()
    assert (socket.at_once, socket.waited) == ([b"hel", b"on"], [b"lo"])


async def test_after_a_large_write_the_task_writes_until_one_is_small(nursery: trio.Nursery) -> None:
    source = Source(socket := Socket(room=1))
    await asleep(nursery, source)
    source.say(b"x" * (LIGHT + 2))
    await wait_all_tasks_blocked()
    assert list(map(len, socket.waited)) == [LIGHT + 1]
    socket.at_once.clear()
    for word in (b"one", b"two"):
        source.say(word)
        await wait_all_tasks_blocked()
    assert socket.waited[1:] == [b"one", b"wo"]
    assert socket.at_once == [b"t"]


async def test_a_transport_that_cannot_send_at_once_is_written_to_by_the_task(nursery: trio.Nursery) -> None:
    class Slow:
        def __init__(self) -> None:
            self.sent: list[bytes] = []

        async def send_all(self, data: bytes) -> None:
            self.sent.append(data)

    source = Source(slow := Slow())
    await asleep(nursery, source)
    source.say(b"hello")
    await wait_all_tasks_blocked()
    assert slow.sent == [b"hello"]


@pytest.mark.parametrize("last", [b"", b"goodbye"])
async def test_it_ends_when_it_is_over_and_all_has_gone_out(last: bytes) -> None:
    source = Source(socket := Socket())
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await asleep(nursery, source)
            source.ended = True
            source.say(last)
    assert b"".join(socket.at_once) == last


async def test_a_transport_that_is_gone_is_an_error_of_the_task() -> None:
    source = Source(socket := Socket())
    socket.broken = True
    with trio.fail_after(30), pytest.RaisesGroup(trio.BrokenResourceError):
        async with trio.open_nursery() as nursery:
            await asleep(nursery, source)
            source.say(b"hello")


async def test_a_defect_in_what_is_drained_is_an_error_of_the_task_and_of_no_other() -> None:
    broken, sound = Source(Socket()), Source(socket := Socket())
    async with trio.open_nursery() as nursery:
        await asleep(nursery, sound)
        with trio.fail_after(30), pytest.RaisesGroup(ZeroDivisionError):
            async with trio.open_nursery() as other:
                await asleep(other, broken)
                broken.error = ZeroDivisionError()
                broken.say(b"hello")
        sound.say(b"still here")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert socket.at_once == [b"still here"]


async def test_a_writer_that_was_cancelled_writes_nothing_more(nursery: trio.Nursery) -> None:
    source = Source(socket := Socket())
    done: list[Callable[[], None]] = []
    async with trio.open_nursery() as inner:
        await asleep(inner, source)
        source.say(b"hello")
        inner.cancel_scope.cancel()
        done.append(source.writer.wake)
    source.say(b"on")
    await wait_all_tasks_blocked()
    assert b"on" not in b"".join(socket.at_once)
