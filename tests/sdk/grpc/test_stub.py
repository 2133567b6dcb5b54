"""Generated stubs in programs on trio."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
import trio
import trio.testing

import sdk.grpc
from sdk import Client, errors
from sdk.config import ClientConfig
from sdk.registry.memory import MemoryRegistry
from sdk.types import Instance, Service
from tests.sdk.grpc.greetings import InThreads, OnTrio, greeting, pb2, pb2_grpc
from tests.sdk.grpc.mounted import mounted, stub_of
from tests.sdk.living import greeting as beside


@pytest.fixture(params=[OnTrio, InThreads])
async def stub(request: Any) -> AsyncIterator[Any]:
    async with stub_of(request.param()) as stub:
        yield stub


def said(*messages: str) -> list[Any]:
    return [pb2.Answer(message=message) for message in messages]


async def test_one_request_is_answered_once(stub: Any) -> None:
    assert [await stub.SayHello(greeting("John"))] == said("Hello John")


async def test_one_request_is_answered_by_a_stream(stub: Any) -> None:
    async with stub.Count(greeting("n", 3)) as replies:
        assert [reply async for reply in replies] == said("n 0", "n 1", "n 2")
    async with stub.Count(greeting("n", 0)) as replies:
        assert [reply async for reply in replies] == []


async def test_a_stream_of_requests_is_answered_once(stub: Any) -> None:
    async def later() -> AsyncIterator[Any]:
        for name in "de":
            await trio.lowlevel.checkpoint()
            yield greeting(name)

    assert [await stub.Join([greeting(name) for name in "abc"])] == said("a b c")
    assert [await stub.Join(later())] == said("d e")
    assert [await stub.Join([])] == said("")


async def test_the_servicer_may_speak_first_and_both_in_turn(stub: Any) -> None:
    async with stub.Chat() as call:
        assert [await call.receive()] == said("speak")
        for name in "ab":
            await call.send(greeting(name))
            assert [await call.receive()] == said(f"Hello {name}")
        await call.send_eof()
        with pytest.raises(trio.EndOfChannel):
            await call.receive()


async def test_metadata_goes_along() -> None:
    class Telling(OnTrio):
        async def SayHello(self, request: Any, context: Any) -> Any:
            return pb2.Answer(message=str([each for each in context.invocation_metadata() if each.key[:2] == "x-"]))

        async def Join(self, request_iterator: Any, context: Any) -> Any:
            return await self.SayHello(None, context)

    async with stub_of(Telling()) as stub:
        sent = (("X-Name", "John"), ("x-raw-bin", b"\xff\0"))
        wanted = "[Field(key='x-name', value='John'), Field(key='x-raw-bin', value=b'\\xff\\x00')]"
        assert [await stub.SayHello(greeting(""), metadata=sent)] == said(wanted)
        assert [await stub.Join([], metadata=sent)] == said(wanted)


async def test_errors_are_those_of_any_call(stub: Any) -> None:
    stub_of_nobody = pb2_grpc.GreeterStub(sdk.grpc.Channel(stub.SayHello._client, "nobody"))
    with pytest.raises(errors.NotFound, match="no service nobody"):
        await stub_of_nobody.SayHello(greeting("John"))
    with pytest.raises(errors.NotFound, match="no service nobody"):
        await stub_of_nobody.Join([greeting("John")])


async def test_an_error_that_ends_a_stream_of_requests_early_is_raised() -> None:
    class Refusing(OnTrio):
        async def Join(self, request_iterator: Any, context: Any) -> Any:
            raise errors.Forbidden("not you")

    async with stub_of(Refusing()) as stub:
        with pytest.raises(errors.Forbidden, match="not you"):
            await stub.Join(greeting("x" * 1000) for _ in range(10_000))


async def test_the_callers_cancel_scope_is_the_deadline(mock_clock: trio.testing.MockClock) -> None:
    cancelled = trio.Event()

    class Slow(OnTrio):
        async def SayHello(self, request: Any, context: Any) -> Any:
            mock_clock.jump(1)
            try:
                await trio.sleep_forever()
            finally:
                cancelled.set()

    async with stub_of(Slow()) as stub:
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.05):
            await stub.SayHello(greeting("John"))
        await cancelled.wait()


async def test_an_answer_that_is_not_one_message_is_a_broken_rule() -> None:
    async def none(request: Any, stream: Any) -> None: ...

    async def two(request: Any, stream: Any) -> None:
        await stream.send(pb2.Answer())
        await stream.send(pb2.Answer())

    async def other(request: Any) -> Any:
        return b"\xff"

    async with beside({"Greeter.Join": none, "Greeter.SayHello": other}) as client:
        stub = pb2_grpc.GreeterStub(sdk.grpc.Channel(client, "greeter"))
        with pytest.raises(errors.RemoteProtocolError, match="answered without a message"):
            await stub.Join([])
        with pytest.raises(errors.RemoteProtocolError, match="the answer cannot be read: DecodeError"):
            await stub.SayHello(greeting("John"))
    async with beside({"Greeter.Join": two}) as client:
        with pytest.raises(errors.RemoteProtocolError, match="answered with more than one message"):
            await pb2_grpc.GreeterStub(sdk.grpc.Channel(client, "greeter")).Join([])


async def test_messages_may_be_bytes() -> None:
    async with mounted(OnTrio()) as client:
        say_hello = sdk.grpc.Channel(client, "welcome").unary_unary("/hello.v1.Greeter/SayHello")
        data = await say_hello(greeting("John").SerializeToString())
        assert [pb2.Answer.FromString(data)] == said("Hello John")


async def test_a_client_that_is_not_open_says_so() -> None:
    stub = pb2_grpc.GreeterStub(sdk.grpc.Channel(Client(ClientConfig()), "welcome"))
    with pytest.raises(RuntimeError, match="async with Client"):
        await stub.SayHello(greeting("John"))


async def test_a_server_of_grpcio_is_called_directly() -> None:
    server = grpc.server(ThreadPoolExecutor(4))
    pb2_grpc.add_GreeterServicer_to_server(InThreads(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        record = Service(
            name="welcome",
            version="latest",
            instances=(Instance(id="welcome-1", address=f"127.0.0.1:{port}", metadata={"protocol": "grpc"}),),
        )
        async with MemoryRegistry() as registry, Client(ClientConfig(), registry=registry) as client:
            await registry.register(record, ttl=60)
            stub = pb2_grpc.GreeterStub(sdk.grpc.Channel(client, "welcome"))
            assert [await stub.SayHello(greeting("John"))] == said("Hello John")
            async with stub.Count(greeting("n", 2)) as replies:
                assert [reply async for reply in replies] == said("n 0", "n 1")
            assert [await stub.Join(map(greeting, "ab"))] == said("a b")
            async with stub.Chat() as call:
                assert [await call.receive()] == said("speak")
                await call.send(greeting("a"))
                assert [await call.receive()] == said("Hello a")
    finally:
        await trio.to_thread.run_sync(server.stop(0).wait)
