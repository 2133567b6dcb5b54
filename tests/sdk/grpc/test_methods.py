"""How methods of servicers are run; what they answer is tried in test_stub.py and test_context.py."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from sdk import errors
from tests.sdk.grpc.greetings import InThreads, OnTrio, greeting, pb2
from tests.sdk.grpc.mounted import stub_of


async def test_as_many_threads_as_were_said_work_at_a_time() -> None:
    class Counting(InThreads):
        def __init__(self) -> None:
            super().__init__()
            self.busy = self.most = 0
            self.lock = threading.Lock()
            self.two = threading.Barrier(2)

        def SayHello(self, request: Any, context: Any) -> Any:
            with self.lock:
                self.busy += 1
                self.most = max(self.most, self.busy)
            self.two.wait(10)
            with self.lock:
                self.busy -= 1
            return pb2.Answer()

    servicer = Counting()
    async with stub_of(servicer, threads=2) as stub, trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(stub.SayHello, greeting(""))
    assert servicer.most == 2


async def test_a_thread_that_outlives_its_call_holds_up_nothing_but_its_place() -> None:
    go_on = threading.Event()

    class Stuck(InThreads):
        def SayHello(self, request: Any, context: Any) -> Any:
            if request.name == "stuck":
                go_on.wait(10)
            return super().SayHello(request, context)

    async with stub_of(Stuck(), threads=2) as stub:
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.05):
            await stub.SayHello(greeting("stuck"))
        assert await stub.SayHello(greeting("John")) == pb2.Answer(message="Hello John")
        go_on.set()


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
            assert await trio.to_thread.run_sync(waiting.wait, 10)
        assert await trio.to_thread.run_sync(ended.wait, 10)


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
        with trio.fail_after(10):
            await closed.wait()
