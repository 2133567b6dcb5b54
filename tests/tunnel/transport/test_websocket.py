import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio_websocket

from sdk.errors import RemoteProtocolError, Unavailable
from sdk.rawsocket import bound_address, listen_tcp, open_tcp, take_over
from tunnel.transport import tcp, websocket
from tunnel.transport.websocket import WebSocketTransport
from tunnel.transport.wsframes import MAX_MESSAGE


@asynccontextmanager
async def accepting() -> AsyncIterator[tuple[str, trio.SocketListener]]:
    [listener] = await listen_tcp("127.0.0.1:0")
    async with listener:
        yield bound_address(listener), listener


async def accept(listener: trio.SocketListener, nursery: trio.Nursery) -> WebSocketTransport:
    socket = take_over(await listener.accept())
    return await websocket.accept(socket, await tcp.first_bytes(socket))


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[WebSocketTransport, WebSocketTransport]]:
    """The dialling end and the accepting one."""
    ends: dict[str, WebSocketTransport] = {}
    async with accepting() as (address, listener), trio.open_nursery() as nursery:

        async def dial() -> None:
            ends["dialler"] = await websocket.dial(f"ws://{address}/", await open_tcp(address))

        async with trio.open_nursery() as opening:
            opening.start_soon(dial)
            ends["acceptor"] = await accept(listener, nursery)
        yield ends["dialler"], ends["acceptor"]
        for end in ends.values():
            end.socket.close()


async def receive(end: WebSocketTransport, size: int) -> bytes:
    data = b""
    with trio.fail_after(30):
        while len(data) < size:
            data += await end.receive_some()
    return data


@pytest.mark.parametrize("size", [1, MAX_MESSAGE, MAX_MESSAGE + 1, 1_000_000])
async def test_bytes_cross_both_ways_whatever_their_number(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with pair() as ends:
        for here, there in (ends, ends[::-1]):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(here.send_all, data)
                assert await receive(there, size) == data


async def test_an_empty_message_is_not_the_end() -> None:
    async with pair() as (dialler, acceptor):
        await dialler.send_all(b"")
        await dialler.send_all(b"more")
        assert await receive(acceptor, 4) == b"more"


@pytest.mark.parametrize("first", [0, 1])
async def test_closing_is_the_end_at_the_other_end(first: int) -> None:
    async with pair() as ends:
        here, there = ends[first], ends[1 - first]
        with trio.fail_after(30):
            await here.aclose()
            await here.aclose()
            assert await there.receive_some() == b""
            with pytest.raises(trio.BrokenResourceError):
                await there.send_all(b"x")
            with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
                await here.send_all(b"x")
            with pytest.raises(trio.ClosedResourceError):
                await here.receive_some()
            await there.aclose()


async def test_a_connection_that_breaks_is_no_end() -> None:
    async with pair() as (dialler, acceptor):
        await dialler.socket.aclose()
        with trio.fail_after(30), pytest.raises(trio.BrokenResourceError, match="broke"):
            await acceptor.receive_some()


async def test_closing_takes_no_longer_than_half_a_second_when_the_peer_is_deaf() -> None:
    async with accepting() as (address, listener), trio.open_nursery() as nursery:
        nursery.start_soon(deaf_server, listener)
        dialler = await websocket.dial(f"ws://{address}/", await open_tcp(address))
        began = trio.current_time()
        with trio.fail_after(30):
            await dialler.aclose()
        assert trio.current_time() - began >= websocket.CLOSING - 0.05
        nursery.cancel_scope.cancel()


async def deaf_server(listener: trio.SocketListener) -> None:
    """Upgrades, and then reads nothing."""
    async with take_over(await listener.accept()) as socket:
        request = await socket.receive_some()
        key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        proof = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # RFC 6455, 1.3
        await socket.send_all(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n"
        )
        await trio.sleep_forever()


async def test_text_is_against_the_rules() -> None:
    async with pair() as (dialler, acceptor):
        await dialler.socket.send_all(b"\x81\x84\0\0\0\0text")
        with pytest.raises(RemoteProtocolError, match="text"):
            await acceptor.receive_some()


async def test_a_message_that_is_too_long_is_against_the_rules() -> None:
    async with pair() as (dialler, acceptor):
        await dialler.socket.send_all(b"\x82\xff" + (MAX_MESSAGE + 1).to_bytes(8, "big") + bytes(4))
        with trio.fail_after(30), pytest.raises(RemoteProtocolError, match="more than 65536 bytes"):
            await acceptor.receive_some()
        with pytest.raises(trio.BrokenResourceError, match="1009"):
            await dialler.receive_some()


async def test_garbage_after_the_upgrade_ends_this_connection_only() -> None:
    async with pair() as (dialler, acceptor):
        await dialler.socket.send_all(b"\xff" * 100)
        with trio.fail_after(30), pytest.raises(RemoteProtocolError, match="more than 65536"):
            await acceptor.receive_some()
        with pytest.raises(trio.BrokenResourceError, match="1009"):
            await dialler.receive_some()


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP status 404"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbody", "HTTP status 503"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "came to nothing"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "came to nothing"),
        (b"", "came to nothing"),
    ],
)
async def test_a_server_that_does_not_upgrade_is_told_by_what_it_said(answer: bytes, found: str) -> None:
    async def serve() -> None:
        async with take_over(await listener.accept()) as socket:
            await socket.receive_some()
            if answer:
                await socket.send_all(answer)

    async with accepting() as (address, listener), trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with trio.fail_after(30), pytest.raises(Unavailable, match=found):
            await websocket.dial(f"ws://{address}/path", await open_tcp(address))
        nursery.cancel_scope.cancel()


async def test_an_upgrade_that_never_comes_leaves_with_the_callers_deadline() -> None:
    async with accepting() as (address, listener), trio.open_nursery() as nursery:
        async with await open_tcp(address) as socket:
            await socket.send_all(b"GET / HTTP/1.1\r\n")
            with trio.move_on_after(0.05) as scope:
                await accept(listener, nursery)
            assert scope.cancelled_caught
        nursery.cancel_scope.cancel()


async def test_another_implementation_of_websocket_gets_through() -> None:
    async with accepting() as (address, listener), trio.open_nursery() as nursery:

        async def peer() -> None:
            async with trio_websocket.open_websocket_url(f"ws://{address}/any/path") as connection:
                await connection.send_message(b"hello")
                await connection.get_message()

        nursery.start_soon(peer)
        acceptor = await accept(listener, nursery)
        assert await receive(acceptor, 5) == b"hello"
        await acceptor.send_all(b"hello")
        assert await acceptor.receive_some() == b""
        await acceptor.aclose()
