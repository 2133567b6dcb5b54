"""TLS on the proxy port: its first message as bytes, and whole connections with Python's TLS and with curl."""

import ssl
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
import trio
import trustme

from proxy import doorkeeper, sni
from proxy.sni import MAX_HELLO, ClientHello, ServerNamePort, pack_alert, service_of
from sdk.errors import RemoteProtocolError, Status
from sdk.head import parse_call_head_untrusted
from sdk.rawsocket import open_tcp
from sdk.wire.frame import Open
from sdk.wire.mux import Mux, MuxStream

from .hello import client_hello, in_records
from .raw import RawNode, raw_node, read_to_end
from .test_socks import curl


def among(*names: str) -> Callable[[str], str]:
    return lambda host: host if host in names else ""


def with_extensions(*extensions: tuple[int, bytes]) -> bytes:
    """A ClientHello in one record, with these extensions."""
    packed = b"".join(kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body for kind, body in extensions)
    body = (
        b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00" + len(packed).to_bytes(2, "big") + packed
    )
    return in_records(b"\x01" + len(body).to_bytes(3, "big") + body, MAX_HELLO)


def names(*entries: tuple[int, bytes]) -> tuple[int, bytes]:
    """A server name extension."""
    packed = b"".join(bytes([form]) + len(name).to_bytes(2, "big") + name for form, name in entries)
    return 0, len(packed).to_bytes(2, "big") + packed


def named(data: bytes, *known: str) -> str:
    """The service that is called."""
    asked = ClientHello(among(*known)).receive_untrusted(data)
    assert asked is not None
    head = parse_call_head_untrusted(asked[0])
    assert (head.protocol, head.endpoint, asked[1]) == ("tcp", "", data)
    return head.service


def refuse(data: bytes) -> tuple[str, bytes]:
    hello = ClientHello(among())
    with pytest.raises(RemoteProtocolError) as caught:
        hello.receive_untrusted(data)
    return str(caught.value), hello.data_to_send()


# The message.


def test_the_server_name_is_the_service_and_nothing_that_was_read_is_lost() -> None:
    assert named(client_hello("web")) == "web"
    assert named(client_hello("web") + b"more") == "web"


def test_the_message_may_come_byte_by_byte() -> None:
    hello, data = ClientHello(among()), client_hello("web")
    assert [hello.receive_untrusted(data[at : at + 1]) for at in range(len(data) - 1)] == [None] * (len(data) - 1)
    assert hello.data_to_send() == b""
    asked = hello.receive_untrusted(data[-1:])
    assert asked is not None
    assert asked[1] == data


@pytest.mark.parametrize("size", [1, 3, 50, 1000])
def test_the_message_may_be_spread_over_records(size: int) -> None:
    assert named(in_records(client_hello("web")[5:], size)) == "web"


@pytest.mark.parametrize(
    ("name", "known", "service"),
    [
        ("web", ("web",), "web"),
        ("web.example.com", ("web",), "web"),
        ("web.example.com", ("web", "web.example.com"), "web.example.com"),
        ("web.example.com", ("example", "example.com"), "web.example.com"),
        ("go.micro.db", ("go.micro.db",), "go.micro.db"),
        ("web", (), "web"),
    ],
)
def test_a_name_is_a_service_as_it_is_or_else_by_its_first_label(
    name: str, known: Collection[str], service: str
) -> None:
    assert service_of(name, among(*known)) == service
    assert named(with_extensions(names((0, name.encode()))), *known) == service


def test_other_extensions_and_names_of_other_forms_are_passed_over() -> None:
    assert named(with_extensions((10, b"x"), names((7, b"other"), (0, b"web")), (0, b"rubbish"))) == "web"


@pytest.mark.parametrize(
    "data",
    [
        client_hello(None),
        with_extensions(),
        with_extensions((10, b"")),
        with_extensions(names((7, b"web"))),
        with_extensions(names((0, b""))),
        with_extensions(names((0, b"w\xfcb"))),
        with_extensions(names((0, b"w\nb"))),
    ],
)
def test_without_a_name_there_is_no_service(data: bytes) -> None:
    reason, words = refuse(data)
    assert "names no server (SNI)" in reason
    assert words == pack_alert(sni.HANDSHAKE_FAILURE)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"\x16\x04", "is of no handshake"),
        (b"\x17", "is of no handshake"),
        (b"\x16\x03\x01\x00\x01\x01\x17", "is of no handshake"),
        (b"\x16\x03\x01\x00\x00", "without content"),
        (b"\x16\x03\x01\x00\x01\x02", "does not begin with a ClientHello"),
        (b"\x16\x03\x01\xff\xff", "more than 16384 bytes"),
        (in_records(b"\x01\x00\xff\xff" + bytes(40_000), 1000), "more than 16384 bytes"),
        (b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", "ends within a field"),
        (with_extensions((0, b"\x00\x09\x00\x00\x03web")), "ends within a field"),
        (with_extensions((0, b"\x00\x06\x00\x00\x09web")), "ends within a field"),
    ],
)
def test_what_is_no_client_hello_is_refused_with_an_alert(data: bytes, complaint: str) -> None:
    reason, words = refuse(data)
    assert complaint in reason
    assert words == pack_alert(sni.DECODE_ERROR)


# The answer.


@pytest.mark.parametrize(
    ("status", "alert"),
    [
        (Status.NOT_FOUND, 112),
        (Status.UNAVAILABLE, 80),
        (Status.UNAUTHENTICATED, 49),
        (Status.PERMISSION_DENIED, 49),
    ],
)
def test_a_refusal_is_an_alert(status: Status, alert: int) -> None:
    streams: list[MuxStream] = []

    def on_open(stream: MuxStream, opened: Open) -> None:
        streams.append(stream)

    mux = Mux(on_open=on_open)
    port = ServerNamePort(mux, name="program", clock=lambda: 0.0)
    mux.attach(port)
    port.open(b"head")
    streams[0].reset(status, "why")
    assert b"".join(port.data_to_send()) == b"\x15\x03\x03\x00\x02\x02" + bytes([alert])
    assert port.refused == "why"


# Connections.


class Authority:
    """A certificate authority, and a server with a certificate of it for `db`."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.path = str(folder / "authority.pem")
        authority.cert_pem.write_to_path(self.path)
        self._server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("db", "db.example.com").configure_cert(self._server)
        self.client = ssl.create_default_context()
        authority.configure_trust(self.client)

    async def serve(self, stream: trio.SocketStream) -> None:
        """Says hello over TLS, in HTTP."""
        secure = trio.SSLStream(stream, self._server, server_side=True, https_compatible=True)
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            received += await secure.receive_some()
        await secure.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        await secure.aclose()

    async def get(self, node: RawNode, name: str | None) -> bytes:
        """What the service says to a program that takes the proxy port for it."""
        stream = await open_tcp(node.proxy_address)
        async with trio.SSLStream(stream, self.client, server_hostname=name, https_compatible=True) as secure:
            await secure.send_all(b"GET / HTTP/1.1\r\nHost: db\r\n\r\n")
            return await read_to_end(secure)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def alert_to(node: RawNode, data: bytes) -> bytes:
    async with await open_tcp(node.proxy_address) as program:
        await program.send_all(data)
        return await read_to_end(program)


async def test_tls_goes_to_the_service_that_it_names_and_ends_there(authority: Authority) -> None:
    async with raw_node(authority.serve) as node:
        for name in ("db", "db.example.com"):
            assert (await authority.get(node, name)).endswith(b"hello")
        await node.no_calls()
        assert node.proxy.refused == 0


async def test_a_name_that_nobody_has_is_unrecognized(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    async with raw_node(authority.serve) as node:
        with pytest.raises(trio.BrokenResourceError) as caught:
            await authority.get(node, "nobody.example.com")
        assert isinstance(caught.value.__cause__, ssl.SSLError)
        assert "UNRECOGNIZED_NAME" in str(caught.value.__cause__)
    assert "no service called 'nobody.example.com' is known here" in caplog.text


async def test_tls_without_a_name_fails_and_the_log_says_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    async with raw_node() as node:
        assert await alert_to(node, client_hello(None)) == pack_alert(sni.HANDSHAKE_FAILURE)
        assert node.proxy.refused == 1
    assert "names no server (SNI)" in caplog.text


async def test_tls_from_another_host_is_not_let_in_where_a_token_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(doorkeeper, "is_loopback", lambda host: False)
    async with raw_node() as node:
        node.proxy.set_tokens((b"secret",))
        assert await alert_to(node, client_hello("db")) == pack_alert(sni.ACCESS_DENIED)
        assert node.switch.calls == 0
    assert doorkeeper.MISSING in caplog.text


@pytest.mark.peers
async def test_curl_takes_the_proxy_port_for_the_service_itself(
    require: Callable[[str], str], authority: Authority
) -> None:
    program = require("curl")
    async with raw_node(authority.serve) as node:
        arguments = ("--cacert", authority.path, "--connect-to", f"::{node.proxy_address}")
        done = await curl(program, *arguments, "https://db.example.com/")
        assert (done.returncode, done.stdout) == (0, b"hello"), done.stderr
        done = await curl(program, *arguments, "https://nobody.example.com/")
        assert done.returncode == 35
        assert b"unrecognized name" in done.stderr
