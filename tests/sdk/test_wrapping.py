import dataclasses
from typing import Any

import pytest
import trio

from sdk import Client, Service, errors
from sdk.registry.memory import MemoryRegistry
from sdk.wrapping import CallWrapper, HandlerWrapper, IncomingCall, Kind, OutgoingCall, Proceed, compose
from tests.sdk.living import count, echo, offering, running


def test_without_wrappers_there_is_nothing_to_pass_through() -> None:
    async def innermost(call: OutgoingCall) -> Any: ...

    assert compose([], innermost) is None


def test_what_is_no_function_is_refused_before_the_first_call() -> None:
    said = "wrappers is a list of functions, each of a call and of what proceeds with it, not int"
    with pytest.raises(TypeError, match=f"Client: {said}"):
        Client(address="127.0.0.1:1", wrappers=[3])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=f"Service: {said}"):
        Service("greeter", wrappers=[3])  # type: ignore[list-item]


async def test_wrappers_are_passed_in_their_order_and_back() -> None:
    passed: list[str] = []

    def outgoing(name: str) -> CallWrapper:
        async def wrapper(call: OutgoingCall, proceed: Proceed[OutgoingCall]) -> Any:
            passed.append(name)
            answer = await proceed(call)
            passed.append(f"/{name}")
            return answer

        return wrapper

    def incoming(name: str) -> HandlerWrapper:
        async def wrapper(call: IncomingCall, proceed: Proceed[IncomingCall]) -> Any:
            passed.append(name)
            answer = await proceed(call)
            passed.append(f"/{name}")
            return answer

        return wrapper

    async with MemoryRegistry() as registry:
        service = offering(registry, {"Greeter.Echo": echo}, wrappers=[incoming("c")])
        service.wrap(incoming("d"))
        async with running(service), Client(registry=registry, wrappers=[outgoing("a"), outgoing("b")]) as client:
            assert await client.call("greeter", "Greeter.Echo", 1) == 1
    assert passed == ["a", "b", "c", "d", "/d", "/c", "/b", "/a"]


async def test_a_call_wrapper_sees_the_call_and_may_change_it_and_its_answer() -> None:
    seen: list[OutgoingCall] = []

    async def wrapper(call: OutgoingCall, proceed: Proceed[OutgoingCall]) -> Any:
        seen.append(call)
        changed = dataclasses.replace(call.with_metadata({"B": "2"}), request=call.request + 1)
        return await proceed(changed) * 10

    async def told(request: Any, stream: Any) -> None:
        await stream.send([request, stream.metadata])

    async with (
        MemoryRegistry() as registry,
        running(offering(registry, {"Greeter.Echo": echo, "Greeter.Told": told})),
        Client(registry=registry, wrappers=[wrapper], idempotent=True) as client,
    ):
        assert await client.call("greeter", "Greeter.Echo", 1, metadata={"a": "1"}) == 20
        told_back = await client.call("greeter", "Greeter.Told", 1, metadata={"a": "1"}, idempotent=False)
        assert told_back == [2, {"a": "1", "b": "2"}] * 10
    first, second = seen
    assert (first.service, first.endpoint, first.kind, first.request) == ("greeter", "Greeter.Echo", Kind.UNARY, 1)
    assert first.options == {"metadata": {"a": "1"}}
    assert (first.idempotent, second.idempotent) == (True, False)


async def test_around_a_stream_a_call_wrapper_sees_the_opening_and_streams_it_left_are_closed() -> None:
    seen: list[Any] = []

    async def opens_twice(call: OutgoingCall, proceed: Proceed[OutgoingCall]) -> Any:
        seen.append(call.kind)
        seen.append(await proceed(call))
        return await proceed(call)

    open_handlers, all_over = 0, trio.Event()

    async def hang(request: Any, stream: Any) -> None:
        nonlocal open_handlers
        open_handlers += 1
        try:
            await stream.send(request)
            await trio.sleep_forever()
        finally:
            open_handlers -= 1
            if not open_handlers:
                all_over.set()

    async with (
        MemoryRegistry() as registry,
        running(offering(registry, {"Greeter.Hang": hang})),
        Client(registry=registry, wrappers=[opens_twice]) as client,
    ):
        async with client.stream("greeter", "Greeter.Hang", 1) as stream:
            assert await stream.receive() == 1
            kind, left = seen
            assert kind is Kind.STREAM
            assert await left.receive() == 1
            assert left is not stream
        with trio.fail_after(30):
            await all_over.wait()


async def test_a_handler_wrapper_sees_unary_and_streaming_calls_and_may_change_their_request() -> None:
    seen: list[IncomingCall] = []

    async def wrapper(call: IncomingCall, proceed: Proceed[IncomingCall]) -> Any:
        seen.append(call)
        if call.kind is Kind.STREAM:
            return await proceed(dataclasses.replace(call, request={"to": 1}))
        return await proceed(dataclasses.replace(call, request="changed"))

    async with MemoryRegistry() as registry, Client(registry=registry) as client:
        service = offering(registry, {"Greeter.Echo": echo}, wrappers=[wrapper])
        service.handle("Greeter.Count")(count)  # added later: wrapped as well
        async with running(service):
            assert await client.call("greeter", "Greeter.Echo", 1, metadata={"K": "v"}) == "changed"
            async with client.stream("greeter", "Greeter.Count", {"to": 3}) as stream:
                assert [message async for message in stream] == [{"n": 0}]
    unary, streaming = seen
    assert (unary.service, unary.endpoint, unary.kind, unary.request) == ("greeter", "Greeter.Echo", Kind.UNARY, 1)
    assert (unary.metadata["k"], unary.stream) == ("v", None)
    assert streaming.stream is not None


async def test_a_handler_wrapper_may_answer_or_refuse_itself() -> None:
    async def wrapper(call: IncomingCall, proceed: Proceed[IncomingCall]) -> Any:
        if call.request == "cached":
            return "from the wrapper"
        raise errors.Forbidden("not this one")

    async with (
        MemoryRegistry() as registry,
        running(offering(registry, {"Greeter.Echo": echo}, wrappers=[wrapper])),
        Client(registry=registry) as client,
    ):
        assert await client.call("greeter", "Greeter.Echo", "cached") == "from the wrapper"
        with pytest.raises(errors.Forbidden, match="not this one") as caught:
            await client.call("greeter", "Greeter.Echo", "other")
        assert caught.value.id == "greeter"


async def test_a_wrapper_may_be_put_on_as_a_decorator() -> None:
    async with MemoryRegistry() as registry, Client(registry=registry) as client:
        service = offering(registry, {"Greeter.Echo": echo})

        @service.wrap
        async def twice(call: IncomingCall, proceed: Proceed[IncomingCall]) -> Any:
            return [await proceed(call), await proceed(call)]

        async with running(service):
            assert await client.call("greeter", "Greeter.Echo", 1) == [1, 1]
