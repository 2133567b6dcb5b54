import socket
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from sdk import Service, errors


@dataclass
class Person:
    name: str


def greeter() -> Service:
    service = Service("greeter", version="2")

    @service.handle("Greeter.Hello")
    async def hello(request: Person) -> str:
        if not request.name:
            raise errors.BadRequest("who?")
        return f"Hello {request.name}"

    @service.handle("Greeter.Fail")
    async def fail(request: Any) -> Any:
        raise ValueError("no luck")

    @service.handle("Greeter.Count")
    async def count(request: Any, stream: Any) -> None:
        for n in range(request):
            await stream.send(n)

    @service.handle("Greeter.Wait")
    async def wait(request: Any) -> None:
        await trio.sleep(request)

    return service


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> Any:
        raise AssertionError("a socket was made")

    monkeypatch.setattr(trio.socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(trio, "open_tcp_listeners", refuse)
    monkeypatch.setenv("MICRO_PROXY", "127.0.0.1:1")
    monkeypatch.setenv("MICRO_SERVER_NAME", "other")
    monkeypatch.setenv("MICRO_REGISTRY", "none such")


async def test_a_service_is_called_without_sockets_registry_and_environment(no_sockets: None) -> None:
    async with greeter().testing() as client:
        assert await client.call("greeter", "Greeter.Hello", {"name": "John"}) == "Hello John"
        assert await client.call("greeter", "Greeter.Hello", Person("Jöhn"), reply_type=str) == "Hello Jöhn"
        assert (
            await client.call("greeter", "Greeter.Hello", {"name": "J"}, content_type="application/json") == "Hello J"
        )
        async with client.stream("greeter", "Greeter.Count", 3) as stream:
            assert [n async for n in stream] == [0, 1, 2]
        assert (await client.call("greeter", "Debug.Health"))["status"] == "serving"


async def test_errors_are_those_that_real_callers_get() -> None:
    async with greeter().testing() as client:
        with pytest.raises(errors.BadRequest, match=r"^who\?$"):
            await client.call("greeter", "Greeter.Hello", {"name": ""})
        with pytest.raises(errors.BadRequest, match="name"):
            await client.call("greeter", "Greeter.Hello", {})
        with pytest.raises(errors.InternalServerError, match="ValueError: no luck"):
            await client.call("greeter", "Greeter.Fail")
        with pytest.raises(errors.Unimplemented, match=r"Greeter\.Bye"):
            await client.call("greeter", "Greeter.Bye")
        with pytest.raises(errors.Unavailable, match="this is greeter, not other"):
            await client.call("other", "Greeter.Hello")


async def test_deadlines_hold_in_virtual_time(autojump_clock: trio.testing.MockClock) -> None:
    async with greeter().testing() as client:
        with pytest.raises(trio.TooSlowError):
            with trio.fail_after(100):
                await client.call("greeter", "Greeter.Wait", 1000)
        assert trio.current_time() == pytest.approx(100, abs=1)
        with pytest.raises(errors.Timeout):
            await client.call("greeter", "Greeter.Wait", 1000)


async def test_hooks_run_and_a_failing_test_fails_as_itself() -> None:
    service = greeter()
    heard: list[str] = []
    for kind in ("before_start", "after_start", "before_stop", "after_stop"):
        getattr(service, kind)(lambda kind=kind: heard.append(kind))

    async def fail() -> None:
        async with service.testing() as client:
            assert heard == ["before_start", "after_start"]
            await client.call("greeter", "Greeter.Hello", {"name": "x"})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert heard == ["before_start", "after_start", "before_stop", "after_stop"]


async def test_a_service_can_be_tested_again_and_while_calls_are_open() -> None:
    service = greeter()
    for _ in range(2):
        async with trio.open_nursery() as nursery, service.testing() as client:
            nursery.start_soon(client.call, "greeter", "Greeter.Wait", 1000)
            assert await client.call("greeter", "Greeter.Hello", {"name": "x"}) == "Hello x"
            nursery.cancel_scope.cancel()
        assert service._server.open_calls == 0
