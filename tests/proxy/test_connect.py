"""HTTP CONNECT on the proxy port: the request as bytes, and whole connections over real sockets."""

import h2.config
import h2.connection
import h2.events
import h11
import pytest
import trio
import trio.testing

from proxy import listener as listening
from proxy.connect import MAX_REQUEST, ConnectPort, ConnectRequest
from sdk.errors import RemoteProtocolError, Status
from sdk.head import CallHead, ReplyHead, pack_reply_head, parse_call_head_untrusted
from sdk.rawsocket import RawSocket, open_tcp
from sdk.wire.frame import INITIAL_CREDIT, Fate, Open, Reset
from sdk.wire.mux import Mux, MuxStream
from tests.net import nobody

from .raw import break_off, echo, is_reset, raw_node, read_to_end

REQUEST = b"CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def head_of(request: bytes) -> CallHead:
    asked = ConnectRequest().receive_untrusted(request)
    assert asked is not None
    return parse_call_head_untrusted(asked[0])


def answer_to(port: ConnectPort) -> bytes:
    return b"".join(port.data_to_send())


def read_answer(data: bytes) -> tuple[int, dict[bytes, bytes], str]:
    """An HTTP answer as another implementation reads it: status, headers, text."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="CONNECT", target="db:1", headers=[("Host", "db:1")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    client.receive_data(b"")
    answer, body = client.next_event(), client.next_event()
    assert isinstance(answer, h11.Response)
    assert isinstance(body, h11.Data)
    return answer.status_code, dict(answer.headers), bytes(body.data).decode()


# The request.


def test_a_request_is_a_raw_call_to_the_service_it_names() -> None:
    assert head_of(REQUEST) == CallHead(service="db", endpoint="", protocol="tcp")


def test_what_comes_behind_the_request_is_the_first_of_the_bytes() -> None:
    asked = ConnectRequest().receive_untrusted(REQUEST + b"\0\1\r\nCONNECT")
    assert asked is not None
    assert asked[1] == b"\0\1\r\nCONNECT"


def test_a_request_may_come_byte_by_byte() -> None:
    request = ConnectRequest()
    assert [request.receive_untrusted(bytes([byte])) for byte in REQUEST[:-1]] == [None] * (len(REQUEST) - 1)
    assert request.receive_untrusted(REQUEST[-1:]) is not None


def test_headers_of_ours_go_with_the_call_and_no_others() -> None:
    request = REQUEST[:-2] + b"Micro-Router: far\r\nProxy-Authorization: Basic eDp5\r\nUser-Agent: curl\r\n\r\n"
    assert head_of(request).metadata == ("micro-router", "far")


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        (b"GET http://web/ HTTP/1.1\r\nHost: web\r\n\r\n", "ended within its request"),
        (b"CONNECT :80 HTTP/1.1\r\nHost: db\r\n\r\n", "service:port"),
        (b"CONNECT db:80 HTTP/1.1\r\n\r\n", "cannot be read"),
        (b"CONNECT db:80 SMTP\r\n\r\n", "cannot be read"),
        (b"CONNECT db:80 HTTP/1.1\r\nHost: x\r\nA: " + b"x" * MAX_REQUEST, "cannot be read"),
        (b"CONNECT db:80 HTTP/1.1\r\nHo st: x\r\n\r\n", "cannot be read"),
        (b"", "ended within its request"),
    ],
)
def test_what_is_no_proper_request_is_refused(request_: bytes, complaint: str) -> None:
    request = ConnectRequest()
    with pytest.raises(RemoteProtocolError, match=complaint):
        request.receive_untrusted(request_)
    status, headers, text = read_answer(request.data_to_send())
    assert (status, headers[b"connection"], headers[b"micro-fate"]) == (400, b"close", b"not-reached")
    assert complaint in text
    assert b"http_request_error" in headers[b"proxy-status"]
    assert request.data_to_send() == b"", "it would be said twice"


# The answer.


def port() -> tuple[ConnectPort, MuxStream]:
    streams: list[MuxStream] = []

    def on_open(stream: MuxStream, opened: Open) -> None:
        streams.append(stream)

    mux = Mux(on_open=on_open)
    made = ConnectPort(mux, name="program", clock=lambda: 0.0)
    mux.attach(made)
    made.open(b"head")
    return made, streams[0]


def test_nothing_is_said_until_the_service_has_taken_the_connection() -> None:
    made, stream = port()
    assert answer_to(made) == b""
    stream.send_head(pack_reply_head(ReplyHead()), b"first")
    assert answer_to(made) == ESTABLISHED + b"first"
    stream.write(b"then")
    assert answer_to(made) == b"then"


def test_an_answer_without_a_head_is_no_answer_of_ours_to_the_program() -> None:
    made, stream = port()
    stream.write(b"HTTP/1.1 500 Oops\r\n\r\n")
    assert answer_to(made) == ESTABLISHED + b"HTTP/1.1 500 Oops\r\n\r\n"


def test_no_credit_is_granted_for_words_of_this_node() -> None:
    made, stream = port()
    stream.send_head(pack_reply_head(ReplyHead()))
    stream.write(bytes(INITIAL_CREDIT // 2))
    assert len(answer_to(made)) == len(ESTABLISHED) + INITIAL_CREDIT // 2
    assert answer_to(made) == b""
    assert stream.may_send == INITIAL_CREDIT


@pytest.mark.parametrize(
    ("status", "number", "kind"),
    [
        (Status.INVALID_ARGUMENT, 400, b"http_request_error"),
        (Status.NOT_FOUND, 404, b"destination_not_found"),
        (Status.UNAVAILABLE, 503, b"destination_unavailable"),
        (Status.PERMISSION_DENIED, 403, b"http_request_denied"),
        (Status.DEADLINE_EXCEEDED, 504, b"connection_timeout"),
        (Status.INTERNAL, 502, b"http_protocol_error"),
    ],
)
def test_a_refusal_is_an_http_answer_with_its_reason(status: Status, number: int, kind: bytes) -> None:
    made, stream = port()
    stream.reset(status, 'no "db" \\ here: ü\r\nSet-Cookie: x')
    said, headers, text = read_answer(answer_to(made))
    assert (said, text) == (number, 'no "db" \\ here: ü\r\nSet-Cookie: x\n')
    assert headers[b"proxy-status"] == (b"micro; error=" + kind + rb'; details="no \"db\" \\ here: ???Set-Cookie: x"')
    assert made.finished_writing
    assert made.wants_nothing
    assert made.reset is None, "the answer would never arrive"


def test_a_reset_after_that_breaks_the_connection() -> None:
    made, stream = port()
    stream.send_head(pack_reply_head(ReplyHead()))
    stream.reset(Status.UNAVAILABLE, "gone")
    assert made.reset is not None


def test_a_refusal_has_the_length_that_it_says() -> None:
    made, stream = port()
    stream.reset(Status.NOT_FOUND, "ä" * 100)
    assert read_answer(answer_to(made))[2] == "ä" * 100 + "\n"


@pytest.mark.parametrize(("fate", "said"), [(Fate.NOT_REACHED, b"not-reached"), (Fate.MAY_HAVE_RUN, b"may-have-run")])
def test_a_refusal_says_whether_the_call_may_have_run(fate: Fate, said: bytes) -> None:
    reset = Reset(Status.UNAVAILABLE, fate, "gone")
    assert read_answer(port()[0].refusal(reset))[1][b"micro-fate"] == said


# Connections.


async def connect(address: str, request: bytes = REQUEST) -> tuple[RawSocket, bytes]:
    """Asks for a connection; it, and the head of the answer."""
    program = await open_tcp(address)
    await program.send_all(request)
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        byte = await program.receive_some(1)
        assert byte, received
        received += byte
    return program, received


async def test_a_program_reaches_a_service_by_its_name_and_no_matter_which_port() -> None:
    async with raw_node(echo) as node:
        for target in (b"db:5432", b"db:1"):
            program, answer = await connect(node.proxy_address, REQUEST.replace(b"db:5432", target))
            async with program:
                assert answer == ESTABLISHED
                await program.send_all(b"hello")
                await program.send_eof()
                assert await read_to_end(program) == b"hello"
        await node.no_calls()
        assert node.proxy.refused == 0


async def test_bytes_sent_with_the_request_are_not_lost() -> None:
    async with raw_node(echo) as node, await open_tcp(node.proxy_address) as program:
        await program.send_all(REQUEST + b"at once")
        await program.send_eof()
        assert await read_to_end(program) == ESTABLISHED + b"at once"


async def test_a_request_may_come_in_pieces() -> None:
    async with raw_node(echo) as node, await open_tcp(node.proxy_address) as program:
        for at in range(len(REQUEST)):
            await program.send_all(REQUEST[at : at + 1])
            await trio.lowlevel.checkpoint()
        assert await program.receive_some() == ESTABLISHED


async def test_a_service_that_nobody_offers_is_not_found() -> None:
    async with raw_node(echo) as node, await open_tcp(node.proxy_address) as program:
        await program.send_all(b"CONNECT nobody:80 HTTP/1.1\r\nHost: nobody\r\n\r\n" + bytes(100_000))
        status, headers, text = read_answer(await read_to_end(program))
        assert status == 404
        assert "no service called 'nobody' is known here" in text
        assert (headers[b"connection"], headers[b"micro-fate"]) == (b"close", b"not-reached")


async def test_a_service_that_does_not_answer_is_unavailable_with_the_reason() -> None:
    with nobody() as address:
        async with raw_node() as node, await open_tcp(node.proxy_address) as program:
            node.offer(address)
            await program.send_all(REQUEST)
            status, _, text = read_answer(await read_to_end(program))
            assert status == 503
            assert f"cannot connect to {address}: connection refused" in text


async def test_a_service_that_breaks_off_later_breaks_the_connection() -> None:
    async with raw_node(break_off) as node:
        program, _ = await connect(node.proxy_address)
        async with program:
            await program.send_all(b"x")
            assert await is_reset(program)
        await node.no_calls()


async def test_a_node_that_stops_says_so_to_new_requests_and_keeps_what_is_open() -> None:
    async with raw_node(echo) as node:
        old, _ = await connect(node.proxy_address)
        node.proxy.go_away()
        async with await open_tcp(node.proxy_address) as new:
            await new.send_all(REQUEST)
            assert read_answer(await read_to_end(new))[::2] == (503, "this node is stopping\n")
        async with old:
            await old.send_all(b"goes on")
            assert await old.receive_some() == b"goes on"


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        (b"CONNECT db:80 HTTP/1.1\r\n", "did not end within"),
        (b"CONNECT", "speaks nothing that this port knows"),
    ],
)
async def test_a_request_that_never_becomes_one_is_closed_and_logged(
    request_: bytes, complaint: str, mock_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw_node(echo) as node, await open_tcp(node.proxy_address) as program:
        await program.send_all(request_)
        await trio.testing.wait_all_tasks_blocked(0.01)
        mock_clock.jump(listening.FIRST_BYTES)
        assert await read_to_end(program) == b""
        assert node.proxy.refused == 1
    assert complaint in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        (b"CONNECT :5432 HTTP/1.1\r\nHost: db\r\n\r\n", "CONNECT takes service:port"),
        (b"CONNECT db:80 HTTP/1.1\r\n\r\n", "the request cannot be read"),
    ],
)
async def test_a_request_that_cannot_be_read_is_told_so(
    request_: bytes, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw_node(echo) as node, await open_tcp(node.proxy_address) as program:
        await program.send_all(request_)
        status, _, text = read_answer(await read_to_end(program))
        assert status == 400
        assert complaint in text
        assert node.proxy.refused == 1
    assert complaint in caplog.text


async def test_a_service_is_reached_by_its_name_in_whatever_case() -> None:
    async with raw_node(echo) as node:
        program, answer = await connect(node.proxy_address, REQUEST.replace(b"db:5432", b"DB:5432"))
        async with program:
            assert answer == ESTABLISHED
            await program.send_all(b"hello")
            assert await program.receive_some() == b"hello"


async def test_a_program_of_http_2_reaches_a_service_by_its_name_on_a_stream_rfc9113_8_5() -> None:
    async with raw_node(echo) as node, await open_tcp(node.proxy_address) as program:
        client = h2.connection.H2Connection(h2.config.H2Configuration())
        client.initiate_connection()
        client.send_headers(1, [(":method", "CONNECT"), (":authority", "DB:5432")])
        client.send_data(1, b"hello", end_stream=True)
        heard: list[h2.events.Event] = []
        while not any(isinstance(event, h2.events.StreamEnded) for event in heard):
            await program.send_all(client.data_to_send())
            heard += client.receive_data(await program.receive_some())
        answers = [event.headers for event in heard if isinstance(event, h2.events.ResponseReceived)]
        assert [list(map(tuple, answer)) for answer in answers] == [[(b":status", b"200")]]
        assert b"".join(event.data for event in heard if isinstance(event, h2.events.DataReceived)) == b"hello"
        await node.no_calls()
