"""TLS that ends at the proxy port: whose it is, and whole connections with Python's TLS."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proxy import doorkeeper, listener, sni
from proxy.sni import pack_alert
from proxy.termination import ProxyTlsConfig, Termination, names_of, read_termination
from sdk.errors import BadRequest, RemoteProtocolError
from sdk.head import CallHead, pack_call_head
from sdk.rawsocket import RawSocket, bound_address, listen_tcp, open_tcp
from sdk.timers import Timers
from sdk.wire import frame
from sdk.wire.frame import END, HELLO, PREFACE, Hello
from sdk.wire.http2 import PREFACE as HTTP2
from tests.tunnel.transport.certificates import authority, files
from tunnel.transport.tlsstream import TlsStream

from .hello import client_hello
from .raw import RawNode, echo, raw_node, read_to_end

OWN = ("node.example.com", "*.mesh.example.com")
GET = b"GET /x HTTP/1.1\r\nHost: web\r\n\r\n"


def config(folder: Path, *hosts: str) -> ProxyTlsConfig:
    made = files(folder, *(hosts or OWN))
    return ProxyTlsConfig(cert=made.cert, key=made.key)


def client(*protocols: str) -> ssl.SSLContext:
    """Who believes the CA of these certificates, and offers these protocols."""
    context = ssl.create_default_context()
    authority("trusted").configure_trust(context)
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


# Whose names.


def test_the_names_of_the_certificate_mean_the_node_and_so_does_none(tmp_path: Path) -> None:
    termination = Termination(config(tmp_path))
    for name in ("", "node.example.com", "Node.Example.COM", "any.mesh.example.com"):
        assert termination.is_for(name), name
    for name in ("example.com", "mesh.example.com", "a.b.mesh.example.com", "web", "*.", "node"):
        assert not termination.is_for(name), name


def test_an_address_in_a_certificate_is_a_name_like_others(tmp_path: Path) -> None:
    assert Termination(config(tmp_path, "127.0.0.1", "a.example")).names == {"127.0.0.1", "a.example"}


def test_a_certificate_that_lists_no_names_is_for_its_subject() -> None:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    for subject, names in (([x509.NameAttribute(NameOID.COMMON_NAME, "Old.example")], {"old.example"}), ([], set())):
        name = x509.Name(subject)
        until = now + timedelta(days=1)
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, until)
        assert names_of(builder.sign(key, hashes.SHA256())) == names


def test_without_a_certificate_no_tls_ends_here(tmp_path: Path) -> None:
    assert read_termination(ProxyTlsConfig()) is None
    assert isinstance(read_termination(config(tmp_path)), Termination)


def test_a_file_that_cannot_be_used_is_named_with_its_flag(tmp_path: Path) -> None:
    good = config(tmp_path)
    other = files(tmp_path, "other.example")
    cert_flag, key_flag = "--proxy-tls-cert (MICRO_PROXY_TLS_CERT)", "--proxy-tls-key (MICRO_PROXY_TLS_KEY)"
    for cert, key, says in (
        ("none.pem", "", f"{cert_flag}: cannot read none.pem"),
        (good.cert, "none.key", f"{key_flag}: cannot read none.key"),
        (good.cert, other.key, f"{key_flag}: the key in {other.key} does not belong to the certificate"),
        (good.cert, "", f"{key_flag} may name another file"),
        (good.key, "", f"{cert_flag}: there is no certificate in PEM in {good.key}"),
    ):
        with pytest.raises(BadRequest) as caught:
            Termination(ProxyTlsConfig(cert=cert, key=key))
        assert says in str(caught.value)
    with pytest.raises(BadRequest, match=r"--proxy-tls-key .* is given without --proxy-tls-cert"):
        ProxyTlsConfig(key=good.key)


# Connections.


@asynccontextmanager
async def node_with(folder: Path) -> AsyncIterator[RawNode]:
    """A node with a certificate, and a service `db` that sends back what it gets."""
    async with raw_node(echo) as node:
        node.proxy.set_termination(Termination(config(folder)))
        yield node


@asynccontextmanager
async def secure(node: RawNode, name: str | None = OWN[0], *protocols: str) -> AsyncIterator[trio.SSLStream[RawSocket]]:
    context = client(*protocols)
    if name is None:
        context.check_hostname = False
    async with await open_tcp(node.proxy_address) as stream:
        tls = trio.SSLStream(stream, context, server_hostname=name)
        await tls.do_handshake()
        yield tls


async def status(tls: trio.SSLStream[RawSocket], request: bytes = GET) -> bytes:
    """What a request is answered with, in one line."""
    await tls.send_all(request)
    received = b""
    while b"\r\n" not in received:
        received += await tls.receive_some()
    return received.partition(b"\r\n")[0]


@pytest.mark.parametrize("name", ["node.example.com", "x.mesh.example.com", None])
async def test_http_is_served_inside(tmp_path: Path, name: str | None) -> None:
    async with node_with(tmp_path) as node, secure(node, name) as tls:
        assert await status(tls) == b"HTTP/1.1 404 Not Found"
        assert node.proxy.refused == 0


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(("http/1.1", "h2"), "h2"), (("http/1.1",), "http/1.1"), (("other",), None), ((), None)],
)
async def test_the_better_protocol_is_agreed_upon_and_the_first_bytes_decide(
    tmp_path: Path, offered: tuple[str, ...], chosen: str | None
) -> None:
    async with node_with(tmp_path) as node, secure(node, OWN[0], *offered) as tls:
        assert tls.selected_alpn_protocol() == chosen
        assert await status(tls) == b"HTTP/1.1 404 Not Found"


async def test_http2_and_frames_are_served_inside(tmp_path: Path) -> None:
    async with node_with(tmp_path) as node:
        async with secure(node, OWN[0], "h2") as tls:
            await tls.send_all(HTTP2 + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
            assert (await tls.receive_some())[3] == 4, "no SETTINGS came"
        async with secure(node) as tls:
            head = frame.pack_open(3, b"", 1000, pack_call_head(CallHead("nobody", "x")), b"")
            hello = frame.pack_frame(HELLO, 0, 0, frame.pack_hello(Hello(1, "client", 100)))
            await tls.send_all(PREFACE + hello + frame.pack_frame(frame.OPEN, END, 1, head))
            received = b""
            while b"no service called 'nobody'" not in received:
                received += await tls.receive_some()


@pytest.mark.parametrize(
    ("asking", "established"),
    [
        (b"CONNECT db:1 HTTP/1.1\r\nHost: db:1\r\n\r\n", b"HTTP/1.1 200 Connection established\r\n\r\n"),
        (b"\x05\x01\x00\x05\x01\x00\x03\x02db\x00\x01", b"\x05\x00\x05\x00\x00\x01" + bytes(6)),
    ],
)
async def test_raw_bytes_go_both_ways_inside_and_each_direction_ends_by_itself(
    tmp_path: Path, asking: bytes, established: bytes
) -> None:
    sent = bytes(range(256)) * 4000
    async with node_with(tmp_path) as node:
        async with secure(node) as tls, trio.open_nursery() as nursery:
            nursery.start_soon(tls.send_all, asking + sent)
            received = bytearray()
            while len(received) < len(established) + len(sent):
                received += await tls.receive_some()
        assert received == established + sent
        await node.no_calls()


async def test_what_comes_after_the_nodes_own_end_still_arrives(tmp_path: Path) -> None:
    """The service ends its side at once and goes on reading, which TLS has a word for and TCP underneath has not."""
    read: list[bytes] = []
    done = trio.Event()

    async def end_first(stream: trio.SocketStream) -> None:
        await stream.send_eof()
        read.append(await read_to_end(stream))
        done.set()

    async with raw_node(end_first) as node:
        node.proxy.set_termination(Termination(config(tmp_path)))
        async with secure(node) as tls:
            await tls.send_all(b"CONNECT db:1 HTTP/1.1\r\nHost: db\r\n\r\n")
            assert b"200 Connection established" in await read_to_end(tls)
            await tls.send_all(bytes(200_000))
        with trio.fail_after(30):
            await done.wait()
    assert read == [bytes(200_000)]


async def test_a_connection_that_ends_says_so_in_tls(tmp_path: Path) -> None:
    """Without that, who reads until the end cannot know that nothing was cut off."""
    async with node_with(tmp_path) as node:
        async with secure(node) as tls:
            await tls.send_all(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert (await read_to_end(tls)).startswith(b"HTTP/1.1 404")
        async with secure(node, OWN[0], "h2") as tls:
            await tls.send_all(HTTP2 + b"\x00\x00\x00\xff\xff\xff\xff\xff\xff" * 10)
            await read_to_end(tls)


async def test_a_services_name_still_goes_to_the_service_unopened(tmp_path: Path) -> None:
    hello = client_hello("db")
    async with node_with(tmp_path) as node, await open_tcp(node.proxy_address) as program:
        await program.send_all(hello)
        await program.send_eof()
        assert await read_to_end(program) == hello


async def test_an_unknown_name_is_unrecognized(tmp_path: Path) -> None:
    async with node_with(tmp_path) as node, await open_tcp(node.proxy_address) as program:
        await program.send_all(client_hello("nobody.example.com"))
        assert await read_to_end(program) == pack_alert(sni.UNRECOGNIZED_NAME)


async def test_a_new_certificate_is_shown_to_who_comes_next(tmp_path: Path) -> None:
    async with node_with(tmp_path) as node, secure(node) as old:
        node.proxy.set_termination(Termination(config(tmp_path, "new.example")))
        async with secure(node, "new.example") as tls:
            assert await status(tls) == b"HTTP/1.1 404 Not Found"
        assert await status(old) == b"HTTP/1.1 404 Not Found"


@pytest.mark.parametrize(
    ("credentials", "line"),
    [
        (b"", b"HTTP/1.1 407 Proxy Authentication Required"),
        (b"Proxy-Authorization: Bearer guess\r\n", b"HTTP/1.1 407 Proxy Authentication Required"),
        (b"Proxy-Authorization: Bearer secret\r\n", b"HTTP/1.1 404 Not Found"),
    ],
)
async def test_a_program_of_another_host_has_to_show_the_token_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, credentials: bytes, line: bytes
) -> None:
    monkeypatch.setattr(doorkeeper, "is_loopback", lambda host: False)
    async with node_with(tmp_path) as node:
        node.proxy.set_tokens((b"secret",))
        async with secure(node) as tls:
            assert await status(tls, GET[:-2] + credentials + b"\r\n") == line
        async with secure(node) as tls:
            allowed = b"secret" in credentials
            connect = b"CONNECT nobody:1 HTTP/1.1\r\nHost: x\r\n" + credentials + b"\r\n"
            assert await status(tls, connect) == (line if allowed else b"HTTP/1.1 407 Proxy Authentication Required")
        async with secure(node) as tls:
            await tls.send_all(b"\x05\x01\x00")
            assert await tls.receive_some() == b"\x05\xff", "SOCKS5 without a password is let in"


async def test_who_does_not_believe_the_certificate_stands_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with node_with(tmp_path) as node:
        async with await open_tcp(node.proxy_address) as stream:
            with pytest.raises(RemoteProtocolError, match="certificate verify failed"):
                await TlsStream(stream, ssl.create_default_context(), host=OWN[0]).handshake()
        while not node.proxy.refused:
            await trio.lowlevel.checkpoint()
    assert "it does not believe the CA of the certificate it was shown" in caplog.text


@pytest.mark.parametrize("inside", [b"", b"BREW / HTCPCP/1.0\r\n\r\n", client_hello(None)])
async def test_what_says_nothing_that_is_known_inside_is_closed(
    tmp_path: Path, mock_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, inside: bytes
) -> None:
    async with node_with(tmp_path) as node, secure(node) as tls:
        if inside:
            await tls.send_all(inside)
        else:
            await trio.testing.wait_all_tasks_blocked(0.01)
            mock_clock.jump(listener.FIRST_BYTES)
        with pytest.raises(trio.BrokenResourceError):
            await tls.receive_some()
    assert ("speaks nothing that this port knows" if inside else "said nothing") in caplog.text


async def test_a_handshake_that_does_not_go_on_is_given_up(
    tmp_path: Path, mock_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with node_with(tmp_path) as node, await open_tcp(node.proxy_address) as program:
        await program.send_all(client_hello(None))
        await trio.testing.wait_all_tasks_blocked(0.01)
        mock_clock.jump(listener.FIRST_BYTES)
        assert await read_to_end(program)
    assert "its TLS handshake did not end within the time that it has" in caplog.text


async def test_before_one_back_end_of_raw_tcp_its_bytes_are_inside_and_other_tls_is_its_own(tmp_path: Path) -> None:
    async with raw_node(echo) as node, trio.open_nursery() as nursery:
        for termination in (Termination(config(tmp_path)), None):
            front = listener.ProxyListener(
                node.switch, Timers(), termination=termination, back_end=listener.BackEnd("db", "tcp")
            )
            listeners = await listen_tcp("127.0.0.1:0")
            node.proxy_address = bound_address(listeners[0])
            nursery.start_soon(front.serve, listeners)
            if termination is not None:
                async with secure(node) as tls:
                    await tls.send_all(GET)
                    assert await tls.receive_some() == GET
            for name in ("nobody.example.com", *([] if termination else OWN)):
                async with await open_tcp(node.proxy_address) as program:
                    hello = client_hello(name)
                    await program.send_all(hello)
                    await program.send_eof()
                    assert await read_to_end(program) == hello
        nursery.cancel_scope.cancel()
