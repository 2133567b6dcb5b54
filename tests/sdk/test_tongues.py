"""One port, three tongues: grpcio calls a service of the SDK that knows nothing of gRPC."""

import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
import trio
import trio.testing

from sdk import Client, Service, errors
from sdk.registry.memory import MemoryRegistry
from tests.sdk.living import offering, running


async def hello(request: bytes) -> bytes:
    return b"hello " + request


async def count(request: bytes, stream: Any) -> None:
    for number in range(int(request)):
        await stream.send(str(number).encode())


async def join(request: bytes, stream: Any) -> None:
    parts = [request] + [part async for part in stream]
    await stream.send(b"".join(parts))


async def echo(request: bytes, stream: Any) -> None:
    await stream.send(request)
    async for message in stream:
        await stream.send(message)


async def metadata(request: bytes, stream: Any) -> None:
    await stream.send(json.dumps(stream.metadata).encode())


async def refuse(request: bytes) -> bytes:
    raise errors.Conflict("it is there: ü 100 %")


async def fail(request: bytes) -> bytes:
    raise ValueError("no luck")


HANDLERS: dict[str, Callable[..., Any]] = {
    "Greeter.Hello": hello,
    "Greeter.Count": count,
    "Greeter.Join": join,
    "Greeter.Echo": echo,
    "Greeter.Metadata": metadata,
    "Greeter.Refuse": refuse,
    "Greeter.Fail": fail,
}


def channel_to(address: str) -> Any:
    """What grpcio calls without types."""
    return grpc.insecure_channel(address)


class Dialled:
    """A grpcio channel to a running service, used from threads."""

    def __init__(self, channel: Any, service: Service) -> None:
        self.channel = channel
        self.service = service

    async def unary(self, method: str, request: bytes = b"", path: str = "/greeter.Greeter/", **options: Any) -> Any:
        """The answer, or the error, of a unary call and its call object."""
        return await self.do(lambda: self.channel.unary_unary(path + method)(request, timeout=30, **options))

    async def do(self, function: Callable[[], Any]) -> Any:
        return await trio.to_thread.run_sync(function)


@asynccontextmanager
async def dialled(handlers: dict[str, Any] | None = None, name: str = "greeter") -> AsyncIterator[Dialled]:
    async with MemoryRegistry() as registry:
        service = offering(registry, handlers or HANDLERS, name)
        async with running(service) as address:
            with channel_to(address) as channel:
                yield Dialled(channel, service)


async def test_a_unary_call_of_grpcio_is_answered() -> None:
    async with dialled() as there:
        assert await there.unary("Hello", b"Ada") == b"hello Ada"


async def test_megabytes_go_both_ways() -> None:
    much = bytes(range(256)) * 12_000
    async with dialled() as there:
        assert await there.unary("Hello", much) == b"hello " + much


@pytest.mark.parametrize("path", ["/greeter.Greeter/", "/elsewhere.v1.Greeter/", "/Greeter/"])
async def test_the_address_says_which_service_is_meant_whatever_package_the_path_names(path: str) -> None:
    async with dialled() as there:
        assert await there.unary("Hello", b"Ada", path) == b"hello Ada"


async def test_whoever_names_another_service_is_told_which_one_is_here() -> None:
    async with dialled() as there:
        with pytest.raises(grpc.RpcError) as raised:
            await there.unary("Hello", metadata=(("micro-service", "other"),))
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
        assert raised.value.details() == "this is greeter, not other"


async def test_answers_are_streamed_to_grpcio() -> None:
    async with dialled() as there:
        method = there.channel.unary_stream("/greeter.Greeter/Count")
        assert await there.do(lambda: list(method(b"5", timeout=30))) == [b"0", b"1", b"2", b"3", b"4"]


async def test_requests_are_streamed_from_grpcio() -> None:
    async with dialled() as there:
        method = there.channel.stream_unary("/greeter.Greeter/Join")
        assert await there.do(lambda: method(iter([b"a", b"b", b"c"]), timeout=30)) == b"abc"


async def test_both_stream_at_once_and_each_message_is_answered_before_the_next_is_sent() -> None:
    def converse(channel: Any) -> list[bytes]:
        answered = threading.Semaphore(1)
        got: list[bytes] = []

        def requests() -> Iterator[bytes]:
            for number in range(5):
                assert answered.acquire(timeout=30)
                yield str(number).encode()

        for message in channel.stream_stream("/greeter.Greeter/Echo")(requests(), timeout=20):
            got.append(message)
            answered.release()
        return got

    async with dialled() as there:
        assert await there.do(lambda: converse(there.channel)) == [b"0", b"1", b"2", b"3", b"4"]


async def test_metadata_of_grpcio_is_the_handlers() -> None:
    async with dialled() as there:
        method = there.channel.unary_stream("/greeter.Greeter/Metadata")
        [said] = await there.do(lambda: list(method(b"", timeout=30, metadata=(("who", "ada"), ("raw-bin", b"\xff")))))
        assert json.loads(said)["who"] == "ada"
        assert json.loads(said)["raw-bin"] in ("/w", "/w==")


@pytest.mark.parametrize(
    ("method", "code", "detail"),
    [
        ("Refuse", grpc.StatusCode.ALREADY_EXISTS, "it is there: ü 100 %"),
        ("Fail", grpc.StatusCode.INTERNAL, "greeter Greeter.Fail raised ValueError: no luck"),
        ("Nothing", grpc.StatusCode.UNIMPLEMENTED, "greeter has no endpoint Greeter.Nothing; it has"),
    ],
)
async def test_errors_are_told_by_status_and_in_words(method: str, code: grpc.StatusCode, detail: str) -> None:
    async with dialled() as there:
        with pytest.raises(grpc.RpcError) as raised:
            await there.unary(method)
        assert raised.value.code() == code
        told = json.loads(raised.value.details() or "")
        assert told["detail"].startswith(detail)
        assert told["id"] == "greeter"


async def test_an_error_behind_some_answers_comes_in_the_trailers() -> None:
    async def some(request: bytes, stream: Any) -> None:
        await stream.send(b"one")
        raise errors.NotFound("no more")

    def read(channel: Any) -> tuple[list[bytes], Any]:
        call = channel.unary_stream("/greeter.Greeter/Some")(b"", timeout=30)
        got = [next(call)]
        with pytest.raises(grpc.RpcError) as raised:
            next(call)
        return got, raised.value

    async with dialled({"Greeter.Some": some}) as there:
        got, error = await there.do(lambda: read(there.channel))
        assert got == [b"one"]
        assert error.code() == grpc.StatusCode.NOT_FOUND
        assert json.loads(error.details() or "")["detail"] == "no more"


class Sleeper:
    """A handler that never answers, and says when it was reached and how it ended."""

    def __init__(self) -> None:
        self.reached, self.cancelled = trio.Event(), trio.Event()

    async def handle(self, request: bytes, stream: Any) -> None:
        self.reached.set()
        try:
            await trio.sleep_forever()
        finally:
            self.cancelled.set()


async def test_a_deadline_of_grpcio_ends_the_handler(mock_clock: trio.testing.MockClock) -> None:
    sleeper = Sleeper()
    async with dialled({"Greeter.Sleep": sleeper.handle}) as there:
        method = there.channel.unary_unary("/greeter.Greeter/Sleep")
        call = method.future(b"", timeout=40)
        await sleeper.reached.wait()
        mock_clock.jump(41)  # for the service only: grpcio has a clock of its own
        await sleeper.cancelled.wait()
        assert await trio.to_thread.run_sync(call.code) == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_call_that_grpcio_takes_back_ends_the_handler() -> None:
    sleeper = Sleeper()
    async with dialled({"Greeter.Sleep": sleeper.handle}) as there:
        call = there.channel.unary_unary("/greeter.Greeter/Sleep").future(b"")
        with trio.fail_after(30):
            await sleeper.reached.wait()
            call.cancel()
            await sleeper.cancelled.wait()


async def test_frames_and_grpc_are_served_at_the_same_time() -> None:
    async with MemoryRegistry() as registry, running(offering(registry, HANDLERS)) as address:
        with channel_to(address) as channel:
            method = channel.unary_unary("/greeter.Greeter/Hello")
            async with Client(registry=registry) as client:
                assert await trio.to_thread.run_sync(lambda: method(b"1", timeout=30)) == b"hello 1"
                assert await client.call("greeter", "Greeter.Hello", b"2") == b"hello 2"


async def test_a_service_that_stops_answers_what_grpcio_has_asked() -> None:
    reached, go_on = trio.Event(), trio.Event()

    async def slow(request: bytes) -> bytes:
        reached.set()
        await go_on.wait()
        return bytes(200_000)

    async with MemoryRegistry() as registry, trio.open_nursery() as nursery:
        service = offering(registry, {"Greeter.Slow": slow})
        address = await nursery.start(service.serve)
        with channel_to(address) as channel:
            call = channel.unary_unary("/greeter.Greeter/Slow").future(b"")
            with trio.fail_after(30):
                await reached.wait()
                service.stop()
                [port] = service._server._ports
                while not port.refusing:
                    await trio.lowlevel.checkpoint()
                go_on.set()
                assert len(await trio.to_thread.run_sync(lambda: call.result(timeout=30))) == 200_000


async def test_a_service_stops_as_soon_as_grpcio_has_heard_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.server.LINGER_SECONDS", 30.0)
    async with MemoryRegistry() as registry:
        service = offering(registry, HANDLERS)
        async with trio.open_nursery() as nursery:
            address = await nursery.start(service.serve)
            with channel_to(address) as channel:
                method = channel.unary_unary("/greeter.Greeter/Hello")
                assert await trio.to_thread.run_sync(lambda: method(b"1", timeout=30)) == b"hello 1"
                with trio.move_on_after(10) as waiting:
                    service.stop()
                    while service._server._ports:
                        await trio.lowlevel.checkpoint()
                assert not waiting.cancelled_caught


async def test_who_has_not_shown_yet_what_it_speaks_when_the_service_stops_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sdk.server.LINGER_SECONDS", 30.0)
    async with MemoryRegistry() as registry, trio.open_nursery() as nursery:
        service = offering(registry, HANDLERS)
        address = await nursery.start(service.serve)
        host, _, port = address.rpartition(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(b"GE")
            with trio.fail_after(30):
                while not service._server._arriving and not service._server._ports:
                    await trio.lowlevel.checkpoint()
                service.stop()
                while not service._server._doors.closed:
                    await trio.lowlevel.checkpoint()
                await trio.testing.wait_all_tasks_blocked()
                await stream.send_all(b"T / HTTP/1.1\r\nhost: x\r\n\r\n")
                said = b""
                while data := await stream.receive_some():
                    said += data
        nursery.cancel_scope.cancel()
    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"this end is stopping" in said
