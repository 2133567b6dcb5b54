"""Services that are attached to real nodes in this process; in tests/test_attached_services processes are killed."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sdk import Service
from sdk.codec import MSGPACK, encode
from sdk.connection import run_connection
from sdk.errors import Conflict, NotFound, Unavailable
from sdk.head import CallHead, pack_call_head
from sdk.port.native import NativePort
from sdk.rawsocket import take_over
from sdk.registry.memory import MemoryRegistry
from sdk.wire.credit import CreditPool, Window
from sdk.wire.frame import CREDIT, DEREGISTER, INITIAL_CREDIT, MAX_CREDIT, REGISTER, pack_u32
from sdk.wire.message import encode_message
from sdk.wire.mux import Mux, MuxStream
from sdk.wire.registration import (
    Refused,
    Registered,
    pack_refused,
    pack_registered,
    parse_registration_untrusted,
)
from tests.mesh.network import Environment, until, world
from tests.net import kept_address
from tests.sdk.living import count, hello, offering, running

CALLS = 10_000
AT_ONCE = 64


@asynccontextmanager
async def place(name: str = "a", **more: Any) -> AsyncIterator[Environment]:
    """An environment with a node."""
    async with world() as everything:
        there = await everything.open(name)
        await there.start(**more)
        yield there


def attached(node: str, handlers: dict[str, Callable[..., Any]] | None = None, name: str = "greeter") -> Service:
    """A service that attaches to these nodes; its registry is not there, so that one who looks for it fails."""
    return offering(MemoryRegistry("of nobody"), handlers or {"Greeter.Hello": hello}, name, attach=node)


async def addresses(there: Environment, service: str = "greeter") -> list[str]:
    """Where the node has instances of a service."""
    routes = (await there.ask("Network.Routes"))["routes"]
    return [route["address"] for route in routes if route["service"] == service]


async def test_a_service_without_a_port_is_called_over_the_connection_that_it_opened() -> None:
    async with place() as there:
        service = attached(there.proxy, {"Greeter.Hello": hello, "Greeter.Count": count})
        async with running(service) as node, there.client() as client:
            assert node == there.proxy
            assert await client.call("greeter", "Greeter.Hello", {"name": "John"}) == {"msg": "Hello John"}
            async with client.stream("greeter", "Greeter.Count", {"to": 3}) as stream:
                assert [message["n"] async for message in stream] == [0, 1, 2]
            [address] = await addresses(there)
            assert address.startswith("attached/127.0.0.1:")
            assert await there.registry.get("greeter") == ()
        await until(lambda: gone(there), within=30)


async def gone(there: Environment) -> bool:
    return not await addresses(there)


async def test_programs_that_speak_http_and_json_reach_it_as_well() -> None:
    async with place() as there, running(attached(there.proxy)):
        host, _, port = there.proxy.rpartition(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            body = b'{"name": "John"}'
            head = (
                b"POST /Greeter/Hello HTTP/1.1\r\nHost: greeter\r\nConnection: close\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            )
            await stream.send_all(head + body)
            answer = b"".join([piece async for piece in stream])
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"Hello John" in answer


async def test_a_service_attached_to_one_node_is_called_through_another() -> None:
    async with world() as everything:
        near, _, far = await everything.line("a", "b", "c")
        async with running(attached(far.proxy)), near.client() as client:

            async def known() -> bool:
                return "greeter" in await near.services()

            await until(known, within=30)
            assert await client.call("greeter", "Greeter.Hello", {"name": "John"}) == {"msg": "Hello John"}


async def test_ten_thousand_calls_run_over_the_one_connection() -> None:
    async with place() as there, running(attached(there.proxy)), there.client() as client:
        before = await addresses(there)
        answers = 0

        async def calls() -> None:
            nonlocal answers
            for _ in range(CALLS // AT_ONCE + 1):
                assert await client.call("greeter", "Greeter.Hello", {"name": "John"}) == {"msg": "Hello John"}
                answers += 1

        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(calls)
        assert answers >= CALLS
        assert await addresses(there) == before


async def test_a_service_that_stops_under_load_loses_no_call() -> None:
    answers = 0
    async with place() as there, running(attached(there.proxy)), there.client() as client:

        async def slow(request: Any) -> Any:
            await trio.sleep(0.02)
            return request

        async def calls(scope: trio.CancelScope) -> None:
            nonlocal answers
            while not scope.cancel_called:
                await client.call("clock", "Clock.Tick", {})
                answers += 1

        async with running(attached(there.proxy, {"Clock.Tick": slow}, "clock")), trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(calls, nursery.cancel_scope)
            for _ in range(3):
                ended = trio.Event()
                other = attached(there.proxy, {"Clock.Tick": slow}, "clock")

                async def serve(service: Service, ended: trio.Event, *, task_status: trio.TaskStatus[str]) -> None:
                    await service.serve(task_status=task_status)
                    ended.set()

                await nursery.start(serve, other, ended)
                assert len(await addresses(there, "clock")) == 2
                due = answers + 100
                with trio.fail_after(30):
                    while answers < due:
                        await trio.lowlevel.checkpoint()
                other.stop()
                await ended.wait()
                assert len(await addresses(there, "clock")) == 1
            nursery.cancel_scope.cancel()


async def test_calls_that_are_open_when_the_service_stops_are_answered_to_the_end() -> None:
    began, go_on = trio.Event(), trio.Event()
    big = "x" * 3_000_000

    async def slow(request: Any) -> Any:
        began.set()
        await go_on.wait()
        return big

    async with place() as there, there.client() as client, trio.open_nursery() as nursery:
        service = attached(there.proxy, {"G.Slow": slow})
        await nursery.start(service.serve)
        answers: list[str] = []

        async def call() -> None:
            answers.append(await client.call("greeter", "G.Slow"))

        nursery.start_soon(call)
        await began.wait()
        service.stop()
        await until(lambda: gone(there), within=30)
        with pytest.raises(NotFound):
            await client.call("greeter", "G.Slow")
        go_on.set()
        with trio.fail_after(30):
            while not answers:  # noqa: ASYNC110 - the call has no event
                await trio.sleep(0.01)
    assert answers == [big]


class LateNode(NativePort):
    """A node that opens a call after the service has taken itself back, and only then says that it heard that."""

    def __init__(self, sink: Mux, *, busy: float) -> None:
        """`busy` are the seconds for which it reads nothing after that."""
        super().__init__(sink, role="node", dialled=False, name="service")
        self.call: MuxStream | None = None
        self._mux = sink
        self._busy = busy
        self._until = 0.0

    async def serve(self, stream: trio.SocketStream) -> None:
        transport = take_over(stream)
        receive = transport.receive_some

        async def late(max_bytes: int | None = None) -> bytes:
            await trio.sleep_until(self._until)
            return await receive(max_bytes)

        transport.receive_some = late  # type: ignore[method-assign]
        await run_connection(self, transport)

    def on_registration(self, kind: int, payload: bytes) -> None:
        if kind == REGISTER:
            service = parse_registration_untrusted(payload, "attached/here")
            self.key = Registered(service.name, service.version)
            self.send(REGISTER, 0, 0, pack_registered(self.key))
            return
        head = pack_call_head(CallHead("greeter", "G.Big", "rpc", 0, MSGPACK))
        self.call = self._mux.open(head, encode_message(encode(MSGPACK, None)), end=True)
        self.call.window = Window(self._mux.pool)
        self.call.window.size = MAX_CREDIT
        self.send(CREDIT, 0, self.call.number, pack_u32(MAX_CREDIT - INITIAL_CREDIT))
        self.send(DEREGISTER, 0, 0, pack_refused(Refused(self.key, 0, "")))
        self._until = trio.current_time() + self._busy


@pytest.mark.parametrize("busy", [0.0, 1.0])
async def test_calls_that_cross_the_word_that_it_stops_are_answered_and_the_answers_read(
    busy: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NativePort, "most_unearned", MAX_CREDIT)  # this node has read nothing that earned it so much
    size = 4_000_000 if busy else 100  # more than sockets hold, and less than the credit

    async def big(request: Any) -> Any:
        await trio.sleep(0.05)
        return "x" * size

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    mux = Mux(pool=CreditPool(), clock=trio.current_time)
    node = LateNode(mux, busy=busy)
    mux.attach(node)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, node.serve, [listener])
        service = attached(f"127.0.0.1:{listener.socket.getsockname()[1]}", {"G.Big": big})
        ended = trio.Event()

        async def serve(*, task_status: trio.TaskStatus[str]) -> None:
            await service.serve(task_status=task_status)
            ended.set()

        await nursery.start(serve)
        service.stop()
        with trio.fail_after(30):
            await ended.wait()
        assert node.call is not None
        assert node.call.ended
        assert node.call.reset_by_peer is None
        nursery.cancel_scope.cancel()


async def test_a_node_that_drains_has_the_calls_that_it_took_answered() -> None:
    began, go_on = trio.Event(), trio.Event()

    async def slow(request: Any) -> Any:
        began.set()
        await go_on.wait()
        return request

    async with place() as there, running(attached(there.proxy, {"G.Slow": slow})), there.client() as client:
        assert there.running is not None
        node = there.running.node
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.call, "greeter", "G.Slow", "one")
            await began.wait()
            nursery.start_soon(node.drain)
            await trio.testing.wait_all_tasks_blocked()
            go_on.set()


async def test_a_node_that_was_killed_and_is_back_has_its_services_again(caplog: pytest.LogCaptureFixture) -> None:
    with kept_address() as address:
        async with place(proxy_address=address) as there, running(attached(address)):
            assert there.running is not None
            await there.running.kill()
            await there.start(proxy_address=address)

            async def answers() -> bool:
                try:
                    async with there.client() as client:
                        return bool(await client.call("greeter", "Greeter.Hello", {"name": "John"}))
                except (NotFound, Unavailable):
                    return False

            await until(answers, within=30)
    assert "is not attached to" in caplog.text


async def test_a_node_that_is_not_there_yet_is_waited_for() -> None:
    with kept_address() as address:
        async with world() as everything, trio.open_nursery() as nursery:
            there = await everything.open("late")
            started = trio.Event()

            async def serve() -> None:
                assert await nursery.start(attached(address).serve) == address
                started.set()

            nursery.start_soon(serve)
            await trio.testing.wait_all_tasks_blocked()
            await there.start(proxy_address=address)
            with trio.fail_after(30):
                await started.wait()
            assert len(await addresses(there)) == 1
            nursery.cancel_scope.cancel()


async def test_a_service_is_attached_to_every_node_that_is_named_and_twice_where_two_names_are_one() -> None:
    async with world() as everything:
        a, b = await everything.open("a"), await everything.open("b")
        for there in (a, b):
            await there.start()
        same = a.proxy.replace("127.0.0.1", "localhost")
        async with running(attached(f"{a.proxy},{b.proxy},{same}")):

            async def everywhere() -> bool:
                return [len(await addresses(there)) for there in (a, b)] == [2, 1]

            await until(everywhere, within=30)


async def test_what_a_node_refuses_is_said_at_once() -> None:
    async with place() as there:
        with pytest.raises(Conflict, match=r"go\.micro\.network is answered by this node itself"):
            await attached(there.proxy, name="go.micro.network").serve()


async def test_whoever_takes_no_services_is_named_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    clock = MockClock(autojump_threshold=0.01)

    async def main() -> None:
        async with MemoryRegistry() as registry, running(offering(registry, {}, "other")) as address:
            with trio.move_on_after(30):
                await attached(address).serve()

    with caplog.at_level(logging.WARNING):
        await trio.to_thread.run_sync(lambda: trio.run(main, clock=clock))
    [line] = [record.getMessage() for record in caplog.records]
    assert "it did not take the service in 5 s: it may be of a version without that" in line


async def test_hooks_and_health_are_those_of_any_service() -> None:
    heard: list[str] = []
    async with place() as there, there.client() as client:
        service = attached(there.proxy)
        for kind in ("before_start", "after_start", "before_stop", "after_stop"):
            getattr(service, kind)(lambda kind=kind: heard.append(kind))
        async with running(service):
            assert heard == ["before_start", "after_start"]
            assert (await client.call("greeter", "Debug.Health"))["status"] == "serving"
    assert heard == ["before_start", "after_start", "before_stop", "after_stop"]


async def test_a_hook_that_fails_when_the_node_has_taken_the_service_ends_it() -> None:
    async with place() as there:
        service = attached(there.proxy)

        @service.after_start
        async def fail() -> None:
            raise ValueError("no disk")

        with pytest.raises(ValueError, match="no disk"):
            await service.serve()
        await until(lambda: gone(there), within=30)
