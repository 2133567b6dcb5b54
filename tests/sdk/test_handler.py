import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from sdk.handler import Handler
from sdk.types import Value


@dataclass
class Person:
    name: str


async def unary(request: Person) -> list[str]:
    return [request.name]


async def streaming(request: Person, stream: Any) -> None: ...


def test_one_parameter_is_a_unary_endpoint_with_both_schemas() -> None:
    endpoint = Handler("Greeter.Hello", unary).endpoint
    assert endpoint.name == "Greeter.Hello"
    assert endpoint.request == Value(name="Person", type="Person", values=(Value(name="name", type="str"),))
    assert endpoint.response == Value(name="list[str]", type="list[str]")
    assert endpoint.metadata == {}


def test_two_parameters_are_a_streaming_endpoint_that_says_so() -> None:
    handler = Handler("Greeter.Count", streaming)
    assert handler.streaming
    assert handler.endpoint.metadata == {"stream": "true"}
    assert handler.endpoint.response is None


def test_a_method_of_an_object_is_a_handler() -> None:
    class Greeter:
        async def hello(self, request: Person) -> None: ...

    assert not Handler("Greeter.Hello", Greeter().hello).streaming


@pytest.mark.parametrize("streams", [False, True])
async def test_what_partial_gives_by_name_is_no_part_of_the_call(streams: bool) -> None:
    async def one(request: Person, greeting: str) -> str:
        return f"{greeting} {request.name}"

    async def many(request: Person, stream: Any, *, greeting: str) -> None:
        await stream.send(f"{greeting} {request.name}")

    handler = Handler("Greeter.Hello", functools.partial(many if streams else one, greeting="Hi"))
    assert handler.streaming is streams
    assert handler.endpoint.request == Handler("Greeter.Hello", unary).endpoint.request
    if not streams:
        assert await handler.function(Person("John")) == "Hi John"


def synchronous(request: Any) -> None: ...


async def generator(request: Any, stream: Any) -> Any:
    yield 1


async def nothing() -> None: ...


async def too_much(a: Any, b: Any, c: Any) -> None: ...


async def by_keyword(*, request: Any) -> None: ...


async def optional(request: Any, stream: Any = None) -> None: ...


async def impossible(request: complex) -> None: ...


async def impossible_answer(request: Any) -> complex:
    return 1j


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (synchronous, "async def"),
        (generator, "stream.send"),
        (nothing, r"\(request, stream\)"),
        (too_much, r"\(request, stream\)"),
        (by_keyword, r"\(request, stream\)"),
        (optional, r"\(request, stream\)"),
        (impossible, "complex"),
        (impossible_answer, "complex"),
    ],
)
def test_what_cannot_be_a_handler_is_refused_with_the_reason(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(TypeError, match=rf"A\.B.*{message}"):
        Handler("A.B", function)
