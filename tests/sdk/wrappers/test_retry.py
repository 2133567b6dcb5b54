from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sdk import Client
from sdk.errors import MicroError, NotFound, Timeout, TooManyRequests, Unavailable
from sdk.registry.memory import MemoryRegistry
from sdk.wrappers import retrying
from sdk.wrapping import OutgoingCall, Proceed
from tests.sdk.living import count, echo, offering, running
from tests.sdk.wrappers.calls import outgoing

NOT_RUN = Unavailable("not run")
MAY_HAVE_RUN = Unavailable("may have run", may_have_run=True)


class Failing:
    """Fails some times, then goes well; knows when it was tried."""

    def __init__(self, error: MicroError, times: int) -> None:
        self.error = error
        self.left = times
        self.tried: list[float] = []

    async def __call__(self, call: Any) -> Any:
        self.tried.append(trio.current_time())
        if self.left:
            self.left -= 1
            raise self.error
        return "well"


async def test_a_call_that_was_not_run_is_tried_again_after_growing_pauses(autojump_clock: MockClock) -> None:
    inner = Failing(NOT_RUN, 6)
    assert await retrying(6, first=1.0, longest=4.0)(outgoing(), inner) == "well"
    pauses = [later - earlier for earlier, later in zip(inner.tried, inner.tried[1:], strict=False)]
    assert len(pauses) == 6
    assert all(0 < pause <= most for pause, most in zip(pauses, [1, 2, 4, 4, 4, 4], strict=True))
    assert len(set(pauses)) == 6


async def test_at_last_the_error_is_told(autojump_clock: MockClock) -> None:
    inner = Failing(NOT_RUN, 10)
    with pytest.raises(Unavailable, match="not run"):
        await retrying(3)(outgoing(), inner)
    assert len(inner.tried) == 4


@pytest.mark.parametrize(
    ("error", "idempotent", "tries"),
    [
        (NOT_RUN, False, 2),
        (NOT_RUN, True, 2),
        (MAY_HAVE_RUN, False, 1),
        (MAY_HAVE_RUN, True, 2),
        (TooManyRequests("x"), False, 1),
        (TooManyRequests("x"), True, 2),
        (Timeout("x"), True, 1),
        (NotFound("x"), True, 1),
    ],
)
async def test_only_what_is_safe_is_tried_again(
    error: MicroError, idempotent: bool, tries: int, autojump_clock: MockClock
) -> None:
    inner = Failing(error, 1)
    try:
        await retrying()(outgoing(idempotent=idempotent), inner)
    except MicroError as raised:
        assert raised is error  # noqa: PT017 - whether it is raised is what differs
    assert len(inner.tried) == tries


async def test_a_caller_without_the_time_for_a_pause_is_told_at_once(autojump_clock: MockClock) -> None:
    inner = Failing(NOT_RUN, 10)
    with trio.fail_after(1), pytest.raises(Unavailable):
        await retrying(100, first=1e9, longest=1e9)(outgoing(), inner)
    assert len(inner.tried) == 1


async def test_a_client_waits_for_a_service_that_comes_back() -> None:
    failures = trio.Event()

    async def noting(call: OutgoingCall, proceed: Proceed[OutgoingCall]) -> Any:
        try:
            return await proceed(call)
        except Unavailable:
            failures.set()
            raise

    async with MemoryRegistry() as registry, Client(wrappers=[retrying(100), noting], registry=registry) as client:
        handlers: dict[str, Callable[..., Any]] = {"Greeter.Echo": echo, "Greeter.Count": count}
        async with running(offering(registry, handlers)) as address:
            assert await client.call("greeter", "Greeter.Echo", 1, address=address) == 1
        async with trio.open_nursery() as nursery:

            async def call() -> None:
                assert await client.call("greeter", "Greeter.Echo", 2, address=address) == 2
                nursery.cancel_scope.cancel()

            nursery.start_soon(call)
            await failures.wait()
            await nursery.start(offering(registry, handlers, address=address).serve)
        failures = trio.Event()
        async with trio.open_nursery() as nursery:

            async def stream() -> None:
                async with client.stream("greeter", "Greeter.Count", {"to": 1}, address=address) as stream:
                    assert [message async for message in stream] == [{"n": 0}]
                nursery.cancel_scope.cancel()

            nursery.start_soon(stream)
            await failures.wait()
            await nursery.start(offering(registry, handlers, address=address).serve)
