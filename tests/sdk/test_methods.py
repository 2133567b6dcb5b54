from typing import Any

import pytest

from sdk.methods import methods_of


class Base:
    async def inherited(self, request: Any) -> Any:
        return request


class Greeter(Base):
    limit = 3

    def __init__(self, greeting: str = "Hello") -> None:
        self.greeting = greeting

    async def hello(self, request: Any) -> str:
        return f"{self.greeting} {request}"

    async def say_good_bye(self, request: Any) -> str:
        return "Bye"

    async def HTTPStatus(self, request: Any) -> int:  # noqa: N802 - what is tried
        return 200

    async def _private(self, request: Any) -> None: ...

    def plain(self) -> None: ...

    @property
    def costly(self) -> Any:
        raise AssertionError("looked at")


def test_public_async_methods_are_endpoints_in_camel_case() -> None:
    assert sorted(methods_of(Greeter)) == [
        "Greeter.HTTPStatus",
        "Greeter.Hello",
        "Greeter.Inherited",
        "Greeter.SayGoodBye",
    ]


async def test_a_class_is_made_an_instance_and_an_instance_stays_what_it_is() -> None:
    assert await methods_of(Greeter)["Greeter.Hello"]("John") == "Hello John"
    assert await methods_of(Greeter("Moin"))["Greeter.Hello"]("John") == "Moin John"


def test_two_methods_for_one_endpoint_are_named() -> None:
    class Twice:
        async def hello(self, request: Any) -> None: ...
        async def Hello(self, request: Any) -> None: ...  # noqa: N802 - what is tried

    with pytest.raises(TypeError, match=r"two methods of Twice would answer Twice\.Hello"):
        methods_of(Twice)


@pytest.mark.parametrize("handler", [object(), dict, 7])
def test_what_has_no_handlers_is_a_mistake(handler: object) -> None:
    with pytest.raises(TypeError, match="no public `async def` method"):
        methods_of(handler)
