"""A channel for generated stubs in programs on trio: the calls are a client's.

    stub = GreeterStub(Channel(client, "greeter"))
    reply = await stub.SayHello(HelloRequest(name="John"))               # one message each way
    async with stub.Count(CountRequest(to=3)) as replies:                # answers in a stream
        async for reply in replies: ...
    total = await stub.Sum([Number(n=1), Number(n=2)])                   # requests in a stream, async or not
    async with stub.Chat() as call:                                      # both
        await call.send(HelloRequest(name="John"))
        reply = await call.receive()

The caller's cancel scope is the deadline, and errors are those of `sdk.errors`, as with any call of the client.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import trio

from sdk.arguments import Wanted, check, text
from sdk.client import Client
from sdk.codec import PROTOBUF
from sdk.errors import RemoteProtocolError
from sdk.head import metadata_to_dict
from sdk.reply import ClientStream

from .fields import Value, metadata_of

Serialize = Callable[[Any], bytes] | None
Deserialize = Callable[[bytes], Any] | None
Fields = Iterable[tuple[str, Value]] | None


_WANTED = {"client": Wanted("a sdk.Client", lambda value: isinstance(value, Client)), "service": text("greeter")}


class Channel:
    """What generated stubs take for a `grpc.Channel`. It holds nothing open: the client does."""

    def __init__(self, client: Client, service: str) -> None:
        """`service` is the one that is called, whatever its methods' package is called."""
        check("Channel", _WANTED, {"client": client, "service": service})
        self._client = client
        self._service = service

    def unary_unary(
        self, path: str, request_serializer: Serialize = None, response_deserializer: Deserialize = None, **_: Any
    ) -> "UnaryUnary":
        """`await method(request)` gives the answer."""
        return UnaryUnary(self._client, self._service, path, request_serializer, response_deserializer)

    def unary_stream(
        self, path: str, request_serializer: Serialize = None, response_deserializer: Deserialize = None, **_: Any
    ) -> "UnaryStream":
        """`async with method(request)` gives the open call."""
        return UnaryStream(self._client, self._service, path, request_serializer, response_deserializer)

    def stream_unary(
        self, path: str, request_serializer: Serialize = None, response_deserializer: Deserialize = None, **_: Any
    ) -> "StreamUnary":
        """`await method(requests)` gives the answer."""
        return StreamUnary(self._client, self._service, path, request_serializer, response_deserializer)

    def stream_stream(
        self, path: str, request_serializer: Serialize = None, response_deserializer: Deserialize = None, **_: Any
    ) -> "StreamStream":
        """`async with method()` gives the open call."""
        return StreamStream(self._client, self._service, path, request_serializer, response_deserializer)


class OpenCall:
    """A call with messages in a stream, as `sdk.reply.ClientStream`, of the stub's classes."""

    def __init__(self, stream: ClientStream, serialize: Serialize, deserialize: Deserialize) -> None:
        self._stream = stream
        self._serialize = serialize
        self._deserialize = deserialize

    async def send(self, request: Any) -> None:
        """Sends one request; raises what `ClientStream.send` does."""
        await self._stream.send(_packed(self._serialize, request))

    async def send_eof(self) -> None:
        """Sends no more requests; answers go on."""
        await self._stream.send_eof()

    async def receive(self) -> Any:
        """The next answer. Raises `trio.EndOfChannel` behind the last, and the error that the call ended with."""
        return _unpacked(self._deserialize, await self._stream.receive())

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None


class _Method:
    """One method of a service."""

    def __init__(self, client: Client, service: str, path: str, serialize: Serialize, deserialize: Deserialize) -> None:
        self._client = client
        self._service = service
        self._path = path
        self._serialize = serialize
        self._deserialize = deserialize

    @asynccontextmanager
    async def _open(self, metadata: Fields) -> AsyncIterator[OpenCall]:
        options = metadata_to_dict(metadata_of(metadata))
        async with self._client.stream(self._service, self._path, content_type=PROTOBUF, metadata=options) as stream:
            yield OpenCall(stream, self._serialize, self._deserialize)


class UnaryUnary(_Method):
    """One request, one answer."""

    async def __call__(self, request: Any, *, metadata: Fields = None) -> Any:
        """Calls; raises what `Client.call` does."""
        reply = await self._client.call(
            self._service,
            self._path,
            _packed(self._serialize, request),
            content_type=PROTOBUF,
            metadata=metadata_to_dict(metadata_of(metadata)),
        )
        return _unpacked(self._deserialize, reply)


class UnaryStream(_Method):
    """One request, any number of answers."""

    @asynccontextmanager
    async def __call__(self, request: Any, *, metadata: Fields = None) -> AsyncIterator[OpenCall]:
        """Opens the call, as `Client.stream` does."""
        async with self._open(metadata) as call:
            await call.send(request)
            await call.send_eof()
            yield call


class StreamUnary(_Method):
    """Any number of requests, one answer."""

    async def __call__(self, requests: Iterable[Any] | AsyncIterable[Any], *, metadata: Fields = None) -> Any:
        """Calls; raises what `Client.stream` does."""
        async with self._open(metadata) as call:
            try:
                if isinstance(requests, AsyncIterable):
                    async for request in requests:
                        await call.send(request)
                else:
                    for request in requests:
                        await call.send(request)
                await call.send_eof()
            except trio.BrokenResourceError:
                pass  # the answer came before all of the question: it says why
            try:
                reply = await call.receive()
            except trio.EndOfChannel:
                raise RemoteProtocolError(f"{self._service} {self._path} answered without a message") from None
            async for _ in call:
                raise RemoteProtocolError(f"{self._service} {self._path} answered with more than one message")
            return reply


class StreamStream(_Method):
    """Any number of messages both ways."""

    def __call__(self, *, metadata: Fields = None) -> AbstractAsyncContextManager[OpenCall]:
        """Opens the call, as `Client.stream` does."""
        return self._open(metadata)


def _packed(serialize: Serialize, request: Any) -> bytes:
    return request if serialize is None else serialize(request)


def _unpacked(deserialize: Deserialize, data: Any) -> Any:
    if deserialize is None:
        return data
    try:
        return deserialize(data)
    except Exception as error:
        raise RemoteProtocolError(f"the answer cannot be read: {type(error).__name__} {error}") from None
