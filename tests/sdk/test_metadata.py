from typing import Any

import pytest
import trio

from sdk import Client, metadata
from sdk.metadata import CallMetadata, merged, received
from sdk.registry.memory import MemoryRegistry
from tests.sdk.living import greeting, offering, running

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def told(request: Any) -> Any:
    return dict(metadata.current())


def test_names_are_found_in_any_case_and_values_stay_out_of_sight() -> None:
    found = CallMetadata(("authorization", "Bearer s3cret", "k", "1", "k", "2"))
    assert (found["Authorization"], found.get("K")) == ("Bearer s3cret", "2")
    assert "AUTHORIZATION" in found
    assert "x" not in found
    assert len(found) == 2
    assert "s3cret" not in repr(found)


def test_traces_and_micro_names_go_on_but_pins_and_secrets_do_not() -> None:
    for name in ("traceparent", "tracestate", "baggage", "micro-from-service", "micro-user"):
        assert received((name, "v")) == ((name, "v"), (name, "v"))
    for name in ("authorization", "x-id", "micro-router", "micro-network", "micro-gateway", "micro-version"):
        assert received((name, "v", "baggage", "b")) == ((name, "v", "baggage", "b"), ("baggage", "b"))
    assert received(("micro-label-zone", "eu", "micro-service", "s")).sent == ()


def test_of_two_the_second_has_the_say_name_by_name() -> None:
    assert merged(("a", "1", "b", "1", "b", "2"), ("b", "3", "b", "4")) == ("a", "1", "b", "3", "b", "4")
    assert merged((), ("a", "1")) == merged(("a", "1"), ()) == ("a", "1")


async def test_outside_of_a_handler_there_is_none() -> None:
    assert dict(metadata.current()) == {}


async def test_a_handler_knows_what_its_caller_sent_and_calls_without_any_know_of_none() -> None:
    async with greeting({"Greeter.Told": told}) as client:
        assert await client.call("greeter", "Greeter.Told", metadata={"X-Name": "v"}) == {"x-name": "v"}
        assert await client.call("greeter", "Greeter.Told") == {}


async def test_a_chain_of_calls_carries_on_the_trace_and_nothing_secret() -> None:
    async with MemoryRegistry() as registry, Client(registry=registry) as client:

        async def ask(request: Any) -> Any:
            found: list[Any] = []

            async def from_a_task() -> None:
                found.append(await client.call("last", "Last.Told", metadata={"own": "1"}))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(from_a_task)
            async with client.stream("last", "Last.Streamed", {}) as stream:
                found.append(await stream.receive())
            return found

        async def streamed(request: Any, stream: Any) -> None:
            await stream.send(await told(request))

        async with (
            running(offering(registry, {"First.Ask": ask}, "first")),
            running(offering(registry, {"Last.Told": told, "Last.Streamed": streamed}, "last")),
        ):
            sent = {"Traceparent": TRACEPARENT, "Micro-User": "u", "Authorization": "s3cret", "Micro-Label-Zone": "eu"}
            carried = {"traceparent": TRACEPARENT, "micro-user": "u"}
            assert await client.call("first", "First.Ask", metadata=sent) == [{**carried, "own": "1"}, carried]
            assert await client.call("first", "First.Ask") == [{"own": "1"}, {}]


async def test_what_is_sent_along_goes_with_the_calls_of_the_block_and_the_nearest_has_the_say() -> None:
    async with (
        MemoryRegistry() as registry,
        running(offering(registry, {"Greeter.Told": told})),
        Client(registry=registry, metadata={"who": "client", "c": "1"}) as client,
    ):
        with metadata.sending({"Who": "block", "b": "1"}):
            with metadata.sending({"inner": "1"}):
                said = await client.call("greeter", "Greeter.Told", metadata={"WHO": "call"})
                assert said == {"who": "call", "c": "1", "b": "1", "inner": "1"}
            assert await client.call("greeter", "Greeter.Told") == {"who": "block", "c": "1", "b": "1"}
        assert await client.call("greeter", "Greeter.Told") == {"who": "client", "c": "1"}


async def test_a_service_started_inside_a_block_does_not_take_its_metadata_for_that_of_callers() -> None:
    seen: list[Any] = []

    async with MemoryRegistry() as registry, Client(registry=registry) as client, trio.open_nursery() as nursery:

        async def ask(request: Any) -> Any:
            seen.append(dict(metadata.current()))
            return await client.call("greeter", "Greeter.Told")

        with metadata.sending({"k": "v"}):
            await nursery.start(offering(registry, {"Greeter.Ask": ask, "Greeter.Told": told}).serve)
        assert await client.call("greeter", "Greeter.Ask") == {}
        nursery.cancel_scope.cancel()
    assert seen == [{}]


async def test_what_is_no_text_is_refused_where_it_is_said() -> None:
    with pytest.raises(TypeError, match="'n' has a int"), metadata.sending({"n": 1}):  # type: ignore[dict-item]
        pass
