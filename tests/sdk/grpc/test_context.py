"""What servicers tell and ask by their `context`."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest
import trio

from sdk import errors
from sdk.errors import Status
from sdk.head import parse_reply_head_untrusted, parse_trailers_untrusted
from tests.sdk.grpc.greetings import greeting, pb2, pb2_grpc
from tests.sdk.grpc.mounted import mounted, stub_of

Behave = Callable[[Any], Any]


def in_threads(behave: Behave) -> Any:
    class Servicer(pb2_grpc.GreeterServicer):  # type: ignore[misc]
        def SayHello(self, request: Any, context: Any) -> Any:
            return behave(context) or pb2.Answer()

        def Count(self, request: Any, context: Any) -> Any:
            yield pb2.Answer(message="first")
            behave(context)

    return Servicer()


def on_trio(behave: Behave) -> Any:
    class Servicer(pb2_grpc.GreeterServicer):  # type: ignore[misc]
        async def SayHello(self, request: Any, context: Any) -> Any:
            result = behave(context)
            return (await result if hasattr(result, "__await__") else result) or pb2.Answer()

        async def Count(self, request: Any, context: Any) -> Any:
            yield pb2.Answer(message="first")
            await self.SayHello(request, context)

    return Servicer()


BOTH = pytest.mark.parametrize("servicer", [in_threads, on_trio])


async def caught(servicer: Any) -> errors.MicroError:
    """What a caller sees of a call, and of one that has been answered in part."""
    async with stub_of(servicer) as stub:
        with pytest.raises(errors.MicroError) as unary:
            await stub.SayHello(greeting(""))
        async with stub.Count(greeting("")) as replies:
            assert await replies.receive() == pb2.Answer(message="first")
            with pytest.raises(errors.MicroError) as stream:
                await replies.receive()
    assert (type(unary.value), str(unary.value)) == (type(stream.value), str(stream.value))
    assert unary.value.grpc is stream.value.grpc
    return unary.value


@BOTH
async def test_a_method_that_aborts_says_why_in_its_own_words(servicer: Any) -> None:
    error = await caught(servicer(lambda context: context.abort(grpc.StatusCode.NOT_FOUND, "no user 5")))
    assert (type(error), error.detail, error.id) == (errors.NotFound, "no user 5", "")


@BOTH
async def test_every_status_reaches_the_caller(servicer: Any) -> None:
    error = await caught(servicer(lambda context: context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not yet")))
    assert (type(error), error.grpc) == (errors.MicroError, Status.FAILED_PRECONDITION)
    error = await caught(servicer(lambda context: context.abort(grpc.StatusCode.OK, "odd")))
    assert error.grpc is Status.UNKNOWN


async def test_an_abort_counts_though_the_method_catches_it() -> None:
    def behave(context: Any) -> None:
        try:
            context.abort(grpc.StatusCode.ABORTED, "once more")
        except Exception:
            context.set_code(grpc.StatusCode.DATA_LOSS)

    assert (await caught(in_threads(behave))).grpc is Status.ABORTED


@BOTH
async def test_an_abort_may_be_a_status_of_grpcio_status(servicer: Any) -> None:
    class Rich(grpc.Status):
        code = grpc.StatusCode.OUT_OF_RANGE
        details = "too far"
        trailing_metadata = (("grpc-status-details-bin", b"more"),)

    error = await caught(servicer(lambda context: context.abort_with_status(Rich())))
    assert (error.grpc, error.detail) == (Status.OUT_OF_RANGE, "too far")


@BOTH
async def test_a_code_that_was_set_is_what_the_call_ends_with(servicer: Any) -> None:
    def behave(context: Any) -> None:
        context.set_code(grpc.StatusCode.PERMISSION_DENIED)
        context.set_details("not you")
        assert (context.code(), context.details()) == (grpc.StatusCode.PERMISSION_DENIED, "not you")

    error = await caught(servicer(behave))
    assert (type(error), error.detail) == (errors.Forbidden, "not you")


@BOTH
async def test_a_code_that_was_set_counts_for_a_method_that_raises_which_is_logged(
    servicer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def behave(context: Any) -> None:
        context.set_code(grpc.StatusCode.DATA_LOSS)
        raise ValueError("a secret of the inside")

    error = await caught(servicer(behave))
    assert (error.grpc, error.detail) == (Status.DATA_LOSS, "")
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "welcome /hello.v1.Greeter/SayHello raised",
        "welcome /hello.v1.Greeter/Count raised",
    ]


@BOTH
async def test_a_code_of_ok_changes_nothing(servicer: Any) -> None:
    async with stub_of(servicer(lambda context: context.set_code(grpc.StatusCode.OK))) as stub:
        assert await stub.SayHello(greeting("")) == pb2.Answer()


@BOTH
async def test_what_a_method_raises_is_told_as_of_any_handler(servicer: Any) -> None:
    def raising(error: Exception) -> Behave:
        def behave(context: Any) -> None:
            raise error

        return behave

    assert type(await caught(servicer(raising(errors.Conflict("there is one"))))) is errors.Conflict
    async with stub_of(servicer(raising(ValueError("odd")))) as stub:
        with pytest.raises(errors.InternalServerError, match="raised ValueError: odd"):
            await stub.SayHello(greeting(""))


async def test_metadata_goes_ahead_of_an_answer_and_behind_it() -> None:
    async def behave(context: Any) -> None:
        await context.send_initial_metadata((("x-first", "1"),))
        with pytest.raises(ValueError, match="was sent already"):
            await context.send_initial_metadata(())
        context.set_trailing_metadata((("x-last-bin", b"\xff"),))
        assert context.trailing_metadata() == (("x-last-bin", b"\xff"),)

    def behave_in_thread(context: Any) -> None:
        context.send_initial_metadata((("x-first", "1"),))
        context.set_trailing_metadata((("x-last-bin", b"\xff"),))

    for servicer in (on_trio(behave), in_threads(behave_in_thread)):
        async with mounted(servicer) as client, client.stream("welcome", "Greeter.SayHello", greeting("")) as stream:
            assert [message async for message in stream] == [b""]
            frames = stream._stream
            assert frames.head is not None
            assert frames.trailers is not None
            assert parse_reply_head_untrusted(frames.head).metadata == ("x-first", "1")
            assert parse_trailers_untrusted(frames.trailers).metadata == ("x-last-bin", "/w")


@BOTH
async def test_what_the_caller_sent_and_who_it_is_can_be_asked(servicer: Any) -> None:
    told: list[Any] = []

    def behave(context: Any) -> None:
        told[:] = [dict(context.invocation_metadata())["x-name"], context.peer()]
        assert context.peer_identities() is context.peer_identity_key() is None
        assert context.auth_context() == {}
        context.set_compression(grpc.Compression.Gzip)
        context.disable_next_message_compression()

    async with stub_of(servicer(behave)) as stub:
        await stub.SayHello(greeting(""), metadata=(("X-Name", "John"),))
    assert told[0] == "John"
    assert told[1].startswith("127.0.0.1:")


@BOTH
async def test_the_time_that_is_left_can_be_asked(servicer: Any) -> None:
    told: list[float | None] = []
    async with stub_of(servicer(lambda context: told.append(context.time_remaining()))) as stub:
        with trio.fail_after(60):
            await stub.SayHello(greeting(""))
        async with stub.Count(greeting("")) as replies:
            assert [reply async for reply in replies]
    assert told[0] is not None
    assert 50 < told[0] <= 60.1
    assert told[1] is None


async def test_callbacks_are_called_when_the_call_is_over() -> None:
    over = threading.Event()
    contexts: list[Any] = []

    def behave(context: Any) -> None:
        assert context.is_active()
        assert context.add_callback(over.set)
        context.add_callback(lambda: 1 / 0)
        contexts.append(context)

    async with stub_of(in_threads(behave)) as stub:
        await stub.SayHello(greeting(""))
        assert await trio.to_thread.run_sync(over.wait, 30)
        assert not contexts[0].is_active()
        assert not await trio.to_thread.run_sync(contexts[0].add_callback, over.set)


async def test_callbacks_on_trio_are_given_the_context(caplog: pytest.LogCaptureFixture) -> None:
    done: list[Any] = []

    def behave(context: Any) -> None:
        assert not context.done()
        assert not context.cancelled()
        context.add_done_callback(lambda _: 1 / 0)
        context.add_done_callback(done.append)

    async with stub_of(on_trio(behave)) as stub:
        await stub.SayHello(greeting(""))
    assert [context.done() for context in done] == [True]
    assert "a callback at the end of a call raised" in caplog.text


async def test_a_method_in_a_thread_may_cancel_its_call() -> None:
    active: list[tuple[bool, bool]] = []
    ran = threading.Semaphore(0)

    def behave(context: Any) -> None:
        before = context.is_active()
        context.cancel()
        active.append((before, context.is_active()))
        ran.release()

    error = await caught(in_threads(behave))
    for _ in range(2):  # The caller hears of the end while the method's thread still runs: a thread is not cancelled.
        assert await trio.to_thread.run_sync(ran.acquire, True, 30)
    assert active == [(True, False)] * 2
    assert (type(error), error.detail) == (errors.Cancelled, "the servicer cancelled the call")
