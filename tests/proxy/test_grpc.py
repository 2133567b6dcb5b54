"""gRPC through a node, with grpcio at both ends: its client and its server speak to our ports over sockets."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import trio

from tests.proxy.grpcnode import GrpcNode, grpc_node

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
GREETER = "/greeter.Greeter/"


def error_of(call: Any) -> Any:
    """The error that a call ends with."""
    return call.exception(timeout=30)


class Greeter(grpc.GenericRpcHandler):
    """All four kinds of method, on bytes."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        """A call of `Wait` was told to stop."""
        self.waiting = threading.Event()
        """One has begun."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        name = details.method.removeprefix(GREETER)
        return {
            "Echo": grpc.unary_unary_rpc_method_handler(self._echo),
            "Fail": grpc.unary_unary_rpc_method_handler(self._fail),
            "Wait": grpc.unary_unary_rpc_method_handler(self._wait),
            "Sum": grpc.stream_unary_rpc_method_handler(lambda messages, _: b"%d" % sum(map(len, messages))),
            "Count": grpc.unary_stream_rpc_method_handler(lambda most, _: (b"%d" % n for n in range(int(most)))),
            "Talk": grpc.stream_stream_rpc_method_handler(lambda messages, _: (b"> " + each for each in messages)),
        }.get(name)

    def _echo(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        asked = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-first", str(asked.get("x-me"))),))
        context.set_trailing_metadata((("x-last-bin", b"\0\xff"),))
        return request

    def _fail(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("x-why", "because"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "schön, 100 %")

    def _wait(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        over = threading.Event()
        context.add_callback(over.set)
        self.waiting.set()
        if over.wait(40):
            self.stopped.set()
        return b""


@contextmanager
def greeter() -> Iterator[tuple[Greeter, str]]:
    """A grpcio server, and its address."""
    handler = Greeter()
    with ThreadPoolExecutor(16) as pool:
        server = grpc.server(pool, options=OPTIONS)
        server.add_generic_rpc_handlers((handler,))
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield handler, address
        finally:
            server.stop(0).wait()


async def through_a_node(client: Callable[[Any, Greeter], None]) -> GrpcNode:
    """Runs a grpcio client, in a thread, against the greeter behind a node."""

    def run(address: str) -> None:
        with grpc.insecure_channel(address, options=OPTIONS) as channel:
            client(channel, handler)

    with greeter() as (handler, address):
        async with grpc_node(address) as node:
            await trio.to_thread.run_sync(run, node.address)
            return node


async def test_a_unary_call_brings_its_metadata_and_takes_metadata_and_trailers_back() -> None:
    def client(channel: Any, _: Greeter) -> None:
        answer, call = channel.unary_unary(GREETER + "Echo").with_call(b"hi", metadata=(("x-me", "anna"),), timeout=30)
        assert answer == b"hi"
        assert call.initial_metadata() == (("x-first", "anna"),)
        assert call.trailing_metadata() == (("x-last-bin", b"\0\xff"),)
        assert channel.unary_unary(GREETER + "Echo")(b"") == b""

    node = await through_a_node(client)
    assert [(head.service, head.endpoint) for head in node.chooser.heads] == [("greeter", GREETER + "Echo")] * 2


async def test_streams_go_both_ways() -> None:
    def client(channel: Any, _: Greeter) -> None:
        assert channel.stream_unary(GREETER + "Sum")(iter([b"x" * 50_000] * 50)) == b"2500000"
        assert [int(each) for each in channel.unary_stream(GREETER + "Count")(b"2000")] == list(range(2000))
        said: list[bytes] = []
        talk = channel.stream_stream(GREETER + "Talk")(b"%d" % n if not said or said[-1] else b"" for n in range(500))
        said += talk
        assert said == [b"> %d" % n for n in range(500)]

    await through_a_node(client)


async def test_each_answer_of_a_conversation_comes_before_the_next_question() -> None:
    def client(channel: Any, _: Greeter) -> None:
        turn = threading.Semaphore(1)

        def questions() -> Iterator[bytes]:
            for number in range(20):
                assert turn.acquire(timeout=30)
                yield b"%d" % number

        answers = channel.stream_stream(GREETER + "Talk")(questions())
        for number, answer in enumerate(answers):
            assert answer == b"> %d" % number
            turn.release()

    await through_a_node(client)


async def test_an_error_comes_with_its_status_sentence_and_trailers() -> None:
    def client(channel: Any, _: Greeter) -> None:
        for name, code, details in (
            ("Fail", grpc.StatusCode.FAILED_PRECONDITION, "schön, 100 %"),
            ("None", grpc.StatusCode.UNIMPLEMENTED, "Method not found!"),
        ):
            error = error_of(channel.unary_unary(GREETER + name).future(b""))
            assert (error.code(), error.details()) == (code, details)
            if name == "Fail":
                assert ("x-why", "because") in error.trailing_metadata()

    await through_a_node(client)


async def test_a_deadline_reaches_the_server() -> None:
    def client(channel: Any, handler: Greeter) -> None:
        for seconds in (0.2, 2, 20):  # the first that is enough for this machine to get there
            error = error_of(channel.unary_unary(GREETER + "Wait").future(b"", timeout=seconds))
            assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            if handler.waiting.is_set():
                break
        assert handler.stopped.wait(30)

    await through_a_node(client)


async def test_a_cancellation_reaches_the_server() -> None:
    def client(channel: Any, handler: Greeter) -> None:
        call = channel.unary_unary(GREETER + "Wait").future(b"")
        assert handler.waiting.wait(30)
        call.cancel()
        assert handler.stopped.wait(30)

    node = await through_a_node(client)
    assert not node.calling._exchanges


async def test_a_large_message_arrives_both_ways_while_many_small_calls_run() -> None:
    def client(channel: Any, _: Greeter) -> None:
        echo = channel.unary_unary(GREETER + "Echo")
        large = bytes(range(256)) * 40_000
        first = echo.future(large)
        small = [echo.future(b"%d" % number) for number in range(1000)]
        assert [each.result(timeout=30) for each in small] == [b"%d" % number for number in range(1000)]
        assert first.result(timeout=30) == large

    node = await through_a_node(client)
    assert len(node.serving) == 1
    assert node.switch.statistics() == {**node.switch.statistics(), "calls": 1001, "refused": 0, "open": 0}


async def test_a_call_that_leads_nowhere_is_an_error_of_grpc() -> None:
    def client(channel: Any, _: Greeter) -> None:
        error = error_of(channel.unary_unary(GREETER + "Echo").future(b"x", timeout=30))
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert ("micro-fate", "not-reached") in error.trailing_metadata()
        assert "draining" in error.details()

    with greeter() as (handler, address):
        async with grpc_node(address) as node:
            node.calling.go_away()
            with grpc.insecure_channel(node.address, options=OPTIONS) as channel:
                await trio.to_thread.run_sync(client, channel, handler)
