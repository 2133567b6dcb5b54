import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sdk import Client, errors
from sdk.config import ClientConfig
from sdk.handler import Handler
from sdk.head import CallHead, pack_call_head
from sdk.registry.memory import MemoryRegistry
from sdk.server import HELLO_SECONDS, Server
from sdk.wire import frame
from sdk.wire.frame import pack_frame, pack_hello, pack_open
from sdk.wire.message import encode_message
from tests.sdk.living import count, echo, greeting, offering, running
from tests.sdk.pair import frames_of


@asynccontextmanager
async def raw(address: str) -> AsyncIterator[trio.SocketStream]:
    host, _, port = address.rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        yield stream


@asynccontextmanager
async def service(**handlers: Any) -> AsyncIterator[str]:
    named = {name.replace("_", "."): function for name, function in handlers.items()}
    async with MemoryRegistry() as registry, running(offering(registry, named)) as address:
        yield address


HELLO = frame.PREFACE + pack_frame(frame.HELLO, 0, 0, pack_hello(frame.Hello(1, "client", 100)))


def opening(
    endpoint: str, body: bytes = b"", *, number: int = 1, ms: int = frame.NO_DEADLINE, flags: int = frame.END
) -> bytes:
    head = pack_call_head(CallHead("greeter", endpoint, "rpc", 0, "application/json"))
    return pack_frame(frame.OPEN, flags, number, pack_open(3, b"", ms, head, body))


async def test_an_endpoint_that_is_not_there_is_named_with_those_that_are() -> None:
    async with greeting({"Greeter.Hello": echo, "Greeter.Count": count}) as client:
        with pytest.raises(
            errors.Unimplemented, match=r"greeter has no endpoint Greeter\.Bye; it has Greeter\.Count, Greeter\.Hello"
        ):
            await client.call("greeter", "Greeter.Bye", {})
        async with client.stream("greeter", "Greeter.Bye", {}) as stream:
            with pytest.raises(errors.Unimplemented):
                await stream.receive()
        with pytest.raises(errors.Unimplemented):
            await client.call("greeter", "Greeter.Bye", bytes(1_000_000))


async def test_an_exception_without_words_is_told_by_its_name() -> None:
    async def slow(request: Any) -> Any:
        raise trio.TooSlowError

    async with greeting({"Greeter.Slow": slow}) as client:
        with pytest.raises(errors.InternalServerError, match=r"greeter Greeter\.Slow raised TooSlowError$"):
            await client.call("greeter", "Greeter.Slow")


async def test_a_handler_that_raises_is_an_error_of_the_service_and_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(request: Any) -> Any:
        raise ValueError("no luck")

    async with greeting({"Greeter.Fail": fail, "Greeter.Echo": echo}) as client:
        with pytest.raises(errors.InternalServerError, match=r"greeter Greeter\.Fail raised ValueError: no luck"):
            await client.call("greeter", "Greeter.Fail")
        assert await client.call("greeter", "Greeter.Echo", 1) == 1
    [line] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert line.getMessage() == "greeter Greeter.Fail raised"
    assert line.exc_info is not None
    assert line.exc_info[1] is not None
    assert line.exc_info[1].__traceback__ is not None


class Wordless(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


class Unmade(errors.BadRequest):
    def __init__(self) -> None:
        pass


def of_status(status: Any) -> errors.MicroError:
    error = errors.MicroError("odd")
    error.grpc = status
    return error


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    "error",
    [Wordless(), Unmade(), errors.NotFound("", id="x" * 70_000), errors.NotFound("", id=b"x"), of_status("odd")],  # type: ignore[arg-type]
    ids=["text raises", "not made", "too long", "no text", "no status"],
)
async def test_an_error_that_cannot_be_told_ends_its_call_and_nothing_else(error: Exception, streaming: bool) -> None:
    async def fail(request: Any) -> None:
        raise error

    async def fail_later(request: Any, stream: Any) -> None:
        await stream.send(1)
        raise error

    async with greeting({"A.Fail": fail_later if streaming else fail, "A.Echo": echo}) as client:
        with pytest.raises(errors.InternalServerError, match=f"A.Fail raised {type(error).__name__}"):
            async with client.stream("greeter", "A.Fail", 1) as stream:
                [message async for message in stream]
        assert await client.call("greeter", "A.Echo", 1) == 1


async def test_metadata_that_no_frame_can_hold_ends_its_call_and_nothing_else() -> None:
    async def talkative(request: Any, stream: Any) -> None:
        stream.trailing = ("why", "x" * 70_000)

    async with greeting({"A.Talk": talkative, "A.Echo": echo}) as client:
        with pytest.raises(errors.InternalServerError, match=r"A\.Talk raised LocalProtocolError"):
            await client.call("greeter", "A.Talk")
        assert await client.call("greeter", "A.Echo", 1) == 1


async def test_an_error_that_says_it_is_none_is_an_error() -> None:
    async def fail(request: Any) -> None:
        raise of_status(errors.Status.OK)

    async with greeting({"A.Fail": fail}) as client:
        with pytest.raises(errors.MicroError, match="odd"):
            await client.call("greeter", "A.Fail", 1)


async def test_an_error_from_a_nursery_of_the_handler_is_unwrapped() -> None:
    async def fail(request: Any) -> Any:
        async with trio.open_nursery():
            raise errors.NotFound("not here")

    async with greeting({"Greeter.Fail": fail}) as client:
        with pytest.raises(errors.NotFound, match="not here"):
            await client.call("greeter", "Greeter.Fail")


@pytest.mark.parametrize(
    "error",
    [SystemExit(3), BaseExceptionGroup("two", [SystemExit(3), ValueError()]), pytest.fail.Exception("no")],
    ids=["alone", "in a group", "other"],
)
async def test_an_exit_in_a_handler_ends_its_call_and_nothing_else(error: BaseException) -> None:
    async def leave(request: Any) -> None:
        raise error

    async with greeting({"A.Leave": leave, "A.Echo": echo}) as client:
        with pytest.raises(errors.InternalServerError, match=rf"A\.Leave raised {type(error).__name__}"):
            await client.call("greeter", "A.Leave")
        assert await client.call("greeter", "A.Echo", 1) == 1


async def test_an_interrupt_in_a_handler_ends_the_service() -> None:
    async def interrupt(request: Any) -> None:
        async with trio.open_nursery():
            raise KeyboardInterrupt

    async def call() -> None:
        async with greeting({"A.Interrupt": interrupt}) as client:
            with pytest.raises(errors.Unavailable):
                await client.call("greeter", "A.Interrupt")
            await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        await call()
    assert caught.group_contains(KeyboardInterrupt)


async def test_a_task_of_a_handler_that_raises_while_it_is_cancelled_ends_its_call_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("no tidy end")

    async def wait(request: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_at_the_end)
            await trio.sleep_forever()

    async with greeting({"A.Wait": wait, "A.Echo": echo}, default_deadline=0.05) as client:
        with pytest.raises(errors.Timeout):
            await client.call("greeter", "A.Wait")
        with trio.fail_after(30):
            while not caplog.records:
                await client.call("greeter", "A.Echo", 1)
    assert caplog.records[0].getMessage() == "greeter A.Wait raised while it was cancelled"


@pytest.mark.parametrize("answer", [object(), {"a": object()}])
async def test_an_answer_that_cannot_be_encoded_is_an_error_of_the_service(answer: Any) -> None:
    async def fail(request: Any) -> Any:
        return answer

    async with greeting({"Greeter.Fail": fail}) as client:
        with pytest.raises(errors.InternalServerError, match="cannot be encoded"):
            await client.call("greeter", "Greeter.Fail")


async def test_a_streaming_handler_that_returns_a_value_is_told_what_to_do() -> None:
    async def wrong(request: Any, stream: Any) -> Any:
        return 1

    async with greeting({"Greeter.Wrong": wrong}) as client, client.stream("greeter", "Greeter.Wrong", 1) as stream:
        with pytest.raises(errors.InternalServerError, match=r"stream\.send\(\)"):
            await stream.receive()


async def test_a_very_long_error_still_reaches_the_caller() -> None:
    async def fail(request: Any) -> Any:
        raise ValueError("ü" * 100_000)

    async with greeting({"Greeter.Fail": fail}) as client:
        with pytest.raises(errors.InternalServerError, match="ValueError: üüü"):
            await client.call("greeter", "Greeter.Fail")


async def test_two_handlers_for_one_endpoint_are_a_mistake() -> None:
    server = Server("greeter")
    server.add("A.B", echo)
    with pytest.raises(ValueError, match=r"A\.B"):
        server.add("A.B", echo)


async def test_a_deadline_in_the_call_cancels_the_handler_and_answers() -> None:
    cancelled = trio.Event()

    async def wait(request: Any) -> Any:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with service(A_Wait=wait) as address, raw(address) as stream:
        await stream.send_all(HELLO + opening("A.Wait", encode_message(b"1"), ms=50))
        await cancelled.wait()
        [reset] = await frames(stream, frame.RESET)
        assert frame.parse_reset_untrusted(reset).status == errors.Status.DEADLINE_EXCEEDED
        assert "A.Wait" in frame.parse_reset_untrusted(reset).detail


async def test_a_call_that_comes_too_late_does_not_run() -> None:
    ran = False

    async def run(request: Any) -> Any:
        nonlocal ran
        ran = True

    async with service(A_Run=run) as address, raw(address) as stream:
        await stream.send_all(HELLO + opening("A.Run", encode_message(b"1"), ms=0))
        [reset] = await frames(stream, frame.RESET)
        assert frame.parse_reset_untrusted(reset).status == errors.Status.DEADLINE_EXCEEDED
        assert frame.parse_reset_untrusted(reset).fate == frame.Fate.NOT_REACHED
    assert not ran


async def frames(stream: trio.SocketStream, kind: int, number: int = 1) -> list[bytes]:
    """The payloads of the first frames of that kind."""
    data = b""
    found: list[bytes] = []
    while len(found) < number:
        received = await stream.receive_some()
        assert received, "the service closed the connection"
        data += received
        found = [payload for each, _, _, payload in frames_of(data) if each == kind]
    return found


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (encode_message(b"{"), "not application/json"),
        (b"\x01\x00\x00\x00\x00", "compressed"),
        (encode_message(b"whole")[:-1], "4 bytes into a message|9 bytes into a message"),
        (b"\x00\xff\xff\xff\xff", "over the limit"),
    ],
)
async def test_a_request_that_cannot_be_read_is_the_callers_fault(body: bytes, reason: str) -> None:
    from sdk.head import parse_reply_head_untrusted

    async with service(A_Echo=echo) as address, raw(address) as stream:
        await stream.send_all(HELLO + opening("A.Echo", body))
        [answer] = await frames(stream, frame.HEAD)
        head = parse_reply_head_untrusted(frame.split_headed_untrusted(answer)[0])
        error = errors.error_from_status(head.status, head.message)
        assert isinstance(error, errors.BadRequest | errors.TooManyRequests)
        with pytest.raises(type(error), match=reason):
            raise error


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xffmicro\x09\x09",
        HELLO + pack_frame(frame.OPEN, 0, 1, b"\x00"),
        HELLO + b"\xff" * 64,
    ],
)
async def test_garbage_ends_its_own_connection_and_no_other(garbage: bytes, mock_clock: MockClock) -> None:
    async with service(A_Echo=echo) as address, Client(proxy=address) as client:
        assert await client.call("greeter", "A.Echo", 1) == 1
        async with raw(address) as stream:
            await stream.send_all(garbage + bytes(100))
            while await stream.receive_some():
                pass
        assert await client.call("greeter", "A.Echo", 2) == 2


async def test_a_connection_that_says_no_hello_is_closed_in_time(mock_clock: MockClock) -> None:
    async with service(A_Echo=echo) as address, Client(proxy=address) as client:
        await client.call("greeter", "A.Echo", 1)
        [connection] = client._callees.instances._alive
        async with raw(address) as silent, raw(address) as slow:
            await slow.send_all(HELLO[:-1])
            await wait_all_tasks_blocked(0.01)
            mock_clock.jump(HELLO_SECONDS + 1)
            for stream in (silent, slow):
                while await stream.receive_some():
                    pass
        assert not connection.port.dead


async def test_one_connection_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.server.MAX_CONNECTIONS", 1)
    async with service(A_Echo=echo) as address, Client(proxy=address) as client:
        await client.call("greeter", "A.Echo", 1)
        async with raw(address) as stream:
            assert await stream.receive_some() == b""
        assert await client.call("greeter", "A.Echo", 1) == 1


async def test_what_is_sent_after_the_answer_is_stopped() -> None:
    async def enough(request: Any, stream: Any) -> None:
        await stream.send("enough")

    async with greeting({"A.Enough": enough}) as client, client.stream("greeter", "A.Enough", 1) as stream:
        assert await stream.receive() == "enough"
        with pytest.raises(trio.EndOfChannel):
            await stream.receive()
        with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
            await stream.send(bytes(1_000_000))


async def test_streams_are_forgotten_on_both_sides() -> None:
    async with MemoryRegistry() as registry:
        service = offering(registry, {"A.Echo": echo, "A.Count": count})
        async with running(service), Client(registry=registry) as client:
            await client.call("greeter", "A.Echo", bytes(200_000))
            async with client.stream("greeter", "A.Count", {"to": 1}) as stream:
                assert [1 async for _ in stream] == [1]
            async with client.stream("greeter", "A.Count", {"to": 1000}) as stream:
                await stream.receive()
            with pytest.raises(errors.Unimplemented):
                await client.call("greeter", "A.Nothing", 1)
            await client.call("greeter", "A.Echo", 1)
            [connection], [port] = client._callees.instances._alive, service._server._ports
            assert connection.port.streams == {}
            while port.streams:  # the last END is on its way
                await trio.lowlevel.checkpoint()
            assert service._server.open_calls == 0


async def test_a_service_that_stops_answers_what_crosses_its_goaway_and_refuses_what_comes_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sdk.server.LINGER_SECONDS", 30.0)
    async with MemoryRegistry() as registry, trio.open_nursery() as nursery:
        stopped = offering(registry, {"Greeter.Echo": echo})
        address = await nursery.start(stopped.serve)
        async with raw(address) as stream:
            await stream.send_all(HELLO)
            heard = await hear(stream, frame.HELLO)
            stopped.stop()
            heard = await hear(stream, frame.PING)
            assert heard[-2][0] == frame.GOAWAY
            await stream.send_all(opening("Greeter.Echo", encode_message(b"1")))
            [(kind, *_)] = await hear(stream, frame.HEAD)
            assert kind == frame.HEAD
            late = opening("Greeter.Echo", encode_message(b"1"), number=3)
            await stream.send_all(pack_frame(frame.PONG, 0, 0, heard[-1][3]) + late)
            heard = await hear(stream, frame.RESET)
            assert [kind for kind, *_ in heard] == [frame.GOAWAY, frame.RESET]


async def hear(stream: trio.SocketStream, last: int) -> list[tuple[int, int, int, bytes]]:
    """The frames that come, up to the first of this kind."""
    data = b""
    frames: list[tuple[int, int, int, bytes]] = []
    with trio.fail_after(30):
        while not frames or frames[-1][0] != last:
            data += await stream.receive_some()
            frames = list(frames_of(data))
    return frames


async def test_a_deadline_that_passed_is_counted_as_an_error() -> None:
    async def wait(request: Any) -> Any:
        await trio.sleep_forever()

    async with MemoryRegistry() as registry:
        service = offering(registry, {"A.Wait": wait})
        async with running(service) as address, raw(address) as stream:
            await stream.send_all(HELLO + opening("A.Wait", encode_message(b"1"), ms=50))
            await frames(stream, frame.RESET)
            stats = service._server.stats["A.Wait"]
            assert (stats.requests, stats.errors) == (1, 1)
            assert stats.latencies.longest >= 0.05


async def test_an_eager_handler_starts_before_the_first_message_and_receives_it_too() -> None:
    async def speak_first(request: Any, stream: Any) -> None:
        await stream.send([request, "speak"])
        async for message in stream:
            await stream.send(message)

    handler = Handler("Greeter.Chat", speak_first)
    handler.eager = True
    async with MemoryRegistry() as registry:
        service = offering(registry, {})
        service.offer(handler)
        async with (
            running(service),
            Client(ClientConfig(), registry=registry) as client,
            client.stream("greeter", "Greeter.Chat") as stream,
        ):
            assert await stream.receive() == [None, "speak"]
            await stream.send(1)
            assert await stream.receive() == 1
