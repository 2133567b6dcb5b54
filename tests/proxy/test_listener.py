"""The proxy port, over real sockets."""

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from proxy import doorkeeper
from proxy import listener as module
from proxy.crowd import Crowd
from proxy.listener import ProxyListener
from proxy.switch import Switch
from sdk.connection import run_connection
from sdk.errors import Status, Unavailable
from sdk.head import CallHead, pack_call_head
from sdk.netaddress import split_address
from sdk.port import Port
from sdk.port.http1serving import STOPPING, ServingHttp1Port
from sdk.port.http2 import Http2ServingPort
from sdk.port.inner import inner_pair
from sdk.port.native import NativePort
from sdk.rawsocket import RawSocket, bound_address, listen_tcp, open_tcp
from sdk.timers import Timers
from sdk.wire import frame
from sdk.wire.frame import END, HELLO, PREFACE, Fate, Hello, Open
from sdk.wire.http2 import PREFACE as HTTP2
from sdk.wire.mux import Mux, MuxStream

from .chain import Node

HELLO_FRAME = frame.pack_frame(HELLO, 0, 0, frame.pack_hello(Hello(1, "client", 100)))


class Door:
    """A node's proxy port and a service of the node behind it, `echo`."""

    def __init__(self, *tokens: bytes) -> None:
        def dial(node: Node, address: str) -> Port:
            raise AssertionError("nothing is dialled here")

        self.node = Node(b"n" * 16, "door", dial)
        self.timers = Timers()
        self.listener = ProxyListener(self.node.switch, self.timers, tokens)
        self.address = ""
        services = Mux(on_open=self._on_open)
        near, inner = inner_pair(self.node.switch, services, name="own", clock=trio.current_time)
        services.attach(inner)
        self.node.ingress.own["echo"] = near

    def _on_open(self, stream: MuxStream, opened: Open) -> None:
        stream.send_head(b"head", opened.body, end=True)

    async def connect(self) -> trio.abc.Stream:
        return await open_tcp(self.address)


@asynccontextmanager
async def door(*tokens: bytes) -> AsyncIterator[Door]:
    opened = Door(*tokens)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(opened.timers.run)
        listeners = await listen_tcp("127.0.0.1:0")
        opened.address = bound_address(listeners[0])
        nursery.start_soon(opened.listener.serve, listeners)
        yield opened
        nursery.cancel_scope.cancel()


class Program:
    """A caller with a real connection."""

    def __init__(self, token: bytes = b"") -> None:
        self.lost = trio.Event()
        self.mux = Mux(on_dead=lambda reason: self.lost.set())
        self.port = NativePort(self.mux, role="client", dialled=True, name="door", token=token)
        self.mux.attach(self.port)

    async def call(self, service: str, body: bytes = b"hello") -> MuxStream:
        """Calls, and waits for how it ends."""
        answered = trio.Event()
        stream = self.mux.open(pack_call_head(CallHead(service, "x")), body, end=True)
        stream.on_change = lambda: answered.set() if stream.ended else None
        await answered.wait()
        return stream


@asynccontextmanager
async def program(door: Door, token: bytes = b"") -> AsyncIterator[Program]:
    caller = Program(token)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_connection, caller.port, await open_tcp(door.address))
        yield caller
        nursery.cancel_scope.cancel()


async def is_closed(stream: trio.abc.Stream) -> bool:
    """Waits until the other end closes, which must send nothing but frames before."""
    async with stream:
        try:
            while await stream.receive_some():
                pass
        except trio.BrokenResourceError:
            pass
    return True


async def works(door: Door) -> bool:
    """Whether a program that behaves is served."""
    async with program(door) as caller:
        stream = await caller.call("echo", b"still here")
        return stream.take() == b"still here"


async def test_a_program_calls_through_the_port() -> None:
    async with door() as opened, program(opened) as caller:
        stream = await caller.call("echo")
        assert stream.take() == b"hello"
        assert opened.listener.statistics() == {"open": 1, "refused": 0}


async def test_a_preface_may_come_byte_by_byte() -> None:
    async with door() as opened:
        opening = frame.pack_open(3, b"", 1000, pack_call_head(CallHead("echo", "x")), b"hello")
        stream = await opened.connect()
        async with stream:
            for byte in PREFACE + HELLO_FRAME + frame.pack_frame(frame.OPEN, END, 1, opening):
                await stream.send_all(bytes([byte]))
                await trio.lowlevel.checkpoint()
            received = b""
            while b"hello" not in received:
                received += await stream.receive_some()
        assert received.startswith(PREFACE)


@pytest.mark.parametrize(
    "garbage",
    [
        b"BREW / HTCPCP/1.0\r\n\r\n",
        b"HELP\r\n",
        b"\r\n\xff",
        b"\x16\x04\x01\x02\x00\x01",
        b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00",
        b"\xff" * 100_000,
        b"\xffmicrx",
    ],
)
async def test_what_is_no_known_protocol_is_closed_at_once_and_logged(
    garbage: bytes, mock_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with door() as opened:  # no time passes there
        stream = await opened.connect()
        try:
            await stream.send_all(garbage)
        except trio.BrokenResourceError:
            pass  # it was closed while that was on its way
        assert await is_closed(stream)
        assert opened.listener.refused == 1
        assert "speaks nothing that this port knows" in caplog.text
        assert await works(opened)


@pytest.mark.parametrize(
    ("silence", "complaint"),
    [
        (b"", "said nothing"),
        (PREFACE[:3], "speaks nothing that this port knows"),
        (PREFACE[:7], "said no HELLO"),
        (PREFACE, "said no HELLO"),
        (PREFACE + HELLO_FRAME[:-1], "said no HELLO"),
        (b"CONNECT db:1 HTTP/1.1\r\n", "did not end within"),
        (b"\x05\x02\x00", "did not end within"),
        (b"\x16\x03\x01\x02\x00\x01", "did not end within"),
    ],
)
async def test_what_says_too_little_is_closed_when_its_time_is_up(
    silence: bytes, complaint: str, mock_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with door() as opened:
        stream = await opened.connect()
        if silence:
            await stream.send_all(silence)
        await trio.testing.wait_all_tasks_blocked(0.01)
        mock_clock.jump(module.FIRST_BYTES - 0.1)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert opened.listener.refused == 0
        mock_clock.jump(0.2)
        assert await is_closed(stream)
        assert opened.listener.refused == 1
        assert complaint in caplog.text
        assert opened.listener.statistics()["open"] == 0


@pytest.mark.parametrize("begun", [b"CONNECT db:1 HTTP/1.1\r\n", b"\x05\x02\x00", b"\x16\x03\x01\x02\x00\x01"])
async def test_what_ends_within_its_request_is_over_at_once(
    begun: bytes, mock_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with door() as opened:  # no time passes there
        stream = await open_tcp(opened.address)
        await stream.send_all(begun)
        await stream.send_eof()
        assert await is_closed(stream)
        assert opened.listener.refused == 1
        assert "ended within its request" in caplog.text


async def test_an_idle_program_is_left_alone_once_it_has_said_hello(mock_clock: trio.testing.MockClock) -> None:
    async with door() as opened, program(opened) as caller:
        await caller.call("echo")
        mock_clock.jump(3 * module.FIRST_BYTES)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not caller.lost.is_set()
        assert (await caller.call("echo")).take() == b"hello"


@pytest.mark.parametrize(
    ("first", "complaint"),
    [
        (PREFACE[:6] + b"\x07\x09", "speaks versions 7 to 9"),
        (PREFACE + frame.pack_frame(frame.PING, 0, 0, bytes(8)), "instead of HELLO"),
        (PREFACE + frame.HEADER.pack(60_000, HELLO, 0, 0), "HELLO of 60000 bytes"),
        (PREFACE + frame.pack_frame(HELLO, 0, 0, b"\xc1"), "HELLO cannot be read"),
    ],
)
async def test_a_program_that_begins_wrongly_is_told_from_the_log_why(
    first: bytes, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with door() as opened:
        stream = await opened.connect()
        await stream.send_all(first)
        assert await is_closed(stream)
        assert complaint in caplog.text
        assert opened.listener.refused == 1


async def test_a_program_that_breaks_the_rules_ends_alone() -> None:
    async with door() as opened, program(opened) as good:
        await good.call("echo")
        async with program(opened) as bad:
            await bad.call("echo")
            bad.port.send(frame.OPEN, END, 4, b"")  # an even number is not its to give
            await bad.lost.wait()
        assert (await good.call("echo")).take() == b"hello"
        assert not opened.node.open_calls


async def test_a_peer_that_is_not_private_is_closed_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(doorkeeper, "is_private", lambda host: host != "127.0.0.1")
    async with door() as opened:
        assert await is_closed(await opened.connect())
        assert "127.0.0.1" in caplog.text
        assert "not of this host or a private network" in caplog.text


async def test_one_connection_too_many_is_closed_and_silent_ones_count(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "Crowd", partial(Crowd, most=1))
    async with door() as opened:
        async with await opened.connect():
            assert await is_closed(await opened.connect())
            assert "1 connections are open already" in caplog.text
        while opened.listener.refused < 2:  # the silent one has left
            await trio.testing.wait_all_tasks_blocked()
        assert await works(opened)


async def test_the_log_has_one_line_for_each_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with door() as opened:
        for _ in range(3):
            stream = await opened.connect()
            await stream.send_all(b"BREW / HTCPCP/1.0\r\n\r\n")
            assert await is_closed(stream)
        assert opened.listener.refused == 3
    assert len(caplog.records) == 1


async def test_a_draining_port_takes_what_programs_open_before_they_hear_of_it() -> None:
    async with door() as opened, program(opened) as old:
        await old.call("echo")
        opened.listener.go_away()
        assert not opened.listener.heard
        crossing = await old.call("echo")
        assert crossing.reset_by_peer is None
        while not opened.listener.heard:
            await trio.lowlevel.checkpoint()
        with pytest.raises(Unavailable, match="draining"):
            await old.call("echo")


async def test_a_draining_port_refuses_new_programs_and_at_last_old_ones_as_not_reached() -> None:
    async with door() as opened, program(opened) as old:
        await old.call("echo")
        opened.listener.go_away()
        async with program(opened) as new:
            also = await new.call("echo")
    async with door() as opened, program(opened) as old:
        await old.call("echo")
        opened.listener.refuse()
        refused = await old.call("echo")
        for stream in (refused, also):
            assert stream.reset_by_peer is not None
            assert stream.reset_by_peer.fate == Fate.NOT_REACHED


async def test_a_program_over_http_that_comes_while_the_port_drains_is_answered_and_at_last_refused() -> None:
    async with door() as opened:
        opened.listener.go_away()
        said = []
        for _ in range(2):
            async with await opened.connect() as stream:
                await stream.send_all(b"GET http://nobody/ HTTP/1.1\r\nHost: nobody\r\n\r\n")
                said.append(b"".join([bytes(data) async for data in stream]).decode())
            opened.listener.refuse()
        assert STOPPING not in said[0]
        assert STOPPING in said[1]
        for each in said:
            assert "connection: close" in each
            assert "micro-fate: not-reached" in each


async def said_on(stream: trio.abc.Stream) -> str:
    return b"".join([bytes(data) async for data in stream]).decode()


async def test_a_port_that_leaves_answers_who_has_connected_already_and_nobody_else() -> None:
    # One connection has had an answer, one is being found out about, one waits to be accepted.
    request = b"GET http://nobody/ HTTP/1.1\r\nHost: nobody\r\n\r\n"
    async with door() as opened, await opened.connect() as old, await opened.connect() as silent:
        await old.send_all(request)
        assert "destination_not_found" in bytes(await old.receive_some()).decode()
        while not opened.listener._arriving:
            await trio.lowlevel.checkpoint()
        opened.listener.refuse()
        knocking = socket.create_connection(split_address(opened.address))
        async with RawSocket(knocking) as last, trio.open_nursery() as nursery:
            nursery.start_soon(opened.listener.leave)
            while not opened.listener._doors.closed:
                await trio.lowlevel.checkpoint()
            await last.send_all(request)
            await silent.send_all(request)
            for stream in (last, silent):
                said = await said_on(stream)
                assert "HTTP/1.1 503 " in said
                assert "micro-fate: not-reached" in said
            said = await said_on(old)
            assert "HTTP/1.1 408 " in said
            assert "micro-fate: not-reached" in said
            await old.aclose()
        with pytest.raises(Unavailable):
            await opened.connect()


async def test_a_port_that_leaves_does_not_wait_for_ever_for_those_who_say_nothing(autojump_clock: MockClock) -> None:
    async with door() as opened, await opened.connect() as idle, await opened.connect():
        await idle.send_all(b"GET http://nobody/ HTTP/1.1\r\nHost: nobody\r\n\r\n")
        while not opened.listener._callers._requests:
            await trio.lowlevel.checkpoint()
        with trio.fail_after(5):
            await opened.listener.leave()


async def test_a_port_that_stops_closes_silent_and_talking_connections() -> None:
    async with trio.open_nursery() as nursery:
        async with door() as opened:
            silent = await opened.connect()
            caller = Program()
            nursery.start_soon(run_connection, caller.port, await opened.connect())
            await caller.call("echo")
        assert await is_closed(silent)
        await caller.lost.wait()


async def test_a_defect_met_on_one_connection_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with door() as opened:
        with monkeypatch.context() as patch:
            patch.setattr(Switch, "on_frame", lambda *_: 1 / 0)
            async with program(opened) as unlucky:
                await unlucky.call("echo")
                await unlucky.lost.wait()
        assert "ZeroDivisionError" in caplog.text
        assert await works(opened)


# Who shows what.


@pytest.fixture
def from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of this test count as programs of another host."""
    monkeypatch.setattr(doorkeeper, "is_loopback", lambda host: False)


async def answer(door: Door, token: bytes, service: str = "echo") -> tuple[bytes, int, str]:
    """What a program with this token gets: a body, or a status and the reason."""
    async with program(door, token) as caller:
        stream = await caller.call(service)
        reset = stream.reset_by_peer
        return (stream.take(), 0, "") if reset is None else (b"", reset.status, reset.detail)


async def test_a_program_that_shows_the_token_is_served_and_another_is_told_what_is_wrong(
    from_elsewhere: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with door(b"secret", b"new secret") as opened:
        assert await answer(opened, b"secret") == (b"hello", 0, "")
        assert await answer(opened, b"new secret") == (b"hello", 0, "")
        assert await answer(opened, b"") == (b"", Status.UNAUTHENTICATED, doorkeeper.MISSING)
        assert await answer(opened, b"secrets") == (b"", Status.UNAUTHENTICATED, doorkeeper.WRONG)
        assert opened.listener.refused == 2
        assert opened.node.switch.calls == 2
        assert caplog.text.count("refused a connection from 127.0.0.1") == 1
    assert "secrets" not in caplog.text


async def test_new_tokens_are_for_those_who_come_and_others_stay(from_elsewhere: None) -> None:
    async with door(b"secret") as opened, program(opened, b"secret") as inside:
        await inside.call("echo")
        opened.listener.set_tokens((b"new secret",))
        assert await answer(opened, b"secret") == (b"", Status.UNAUTHENTICATED, doorkeeper.WRONG)
        assert await answer(opened, b"new secret") == (b"hello", 0, "")
        assert (await inside.call("echo")).take() == b"hello"


async def test_programs_of_this_host_need_no_token() -> None:
    async with door(b"secret") as opened:
        for token in (b"", b"guess", b"secret"):
            assert await answer(opened, token) == (b"hello", 0, "")


async def test_a_program_that_was_refused_is_closed_in_the_end(
    from_elsewhere: None, mock_clock: trio.testing.MockClock
) -> None:
    async with door(b"secret") as opened, program(opened) as caller:
        refused = [await caller.call("echo") for _ in range(3)]
        assert {stream.reset_by_peer.status for stream in refused if stream.reset_by_peer} == {Status.UNAUTHENTICATED}
        assert not caller.lost.is_set()
        mock_clock.jump(module.FIRST_BYTES + 1)
        await caller.lost.wait()
        assert opened.listener.refused == 1
        assert opened.node.switch.calls == 0


async def test_what_changes_the_node_is_for_this_host_and_those_with_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    async with door(b"secret") as opened:
        opened.node.egress.guarded.add(("echo", "x"))
        assert await answer(opened, b"") == (b"hello", 0, "")
        monkeypatch.setattr(doorkeeper, "is_loopback", lambda host: False)
        assert await answer(opened, b"secret") == (b"hello", 0, "")
    async with door() as opened:
        opened.node.egress.guarded.add(("echo", "x"))
        body, status, reason = await answer(opened, b"secret")
        assert (body, status) == (b"", Status.PERMISSION_DENIED)
        assert "x changes this node" in reason
        assert "MICRO_PROXY_TOKEN" in reason
        opened.node.egress.guarded.clear()
        assert await answer(opened, b"") == (b"hello", 0, "")


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"", b"407 "),
        (b"Proxy-Authorization: Bearer guess\r\n", b"407 "),
        (b"Proxy-Authorization: Basic !!!\r\n", b"407 "),
        (b"Proxy-Authorization: Digest secret\r\n", b"407 "),
        (b"Proxy-Authorization: Bearer secret\r\n", b"404 "),
        (b"Proxy-Authorization: Basic YW55Ym9keTpzZWNyZXQ=\r\n", b"404 "),
    ],
    ids=["nothing", "wrong", "no base64", "another scheme", "bearer", "password"],
)
@pytest.mark.parametrize("request_line", [b"CONNECT nowhere:80 HTTP/1.1", b"GET http://nowhere:80/ HTTP/1.0"])
async def test_a_program_that_speaks_http_shows_the_token_as_http_has_it(
    from_elsewhere: None, request_line: bytes, header: bytes, status: bytes
) -> None:
    async with door(b"secret") as opened, await opened.connect() as stream:
        await stream.send_all(request_line + b"\r\nHost: nowhere:80\r\n" + header + b"\r\n")
        answer = b""
        while data := await stream.receive_some():
            answer += data
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert (b"\r\nproxy-authenticate: basic realm=" in answer.lower()) == (status == b"407 ")
        assert b"secret of that node" in answer or status == b"404 "


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n", HTTP2])
async def test_what_a_program_takes_of_a_long_write_is_seen_at_its_port(first: bytes) -> None:
    async with door() as opened, await opened.connect() as stream:
        await stream.send_all(first)
        await trio.testing.wait_all_tasks_blocked()
        [port] = opened.listener._callers._ports
        assert isinstance(port, ServingHttp1Port | Http2ServingPort)
        port._out.append(bytes(50_000_000))
        port.wake()
        await trio.testing.wait_all_tasks_blocked()
        before = port.progress()
        with trio.fail_after(30):
            while port.progress() <= before:
                await stream.receive_some()


@pytest.mark.parametrize(
    "first",
    [b"\r\nGET http://nowhere/", b"\r\n\r\nCONNECT nowhere:80", b"BREW http://nowhere/", b"\r\nBREW http://nowhere/"],
)
async def test_a_request_with_any_method_is_answered_and_an_empty_line_before_it_ignored(first: bytes) -> None:
    # RFC 9110, 9.1, and RFC 9112, 2.2
    async with door() as opened, await opened.connect() as stream:
        await stream.send_all(first + b" HTTP/1.1\r\nHost: nowhere\r\n\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 404 ")
        assert opened.listener.refused == 0


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\nAccept-Language: en\r\nMicro-Service: echo", b"421 "),
        (
            (
                b"OPTIONS / HTTP/1.1\r\nHost: localhost:8081\r\nOrigin: http://evil.example\r\n"
                b"Access-Control-Request-Headers: micro-service"
            ),
            b"404 ",
        ),
    ],
    ids=["of its own name", "across origins"],
)
async def test_a_web_page_that_somebody_visits_reaches_no_service(request_: bytes, status: bytes) -> None:
    async with door() as opened, await opened.connect() as stream:
        await stream.send_all(request_ + b"\r\n\r\n")
        answer = await stream.receive_some()
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert b"access-control-allow" not in answer.lower()
