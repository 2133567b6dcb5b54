import sys

import pytest
import trio

from sdk.errors import RemoteProtocolError, Unavailable
from sdk.rawsocket import bound_address, listen_tcp, open_tcp, take_over
from tunnel.handshake import PREFACE
from tunnel.transport import tcp
from tunnel.transport.memory import memory_pair


@pytest.mark.parametrize("said", [PREFACE, PREFACE + b"more", b"\x16\x03\x01", b"GET ", b"GET / HTTP/1.1"])
@pytest.mark.parametrize("chunk", [1, 3, 100])
async def test_nodes_tls_and_websockets_are_told_apart_by_their_first_bytes(said: bytes, chunk: int) -> None:
    here, there = memory_pair("a")
    for start in range(0, len(said), chunk):
        await here.send_all(said[start : start + chunk])
    first = await tcp.first_bytes(there)
    assert said.startswith(first)
    assert first.startswith((PREFACE[:1], b"\x16", b"GET "))
    await here.aclose()
    rest = b""
    while data := await there.receive_some():
        rest += data
    assert first + rest == said  # nothing is lost


@pytest.mark.parametrize("said", [b"\x15\x03\x01", b"GEt ", b"PRI * HTTP/2.0", b"\xffmicro", b"G" * 1000])
async def test_all_else_is_a_stranger(said: bytes) -> None:
    here, there = memory_pair("a")
    await here.send_all(said)
    with pytest.raises(RemoteProtocolError, match="neither a node nor a WebSocket") as caught:
        await tcp.first_bytes(there)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(("said", "found"), [(b"", "before it said anything"), (b"GE", "neither a node")])
async def test_one_that_leaves_early_is_one_too(said: bytes, found: str) -> None:
    here, there = memory_pair("a")
    if said:
        await here.send_all(said)
    await here.aclose()
    with trio.fail_after(30), pytest.raises(Unavailable, match=found):
        await tcp.first_bytes(there)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
async def test_linux_tells_how_many_segments_were_sent() -> None:
    [listener] = await listen_tcp("127.0.0.1:0")
    async with listener, await open_tcp(bound_address(listener)) as here, take_over(await listener.accept()) as there:
        assert tcp.segments(here) == (0, 0)
        for _ in range(5):
            await here.send_all(b"hello")
        told = tcp.segments(here)
        assert told is not None
        assert told.sent == 5
        await there.aclose()
        await here.aclose()
        assert tcp.segments(here) is None


async def test_where_the_system_tells_less_nothing_is_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    [listener] = await listen_tcp("127.0.0.1:0")
    async with listener, await open_tcp(bound_address(listener)) as here:
        monkeypatch.setattr(type(here), "option", lambda *_: bytes(104))
        assert tcp.segments(here) is None
        monkeypatch.setattr("sys.platform", "another")
        monkeypatch.setattr(type(here), "option", lambda *_: bytes(160))
        assert tcp.segments(here) is None
