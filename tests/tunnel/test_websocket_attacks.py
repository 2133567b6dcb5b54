"""Peers that speak WebSocket badly, or do not say over it what a node would: each is shown the door, and nothing else
happens."""

import os
from collections.abc import Sequence

import pytest
import trio
from websockets.trio.client import connect

from sdk.rawsocket import open_tcp
from tests.tunnel.bench import Log
from tests.tunnel.foreign import PREFACE
from tests.tunnel.meeting import everything, foreign_link, speak, victim, whole
from tunnel.admission import Refusal

UPGRADE = (
    b"GET /any HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


GOES_ON, TEXT, BINARY, RESERVED, CLOSE, PING, PONG = 0, 1, 2, 3, 8, 9, 10


def message(data: bytes, kind: int = BINARY, *, fin: bool = True, mask: bool = True, bits: int = 0) -> bytes:
    """A frame of RFC 6455, which need not be a good one: the libraries refuse to make those."""
    size = len(data)
    length = bytes([mask << 7 | min(size, 126 if size < 65536 else 127)])
    if size > 125:
        length += size.to_bytes(2 if size < 65536 else 8, "big")
    key = os.urandom(4) if mask else b""
    masked = bytes(byte ^ key[at % 4] for at, byte in enumerate(data)) if mask else data
    return bytes([fin << 7 | bits << 4 | kind]) + length + key + masked


FRAGMENT = message(bytes(9000), GOES_ON, fin=False)


SLOW = "it did not finish its handshake within"
BROKE = "the peer broke the rules of WebSocket:"
LEFT = "it closed the connection during the handshake"
REFUSALS = {SLOW: Refusal.TIMED_OUT, LEFT: Refusal.BROKE_OFF}
TOO_LONG = f"{BROKE} a frame of more than 65536 bytes"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        pytest.param([message(b"hello", TEXT)], f"{BROKE} it sent text", id="text"),
        pytest.param([message(b"\xff\xfe", TEXT)], f"{BROKE} it sent text", id="no text"),
        pytest.param([message(b"garbage")], "the other end is no node's link port", id="garbage in a message"),
        pytest.param([b"garbage" * 100], f"{BROKE} its frames are not masked", id="garbage"),
        pytest.param([message(PREFACE, mask=False)], f"{BROKE} its frames are not masked", id="not masked"),
        pytest.param([message(PREFACE, bits=4)], f"{BROKE} an extension", id="compressed"),
        pytest.param([message(PREFACE, RESERVED)], f"{BROKE} a frame of type 3", id="reserved kind"),
        pytest.param([message(PREFACE, GOES_ON)], f"{BROKE} a fragment where none was due", id="goes on with nothing"),
        pytest.param(
            [message(b"", fin=False), message(PREFACE)], f"{BROKE} a message inside another", id="begins twice"
        ),
        pytest.param([message(bytes(126), PING)], f"{BROKE} a control frame", id="long ping"),
        pytest.param([message(bytes(65537))], TOO_LONG, id="long message"),
        pytest.param(
            [message(bytes(9000), fin=False), *[FRAGMENT] * 7],
            "the other end is no node's link port",
            id="garbage in fragments",
        ),
        pytest.param([b"\x82\xff\x7f" + b"\xff" * 7 + bytes(70_000)], TOO_LONG, id="endless"),
        pytest.param([message(PREFACE + b"\xff\xff")], "the peer sends more than 4096 bytes", id="long handshake"),
        pytest.param([message(b"\x03\xe8", CLOSE)], LEFT, id="goodbye"),
        pytest.param([message(b"\x03", CLOSE)], f"{BROKE} a close code of one byte", id="half a goodbye"),
        pytest.param([], SLOW, id="nothing"),
        pytest.param([message(PREFACE)], SLOW, id="no more than a preface"),
        pytest.param([message(PREFACE, fin=False)], SLOW, id="half a message"),
        pytest.param([message(b"", fin=False), *[message(b"", GOES_ON, fin=False)] * 500], SLOW, id="empty fragments"),
        pytest.param([message(b"")] * 500, SLOW, id="empty messages"),
        pytest.param([message(bytes(100), PING)] * 500, SLOW, id="pings"),
        pytest.param([message(bytes(100), PONG)] * 500, SLOW, id="pongs"),
    ],
)
async def test_a_bad_websocket_is_shown_the_door(
    said: Sequence[bytes], reason: str, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trio.fail_after(20):
        async with victim() as a:
            monkeypatch.setattr("tunnel.tunnel.HANDSHAKE", 0.4)  # not of its innocent link, which may be slower
            async with await open_tcp(a.tunnel.bound[0]) as socket:
                await socket.send_all(UPGRADE)
                assert (await socket.receive_some()).startswith(b"HTTP/1.1 101 ")
                await speak(socket, b"".join(said))
                await everything(socket)
            [line] = await log.until(1)
            assert a.recorder.story == ["up: n1"]
            refusal = REFUSALS.get(reason, Refusal.MALFORMED)
            assert a.tunnel.statistics().refused == {refusal: 1}
    assert line.startswith("refused a link from 127.0.0.1:")
    assert f": {reason}" in line
    assert len(line) < 200


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        pytest.param(UPGRADE[:-10], SLOW, id="half"),
        pytest.param(UPGRADE + message(PREFACE), SLOW, id="in a hurry"),
        pytest.param(UPGRADE[:-2] + b"X: " + b"x" * 70_000 + b"\r\n\r\n", "its WebSocket upgrade came to", id="long"),
        pytest.param(UPGRADE[:-2] + b"X: x\r\n" * 20_000, "its WebSocket upgrade came to", id="many lines"),
        pytest.param(UPGRADE.replace(b" 13", b" 12"), "its WebSocket upgrade came to", id="version"),
        pytest.param(UPGRADE.replace(b"GET", b"GET  "), "its WebSocket upgrade came to", id="no HTTP"),
    ],
)
async def test_a_bad_upgrade_is_shown_the_door(
    said: bytes, reason: str, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunnel.tunnel.HANDSHAKE", 0.4)
    with trio.fail_after(20):
        async with victim() as a, await open_tcp(a.tunnel.bound[0]) as socket:
            await speak(socket, said)
            await everything(socket)
            [line] = await log.until(1)
            assert a.recorder.story == ["up: n1"]
    assert f": {reason}" in line
    assert len(line) < 200


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        pytest.param("text", f"{BROKE} it sent text; a link is binary", id="text"),
        pytest.param(b"\x00\x20" + bytes(32), "a record was damaged or forged on the way", id="no record"),
        pytest.param(bytes(65537), TOO_LONG, id="long message"),
    ],
)
async def test_a_peer_that_breaks_the_rules_once_it_is_linked_loses_its_link(said: str | bytes, reason: str) -> None:
    with trio.fail_after(20):
        async with victim() as a, connect(f"ws://{a.tunnel.bound[0]}", proxy=None) as websocket:
            foreign = foreign_link(whole(websocket), dialled=True)
            await foreign.meet()
            await a.recorder.until(lambda: foreign.id in a.tunnel.links)
            await websocket.send(said)
            told = ["up: n1", "up: foreign", f"down: foreign: {reason}", f"dead: {reason}"]
            await a.recorder.until_story(*told)
            refusal = Refusal.DAMAGED if "damaged" in reason else Refusal.MALFORMED
            while a.tunnel.statistics().cut_off != {refusal: 1}:
                await trio.lowlevel.checkpoint()
