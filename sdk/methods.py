"""A class as a handler: which of its methods are endpoints, and what they are called."""

import inspect
from typing import Any

from .handler import Function


def methods_of(handler: object) -> dict[str, Function]:
    """The public async methods of a class, or of an instance of one, by the endpoints they answer; a class is made an
    instance first, without arguments.

    An endpoint is the name of the class and that of the method in CamelCase: in `class Greeter`, `async def hello` and
    `async def Hello` are `Greeter.Hello`, `async def say_hello` is `Greeter.SayHello`. Inherited methods count, those
    that begin with an underscore or are not async do not. Raises `TypeError` where that leaves none, or where two
    methods have one endpoint.
    """
    instance = _made(handler) if isinstance(handler, type) else handler
    kind = type(instance)
    functions: dict[str, Function] = {}
    for name in dir(kind):
        if name.startswith("_") or not _answers(getattr(kind, name)):
            continue
        endpoint = f"{kind.__name__}.{_camel_case(name)}"
        if endpoint in functions:
            raise TypeError(f"two methods of {kind.__name__} would answer {endpoint}: rename one of them")
        functions[endpoint] = getattr(instance, name)
    if not functions:
        raise TypeError(f"{kind.__name__} has no public `async def` method that could answer calls")
    return functions


def _made(kind: type) -> object:
    try:
        inspect.signature(kind).bind()
    except TypeError as error:
        raise TypeError(
            f"{kind.__name__} cannot be made without arguments ({error}): hand in an instance, "
            f"`service.handle({kind.__name__}(...))`"
        ) from None
    except ValueError:  # some that are written in C have no signature
        pass
    made: object = kind()
    return made


def _answers(member: Any) -> bool:
    """Whether somebody meant it to answer calls; one that yields is told later how to do it."""
    return inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)


def _camel_case(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))
