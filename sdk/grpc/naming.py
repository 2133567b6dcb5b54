"""Interceptors of grpcio that say with each call which service it is for, and who calls.

The authority would say the former as well, but there it is a guess for a node that does not know the service at the
moment: the call would go to one that is named as the methods' package.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import grpc

Fields = tuple[tuple[str, str], ...]


class _Details(NamedTuple):
    """A `grpc.ClientCallDetails`."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class Naming(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Of blocking channels; for all kinds of calls."""

    def __init__(self, fields: Fields) -> None:
        """`fields` go with each call."""
        self._fields = fields

    def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.ClientCallDetails, request: Any
    ) -> Any:
        """One request, one answer."""
        return continuation(self._named(client_call_details), request)

    def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.ClientCallDetails, request: Any
    ) -> Any:
        """One request, a stream of answers."""
        return continuation(self._named(client_call_details), request)

    def intercept_stream_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.ClientCallDetails, request_iterator: Any
    ) -> Any:
        """A stream of requests, one answer."""
        return continuation(self._named(client_call_details), request_iterator)

    def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.ClientCallDetails, request_iterator: Any
    ) -> Any:
        """Streams both ways."""
        return continuation(self._named(client_call_details), request_iterator)

    def _named(self, details: Any) -> _Details:
        return _Details(
            details.method,
            details.timeout,
            (*(details.metadata or ()), *self._fields),
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )


def aio_interceptors(fields: Fields) -> Sequence[grpc.aio.ClientInterceptor]:
    """Those of a channel on asyncio: one for each kind of calls, as grpcio takes one object for one kind only."""
    return (_UnaryUnary(fields), _UnaryStream(fields), _StreamUnary(fields), _StreamStream(fields))


class _AioNaming:
    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    async def _call(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        metadata = grpc.aio.Metadata(*(details.metadata or ()), *self._fields)
        return await continuation(details._replace(metadata=metadata), request)


class _UnaryUnary(_AioNaming, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await self._call(continuation, client_call_details, request)


class _UnaryStream(_AioNaming, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await self._call(continuation, client_call_details, request)


class _StreamUnary(_AioNaming, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request_iterator: Any
    ) -> Any:
        return await self._call(continuation, client_call_details, request_iterator)


class _StreamStream(_AioNaming, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request_iterator: Any
    ) -> Any:
        return await self._call(continuation, client_call_details, request_iterator)
