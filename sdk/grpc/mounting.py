"""Servicers as endpoints of a service: what the functions of generated modules are given in the place of a server."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import grpc
import trio

from sdk.arguments import COUNT, Wanted, check
from sdk.handler import Handler
from sdk.head import endpoint_of
from sdk.schema import Convert, Mismatch, converter, schema_of
from sdk.service import Service
from sdk.types import Endpoint

from .methods import Method, function_of

MAX_THREADS = 40
"""Methods of one servicer that run in threads at a time; trio's own limit for all of a program."""

Servicer = TypeVar("Servicer")


def mount(
    service: Service,
    servicer: Servicer,
    add_to_server: Callable[[Servicer, Any], object],
    *,
    threads: int = MAX_THREADS,
) -> None:
    """Makes the methods of a servicer endpoints of a service; `add_to_server` is the generated
    `add_GreeterServicer_to_server`. The method at `/helloworld.Greeter/SayHello` answers `Greeter.SayHello`.

    Methods written with `async def` are awaited on trio, so they must not use asyncio; those written with `def` run in
    threads, at most `threads` at a time, those that wait for requests included. Callers may send JSON and msgpack as
    well as protobuf. A status that a method sets reaches them as it is, with its text.

    To wrappers of the service all of them are streams: when `proceed` returns, the answer has been sent.

    Raises `ValueError` for an endpoint that has a handler, and `TypeError` for handlers that do not say which methods
    they answer, and for arguments in another order.
    """
    said = {"service": service, "add_to_server": add_to_server, "threads": threads}
    check("mount", _WANTED, said)
    add_to_server(servicer, _Mount(service, trio.CapacityLimiter(threads)))


_WANTED = {
    "service": Wanted("a sdk.Service", lambda value: isinstance(value, Service)),
    "add_to_server": Wanted("the generated add_..._to_server", callable),
    "threads": COUNT,
}


class _Mount:
    """What of `grpc.Server` a generated module calls."""

    def __init__(self, service: Service, limiter: trio.CapacityLimiter) -> None:
        self._service = service
        self._limiter = limiter
        self._offered: set[str] = set()

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Modules of all versions call this."""
        for handler in generic_rpc_handlers:
            methods: Mapping[str, Any] | None = getattr(handler, "_method_handlers", None)
            if methods is None:
                raise TypeError(
                    f"{type(handler).__name__} does not say which methods it answers: mount what "
                    "grpc.method_handlers_generic_handler makes, as generated modules do"
                )
            for path, method in methods.items():
                self._offer(path, method)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """Newer ones call this as well, with the same methods."""
        for name, method in method_handlers.items():
            self._offer(f"/{service_name}/{name}", method)

    def _offer(self, path: str, method: Any) -> None:
        if path in self._offered:
            return
        self._offered.add(path)
        name = endpoint_of(path)
        request, reply = _classes(path, method)
        streaming = method.request_streaming or method.response_streaming
        serialize = _message if _is_protobuf(method.response_serializer) else method.response_serializer or _bytes
        function = function_of(
            Method(_behaviour(method), method.request_streaming, method.response_streaming, serialize), self._limiter
        )
        handler = Handler(name, function)
        handler.convert = converter(request) if request is not Any else _deserializer(method.request_deserializer)
        handler.eager = method.request_streaming
        handler.endpoint = Endpoint(
            name=name,
            request=schema_of(request),
            response=schema_of(reply),
            metadata={"stream": "true"} if streaming else {},
        )
        self._service.offer(handler)


def _behaviour(method: Any) -> Callable[..., Any]:
    kinds = (method.unary_unary, method.unary_stream, method.stream_unary, method.stream_stream)
    behaviour: Callable[..., Any] = next(each for each in kinds if each is not None)
    return behaviour


def _classes(path: str, method: Any) -> tuple[Any, Any]:
    """The protobuf classes of request and answer, or `Any` where the method is made for something else.

    That of the request is where its deserializer comes from; that of the answer is in the descriptor of the service.
    """
    request = getattr(method.request_deserializer, "__self__", None)
    descriptor = getattr(request, "DESCRIPTOR", None)
    if descriptor is None:
        return Any, Any
    from google.protobuf.message_factory import GetMessageClass

    service, _, name = path[1:].partition("/")
    try:
        found = descriptor.file.pool.FindServiceByName(service).FindMethodByName(name)
    except KeyError:  # written by hand, not generated
        return request, Any
    return request, GetMessageClass(found.output_type)


def _is_protobuf(serializer: Any) -> bool:
    return getattr(serializer, "__name__", "") == "SerializeToString"


def _message(reply: Any) -> Any:
    """Protobuf messages go to the codec as they are: the caller may want JSON."""
    if not hasattr(reply, "SerializeToString"):
        raise TypeError(f"the method answered with {type(reply).__name__}, not with a protobuf message")
    return reply


def _bytes(reply: Any) -> Any:
    if not isinstance(reply, bytes):
        raise TypeError(f"the method answered with {type(reply).__name__}, not with bytes, and has no serializer")
    return reply


def _deserializer(deserialize: Callable[[bytes], Any] | None) -> Convert:
    def convert(data: Any) -> Any:
        if not isinstance(data, bytes):
            raise Mismatch(f"is {type(data).__name__}, where this method takes bytes of its own format")
        try:
            return deserialize(data) if deserialize else data
        except Exception as error:
            raise Mismatch(f"cannot be read: {error}") from None

    return convert
