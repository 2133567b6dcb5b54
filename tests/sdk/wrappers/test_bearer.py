from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio

from sdk import Client, errors
from sdk.registry.memory import MemoryRegistry
from sdk.wrappers import checking_token, sending_token
from sdk.wrapping import CallWrapper
from tests.sdk.living import count, echo, offering
from tests.sdk.wrappers.calls import going_well, incoming, outgoing


async def ask(endpoint: str, service_tokens: Sequence[str], *wrappers: CallWrapper) -> Any:
    wrapper = checking_token(service_tokens[0], *service_tokens[1:])
    handlers: dict[str, Callable[..., Any]] = {"Greeter.Echo": echo, "Greeter.Count": count}
    async with MemoryRegistry() as registry, trio.open_nursery() as nursery:
        await nursery.start(offering(registry, handlers, wrappers=[wrapper]).serve)
        try:
            async with Client(registry=registry, wrappers=wrappers) as client:
                if endpoint == "Greeter.Echo":
                    return await client.call("greeter", "Greeter.Echo", "in")
                async with client.stream("greeter", "Greeter.Count", {"to": 1}) as stream:
                    return await stream.receive()
        except errors.Unauthorized as error:
            return error
        finally:
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("endpoint", "answer"), [("Greeter.Echo", "in"), ("Greeter.Count", {"n": 0})])
async def test_whoever_shows_a_token_is_let_in_and_nobody_else_with_calls_and_streams(
    endpoint: str, answer: Any
) -> None:
    for token in ("old", "new"):
        assert await ask(endpoint, ["old", "new"], sending_token(token)) == answer
    without = await ask(endpoint, ["right"])
    assert isinstance(without, errors.Unauthorized)
    assert "no token was shown" in str(without)
    wrong = await ask(endpoint, ["right"], sending_token("wrong"))
    assert isinstance(wrong, errors.Unauthorized)
    assert "is not valid" in str(wrong)
    assert "right" not in str(wrong)
    assert "wrong" not in str(wrong)


@pytest.mark.parametrize("shown", ["Bearer right", "bearer right", "BEARER  right "])
async def test_the_scheme_is_in_any_case(shown: str) -> None:
    assert await checking_token("right")(incoming("authorization", shown), going_well) == "well"


@pytest.mark.parametrize("shown", ["right", "Basic right", "Bearer", "Bearer ", "Bearer right x", "Bearer \udcff", ""])
async def test_all_else_is_refused(shown: str) -> None:
    with pytest.raises(errors.Unauthorized):
        await checking_token("right")(incoming("authorization", shown), going_well)


async def test_a_call_keeps_what_else_it_sends() -> None:
    async def told(call: Any) -> Any:
        return call.options["metadata"]

    call = outgoing(options={"metadata": {"k": "v"}})
    assert await sending_token("t")(call, told) == {"k": "v", "authorization": "Bearer t"}


@pytest.mark.parametrize("token", ["", "two words", "line\n", "ä"])
def test_a_token_that_cannot_be_sent_is_refused_without_being_told(token: str) -> None:
    for make in (sending_token, checking_token):
        with pytest.raises(ValueError, match="RFC 6750") as caught:
            make(token)
        assert not token or token not in str(caught.value)
