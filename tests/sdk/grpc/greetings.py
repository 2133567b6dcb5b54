"""What protoc's plugins generate of greetings.proto, and servicers written as grpcio's users write them."""

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc

pb2: Any
pb2_grpc: Any
pb2, pb2_grpc = grpc.protos_and_services("tests/sdk/grpc/greetings.proto")


def greeting(name: str, times: int = 0) -> Any:
    return pb2.Greeting(name=name, times=times)


class OnTrio(pb2_grpc.GreeterServicer):  # type: ignore[misc]
    """As for grpc.aio: every method is `async def`."""

    async def SayHello(self, request: Any, context: Any) -> Any:
        return pb2.Answer(message=f"Hello {request.name}")

    async def Count(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for n in range(request.times):
            yield pb2.Answer(message=f"{request.name} {n}")

    async def Join(self, request_iterator: Any, context: Any) -> Any:
        return pb2.Answer(message=" ".join([request.name async for request in request_iterator]))

    async def Chat(self, request_iterator: Any, context: Any) -> None:
        await context.write(pb2.Answer(message="speak"))
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(pb2.Answer(message=f"Hello {request.name}"))


class InThreads(pb2_grpc.GreeterServicer):  # type: ignore[misc]
    """Every method is plain `def`, and must not run where the event loop does."""

    def __init__(self) -> None:
        self._loop = threading.get_ident()

    def SayHello(self, request: Any, context: Any) -> Any:
        assert threading.get_ident() != self._loop
        return pb2.Answer(message=f"Hello {request.name}")

    def Count(self, request: Any, context: Any) -> Iterator[Any]:
        for n in range(request.times):
            assert threading.get_ident() != self._loop
            yield pb2.Answer(message=f"{request.name} {n}")

    def Join(self, request_iterator: Iterator[Any], context: Any) -> Any:
        return pb2.Answer(message=" ".join(request.name for request in request_iterator))

    def Chat(self, request_iterator: Iterator[Any], context: Any) -> Iterator[Any]:
        yield pb2.Answer(message="speak")
        for request in request_iterator:
            yield pb2.Answer(message=f"Hello {request.name}")
