import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sdk.errors import RemoteProtocolError, Unavailable
from sdk.netaddress import split_address
from sdk.rawsocket import bound_address, listen_tcp
from tests.net import Hosts, deaf, nobody
from tests.tunnel.bench import KEYS, NETWORK, TOKEN, handshake, node
from tests.tunnel.front import front
from tunnel import reach as module
from tunnel.guesses import Guesses
from tunnel.handshake import PREFACE, OwnId, TokenDiffers
from tunnel.identity import network_key
from tunnel.reach import close, reach
from tunnel.transport import Ways


async def reached(address: str, guesses: Guesses, *, psk: bytes = b"", number: int = 1) -> str:
    """How the node at an address was reached; raises as `reach` does."""
    psk = psk or network_key(TOKEN, NETWORK)
    with trio.fail_after(30):
        found = await reach(address, lambda: handshake(KEYS[number], dialled=True, psk=psk), Ways(), guesses)
    await close(found.connected)
    return found.connected.kind


@asynccontextmanager
async def server(*answers: bytes) -> AsyncIterator[str]:
    """Gives one answer to each connection, after the dialler's first words, and closes it."""
    left = list(answers)

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            if answer := left.pop(0):
                await stream.send_all(answer)
                await stream.receive_some()

    [listener] = await listen_tcp("127.0.0.1:0")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield bound_address(listener)
        nursery.cancel_scope.cancel()


async def test_a_node_is_reached_by_the_plain_link_where_that_passes() -> None:
    async with node(0, "127.0.0.1:0") as a:
        assert await reached(a.tunnel.bound[0], Guesses()) == "tcp"


@pytest.mark.parametrize("manners", ["answers", "closes", "resets", "waits"])
async def test_where_only_http_passes_the_websocket_is_taken_and_remembered(
    manners: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HANDSHAKE", 0.3 if manners == "waits" else 5)
    guesses = Guesses()
    async with node(0, "127.0.0.1:0") as a, front(a.tunnel.bound[0], manners) as way:
        assert await reached(way.address, guesses) == "ws"
        assert way.asked == [PREFACE[:4], b"GET "]
        assert await reached(way.address, guesses) == "ws"
        assert way.asked == [PREFACE[:4], b"GET ", b"GET "]


async def test_what_was_remembered_and_fails_is_tried_from_the_beginning_the_next_time() -> None:
    guesses = Guesses()
    async with node(0, "127.0.0.1:0") as a, front(a.tunnel.bound[0]) as way:
        assert await reached(way.address, guesses) == "ws"
        way.backend = "127.0.0.1:1"
        with pytest.raises(Unavailable, match=f"cannot connect to ws://{way.address}"):
            await reached(way.address, guesses)
        way.backend = a.tunnel.bound[0]
        way.asked.clear()
        assert await reached(way.address, guesses) == "ws"
        assert way.asked == [PREFACE[:4], b"GET "]


async def test_an_address_with_a_scheme_is_taken_as_it_is() -> None:
    async with node(0, "127.0.0.1:0") as a, front(a.tunnel.bound[0]) as way:
        with pytest.raises(Unavailable, match=r"no node's link port: it began with b'HTTP/1.1'"):
            await reached(f"tcp://{way.address}", Guesses())
        assert way.asked == [PREFACE[:4]]
        assert await reached(f"ws://{way.address}/any/path", Guesses()) == "ws"


async def test_when_nothing_works_all_that_was_tried_is_told() -> None:
    async with server(b"HTTP/1.1 400 Bad Request\r\n\r\n", b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n") as address:
        with pytest.raises(Unavailable) as caught:
            await reached(address, Guesses())
    assert str(caught.value) == (
        "the other end is no node's link port: it began with b'HTTP/1.1'; "
        f"cannot connect to ws://{address}: it answered the WebSocket upgrade with HTTP status 404"
    )


async def test_a_port_where_nobody_listens_is_tried_once() -> None:
    with nobody() as address:
        with pytest.raises(Unavailable) as caught:
            await reached(address, Guesses())
        assert str(caught.value) == f"cannot connect to {address}: connection refused"


@pytest.mark.parametrize("through_front", [False, True])
async def test_a_wrong_token_and_the_own_id_are_told_as_what_they_are(through_front: bool) -> None:
    guesses = Guesses()
    async with node(0, "127.0.0.1:0") as a, front(a.tunnel.bound[0]) as way:
        address = way.address if through_front else a.tunnel.bound[0]
        with pytest.raises(TokenDiffers):
            await reached(address, guesses, psk=b"w" * 32)
        assert guesses.at(address)[0].startswith("ws://" if through_front else "tcp://")
        with pytest.raises(OwnId):
            await reached(address, guesses, number=0)
    assert way.asked == ([PREFACE[:4], b"GET ", b"GET "] if through_front else [])


async def test_a_node_of_another_version_is_told_as_such_and_not_tried_again() -> None:
    async with server(PREFACE[:6] + b"\x07\x09") as address:
        with pytest.raises(RemoteProtocolError, match="speaks link versions 7 to 9"):
            await reached(address, Guesses())


async def test_a_node_that_leaves_in_the_middle_is_a_node() -> None:
    async with server(PREFACE) as address:
        with pytest.raises(Unavailable, match="closed the connection during the handshake"):
            await reached(address, Guesses())


async def test_nodes_link_through_a_front_that_passes_nothing_but_http() -> None:
    async with node(0, "127.0.0.1:0") as a, front(a.tunnel.bound[0]) as way, node(1, seeds=(way.address,)) as b:
        link = await b.linked(a)
        assert (link.address, link.transport) == (way.address, "ws")
        link.send_control(b"x" * 100_000)
        with trio.fail_after(30):
            await a.recorder.until(lambda: bool(a.recorder.controls))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no 127.0.0.2, and fill up otherwise")
@pytest.mark.parametrize("scheme", ["", "tcp://", "ws://"])
async def test_where_addresses_of_a_host_are_silent_the_next_is_tried_every_quarter_of_a_second(
    scheme: str, mock_clock: MockClock
) -> None:
    done = trio.Event()

    async def reach_it() -> None:
        await reached(f"{scheme}far.example:{port}", Guesses())
        done.set()

    async with node(0, "127.0.0.1:0") as a:
        port = split_address(a.tunnel.bound[0])[1]
        Hosts({"far.example": ["127.0.0.2", "127.0.0.3", "127.0.0.1"]})
        with deaf("127.0.0.2", port), deaf("127.0.0.3", port):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reach_it)
                while not done.is_set():
                    await wait_all_tasks_blocked(0.02)
                    mock_clock.jump(0.05)
        assert 0.45 < mock_clock.current_time() < 2


async def test_a_name_is_resolved_anew_each_time_it_is_dialled() -> None:
    async with node(0, "127.0.0.1:0") as a:
        port = split_address(a.tunnel.bound[0])[1]
        resolver = Hosts({})
        async with node(1, seeds=(f"far.example:{port}",)) as b:
            with trio.fail_after(30):
                while b.tunnel.seeds()[0].attempts < 2:
                    await trio.lowlevel.checkpoint()
            assert "not known" in b.tunnel.seeds()[0].last_error
            resolver.hosts["far.example"] = ["127.0.0.1"]
            await b.linked(a)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
@pytest.mark.parametrize("scheme", ["", "tcp://", "ws://"])
async def test_a_host_of_both_families_is_reached_by_the_one_that_works(scheme: str) -> None:
    Hosts({"far.example": ["::1", "127.0.0.1"]})
    for listening in ("127.0.0.1:0", "[::1]:0"):
        async with node(0, listening) as a:
            port = split_address(a.tunnel.bound[0])[1]
            await reached(f"{scheme}far.example:{port}", Guesses())
            await reached(scheme + a.tunnel.bound[0], Guesses())
