"""What goes with the calls of grpcio's channels, seen by a server of grpcio."""

import asyncio  # noqa: TID251 - grpc.aio runs on it
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from sdk.grpc.naming import Naming, aio_interceptors
from tests.sdk.grpc.greetings import InThreads, greeting, pb2, pb2_grpc

FIELDS = (("micro-service", "greeter"),)


class Telling(InThreads):
    """Writes down what came with each call."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, Any]] = []

    def service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        metadata = dict(details.invocation_metadata)
        self.seen.append({name: metadata.get(name) for name in ("micro-service", "x-own")})
        return continuation(details)


@pytest.fixture
def served() -> Iterator[tuple[Telling, str]]:
    servicer = Telling()

    class Looking(grpc.ServerInterceptor):
        def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
            return servicer.service(continuation, handler_call_details)

    server = grpc.server(ThreadPoolExecutor(4), interceptors=[Looking()])
    pb2_grpc.add_GreeterServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"ipv4:127.0.0.1:{port}"
    server.stop(0).wait()


def test_each_kind_of_blocking_call_names_the_service(served: tuple[Telling, str]) -> None:
    servicer, target = served
    own = (("x-own", "1"),)
    with grpc.insecure_channel(target) as plain:
        stub = pb2_grpc.GreeterStub(grpc.intercept_channel(plain, Naming(FIELDS)))
        assert stub.SayHello(greeting("John"), metadata=own, timeout=30) == pb2.Answer(message="Hello John")
        assert [reply.message for reply in stub.Count(greeting("n", 2), metadata=own)] == ["n 0", "n 1"]
        assert stub.Join(map(greeting, "ab"), metadata=own) == pb2.Answer(message="a b")
        assert [reply.message for reply in stub.Chat(map(greeting, "a"), metadata=own)] == ["speak", "Hello a"]
        assert servicer.seen == [{"micro-service": "greeter", "x-own": "1"}] * 4
        stub.SayHello(greeting("John"))
        assert servicer.seen[4:] == [{"micro-service": "greeter", "x-own": None}]


def test_each_kind_of_call_on_asyncio_names_the_service(served: tuple[Telling, str]) -> None:
    servicer, target = served
    own = grpc.aio.Metadata(("x-own", "1"))

    async def call_all() -> None:
        async with grpc.aio.insecure_channel(target, interceptors=aio_interceptors(FIELDS)) as channel:
            stub = pb2_grpc.GreeterStub(channel)
            assert await stub.SayHello(greeting("John"), metadata=own) == pb2.Answer(message="Hello John")
            assert [reply.message async for reply in stub.Count(greeting("n", 2), metadata=own)] == ["n 0", "n 1"]
            assert await stub.Join(map(greeting, "ab"), metadata=own) == pb2.Answer(message="a b")
            chat = stub.Chat(map(greeting, "a"), metadata=own)
            assert [reply.message async for reply in chat] == ["speak", "Hello a"]

    asyncio.run(call_all())
    assert servicer.seen == [{"micro-service": "greeter", "x-own": "1"}] * 4
    assert list(own) == [("x-own", "1")]
