from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from google.protobuf import wrappers_pb2

import sdk
from sdk import Client, errors, metadata, strategy
from sdk.client import MOST_HEADS
from sdk.config import ClientConfig
from sdk.connection import run_connection
from sdk.options import Options
from sdk.port.native import NativePort
from sdk.registry.memory import MemoryRegistry
from sdk.types import Instance, Service
from sdk.wire import frame
from sdk.wire.mux import Mux
from tests.net import nobody
from tests.sdk.living import count, echo, greeting, hello, offering, running

HELLO = frame.pack_hello(frame.Hello(frame.VERSION, "instance", 100))


@dataclass
class Person:
    name: str
    age: int = 0


@dataclass
class Greeting:
    msg: str


async def test_a_call_is_answered() -> None:
    async with greeting({"Greeter.Hello": hello}) as client:
        assert await client.call("greeter", "Greeter.Hello", {"name": "John"}) == {"msg": "Hello John"}


@pytest.mark.parametrize(("service", "endpoint"), [(None, "A.Echo"), ("greeter", None), ("greeter", b"A.Echo")])
async def test_names_that_are_no_text_are_refused_and_other_calls_go_on(service: Any, endpoint: Any) -> None:
    async def wait(request: Any) -> Any:
        await waiting.wait()
        return request

    waiting = trio.Event()
    async with greeting({"A.Wait": wait}) as client, trio.open_nursery() as nursery:

        async def call() -> None:
            assert await client.call("greeter", "A.Wait", 1) == 1

        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(TypeError, match="of a call is text, not"):
            await client.call(service, endpoint, 1)
        with pytest.raises(TypeError, match="of a call is text, not"):
            async with client.stream(service, endpoint, 1):
                pass
        waiting.set()


async def test_a_client_in_another_thread_is_told_so_and_goes_on() -> None:
    async with greeting({"A.Echo": echo}) as client:

        def call_there() -> Any:
            return trio.run(client.call, "greeter", "A.Echo", 1)

        with pytest.raises(RuntimeError, match=r"opened in another thread: .* `trio\.from_thread\.run\(client\.call"):
            await trio.to_thread.run_sync(call_there)

        def call_here() -> Any:
            return trio.from_thread.run(client.call, "greeter", "A.Echo", 2)

        assert await trio.to_thread.run_sync(call_here) == 2


async def test_an_answer_may_be_asked_for_as_one_of_several_types() -> None:
    async with greeting({"A.Echo": echo}) as client:
        assert await client.call("greeter", "A.Echo", None, reply_type=int | None) is None
        assert await client.call("greeter", "A.Echo", {"a": 1}, reply_type=dict[str, int]) == {"a": 1}


async def test_the_first_of_several_types_that_fits_is_taken_whatever_was_asked_for_before() -> None:
    person = {"name": "John", "msg": "Hello"}
    async with greeting({"A.Echo": echo}) as client:
        assert await client.call("greeter", "A.Echo", person, reply_type=Person | Greeting) == Person("John")
        assert await client.call("greeter", "A.Echo", person, reply_type=Greeting | Person) == Greeting("Hello")


async def test_a_stream_of_answers_comes_in_order_and_ends() -> None:
    async with (
        greeting({"Greeter.Count": count}) as client,
        client.stream("greeter", "Greeter.Count", {"to": 3}) as stream,
    ):
        assert [message async for message in stream] == [{"n": 0}, {"n": 1}, {"n": 2}]


async def test_a_stream_of_requests_is_answered_once() -> None:
    async def add(request: Any, stream: Any) -> None:
        await stream.send(request + sum([message async for message in stream]))

    async with greeting({"Greeter.Add": add}) as client, client.stream("greeter", "Greeter.Add") as stream:
        for n in range(1, 101):
            await stream.send(n)
        await stream.send_eof()
        assert await stream.receive() == 5050
        with pytest.raises(trio.EndOfChannel):
            await stream.receive()


async def test_both_sides_talk_at_the_same_time() -> None:
    async def chat(request: Any, stream: Any) -> None:
        await stream.send(f"{request}!")
        async for message in stream:
            await stream.send(f"{message}!")

    async with greeting({"Greeter.Chat": chat}) as client, client.stream("greeter", "Greeter.Chat", "one") as stream:
        assert await stream.receive() == "one!"
        await stream.send("two")
        assert await stream.receive() == "two!"
        await stream.send_eof()
        assert [message async for message in stream] == []


async def test_a_stream_without_a_message_gives_the_handler_none() -> None:
    async def what(request: Any, stream: Any) -> None:
        await stream.send({"request": request})

    async with greeting({"Greeter.What": what}) as client, client.stream("greeter", "Greeter.What") as stream:
        await stream.send_eof()
        assert await stream.receive() == {"request": None}


@pytest.mark.parametrize("content_type", ["application/json", "application/msgpack", "application/grpc+json"])
async def test_the_answer_comes_in_the_callers_content_type(content_type: str) -> None:
    async with greeting({"Greeter.Echo": echo}) as client:
        assert await client.call("greeter", "Greeter.Echo", {"a": [1]}, content_type=content_type) == {"a": [1]}


async def test_bytes_and_protobuf_messages_go_as_themselves() -> None:
    async def shout(request: wrappers_pb2.StringValue) -> wrappers_pb2.StringValue:
        return wrappers_pb2.StringValue(value=request.value.upper())

    async def size(request: Any) -> Any:
        return {"size": len(request)}

    async with greeting({"G.Echo": echo, "G.Shout": shout, "G.Size": size}) as client:
        assert await client.call("greeter", "G.Echo", b"\x00\xff") == b"\x00\xff"
        assert await client.call("greeter", "G.Size", b"\x00\xff") == {"size": 2}
        message = wrappers_pb2.StringValue(value="hi")
        reply = await client.call("greeter", "G.Shout", message, reply_type=wrappers_pb2.StringValue)
        assert reply.value == "HI"


async def test_annotations_are_honoured_on_both_sides() -> None:
    async def greet(request: Person) -> Greeting:
        assert isinstance(request, Person)
        return Greeting(f"Hello {request.name}, {request.age}")

    async with greeting({"Greeter.Greet": greet}) as client:
        reply = await client.call("greeter", "Greeter.Greet", Person("John"), reply_type=Greeting)
        assert reply == Greeting("Hello John, 0")
        with pytest.raises(errors.BadRequest, match=r"Greeter\.Greet.*age is str, not int"):
            await client.call("greeter", "Greeter.Greet", {"name": "John", "age": "old"})
        with pytest.raises(errors.BadRequest, match="name is missing"):
            await client.call("greeter", "Greeter.Greet", {})
        with pytest.raises(errors.RemoteProtocolError, match="name is missing"):
            await client.call("greeter", "Greeter.Greet", Person("John"), reply_type=Person)


async def test_metadata_reaches_the_handler() -> None:
    async def tell(request: Any, stream: Any) -> None:
        await stream.send(stream.metadata)

    async with (
        greeting({"Greeter.Tell": tell}) as client,
        client.stream("greeter", "Greeter.Tell", 1, metadata={"Micro-From": "me", "k": "v"}) as stream,
    ):
        assert await stream.receive() == {"micro-from": "me", "k": "v"}


async def test_eight_mebibytes_go_both_ways() -> None:
    data = bytes(range(256)) * 32768

    async with greeting({"Greeter.Echo": echo}) as client:
        assert await client.call("greeter", "Greeter.Echo", data) == data
        async with client.stream("greeter", "Greeter.Echo", data) as stream:
            assert await stream.receive() == data


async def test_a_large_stream_is_held_by_the_reader_that_does_not_read() -> None:
    sent = 0

    async def flood(request: Any, stream: Any) -> None:
        nonlocal sent
        for _ in range(1000):
            await stream.send(bytes(1000))
            sent += 1

    async with (
        greeting({"Greeter.Flood": flood, "Greeter.Echo": echo}) as client,
        client.stream("greeter", "Greeter.Flood", {}) as stream,
    ):
        await stream.receive()
        for _ in range(20):  # others go on meanwhile
            await client.call("greeter", "Greeter.Echo", "x")
        assert sent <= 132  # what was received and not asked for, and as much again on its way
        assert sum([1 async for _ in stream]) == 999


async def test_many_calls_share_one_connection_and_each_gets_its_own_answer() -> None:
    replies: dict[int, Any] = {}

    async def slow_echo(request: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return request

    async def ask(client: Client, n: int) -> None:
        replies[n] = await client.call("greeter", "Greeter.Echo", n)

    async with greeting({"Greeter.Echo": slow_echo}) as client:
        async with trio.open_nursery() as nursery:
            for n in range(500):
                nursery.start_soon(ask, client, n)
        assert len(client._callees.instances._alive) == 1
    assert replies == {n: n for n in range(500)}


@pytest.mark.parametrize(
    "kind", [errors.NotFound, errors.Conflict, errors.Forbidden, errors.TooManyRequests, errors.Timeout]
)
async def test_the_error_a_handler_raises_is_what_the_caller_gets(kind: type[errors.MicroError]) -> None:
    async def fail(request: Any) -> Any:
        raise kind("no such “thing”")

    async with greeting({"Greeter.Fail": fail}) as client:
        with pytest.raises(kind) as caught:
            await client.call("greeter", "Greeter.Fail")
        assert (type(caught.value), caught.value.detail, caught.value.id) == (kind, "no such “thing”", "greeter")
        async with client.stream("greeter", "Greeter.Fail", 1) as stream:
            with pytest.raises(kind):
                await stream.receive()


async def test_an_error_after_some_answers_comes_after_them() -> None:
    async def fail_late(request: Any, stream: Any) -> None:
        await stream.send(1)
        raise errors.Conflict("enough")

    async with (
        greeting({"Greeter.Fail": fail_late}) as client,
        client.stream("greeter", "Greeter.Fail", {}) as stream,
    ):
        assert await stream.receive() == 1
        with pytest.raises(errors.Conflict, match="enough"):
            await stream.receive()


async def test_the_callers_own_deadline_is_trios_and_the_handler_is_cancelled(
    mock_clock: trio.testing.MockClock,
) -> None:
    cancelled = trio.Event()
    left: list[float] = []

    async def wait(request: Any) -> Any:
        left.append(trio.current_effective_deadline() - trio.current_time())
        mock_clock.jump(1)
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with greeting({"Greeter.Wait": wait}) as client:
        with pytest.raises(trio.TooSlowError):
            with trio.fail_after(0.2):
                await client.call("greeter", "Greeter.Wait")
        await cancelled.wait()
        with trio.move_on_after(0.1) as scope:
            async with client.stream("greeter", "Greeter.Wait", 1) as stream:
                await stream.receive()
        assert scope.cancelled_caught
    assert left == [pytest.approx(0.2, abs=0.002), pytest.approx(0.1, abs=0.002)]


async def test_without_a_deadline_the_default_applies_to_unary_calls() -> None:
    async def wait(request: Any) -> Any:
        await trio.sleep_forever()

    async with greeting({"Greeter.Wait": wait, "Greeter.Echo": echo}, default_deadline=0.1) as client:
        with pytest.raises(errors.Timeout):
            await client.call("greeter", "Greeter.Wait")
        assert await client.call("greeter", "Greeter.Echo", 1) == 1


async def test_the_default_deadline_needs_no_word_from_the_other_end() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:  # it takes connections and says nothing
        address = f"127.0.0.1:{listener.socket.getsockname()[1]}"
        async with Client(ClientConfig(request_timeout=0.1), proxy=address) as client:
            with pytest.raises(errors.Timeout, match="MICRO_CLIENT_REQUEST_TIMEOUT"):
                await client.call("greeter", "Greeter.Wait")


async def test_a_deadline_that_has_passed_sends_nothing() -> None:
    async with greeting({"Greeter.Echo": echo}) as client:
        await client.call("greeter", "Greeter.Echo", 1)
        with trio.move_on_after(0) as scope:
            await client.call("greeter", "Greeter.Echo", 1)
        assert scope.cancelled_caught
        [connection] = client._callees.instances._alive
        assert connection.port.queued == 0


async def test_cancelling_a_call_or_leaving_a_stream_cancels_the_handler() -> None:
    ended = 0
    began, over = trio.Event(), trio.Event()

    async def wait(request: Any, stream: Any) -> None:
        nonlocal ended
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            ended += 1
            over.set()

    async with greeting({"Greeter.Wait": wait}, default_deadline=60) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(client.call, "greeter", "Greeter.Wait"))
            await began.wait()
            nursery.cancel_scope.cancel()
        with trio.fail_after(20):  # long before the default deadline
            await over.wait()
        over = trio.Event()
        async with client.stream("greeter", "Greeter.Wait", 1):
            pass
        with trio.fail_after(20):
            await over.wait()
    assert ended == 2


async def test_a_call_of_a_streaming_endpoint_says_what_to_use() -> None:
    async with greeting({"Greeter.Count": count}) as client:
        for to in (0, 2):
            with pytest.raises(errors.RemoteProtocolError, match="use `stream`"):
                await client.call("greeter", "Greeter.Count", {"to": to})
        assert await client.call("greeter", "Greeter.Count", {"to": 1}) == {"n": 0}


async def test_an_unknown_service_is_named_with_the_registry() -> None:
    async with MemoryRegistry("here") as registry, Client(registry=registry) as client:
        with pytest.raises(errors.NotFound, match=r"nobody.*memory, here"):
            await client.call("nobody", "A.B")
        with pytest.raises(errors.NotFound, match="nobody"):
            async with client.stream("nobody", "A.B"):
                pass


async def test_an_address_where_nobody_listens_is_named_and_nothing_has_run() -> None:
    with nobody() as address:
        async with Client(proxy=address) as client:
            with pytest.raises(errors.Unavailable, match=rf"greeter Greeter\.Hello: {address}: .*refused") as caught:
                await client.call("greeter", "Greeter.Hello")
            assert not caught.value.may_have_run
            with pytest.raises(errors.Unavailable, match=address):
                async with client.stream("greeter", "Greeter.Hello"):
                    pass


async def test_an_instance_that_speaks_neither_frames_nor_grpc_is_not_called() -> None:
    async with MemoryRegistry() as registry, Client(registry=registry) as client:
        foreign = Instance(id="old-1", address="127.0.0.1:1", metadata={"protocol": "mucp"})
        await registry.register(Service(name="old", instances=(foreign,)))
        with pytest.raises(errors.Unavailable, match=r"old speak mucp only"):
            await client.call("old", "A.B")


@pytest.fixture
def dead() -> Iterator[str]:
    """An address where nobody is."""
    with nobody() as address:
        yield address


def dead_instance(name: str, address: str) -> Service:
    instance = Instance(id=f"{name}-dead", address=address, metadata={"protocol": "grpc", "native": "1"})
    return Service(name=name, instances=(instance,))


async def test_instances_that_are_gone_are_passed_over(dead: str) -> None:
    async with MemoryRegistry() as registry, Client(registry=registry) as client:
        await registry.register(dead_instance("greeter", dead))
        async with running(offering(registry, {"Greeter.Echo": echo})):
            for n in range(20):
                assert await client.call("greeter", "Greeter.Echo", n) == n
            for n in range(10):
                async with Client(registry=registry) as new, new.stream("greeter", "Greeter.Echo", n) as stream:
                    assert await stream.receive() == n


async def test_a_call_that_another_service_refused_is_tried_at_the_right_one() -> None:
    async with (
        MemoryRegistry() as registry,
        Client(registry=registry) as client,
        running(offering(registry, {}, "other")) as other,
    ):
        await registry.register(dead_instance("greeter", other))
        with pytest.raises(errors.Unavailable, match="this is other, not greeter") as caught:
            await client.call("greeter", "Greeter.Echo", 1)
        assert not caught.value.may_have_run
        async with running(offering(registry, {"Greeter.Echo": echo})):
            await trio.testing.wait_all_tasks_blocked()  # until the client has heard of it
            for n in range(20):
                assert await client.call("greeter", "Greeter.Echo", n) == n


async def test_a_lost_connection_says_that_the_call_may_have_run_and_only_idempotent_calls_run_again() -> None:
    runs = 0

    async with MemoryRegistry() as registry, Client(registry=registry) as client:
        first = offering(registry, {})
        began = trio.Event()

        async def die(request: Any) -> Any:
            nonlocal runs
            runs += 1
            if runs < 3:
                began.set()
                await trio.sleep_forever()
            return "alive"

        first.handle("Greeter.Die")(die)
        async with running(first):

            async def cut() -> None:
                nonlocal began
                await began.wait()
                began = trio.Event()
                for port in list(first._server._ports):
                    port.close("cut")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cut)
                with pytest.raises(errors.Unavailable, match=r"Greeter\.Die") as caught:
                    await client.call("greeter", "Greeter.Die")
            assert caught.value.may_have_run
            assert runs == 1
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cut)
                assert await client.call("greeter", "Greeter.Die", idempotent=True) == "alive"


async def test_a_service_may_be_replaced_while_a_client_keeps_calling() -> None:
    async with MemoryRegistry() as registry, Client(registry=registry) as client:
        answers = 0

        async def keep_calling() -> None:
            nonlocal answers
            while True:
                assert await client.call("greeter", "Greeter.Echo", answers) == answers
                answers += 1

        async def until(more: int) -> None:
            goal = answers + more
            while answers < goal:
                await trio.lowlevel.checkpoint()

        old = offering(registry, {"Greeter.Echo": echo})
        async with trio.open_nursery() as nursery:
            await nursery.start(old.serve)
            nursery.start_soon(keep_calling)
            await until(100)
            for _ in range(3):
                new = offering(registry, {"Greeter.Echo": echo})
                await nursery.start(new.serve)
                old.stop()
                await until(100)
                old = new
            nursery.cancel_scope.cancel()


async def test_a_client_finds_its_node_by_name_and_another_when_that_is_gone(dead: str) -> None:
    async with (
        MemoryRegistry() as registry,
        running(offering(registry, {"Greeter.Echo": echo})) as address,
        Client(registry=registry, proxy="go.micro.network") as client,
    ):
        with pytest.raises(errors.Unavailable, match=r"go\.micro\.network.*memory.*micro network"):
            await client.call("greeter", "Greeter.Echo", 1)
        await registry.register(dead_instance("go.micro.network", dead))
        instance = Instance(id="node-1", address=address, metadata={"native": "1"})
        await registry.register(Service(name="go.micro.network", instances=(instance,)))
        for n in range(20):
            assert await client.call("greeter", "Greeter.Echo", n) == n


async def test_a_node_that_is_stopping_is_passed_over_by_calls_and_streams() -> None:
    async def stopping(stream: trio.SocketStream) -> None:
        mux = Mux()
        port = NativePort(mux, role="node", dialled=False, name="program")
        mux.attach(port)
        port.refuse()
        await run_connection(port, stream)

    async with (
        MemoryRegistry() as registry,
        running(offering(registry, {"Greeter.Echo": echo, "Greeter.Count": count})) as address,
        trio.open_nursery() as nursery,
    ):
        [listener] = await nursery.start(partial(trio.serve_tcp, stopping, 0, host="127.0.0.1"))
        there = f"127.0.0.1:{listener.socket.getsockname()[1]}"
        instances = (dead_instance("", there).instances[0], Instance(id="n", address=address, metadata={"native": "1"}))
        await registry.register(Service(name="go.micro.network", instances=instances))
        for n in range(20):
            async with Client(registry=registry, proxy="go.micro.network") as client:
                if n % 2:
                    assert await client.call("greeter", "Greeter.Echo", n) == n
                else:
                    async with client.stream("greeter", "Greeter.Count", {"to": 2}) as stream:
                        assert [message async for message in stream] == [{"n": 0}, {"n": 1}]
        nursery.cancel_scope.cancel()


async def test_through_a_node_what_it_refused_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = 0

    async with MemoryRegistry() as registry:
        service = offering(registry, {}, "other")
        async with running(service) as address, Client(proxy=address) as client:
            accept = service._server.accept

            def counting(*arguments: Any) -> None:
                nonlocal refusals
                refusals += 1
                accept(*arguments)

            monkeypatch.setattr(service._server, "accept", counting)
            with pytest.raises(errors.Unavailable, match="this is other"):
                await client.call("greeter", "Greeter.Echo", idempotent=True)
    assert refusals == 1


async def test_a_lost_connection_is_dialled_again_by_the_next_call() -> None:
    async with MemoryRegistry() as registry:
        service = offering(registry, {"Greeter.Echo": echo})
        async with running(service) as address, Client(proxy=address) as client:
            for n in range(3):
                assert await client.call("greeter", "Greeter.Echo", n) == n
                [connection] = client._callees.instances._alive
                for port in list(service._server._ports):
                    port.close("cut")
                while not connection.port.dead:
                    await trio.lowlevel.checkpoint()


async def test_what_the_environment_says_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MICRO_REGISTRY_ADDRESS", str(tmp_path / "registry.db"))
    async with Client() as client:
        with pytest.raises(errors.NotFound, match=r"sqlite.*registry\.db"):
            await client.call("nobody", "A.B")
    monkeypatch.setenv("MICRO_REGISTRY", "nowhere")
    with pytest.raises(errors.BadRequest, match="nowhere"):
        async with Client():
            pass
    async with Client(proxy="127.0.0.1:1"):  # needs no registry
        pass
    monkeypatch.delenv("MICRO_REGISTRY")
    monkeypatch.setenv("MICRO_PROXY", "127.0.0.1:99999")
    with pytest.raises(errors.BadRequest, match="99999"):
        Client()
    monkeypatch.setenv("MICRO_PROXY", "go.micro.network")
    async with Client(proxy="") as client:
        with pytest.raises(errors.NotFound):
            await client.call("nobody", "A.B")


async def test_an_error_in_the_block_leaves_it_as_it_is() -> None:
    async with MemoryRegistry() as registry:
        with pytest.raises(ZeroDivisionError):
            async with Client(registry=registry):
                raise ZeroDivisionError
        with pytest.RaisesGroup(ZeroDivisionError):
            async with Client(registry=registry), trio.open_nursery():
                raise ZeroDivisionError
        with trio.move_on_after(0) as scope:
            async with Client(registry=registry):
                await trio.sleep_forever()
        assert scope.cancelled_caught


async def test_a_client_outside_its_block_says_so() -> None:
    client = Client(ClientConfig(registry="memory"))
    with pytest.raises(RuntimeError, match="async with"):
        await client.call("greeter", "Greeter.Hello")
    async with client:
        with pytest.raises(RuntimeError, match="in use"):
            async with client:
                pass


@pytest.mark.parametrize("through_a_node", [True, False])
async def test_the_proxy_token_is_shown_to_the_node_and_never_to_an_instance(through_a_node: bool) -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    address = f"127.0.0.1:{listener.socket.getsockname()[1]}"
    instance = Instance(id="i", address=address, metadata={"protocol": "grpc", "native": "1"})
    config = ClientConfig(proxy_token="a secret", proxy=address if through_a_node else "")
    async with listener, MemoryRegistry() as registry, Client(config, registry=registry) as client:
        await registry.register(Service(name="greeter", instances=(instance,)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(client.call, "greeter", "Greeter.Hello", {}))
            async with await listener.accept() as stream:
                await stream.send_all(frame.PREFACE + frame.pack_frame(frame.HELLO, 0, 0, HELLO))
                said = b""
                while b"Greeter.Hello" not in said:
                    said += await stream.receive_some()
                nursery.cancel_scope.cancel()
    assert (b"a secret" in said) is through_a_node


@asynccontextmanager
async def nodes(count: int) -> AsyncIterator[tuple[list[sdk.Service], list[str], list[int]]]:
    """Stand-ins for nodes: each answers `Greeter.Who` with its number, after a moment, and counts."""
    runs = [0] * count

    def answering(number: int) -> Callable[..., Any]:
        async def who(request: Any) -> Any:
            runs[number] += 1
            await trio.sleep(0.001)
            return number

        return who

    async with MemoryRegistry() as registry, AsyncExitStack() as stack:
        services = [offering(registry, {"Greeter.Who": answering(number)}) for number in range(count)]
        yield services, [await stack.enter_async_context(running(service)) for service in services], runs


async def test_several_nodes_share_the_calls() -> None:
    async with (
        nodes(3) as (_, addresses, runs),
        Client(proxy=", ".join(addresses)) as client,
        trio.open_nursery() as nursery,
    ):
        for _ in range(300):
            nursery.start_soon(client.call, "greeter", "Greeter.Who")
    assert sum(runs) == 300
    assert min(runs) > 50


async def test_of_two_nodes_one_may_die_under_load_and_only_what_may_have_run_is_lost() -> None:
    """Calls that are idempotent are not lost at all: the node that would try them again is gone, so the client does."""
    lost = 0

    async with nodes(2) as (services, addresses, runs), Client(proxy=",".join(addresses)) as client:

        async def keep_calling(idempotent: bool) -> None:
            nonlocal lost
            for _ in range(100):
                try:
                    await client.call("greeter", "Greeter.Who", idempotent=idempotent)
                except errors.Unavailable as error:
                    if idempotent or not error.may_have_run:
                        raise
                    lost += 1

        async def kill() -> None:
            while min(runs) < 100:
                await trio.lowlevel.checkpoint()
            await services[0]._server._doors.close()
            for port in list(services[0]._server._ports):
                port.close("killed")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            for n in range(20):
                nursery.start_soon(keep_calling, bool(n % 2))
        assert 0 < lost <= 10  # those of the tasks whose calls are not idempotent, once each
        assert runs[1] > runs[0]


@pytest.mark.parametrize("idempotent", [False, True])
@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_a_call_is_tried_again_as_often_as_it_may_be(retries: int, idempotent: bool) -> None:
    runs = 0

    async with MemoryRegistry() as registry:
        service = offering(registry, {})

        async def die(request: Any) -> Any:
            nonlocal runs
            runs += 1
            for port in list(service._server._ports):
                port.close("cut")
            await trio.sleep_forever()

        service.handle("Greeter.Die")(die)
        async with running(service), Client(registry=registry, retries=retries) as client:
            with pytest.raises(errors.Unavailable):
                await client.call("greeter", "Greeter.Die", idempotent=idempotent)
    assert runs == (1 + retries if idempotent else 1)


@asynccontextmanager
async def kinds() -> AsyncIterator[tuple[MemoryRegistry, dict[str, str]]]:
    """Three services of one name that differ, and answer with the name of what they are."""

    def answering(kind: str) -> Callable[..., Any]:
        async def who(request: Any) -> Any:
            return kind

        return who

    async with MemoryRegistry() as registry, AsyncExitStack() as stack:
        addresses = {}
        for kind, options in {
            "old": {"version": "1", "metadata": {"Zone": "eu"}},
            "new": {"version": "2", "metadata": {"zone": "eu"}},
            "far": {"version": "3", "metadata": {"zone": "us"}},
        }.items():
            handlers = {"Greeter.Who": answering(kind)}
            if kind != "old":
                handlers["Greeter.Late"] = answering(kind)
            service = offering(registry, handlers, **options)  # type: ignore[arg-type]
            addresses[kind] = await stack.enter_async_context(running(service))
        yield registry, addresses


@pytest.mark.parametrize(
    ("endpoint", "options", "expected"),
    [
        ("Greeter.Who", {}, {"old", "new", "far"}),
        ("Greeter.Who", {"version": "2"}, {"new"}),
        ("Greeter.Who", {"labels": {"ZONE": "eu"}}, {"old", "new"}),
        ("Greeter.Late", {"must_offer": True}, {"new", "far"}),
        ("Greeter.Late", {"must_offer": True, "labels": {"zone": "eu"}}, {"new"}),
    ],
)
async def test_calls_and_streams_go_only_to_instances_that_pass(
    endpoint: str, options: Options, expected: set[str]
) -> None:
    async with kinds() as (registry, _), Client(registry=registry) as client:
        found = {await client.call("greeter", endpoint, **options) for _ in range(40)}
        assert found == expected
        for _ in range(10):
            async with client.stream("greeter", endpoint, {}, **options) as stream:
                assert await stream.receive() in expected


async def test_where_none_passes_the_error_says_what_was_wanted() -> None:
    async with kinds() as (registry, _), Client(registry=registry, version="4") as client:
        with pytest.raises(errors.NotFound, match=r"greeter is in the registry, but no instance of version '4'"):
            await client.call("greeter", "Greeter.Who")
        with pytest.raises(errors.NotFound, match=r"label zone=mars and endpoint Greeter\.Late"):
            async with client.stream("greeter", "Greeter.Late", labels={"zone": "mars"}, version="", must_offer=True):
                pass


async def test_a_call_to_an_address_asks_nobody_and_shows_no_token() -> None:
    async with kinds() as (registry, addresses), nodes(1) as (_, [node], runs):
        config = ClientConfig(proxy=node, proxy_token="a secret")
        async with Client(config, registry=registry) as client:
            assert await client.call("greeter", "Greeter.Who", address=addresses["far"]) == "far"
            assert await client.call("greeter", "Greeter.Who", proxy=None, version="1") == "old"
            assert runs == [0]
            assert await client.call("greeter", "Greeter.Who") == 0
        assert client._callees.instances._token == b""
        assert client._callees.nodes._token == b"a secret"


async def test_a_client_of_a_node_at_an_address_opens_the_registry_when_a_call_goes_direct(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MICRO_REGISTRY_ADDRESS", str(tmp_path / "registry.db"))
    async with nodes(1) as (_, [node], _), Client(proxy=node) as client:
        assert await client.call("greeter", "Greeter.Who") == 0
        assert not await trio.Path(tmp_path / "registry.db").exists()
        with pytest.raises(errors.NotFound, match=r"registry\.db"):
            await client.call("nobody", "A.B", proxy=None)


async def test_turns_are_shared_by_all_calls_of_a_client_whatever_they_call() -> None:
    async with kinds() as (registry, _), Client(registry=registry, strategy=strategy.round_robin) as client:
        others = [await client.call("greeter", "Greeter.Late", must_offer=True) for _ in range(4)]
        assert others[:2] == others[2:]
        turns = [await client.call("greeter", "Greeter.Who") for _ in range(9)]
        assert set(turns[:3]) == set(turns[3:6]) == set(turns[6:]) == {"old", "new", "far"}


async def test_calls_of_one_key_go_to_one_instance_and_elsewhere_when_that_is_gone(dead: str) -> None:
    async with nodes(4) as (_, addresses, runs), Client(address=",".join(addresses)) as client:
        homes = {f"user {n}": await client.call("greeter", "Greeter.Who", key=f"user {n}") for n in range(120)}
        assert set(homes.values()) == {
            0,
            1,
            2,
            3,
        }  # of so many keys one of four has none once in a million million runs
        for key, home in homes.items():
            assert await client.call("greeter", "Greeter.Who", key=key, strategy=strategy.uniform) == home
    async with nodes(2) as (_, addresses, runs):
        async with Client(address=",".join([dead, *addresses])) as client:
            for n in range(30):
                await client.call("greeter", "Greeter.Who", key=str(n))
        assert sum(runs) == 30


async def test_the_version_and_labels_a_client_wants_are_pins_for_its_node() -> None:
    async def told(request: Any) -> Any:
        return dict(metadata.current())

    async with (
        MemoryRegistry() as registry,
        running(offering(registry, {"Greeter.Told": told})) as node,
        Client(proxy=node, version="2") as client,
    ):
        pins = await client.call("greeter", "Greeter.Told", labels={"Zone": "eu"}, must_offer=True)
    assert pins == {"micro-version": "2", "micro-label-zone": "eu"}


async def test_heads_beyond_number_are_forgotten_again() -> None:
    async with greeting({"Greeter.Echo": echo}) as client:
        for n in range(2 * MOST_HEADS):
            assert await client.call("greeter", "Greeter.Echo", n, metadata={"n": str(n)}) == n
        assert len(client._heads) <= MOST_HEADS


async def test_a_filter_follows_the_registry() -> None:
    async def version(request: Any) -> Any:
        return request

    async with (
        MemoryRegistry() as registry,
        Client(registry=registry, version="2") as client,
        running(offering(registry, {"Greeter.Version": version}, version="1")),
    ):
        with pytest.raises(errors.NotFound, match="no instance of version '2'"):
            await client.call("greeter", "Greeter.Version", 2)
        async with running(offering(registry, {"Greeter.Version": version}, version="2")):
            assert await client.call("greeter", "Greeter.Version", 2) == 2
        with trio.fail_after(30):
            while client._callees.known("greeter", client._way, client._way.filter) is not None:
                await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(errors.NotFound, match="no instance of version '2'"):
            await client.call("greeter", "Greeter.Version", 2)
        assert await client.call("greeter", "Greeter.Version", 1, version="1") == 1
