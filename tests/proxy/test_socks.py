"""SOCKS5 on the proxy port: the conversation as bytes, whole connections over real sockets, and curl."""

import subprocess
from collections.abc import Callable

import pytest
import trio

from proxy import doorkeeper, socks
from proxy.socks import Reply, SocksPort, SocksRequest, pack_reply
from sdk.errors import RemoteProtocolError, Status
from sdk.head import CallHead, parse_call_head_untrusted
from sdk.rawsocket import open_tcp
from sdk.wire.frame import Open
from sdk.wire.mux import Mux, MuxStream
from tests.net import nobody

from .raw import break_off, echo, is_reset, raw_node, read_to_end

HELLO = b"\x05\x01\x00"
WITH_PASSWORD = b"\x05\x02\x00\x02"
REQUEST = b"\x05\x01\x00\x03\x02db\x15\x38"
DONE = bytes.fromhex("05000001000000000000")


def anybody(token: bytes) -> str:
    return ""


def only_secret(token: bytes) -> str:
    return "" if token == b"secret" else "wrong" if token else "missing"


def password(token: bytes) -> bytes:
    return b"\x01\x03any" + bytes([len(token)]) + token


def refuse(request: SocksRequest, data: bytes) -> tuple[str, bytes]:
    """Why the bytes are refused, and what the program hears."""
    with pytest.raises(RemoteProtocolError) as caught:
        request.receive_untrusted(data)
    return str(caught.value), request.data_to_send()


# The conversation.


def test_a_connection_to_a_name_is_a_raw_call_to_the_service() -> None:
    request = SocksRequest(anybody)
    assert request.receive_untrusted(HELLO) is None
    assert request.data_to_send() == b"\x05\x00"
    asked = request.receive_untrusted(REQUEST)
    assert asked is not None
    assert parse_call_head_untrusted(asked[0]) == CallHead(service="db", endpoint="", protocol="tcp")
    assert asked[1] == b""
    assert request.data_to_send() == b""


@pytest.mark.parametrize("hello", [HELLO, WITH_PASSWORD, b"\x05\x03\x01\x02\x00"])
def test_it_may_come_all_at_once_with_the_first_bytes_behind_it(hello: bytes) -> None:
    request = SocksRequest(anybody)
    asked = request.receive_untrusted(hello + REQUEST + b"\x05\x01hello")
    assert asked is not None
    assert asked[1] == b"\x05\x01hello"
    assert request.data_to_send() == b"\x05\x00"


def test_it_may_come_byte_by_byte() -> None:
    request = SocksRequest(only_secret)
    *most, last = WITH_PASSWORD + password(b"secret") + REQUEST
    assert [request.receive_untrusted(bytes([byte])) for byte in most] == [None] * len(most)
    assert request.receive_untrusted(bytes([last])) is not None
    assert request.data_to_send() == b"\x05\x02\x01\x00"
    assert request.token == b"secret"


def test_who_shows_no_right_password_hears_so() -> None:
    assert refuse(SocksRequest(only_secret), HELLO) == ("missing", b"\x05\xff")
    assert refuse(SocksRequest(only_secret), WITH_PASSWORD + password(b"guess")) == ("wrong", b"\x05\x02\x01\x01")
    assert refuse(SocksRequest(only_secret), WITH_PASSWORD + password(b"")) == ("missing", b"\x05\x02\x01\x01")


def test_where_no_password_is_needed_any_will_do() -> None:
    request = SocksRequest(anybody)
    assert request.receive_untrusted(b"\x05\x01\x02" + password(b"whatever") + REQUEST) is not None
    assert request.data_to_send() == b"\x05\x02\x01\x00"


def test_who_can_authenticate_in_no_way_of_ours_is_refused() -> None:
    reason, words = refuse(SocksRequest(anybody), b"\x05\x01\x01")
    assert "no way to authenticate" in reason
    assert words == b"\x05\xff"
    assert refuse(SocksRequest(anybody), b"\x05\x00")[1] == b"\x05\xff"


@pytest.mark.parametrize(
    ("request_", "complaint", "reply"),
    [
        (b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50", "a service is called by its name", 8),
        (b"\x05\x01\x00\x04" + bytes(15) + b"\x01\x00\x50", "socks5h://", 8),
        (b"\x05\x01\x00\x09\x00", "called by its name", 8),
        (b"\x05\x02\x00\x03\x02db\x00\x50", "something else than a TCP connection", 7),
        (b"\x05\x03\x00\x03\x02db\x00\x50", "something else than a TCP connection", 7),
        (b"\x05\x01\x00\x03\x00\x00\x50", "is none", 1),
        (b"\x05\x01\x00\x03\x01\xff\x00\x50", "is none", 1),
    ],
    ids=["IPv4", "IPv6", "no type", "BIND", "UDP", "empty", "no text"],
)
def test_what_is_no_request_for_a_service_is_refused_with_its_number(
    request_: bytes, complaint: str, reply: int
) -> None:
    reason, words = refuse(SocksRequest(anybody), HELLO + request_)
    assert complaint in reason
    assert words == b"\x05\x00" + bytes([5, reply, 0, 1]) + bytes(6)


@pytest.mark.parametrize("data", [b"\x04\x01", b"\x05\x01\x02\x05", b"\x05\x01\x02" + password(b"secret") + b"GET /"])
def test_another_version_is_no_socks5(data: bytes) -> None:
    assert "does not speak SOCKS5" in refuse(SocksRequest(only_secret), data)[0]


# The answer.


def port() -> tuple[SocksPort, MuxStream]:
    streams: list[MuxStream] = []

    def on_open(stream: MuxStream, opened: Open) -> None:
        streams.append(stream)

    mux = Mux(on_open=on_open)
    made = SocksPort(mux, name="program", clock=lambda: 0.0)
    mux.attach(made)
    made.open(b"head")
    return made, streams[0]


def test_the_program_hears_of_success_before_the_first_bytes() -> None:
    made, stream = port()
    stream.write(b"first")
    assert b"".join(made.data_to_send()) == DONE + b"first"
    assert not made.refused


@pytest.mark.parametrize(
    ("status", "reply"),
    [
        (Status.NOT_FOUND, Reply.HOST_UNREACHABLE),
        (Status.UNAVAILABLE, Reply.CONNECTION_REFUSED),
        (Status.DEADLINE_EXCEEDED, Reply.EXPIRED),
        (Status.UNAUTHENTICATED, Reply.NOT_ALLOWED),
        (Status.PERMISSION_DENIED, Reply.NOT_ALLOWED),
        (Status.INTERNAL, Reply.FAILURE),
    ],
)
def test_a_refusal_is_a_number_and_the_port_keeps_the_words(status: Status, reply: Reply) -> None:
    made, stream = port()
    stream.reset(status, "no such thing")
    assert b"".join(made.data_to_send()) == pack_reply(reply)
    assert made.finished_writing
    assert made.refused == "no such thing"
    assert made.reset is None, "the answer would never arrive"


# Connections.


async def test_a_program_reaches_a_service_by_its_name() -> None:
    async with raw_node(echo) as node, await open_tcp(node.proxy_address) as program:
        await program.send_all(HELLO)
        assert await program.receive_some() == b"\x05\x00"
        await program.send_all(REQUEST)
        assert await program.receive_some() == DONE
        await program.send_all(b"hello")
        await program.send_eof()
        assert await read_to_end(program) == b"hello"
        await node.no_calls()
        assert node.proxy.refused == 0


async def test_bytes_sent_with_the_request_are_not_lost() -> None:
    async with raw_node(echo) as node, await open_tcp(node.proxy_address) as program:
        await program.send_all(HELLO + REQUEST + b"at once")
        await program.send_eof()
        assert await read_to_end(program) == b"\x05\x00" + DONE + b"at once"


@pytest.mark.parametrize("draining", [False, True])
async def test_a_service_that_is_not_there_is_a_number_and_a_line_in_the_log(
    draining: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw_node() as node:
        if draining:
            node.proxy.go_away()
        for _ in range(2):
            async with await open_tcp(node.proxy_address) as program:
                await program.send_all(HELLO + REQUEST)
                reply = Reply.CONNECTION_REFUSED if draining else Reply.HOST_UNREACHABLE
                assert await read_to_end(program) == b"\x05\x00" + pack_reply(reply)
    reason = "this node is stopping" if draining else "no service called 'db' is known here"
    assert len([record for record in caplog.records if reason in record.message]) == 2  # of two programs


async def test_a_service_that_does_not_answer_is_a_refused_connection(caplog: pytest.LogCaptureFixture) -> None:
    with nobody() as address:
        async with raw_node() as node, await open_tcp(node.proxy_address) as program:
            node.offer(address)
            await program.send_all(HELLO + REQUEST)
            assert await read_to_end(program) == b"\x05\x00" + pack_reply(Reply.CONNECTION_REFUSED)
    assert f"cannot connect to {address}" in caplog.text


async def test_a_service_that_breaks_off_later_breaks_the_connection() -> None:
    async with raw_node(break_off) as node, await open_tcp(node.proxy_address) as program:
        await program.send_all(HELLO + REQUEST + b"x")
        assert await is_reset(program)
        await node.no_calls()


async def test_an_address_instead_of_a_name_is_refused_and_the_log_says_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with raw_node(echo) as node, await open_tcp(node.proxy_address) as program:
        await program.send_all(HELLO + b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50")
        assert await read_to_end(program) == b"\x05\x00" + pack_reply(Reply.ADDRESS_TYPE_NOT_SUPPORTED)
        assert node.proxy.refused == 1
    assert socks.BY_NAME in caplog.text


async def test_programs_of_other_hosts_show_the_token_as_password(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(doorkeeper, "is_loopback", lambda host: False)

    async with raw_node(echo) as node:
        node.proxy.set_tokens((b"secret",))
        for token, heard in ((b"secret", b"\x05\x02\x01\x00" + DONE), (b"guessed", b"\x05\x02\x01\x01")):
            async with await open_tcp(node.proxy_address) as program:
                await program.send_all(WITH_PASSWORD + password(token) + REQUEST)
                await program.send_eof()
                assert await read_to_end(program) == heard
        async with await open_tcp(node.proxy_address) as program:
            await program.send_all(HELLO)
            assert await read_to_end(program) == b"\x05\xff"
        assert node.switch.calls == 1
        assert node.proxy.refused == 2
    assert doorkeeper.WRONG in caplog.text
    assert "guessed" not in caplog.text


# Another implementation.


async def page(stream: trio.SocketStream) -> None:
    """One page over HTTP."""
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        received += await stream.receive_some()
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
    await stream.send_eof()


async def curl(program: str, *arguments: str, proxy: str = "") -> subprocess.CompletedProcess[bytes]:
    """Runs curl to its end, with ALL_PROXY."""
    command = [program, "-sS", "--max-time", "20", *arguments]
    environment = {"ALL_PROXY": proxy} if proxy else {}
    return await trio.run_process(command, env=environment, capture_stdout=True, capture_stderr=True, check=False)


@pytest.mark.peers
async def test_curl_takes_the_proxy_port_for_a_socks5_proxy(
    require: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program = require("curl")
    async with raw_node(page) as node:
        done = await curl(program, "http://db/", proxy=f"socks5h://{node.proxy_address}")
        assert (done.returncode, done.stdout) == (0, b"hello"), done.stderr
        done = await curl(program, "http://nobody/", proxy=f"socks5h://{node.proxy_address}")
        assert (done.returncode, b"(4)" in done.stderr) == (97, True), done.stderr
        done = await curl(program, "http://127.0.0.1/", proxy=f"socks5://{node.proxy_address}")
        assert (done.returncode, b"(8)" in done.stderr) == (97, True), done.stderr
        monkeypatch.setattr(doorkeeper, "is_loopback", lambda host: False)
        node.proxy.set_tokens((b"secret",))
        done = await curl(program, "http://db/", proxy=f"socks5h://any:secret@{node.proxy_address}")
        assert (done.returncode, done.stdout) == (0, b"hello"), done.stderr
        for credentials in ("", "any:guess@"):
            done = await curl(program, "http://db/", proxy=f"socks5h://{credentials}{node.proxy_address}")
            assert done.returncode == 97
