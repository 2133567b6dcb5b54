"""A client of the SDK calls a server of grpcio that knows nothing of frames, without a node between them."""

import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
import trio
from trio.testing import MockClock

from sdk import Client, errors
from sdk.config import ClientConfig
from sdk.registry.memory import MemoryRegistry
from sdk.types import Instance, Service
from tests.sdk.living import echo, offering, running


class Methods(grpc.GenericRpcHandler):
    """What the server offers: methods on bytes."""

    def __init__(self) -> None:
        self.waiting, self.gone = threading.Event(), threading.Event()
        self.paths: list[str] = []

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        self.paths.append(details.method)
        kinds: dict[str, Any] = {
            "Hello": grpc.unary_unary_rpc_method_handler(self.hello),
            "Refuse": grpc.unary_unary_rpc_method_handler(self.refuse),
            "Wait": grpc.unary_unary_rpc_method_handler(self.wait),
            "Metadata": grpc.unary_unary_rpc_method_handler(self.metadata),
            "Echo": grpc.unary_unary_rpc_method_handler(self.echo),
            "Count": grpc.unary_stream_rpc_method_handler(self.count),
            "Join": grpc.stream_unary_rpc_method_handler(self.join),
            "Talk": grpc.stream_stream_rpc_method_handler(self.talk),
        }
        return kinds.get(details.method.rpartition("/")[2])

    def hello(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return b"hello " + request

    def echo(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return request

    def refuse(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.ALREADY_EXISTS, "100 % there: ü")
        raise AssertionError("abort raises")

    def wait(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(self.gone.set)
        self.waiting.set()
        self.gone.wait(20)
        return b""

    def metadata(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return str(dict(context.invocation_metadata())["who"]).encode()

    def count(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        for number in range(int(request)):
            yield str(number).encode()

    def join(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        return b"".join(requests)

    def talk(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from requests


@asynccontextmanager
async def served(methods: Methods, address: str = "127.0.0.1:0", *, at_once: int = 100) -> AsyncIterator[str]:
    """A server of grpcio for as long as the block, which takes so many calls on a connection; its address."""
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_concurrent_streams", at_once)])
    server.add_generic_rpc_handlers((methods,))
    host = address.rpartition(":")[0]
    port = server.add_insecure_port(address)
    server.start()
    try:
        yield f"{host}:{port}"
    finally:
        methods.gone.set()
        stopped = server.stop(0)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(stopped.wait)


def grpc_only(*addresses: str) -> Service:
    instances = [Instance(id=f"greeter-{each}", address=each, metadata={"protocol": "grpc"}) for each in addresses]
    return Service(name="greeter", instances=tuple(instances))


@asynccontextmanager
async def calling(methods: Methods, *, at_once: int = 100) -> AsyncIterator[Client]:
    async with served(methods, at_once=at_once) as address, MemoryRegistry() as registry:
        await registry.register(grpc_only(address))
        async with Client(registry=registry) as client:
            yield client


async def test_a_unary_call_is_answered() -> None:
    methods = Methods()
    async with calling(methods) as client:
        assert await client.call("greeter", "Greeter.Hello", b"Ada") == b"hello Ada"
        assert await client.call("greeter", "/pack.v1.Greeter/Hello", b"Ada") == b"hello Ada"
        assert len(client._callees.instances._alive) == 1
    assert methods.paths == ["/greeter.Greeter/Hello", "/pack.v1.Greeter/Hello"]


async def test_a_server_of_grpc_is_called_at_its_address_as_well() -> None:
    async with served(Methods()) as address, Client(address=f"grpc://{address}") as client:
        assert await client.call("greeter", "Greeter.Hello", b"x") == b"hello x"
        async with client.stream("greeter", "Greeter.Count", b"2") as stream:
            assert [message async for message in stream] == [b"0", b"1"]


async def test_megabytes_go_both_ways() -> None:
    much = bytes(range(256)) * 12_000
    async with calling(Methods()) as client:
        assert await client.call("greeter", "Greeter.Hello", much) == b"hello " + much


@pytest.mark.parametrize("content_type", ["application/json", "application/msgpack"])
async def test_an_answer_is_in_what_the_request_was_in(content_type: str) -> None:
    async with calling(Methods()) as client:
        said = {"name": "Ada", "of": [1, 2]}
        assert await client.call("greeter", "Greeter.Echo", said, content_type=content_type) == said


async def test_all_kinds_of_streams() -> None:
    async with calling(Methods()) as client:
        async with client.stream("greeter", "Greeter.Count", b"3") as stream:
            assert [number async for number in stream] == [b"0", b"1", b"2"]
        async with client.stream("greeter", "Greeter.Join", b"a") as stream:
            await stream.send(b"b")
            await stream.send_eof()
            assert [message async for message in stream] == [b"ab"]
        async with client.stream("greeter", "Greeter.Talk", b"0") as stream:
            for number in range(3):
                assert await stream.receive() == str(number).encode()
                await stream.send(str(number + 1).encode())


async def test_errors_and_metadata_are_told() -> None:
    async with calling(Methods()) as client:
        with pytest.raises(errors.Conflict, match="100 % there: ü"):
            await client.call("greeter", "Greeter.Refuse", b"")
        with pytest.raises(errors.Unimplemented):
            await client.call("greeter", "Greeter.Nothing", b"")
        assert await client.call("greeter", "Greeter.Metadata", b"", metadata={"Who": "ada"}) == b"ada"


async def test_a_deadline_ends_the_handler(mock_clock: MockClock) -> None:
    methods = Methods()
    async with calling(methods) as client, trio.open_nursery() as nursery:
        nursery.start_soon(_jump_after, methods.waiting, mock_clock)
        with pytest.raises(trio.TooSlowError), trio.fail_after(20):
            await client.call("greeter", "Greeter.Wait", b"")
        assert await trio.to_thread.run_sync(methods.gone.wait, 30)


async def _jump_after(event: threading.Event, clock: MockClock) -> None:
    assert await trio.to_thread.run_sync(event.wait, 30)
    clock.jump(60)


async def test_the_default_deadline_is_kept() -> None:
    methods = Methods()
    async with served(methods) as address, MemoryRegistry() as registry:
        await registry.register(grpc_only(address))
        async with Client(ClientConfig(request_timeout=0.3), registry=registry) as client:
            with pytest.raises(errors.Timeout):
                await client.call("greeter", "Greeter.Wait", b"")


async def test_who_is_cancelled_ends_the_handler() -> None:
    methods = Methods()
    async with calling(methods) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.call, "greeter", "Greeter.Wait", b"")
        assert await trio.to_thread.run_sync(methods.waiting.wait, 30)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            assert await trio.to_thread.run_sync(methods.gone.wait, 30)


async def test_a_server_that_is_gone_and_comes_back_is_called_again() -> None:
    async with MemoryRegistry() as registry, Client(registry=registry) as client:
        async with served(Methods()) as address:
            await registry.register(grpc_only(address))
            assert await client.call("greeter", "Greeter.Hello", b"1") == b"hello 1"
        with pytest.raises(errors.Unavailable, match=address):
            await client.call("greeter", "Greeter.Hello", b"2")
        with pytest.raises(errors.Unavailable, match=address):
            async with client.stream("greeter", "Greeter.Count", b"2"):
                pass
        async with served(Methods(), address):
            assert await client.call("greeter", "Greeter.Hello", b"3") == b"hello 3"


async def test_a_server_that_takes_few_calls_on_a_connection_gets_another_connection() -> None:
    async with calling(Methods(), at_once=1) as client:
        async with client.stream("greeter", "Greeter.Talk", b"") as stream:
            await stream.receive()
            assert await client.call("greeter", "Greeter.Hello", b"1") == b"hello 1"
            assert len(client._callees.instances._alive) == 2
            await stream.send(b"goes on")
            assert await stream.receive() == b"goes on"
        with trio.fail_after(30):
            while len(client._callees.instances._alive) > 1:
                await trio.lowlevel.checkpoint()
        assert await client.call("greeter", "Greeter.Hello", b"2") == b"hello 2"


async def test_instances_that_speak_frames_and_those_that_do_not_are_called_alike() -> None:
    async with (
        served(Methods()) as address,
        MemoryRegistry() as registry,
        running(offering(registry, {"Greeter.Echo": echo})),
        Client(registry=registry) as client,
    ):
        await registry.register(grpc_only(address))
        for number in range(40):
            assert await client.call("greeter", "Greeter.Echo", number) == number
        assert {connection.grpc for connection in client._callees.instances._alive} == {True, False}
