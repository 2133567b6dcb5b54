import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from sdk.errors import BadRequest, RemoteProtocolError, Unavailable
from sdk.rawsocket import bound_address, listen_tcp, take_over
from tests.net import nobody
from tests.tunnel.bench import node
from tests.tunnel.front import front
from tests.tunnel.transport.certificates import files
from tests.tunnel.transport.connectproxy import GRANTED, proxy
from tunnel.transport import connect
from tunnel.transport.connect import MAX_ANSWER, open_through
from tunnel.transport.memory import MemoryNetwork
from tunnel.transport.proxies import HttpProxy, Proxies, choose_proxies

LOGIN = "user:open sesame"
BASIC = base64.b64encode(LOGIN.encode()).decode()


@asynccontextmanager
async def answering(answer: bytes, *, closes: bool = True) -> AsyncIterator[HttpProxy]:
    """A proxy that says this, whatever it is asked."""

    async def serve(client: trio.SocketStream) -> None:
        async with client:
            await client.receive_some()
            await client.send_all(answer)
            if not closes:
                await trio.sleep_forever()

    [listener] = await listen_tcp("127.0.0.1:0")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        with trio.fail_after(20):
            yield HttpProxy(address=bound_address(listener))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("scheme", ["tcp", "ws", "wss"])
@pytest.mark.parametrize("login", ["", LOGIN])
async def test_nodes_link_through_a_proxy(scheme: str, login: str, tmp_path: Path) -> None:
    tls = files(tmp_path, ca="trusted")
    async with node(0, "127.0.0.1:0", tls=tls) as a, proxy(login) as way:
        at = f"{login.replace(' ', '%20')}@" if login else ""
        proxies = choose_proxies(f"http://{at}{way.address}", {})
        async with node(1, seeds=(f"{scheme}://{a.tunnel.bound[0]}",), tls=tls, proxies=proxies) as b:
            link = await b.linked(a)
            assert link.transport == scheme
            assert way.asked == [a.tunnel.bound[0]]
            link.send_control(b"x" * 100_000)
            await a.recorder.until(lambda: bool(a.recorder.controls))


async def test_what_is_spared_does_not_go_through_it() -> None:
    async with node(0, "127.0.0.1:0") as a, proxy() as way:
        proxies = choose_proxies("", {"HTTPS_PROXY": f"http://{way.address}"})
        async with node(1, seeds=a.tunnel.bound, proxies=proxies) as b:
            await b.linked(a)
        assert not way.asked


async def test_memory_does_not_go_through_it() -> None:
    network = MemoryNetwork()
    async with node(0, "mem://a", network=network) as a, proxy() as way:
        proxies = Proxies(proxy=HttpProxy(address=way.address))
        async with node(1, seeds=("mem://a",), network=network, proxies=proxies) as b:
            await b.linked(a)
        assert not way.asked


async def test_names_are_left_to_the_proxy_to_resolve_and_written_in_ascii() -> None:
    async with answering(GRANTED, closes=False) as way, await open_through(way, "no-such-host.invalid:1"):
        pass
    async with proxy() as made:
        with pytest.raises(Unavailable, match="could not connect"):
            await open_through(HttpProxy(address=made.address), "bücher.invalid:1")
        assert made.asked == ["xn--bcher-kva.invalid:1"]
        with pytest.raises(BadRequest, match="is no address that a proxy can be asked for"):
            await open_through(HttpProxy(address=made.address), "a\r\nb:1")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 407 No\r\n\r\n", r"demands a user and a password \(HTTP status 407\): .* in --via \(MICRO_VIA\)"),
        (b"HTTP/1.1 403 No\r\n\r\n", r"does not allow that \(HTTP status 403\)"),
        (b"HTTP/1.0 503 No\r\n\r\n", r"could not connect there \(HTTP status 503\)"),
        (b"HTTP/1.1 100 Wait\r\n\r\nHTTP/1.1 404 No\r\n\r\n", "answered with HTTP status 404"),
        (b"HTTP/1.1 301 Moved\r\nLocation: http://a/\r\n\r\n", "answered with HTTP status 301"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "its answer is no HTTP"),
        (b"\x15\x03\x01\x00\x02\x02", "its answer is no HTTP|it closed the connection"),
        (b"HTTP/1.1 200 OK\r\n", "it closed the connection"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_ANSWER, "its answer is"),
        (b"HTTP/1.1 100 Wait\r\n\r\n" * 1000, "its answer is longer than 16384 bytes"),
        (GRANTED + b"SSH-2.0", "goes on talking"),
    ],
)
async def test_what_a_proxy_refuses_is_told_with_its_address(answer: bytes, reason: str) -> None:
    async with answering(answer) as way:
        with pytest.raises((Unavailable, RemoteProtocolError), match=reason) as caught:
            await open_through(way, "far.example:1")
    assert str(caught.value).startswith(f"cannot connect to far.example:1 through the proxy {way.address}: ")
    assert len(str(caught.value)) < 300


async def test_a_wrong_password_is_told_and_shown_nowhere() -> None:
    async with proxy(LOGIN) as made:
        way = HttpProxy(address=made.address, authorization=f"Basic {BASIC[::-1]}")
        with pytest.raises(Unavailable, match="does not accept the user and password it was given") as caught:
            await open_through(way, "far.example:1")
    assert BASIC[::-1] not in str(caught.value)


async def test_a_proxy_that_is_not_there_is_told() -> None:
    with nobody() as address:
        with pytest.raises(Unavailable) as caught:
            await open_through(HttpProxy(address=address), "far.example:1")
        assert str(caught.value) == (
            f"cannot connect to far.example:1 through the proxy {address}: "
            f"cannot connect to {address}: connection refused"
        )


async def test_a_proxy_that_says_nothing_is_left_and_its_connection_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "ANSWER", 0.05)
    [listener] = await listen_tcp("127.0.0.1:0")
    async with listener:
        address = bound_address(listener)
        with pytest.raises(Unavailable, match="it did not answer within"):
            await open_through(HttpProxy(address=address), "far.example:1")
        async with take_over(await listener.accept()) as there:
            with trio.fail_after(30):
                while await there.receive_some():
                    pass


async def test_where_a_proxy_leads_to_a_front_the_websocket_is_found() -> None:
    async with node(0, "127.0.0.1:0") as a, front(a.tunnel.bound[0]) as far, proxy() as way:
        proxies = Proxies(proxy=HttpProxy(address=way.address))
        async with node(1, seeds=(far.address,), proxies=proxies) as b:
            assert (await b.linked(a)).transport == "ws"
        assert way.asked == [far.address] * 2
