"""The `websockets` package, which shares no code with the library we use, is a peer of our WebSocket side."""

from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
import trio
from websockets.trio.client import connect
from websockets.trio.connection import Connection
from websockets.trio.server import ServerConnection, serve

from sdk.rawsocket import bound_address, listen_tcp
from tests.tunnel.bench import node
from tests.tunnel.foreign import CONTROL, END, Calls, Pipe
from tests.tunnel.meeting import SOON, check_link, foreign_link, receiving, whole


def in_fragments(websocket: Connection) -> Pipe:
    """Each message goes in several frames, the last of them empty, with a ping between any two of them."""

    async def send(data: bytes) -> None:
        await websocket.send(fragments(data))

    async def fragments(data: bytes) -> AsyncIterator[bytes]:
        size = len(data) // 3 + 1
        for start in range(0, len(data), size):
            yield data[start : start + size]
            await websocket.ping()
        yield b""

    return Calls(send, receiving(websocket))


def byte_by_byte(websocket: Connection) -> Pipe:
    """Messages of a few bytes each, and empty ones, while the peer is not read: as mean as the standard allows."""

    async def send(data: bytes) -> None:
        for start in range(0, len(data), 7) if len(data) < 1000 else [0]:
            await websocket.send(data[start : start + 7] if len(data) < 1000 else data)
            await websocket.send(b"")

    return Calls(send, receiving(websocket))


@pytest.mark.usefixtures("soon_renewed")
@pytest.mark.parametrize("pipe", [whole, in_fragments, byte_by_byte])
async def test_a_node_on_another_websocket_library_links_up_with_us(pipe: Callable[[Connection], Pipe]) -> None:
    with trio.fail_after(30):
        async with (
            node(0, "127.0.0.1:0") as a,
            connect(f"ws://{a.tunnel.bound[0]}/any/path?x=y", proxy=None) as websocket,
        ):
            foreign = foreign_link(pipe(websocket), dialled=True, limits=SOON)
            await foreign.meet()
            await check_link(foreign, a)
            assert a.tunnel.links[foreign.id].transport == "ws"
            pong = await websocket.ping(b"are you there?")
            await pong.wait()
            await websocket.aclose()
            assert (websocket.close_code, websocket.close_reason) == (1000, "")
            reason = "the peer closed the connection"
            await a.recorder.until_story("up: foreign", f"down: foreign: {reason}", f"dead: {reason}")


@pytest.mark.usefixtures("soon_renewed")
@pytest.mark.parametrize("pipe", [whole, in_fragments, byte_by_byte])
async def test_we_link_up_with_a_node_on_another_websocket_library(pipe: Callable[[Connection], Pipe]) -> None:
    served = trio.Event()

    async def peer(websocket: ServerConnection) -> None:
        assert websocket.request is not None
        assert websocket.request.path == "/some/path"
        foreign = foreign_link(pipe(websocket), dialled=False, limits=SOON)
        await foreign.meet()
        await check_link(foreign, a)
        assert a.tunnel.links[foreign.id].transport == "ws"
        a.tunnel.links[foreign.id].send_control(b"last words")
        a.tunnel.disconnect(address)
        assert await foreign.hear_one(CONTROL) == (END, 0, b"last words")
        async for _ in websocket:  # raises what is no orderly end
            pass
        assert (websocket.close_code, websocket.close_reason) == (1000, "")
        served.set()

    listeners = await listen_tcp("127.0.0.1:0")
    address = f"ws://{bound_address(listeners[0])}/some/path"
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery, node(0, seeds=(address,)) as a:
            nursery.start_soon(partial(serve, peer, listeners=listeners))
            await served.wait()
            nursery.cancel_scope.cancel()


async def test_a_server_that_goes_away_is_dialled_again() -> None:
    visits: list[bytes] = []

    async def peer(websocket: ServerConnection) -> None:
        foreign = foreign_link(whole(websocket), dialled=False)
        await foreign.meet()
        await a.recorder.until(lambda: foreign.id in a.tunnel.links)
        await websocket.aclose(1012, "I restart")
        visits.append(foreign.id)

    listeners = await listen_tcp("127.0.0.1:0")
    address = f"ws://{bound_address(listeners[0])}"
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery, node(0, seeds=(address,)) as a:
            nursery.start_soon(partial(serve, peer, listeners=listeners))
            await a.recorder.until(lambda: len(visits) == 2)
            reason = "the peer closed the WebSocket with code 1012"
            assert a.recorder.story[:3] == ["up: foreign", f"down: foreign: {reason}", f"dead: {reason}"]
            nursery.cancel_scope.cancel()
