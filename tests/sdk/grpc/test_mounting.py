"""Generated servicers as part of a service, called by everything that calls services."""

from typing import Any

import grpc
import httpx
import pytest
import trio

import sdk.grpc
from sdk import Client, Service, errors
from sdk.codec import JSON, MSGPACK
from sdk.config import ClientConfig
from sdk.registry.memory import MemoryRegistry
from sdk.types import Value
from tests.sdk.grpc.greetings import InThreads, OnTrio, greeting, pb2, pb2_grpc
from tests.sdk.grpc.mounted import mounted
from tests.sdk.living import running

BOTH = pytest.mark.parametrize("servicer", [OnTrio, InThreads])


@BOTH
async def test_a_servicer_is_called_with_protobuf_and_answers_with_it(servicer: type) -> None:
    async with mounted(servicer()) as client:
        reply = await client.call("welcome", "Greeter.SayHello", greeting("John"), reply_type=pb2.Answer)
        assert reply == pb2.Answer(message="Hello John")


@BOTH
async def test_callers_may_speak_msgpack_and_json(servicer: type) -> None:
    async with mounted(servicer()) as client:
        for content_type in (MSGPACK, JSON, "application/grpc+json"):
            reply: Any = await client.call("welcome", "Greeter.SayHello", {"name": "John"}, content_type=content_type)
            assert reply == {"message": "Hello John"}
        async with client.stream("welcome", "Greeter.Count", {"name": "n", "times": 2}) as stream:
            assert [message async for message in stream] == [{"message": "n 0"}, {"message": "n 1"}]
        with pytest.raises(errors.BadRequest, match=r"is no hello\.v1\.Greeting"):
            await client.call("welcome", "Greeter.SayHello", {"name": 5})


async def test_methods_are_published_with_the_types_in_their_descriptors() -> None:
    async with MemoryRegistry() as registry:
        service = Service("welcome", registry=registry)
        sdk.grpc.mount(service, OnTrio(), pb2_grpc.add_GreeterServicer_to_server)
        async with running(service):
            [record] = await registry.get("welcome")
    published = {endpoint.name: endpoint for endpoint in record.endpoints}
    assert list(published) == ["Greeter.SayHello", "Greeter.Count", "Greeter.Join", "Greeter.Chat"]
    hello = published["Greeter.SayHello"]
    name, times = Value(name="name", type="string"), Value(name="times", type="int32")
    assert hello.request == Value(name="Greeting", type="Greeting", values=(name, times))
    assert hello.response is not None
    assert hello.response.type == "Answer"
    assert hello.metadata == {}
    assert published["Greeter.Join"].metadata == {"stream": "true"}


async def test_a_method_that_is_not_written_says_so() -> None:
    async with mounted(pb2_grpc.GreeterServicer()) as client:
        with pytest.raises(errors.Unimplemented, match="Method not implemented!"):
            await client.call("welcome", "Greeter.SayHello", greeting("John"))


@BOTH
async def test_an_answer_that_is_no_message_is_the_servicers_fault(
    servicer: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(self: Any, request: Any, context: Any) -> None: ...

    plain = lambda self, request, context: None  # noqa: E731
    monkeypatch.setattr(servicer, "SayHello", nothing if servicer is OnTrio else plain)
    async with mounted(servicer()) as client:
        with pytest.raises(errors.InternalServerError, match="answered with NoneType, not with a protobuf message"):
            await client.call("welcome", "Greeter.SayHello", greeting("John"))


def hexadecimal(servicer: Any, server: Any) -> None:
    """What a module would do whose messages are no protobuf, and which was generated long ago."""
    method: Any = grpc.unary_unary_rpc_method_handler(
        servicer, request_deserializer=lambda data: int(data, 16), response_serializer=lambda n: b"%x" % n
    )
    raw: Any = grpc.unary_unary_rpc_method_handler(servicer)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("Numbers", {"Double": method, "DoubleRaw": raw}),)
    )


async def test_methods_may_have_a_format_of_their_own() -> None:
    async with mounted(lambda request, context: request * 2, hexadecimal) as client:
        assert await client.call("welcome", "Numbers.Double", b"1f") == b"3e"
        assert await client.call("welcome", "Numbers.DoubleRaw", b"1f") == b"1f1f"
        with pytest.raises(errors.BadRequest, match="cannot be read: invalid literal"):
            await client.call("welcome", "Numbers.Double", b"x")
        with pytest.raises(errors.BadRequest, match="is int, where this method takes bytes"):
            await client.call("welcome", "Numbers.Double", 31)
    async with mounted(lambda request, context: 5, hexadecimal) as client:
        with pytest.raises(errors.InternalServerError, match="answered with int, not with bytes"):
            await client.call("welcome", "Numbers.DoubleRaw", b"1f")


def test_an_endpoint_has_one_handler() -> None:
    service = Service("welcome")
    sdk.grpc.mount(service, OnTrio(), pb2_grpc.add_GreeterServicer_to_server)
    with pytest.raises(ValueError, match=r"welcome has a handler for Greeter\.SayHello already"):
        sdk.grpc.mount(service, InThreads(), pb2_grpc.add_GreeterServicer_to_server)


def test_a_handler_that_does_not_name_its_methods_cannot_be_mounted() -> None:
    class Anything(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> None: ...

    with pytest.raises(TypeError, match="Anything does not say which methods it answers"):
        sdk.grpc.mount(Service("welcome"), Anything(), lambda one, server: server.add_generic_rpc_handlers((one,)))


async def test_wrappers_of_the_service_are_around_servicers_as_well() -> None:
    seen: list[str] = []

    async def wrapper(call: Any, proceed: Any) -> Any:
        seen.append(call.endpoint)
        return await proceed(call)

    async with MemoryRegistry() as registry:
        service = Service("welcome", registry=registry, wrappers=[wrapper])
        sdk.grpc.mount(service, OnTrio(), pb2_grpc.add_GreeterServicer_to_server)
        async with running(service), Client(ClientConfig(), registry=registry) as client:
            await client.call("welcome", "Greeter.SayHello", greeting("John"))
    assert seen == ["Greeter.SayHello"]


@BOTH
async def test_grpcio_calls_a_servicer_on_the_port_of_its_service(servicer: type) -> None:
    def call(address: str) -> None:
        with grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
            stub = pb2_grpc.GreeterStub(channel)
            assert stub.SayHello(greeting("John"), timeout=30) == pb2.Answer(message="Hello John")
            assert [reply.message for reply in stub.Count(greeting("n", 2), timeout=30)] == ["n 0", "n 1"]
            assert stub.Join(iter([greeting("a"), greeting("b")]), timeout=30) == pb2.Answer(message="a b")
            chat = stub.Chat(iter([greeting("a")]), timeout=30)
            assert [reply.message for reply in chat] == ["speak", "Hello a"]

    async with MemoryRegistry() as registry:
        service = Service("welcome", registry=registry)
        sdk.grpc.mount(service, servicer(), pb2_grpc.add_GreeterServicer_to_server)
        async with running(service) as address:
            await trio.to_thread.run_sync(call, address)


@BOTH
async def test_json_over_http_calls_a_servicer_on_the_port_of_its_service(servicer: type) -> None:
    async with MemoryRegistry() as registry:
        service = Service("welcome", registry=registry)
        sdk.grpc.mount(service, servicer(), pb2_grpc.add_GreeterServicer_to_server)
        async with running(service) as address, httpx.AsyncClient(trust_env=False) as web:
            answer = await web.post(f"http://{address}/Greeter/SayHello", json={"name": "John"})
            assert (answer.status_code, answer.json()) == (200, {"message": "Hello John"})
            wrong = await web.post(f"http://{address}/Greeter/SayHello", json={"name": 5})
            assert (wrong.status_code, wrong.json()["status"]) == (400, "Bad Request")
