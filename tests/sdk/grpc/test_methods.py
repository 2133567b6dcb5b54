"""How methods of servicers are run; what they answer is tried in test_stub.py and test_context.py."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trio.testing

from sdk import errors
from tests.sdk.grpc.greetings import InThreads, OnTrio, greeting, pb2
from tests.sdk.grpc.mounted import stub_of


@pytest.mark.parametrize("threads", [2, 3])
async def test_as_many_threads_as_were_said_work_at_a_time(threads: int) -> None:
    three = threading.Barrier(3)
    met: list[bool] = []

    class Meeting(InThreads):
        def SayHello(self, request: Any, context: Any) -> Any:
            try:
                three.wait(0.5 if threads == 2 else 30)
            except threading.BrokenBarrierError:
                met.append(False)
            else:
                met.append(True)
            return pb2.Answer()

    async with stub_of(Meeting(), threads=threads) as stub, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(stub.SayHello, greeting(""))
    assert met == [threads == 3] * 3


async def test_a_thread_that_outlives_its_call_holds_up_nothing_but_its_place(
    mock_clock: trio.testing.MockClock,
) -> None:
    go_on, over, ended = threading.Event(), threading.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    class Stuck(InThreads):
        def SayHello(self, request: Any, context: Any) -> Any:
            if request.name == "stuck":
                context.add_callback(over.set)
                trio.from_thread.run_sync(mock_clock.jump, 1, trio_token=token)
                go_on.wait(30)
                ended.set()
            return super().SayHello(request, context)

    async with stub_of(Stuck(), threads=2) as stub:
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.2):
            await stub.SayHello(greeting("stuck"))
        assert await trio.to_thread.run_sync(over.wait, 30)
        assert not ended.is_set()
        assert await stub.SayHello(greeting("John")) == pb2.Answer(message="Hello John")
        go_on.set()


async def test_a_thread_of_the_servicers_own_is_told_when_the_call_is_over() -> None:
    told: list[Exception] = []
    readers: list[threading.Thread] = []

    class Reading(InThreads):
        def Join(self, request_iterator: Iterator[Any], context: Any) -> Any:
            first = threading.Event()

            def read() -> None:
                try:
                    for _ in request_iterator:
                        first.set()
                except errors.Cancelled as error:
                    told.append(error)

            readers.append(threading.Thread(target=read))
            readers[0].start()
            first.wait(30)
            return pb2.Answer(message="enough")

    async with stub_of(Reading()) as stub, stub.Join._open(None) as call:
        await call.send(greeting("John"))
        assert await call.receive() == pb2.Answer(message="enough")
        await trio.to_thread.run_sync(readers[0].join, 30)
    assert [str(error) for error in told] == ["the call is over"]


async def test_a_thread_that_waits_for_requests_is_told_when_the_call_is_over() -> None:
    ended, waiting = threading.Event(), threading.Event()

    class Waiting(InThreads):
        def Join(self, request_iterator: Iterator[Any], context: Any) -> Any:
            waiting.set()
            try:
                return super().Join(request_iterator, context)
            finally:
                with pytest.raises(errors.Cancelled, match="the call is over"):
                    next(request_iterator)
                assert not context.is_active()
                ended.set()

        def Chat(self, request_iterator: Iterator[Any], context: Any) -> Any:
            return self.Join(request_iterator, context)

    async with stub_of(Waiting()) as stub:
        async with stub.Chat() as call:
            await call.send(greeting("John"))
            assert await trio.to_thread.run_sync(waiting.wait, 30)
        assert await trio.to_thread.run_sync(ended.wait, 30)


async def test_a_request_that_cannot_be_read_is_the_callers_fault() -> None:
    for servicer in (InThreads(), OnTrio()):
        async with stub_of(servicer) as stub, stub.Join._open(None) as call:
            await call._stream.send(b"\xff")
            with pytest.raises(errors.BadRequest, match="the request cannot be read"):
                await call.receive()


async def test_a_generator_that_is_left_early_is_closed() -> None:
    closed = trio.Event()

    class Endless(OnTrio):
        async def Count(self, request: Any, context: Any) -> Any:
            try:
                while True:
                    yield pb2.Answer(message="x" * 1000)
            finally:
                closed.set()

    async with stub_of(Endless()) as stub:
        async with stub.Count(greeting("")) as replies:
            await replies.receive()
        with trio.fail_after(30):
            await closed.wait()
