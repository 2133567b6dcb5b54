"""A function as an endpoint: what its signature says of the request, the answer and the kind of call."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from .schema import Convert, annotation_of, converter, schema_of
from .stats import EndpointStats
from .types import Endpoint

Function = Callable[..., Awaitable[Any]]


class Handler:
    """A function that answers calls of one endpoint."""

    __slots__ = ("convert", "eager", "endpoint", "function", "stats", "streaming")

    def __init__(self, name: str, function: Function) -> None:
        """Reads the signature: one parameter is a unary endpoint, two are a streaming one. Raises `TypeError` for any
        other."""
        self.function = function
        self.stats = EndpointStats()
        parameters = _parameters(name, function)
        self.streaming = len(parameters) == 2
        self.eager = False
        """Whether it starts when the call does and receives the first message from the stream as well; its request is
        None then."""
        request = annotation_of(function, parameters[0])
        reply = Any if self.streaming else annotation_of(function, "return")
        try:
            self.convert: Convert | None = converter(request)
            converter(reply)
        except TypeError as error:
            raise TypeError(f"handler of {name}: {error}") from None
        self.endpoint = Endpoint(
            name=name,
            request=schema_of(request),
            response=schema_of(reply),
            metadata={"stream": "true"} if self.streaming else {},
        )


def _parameters(name: str, function: Function) -> list[str]:
    """The names of a handler's parameters, without those that have their value already, as `functools.partial` gives
    it by name."""
    if not inspect.iscoroutinefunction(function):
        yields = inspect.isasyncgenfunction(function)
        hint = "it yields: send with `await stream.send()` instead" if yields else "write `async def`"
        raise TypeError(f"the handler of {name} is no async function: {hint}")
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    empty = inspect.Parameter.empty
    parameters = [
        each
        for each in inspect.signature(function).parameters.values()
        if each.kind is not inspect.Parameter.KEYWORD_ONLY or each.default is empty
    ]
    plain = all(each.kind in kinds and each.default is empty for each in parameters)
    if len(parameters) not in (1, 2) or not plain:
        raise TypeError(f"the handler of {name} must take (request), or (request, stream) to answer with a stream")
    return [parameter.name for parameter in parameters]
