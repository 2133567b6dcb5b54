"""Calls inside a connection that a program asked for by CONNECT or SOCKS5."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from proxy import doorkeeper, listener
from sdk.head import CallHead, pack_call_head
from sdk.rawsocket import RawSocket, open_tcp
from sdk.types import Instance
from sdk.wire import frame
from sdk.wire.frame import END, HELLO, PREFACE, Hello
from sdk.wire.http2 import PREFACE as HTTP2

from .hello import client_hello
from .raw import RawNode, echo, raw_node, read_to_end, serve
from .web import WebServer

CONNECT = b"CONNECT db:80 HTTP/1.1\r\nHost: db:80\r\n%b\r\n"
CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
SOCKS = b"\x05\x01\x00\x05\x01\x00\x03\x02db\x00\x50"
TAKEN = b"\x05\x00\x05\x00\x00\x01" + bytes(6)
GET = b"GET /hello HTTP/1.1\r\nHost: www.example.com\r\n\r\n"


async def until(stream: RawSocket, end: bytes) -> bytes:
    """What comes, up to these bytes and with them."""
    received = b""
    with trio.fail_after(30):
        while not received.endswith(end):
            data = await stream.receive_some()
            assert data, received
            received += data
    return received


@asynccontextmanager
async def connected(node: RawNode, pins: bytes = b"") -> AsyncIterator[RawSocket]:
    """A program that has asked for `db`."""
    async with await open_tcp(node.proxy_address) as program:
        await program.send_all(CONNECT % pins)
        assert await until(program, b"\r\n\r\n") == CONNECTED
        yield program


@asynccontextmanager
async def web_node(count: int = 1) -> AsyncIterator[RawNode]:
    """A node where `db` is at so many web servers."""
    async with raw_node() as node, trio.open_nursery() as nursery:
        node.offer(*[await serve(nursery, WebServer().serve) for _ in range(count)], protocol="http")
        yield node
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("asking", "told"), [(CONNECT % b"", CONNECTED), (SOCKS, TAKEN)])
@pytest.mark.parametrize("together", [True, False])
async def test_requests_are_calls_to_the_service_whatever_their_host(
    asking: bytes, told: bytes, together: bool
) -> None:
    async with web_node() as node, await open_tcp(node.proxy_address) as program:
        node.node.routes.instances["www.example.com"] = (Instance(id="x", address="127.0.0.1:1"),)
        await program.send_all(asking + GET if together else asking)
        received = b""
        while len(received) < len(told):
            received += await program.receive_some(len(told) - len(received))
        assert received == told
        for number in range(3):
            if number or not together:
                await program.send_all(GET)
            answer = await until(program, b"}")
            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert b'"target": "/hello"' in answer
            assert b'["host", "www.example.com"]' in answer
        assert node.switch.calls == 3


async def test_calls_of_one_connection_go_to_all_instances() -> None:
    async with web_node(3) as node, connected(node) as program:
        for _ in range(40):
            await program.send_all(GET)
            await until(program, b"}")
        loads = [node.node.balancer.load(each.id) for each in node.node.routes.instances["db"]]
        assert all(load.latency for load in loads), "an instance got no call"


async def test_a_request_may_name_another_service_in_so_many_words() -> None:
    async with web_node() as node, connected(node) as program:
        await program.send_all(GET.replace(b"Host:", b"Micro-Service: other\r\nHost:"))
        assert (await until(program, b"\n")).startswith(b"HTTP/1.1 404 Not Found")


async def test_pins_count_for_every_call_inside() -> None:
    async with web_node() as node, connected(node, b"Micro-Version: 7\r\nMicro-Service: x\r\n") as program:
        routes = node.node.routes
        routes.local_ones["db"] = routes.instances["db"]
        for number in range(2):
            await program.send_all(GET)
            answer = await until(program, b"}")
            assert b"HTTP/1.1 200 OK" in answer
            assert len(routes.asked) > number
            assert set(routes.asked) == {("7", ())}


async def test_http2_and_frames_are_served_inside() -> None:
    async with web_node() as node:
        async with connected(node) as program:
            await program.send_all(HTTP2 + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
            assert (await program.receive_some())[3] == 4, "no SETTINGS came"
        async with connected(node) as program:
            head = frame.pack_open(3, b"", 1000, pack_call_head(CallHead("nobody", "x")), b"")
            hello = frame.pack_frame(HELLO, 0, 0, frame.pack_hello(Hello(1, "client", 100)))
            await program.send_all(PREFACE + hello + frame.pack_frame(frame.OPEN, END, 1, head))
            received = b""
            while b"no service called 'nobody'" not in received:
                received += await program.receive_some()


@pytest.mark.parametrize("first", [client_hello("db"), b"CONNECT a:1 HTTP/1.1\r\n\r\n", b"EHLO there\r\n"])
async def test_what_is_no_call_goes_to_the_service_as_it_is(first: bytes) -> None:
    async with raw_node() as node, trio.open_nursery() as nursery:
        node.offer(await serve(nursery, echo), protocol="http")
        async with connected(node) as program:
            await program.send_all(first)
            await program.send_eof()
            assert await read_to_end(program) == first
        await node.no_calls()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("protocols", [("http", "tcp"), ("smtp",)])
async def test_where_somebody_speaks_something_else_nothing_is_looked_into(protocols: tuple[str, ...]) -> None:
    async with raw_node() as node, trio.open_nursery() as nursery:
        node.offer(await serve(nursery, echo), protocol=protocols[0])
        for protocol in protocols[1:]:
            others = node.node.routes.instances["db"]
            node.offer(await serve(nursery, echo), protocol=protocol)
            node.node.routes.instances["db"] += others
        async with connected(node) as program:
            await program.send_all(GET)
            await program.send_eof()
            assert await read_to_end(program) == GET
        nursery.cancel_scope.cancel()


async def test_who_waits_for_the_service_to_speak_first_gets_a_raw_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "FIRST_BYTES", 0.2)

    async def speak_first(stream: trio.SocketStream) -> None:
        await stream.send_all(b"220 ready\r\n")
        await echo(stream)

    async with raw_node() as node, trio.open_nursery() as nursery:
        node.offer(await serve(nursery, speak_first), protocol="grpc")
        async with connected(node) as program:
            with trio.fail_after(30):
                assert await until(program, b"\n") == b"220 ready\r\n"
        nursery.cancel_scope.cancel()


async def test_a_raw_connection_that_cannot_be_is_broken_off_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with web_node() as node, connected(node) as program:
        node.offer("127.0.0.1:1", protocol="http")
        await program.send_all(client_hello("db"))
        with pytest.raises(trio.BrokenResourceError):
            await read_to_end(program)
    assert "was broken off: here: lost instance 127.0.0.1:1: cannot connect" in caplog.text


async def test_the_token_that_was_shown_outside_counts_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorkeeper, "is_loopback", lambda host: False)
    async with web_node() as node:
        node.proxy.set_tokens((b"secret",))
        async with connected(node, b"Proxy-Authorization: Bearer secret\r\n") as program:
            await program.send_all(GET)
            assert (await until(program, b"}")).startswith(b"HTTP/1.1 200 OK")
        async with await open_tcp(node.proxy_address) as program:
            await program.send_all(CONNECT % b"" + GET)
            assert (await read_to_end(program)).startswith(b"HTTP/1.1 407")
        assert node.switch.calls == 1
