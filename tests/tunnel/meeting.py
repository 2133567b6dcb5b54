"""Where our tunnels and nodes of another make meet; the fixture `soon_renewed` belongs to it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
from websockets.trio.connection import Connection

from sdk.port import Sink
from sdk.rawsocket import RawSocket
from tests.tunnel.bench import NETWORK, TOKEN, Node, node
from tests.tunnel.foreign import CONTROL, END, OPEN, PING, PONG, Calls, ForeignLink, Pipe, node_id

LATE = 1 << 20, 1 << 30
SOON = 7, 50_000
"""Records and bytes after which keys are renewed: as it is, and for tests with the fixture `soon_renewed`."""


def foreign_link(pipe: Pipe, *, dialled: bool, token: str = TOKEN, limits: tuple[int, int] = LATE) -> ForeignLink:
    return ForeignLink(pipe, dialled=dialled, token=token, network=NETWORK, limits=limits)


@asynccontextmanager
async def victim(sink: Sink | None = None) -> AsyncIterator[Node]:
    """A node that listens, and is linked with an innocent one; afterwards that link is what it was, and serves."""
    async with node(0, "127.0.0.1:0", sink=sink) as a, node(1, seeds=a.tunnel.bound) as b:
        link, back = await a.linked(b), await b.linked(a)
        before = list(b.recorder.story)
        yield a
        with trio.fail_after(30):
            assert a.tunnel.links[b.id] is link
            assert b.tunnel.links[a.id] is back
            assert b.recorder.story == before
            link.send_control(b"still here")
            back.send_control(b"so am I")
            await b.recorder.until(lambda: b.recorder.controls == [b"still here"])
            await a.recorder.until(lambda: a.recorder.controls[-1:] == [b"so am I"])
            while a.tunnel.statistics().in_progress:
                await trio.lowlevel.checkpoint()


async def check_link(foreign: ForeignLink, ours: Node) -> None:
    """Calls, control messages and PINGs cross a link in both directions, while keys are renewed."""
    assert (foreign.peer.name, foreign.peer.epoch, foreign.peer.network) == ("n0", 1, NETWORK)
    assert node_id(foreign.peer.public) == ours.id
    await foreign.introduce()
    await ours.recorder.until(lambda: foreign.id in ours.tunnel.links)
    link = ours.tunnel.links[foreign.id]
    assert link.name == "foreign"
    texts = [bytes([number]) * number * 400 for number in range(1, 41)]
    for text in texts:
        await foreign.say(CONTROL, END, 0, text)
    await ours.recorder.until(lambda: len(ours.recorder.controls) == len(texts))
    assert ours.recorder.controls == texts
    for text in texts:
        link.send_control(text)
        assert await foreign.hear_one(CONTROL) == (END, 0, text)
    number = 1 if foreign.dialled else 2
    await foreign.say(OPEN, END, number, b"call")
    await ours.recorder.until(lambda: bool(ours.recorder.frames))
    assert ours.recorder.frames == [(OPEN, END, number, b"call")]
    link.port.send(OPEN, END, link.port.next_stream(), b"called")
    assert await foreign.hear_one(OPEN) == (END, 3 - number, b"called")
    await foreign.say(PING, 0, 0, b"12345678")
    assert await foreign.hear_one(PONG) == (0, 0, b"12345678")
    assert foreign.renewals > 12


async def speak(socket: RawSocket, data: bytes) -> None:
    """Says it, to the one who may have hung up."""
    try:
        await socket.send_all(data)
    except trio.BrokenResourceError:
        pass


async def everything(socket: RawSocket) -> bytes:
    """All that comes until the other end closes."""
    data = b""
    try:
        while more := await socket.receive_some():
            data += more
    except trio.BrokenResourceError:
        pass
    return data


def receiving(websocket: Connection) -> Callable[[], Awaitable[bytes]]:
    async def receive() -> bytes:
        message = await websocket.recv()
        assert isinstance(message, bytes)
        return message

    return receive


def whole(websocket: Connection) -> Pipe:
    """What is sent at once goes in one message."""
    return Calls(websocket.send, receiving(websocket))
