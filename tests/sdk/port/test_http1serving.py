"""HTTP/1.1 towards programs: h11, or plain bytes, on one side, a mux on the other; no sockets, no event loop."""

import traceback
from collections.abc import Callable

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.errors import Status, Unavailable
from sdk.head import (
    CallHead,
    ReplyHead,
    Trailers,
    pack_reply_head,
    pack_trailers,
    parse_call_head_untrusted,
    parse_trailers_untrusted,
)
from sdk.port.http1 import PIECE
from sdk.port.http1serving import MAX_PIPELINED, STOPPING, ServingHttp1Port
from sdk.port.limits import DEFAULT, HEAD_WITHIN, LOOK, Limits
from sdk.wire.credit import CreditPool
from sdk.wire.frame import INITIAL_CREDIT, INTERIM, Fate, Open
from sdk.wire.http1fields import forwarded_by
from sdk.wire.mux import Mux, MuxStream

GET = b"GET /hello HTTP/1.1\r\nHost: greeter\r\n\r\n"


def reply(*fields: str, status: int = 200, content_type: str = "") -> bytes:
    return pack_reply_head(ReplyHead(content_type, (":status", str(status), *fields)))


class Program:
    """A program's connection, as its bytes and as the calls that they become."""

    def __init__(
        self,
        *,
        objection: Callable[[bytes], str] = lambda _: "",
        meant_by: Callable[[str], str] = str,
        otherwise: str = "",
        refuse: bool = False,
        limits: Limits = DEFAULT,
    ) -> None:
        self.calls: list[tuple[CallHead, Open, MuxStream]] = []
        self.dead: list[str] = []
        self.depths: list[int] = []
        """How deep the stack was when each call came."""
        self.now = 1000.0
        self.woken = 0
        self.received = b""
        self._refuse = refuse
        self.pool = CreditPool()
        mux = Mux(on_open=self._on_open, on_dead=self.dead.append)
        self.port = ServingHttp1Port(
            mux,
            name="program",
            clock=lambda: self.now,
            forwarded=forwarded_by("10.0.0.1"),
            call_ids=b"c" * 8,
            objection=objection,
            meant_by=meant_by,
            otherwise=otherwise,
            limits=limits,
            pool=self.pool,
        )
        mux.attach(self.port)
        self.port.wake = self._wake

    def _on_open(self, stream: MuxStream, opened: Open) -> None:
        self.calls.append((parse_call_head_untrusted(opened.head), opened, stream))
        self.depths.append(sum(1 for _ in traceback.walk_stack(None)))
        if self._refuse:
            stream.reset(Status.NOT_FOUND, "no such service", Fate.NOT_REACHED)

    def _wake(self) -> None:
        self.woken += 1

    @property
    def stream(self) -> MuxStream:
        """The last call."""
        return self.calls[-1][2]

    def says(self, data: bytes) -> None:
        """The program sends this, and the port reads as much of it at a time as it wants."""
        if not data:
            self.port.receive_data(b"")
        while data:
            size = self.port.may_read
            assert size, "the port reads no more"
            self.port.receive_data(data[:size])
            data = data[size:]

    def hears(self) -> bytes:
        """What the driver would write to the connection; it has written it."""
        heard = b""
        while out := self.port.data_to_send():
            heard += b"".join(out)
        return heard


def answer_of(data: bytes, method: str = "GET", version: str = "1.1") -> tuple[int, dict[str, str], bytes, bool]:
    """An answer as h11 reads it: status, headers, body, and whether it is complete."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    body, head = b"", None
    while True:
        event = client.next_event()
        if isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif not isinstance(event, h11.InformationalResponse):
            break
    assert head is not None
    fields = {name.decode(): value.decode("latin-1") for name, value in head.headers}
    return head.status_code, fields, body, isinstance(event, h11.EndOfMessage)


# Requests.


def test_how_long_a_request_may_take_is_the_deadline_of_its_call() -> None:
    program = Program()
    program.says(GET.replace(b"\r\n\r\n", b"\r\nGrpc-Timeout: 1S\r\n\r\n"))
    assert program.calls[0][1].ms == 1000


@pytest.mark.parametrize(
    ("host", "service"),
    [(b"GREETER:80", "greeter"), (b"greeter", "greeter"), (b"nobody", "back end"), (b"127.0.0.1", "back end")],
)
def test_the_host_means_a_service_or_else_the_one_behind_the_port(host: bytes, service: str) -> None:
    program = Program(
        meant_by=lambda host: "greeter" if host.lower() == "greeter" else "",
        otherwise="back end",
    )
    program.says(GET.replace(b"greeter", host))
    program.says(GET.replace(b"greeter", b"nobody\r\nMicro-Service: GREETER"))
    assert program.calls[0][0].service == service
    program.stream.send_head(reply())
    program.stream.end()
    program.hears()
    assert program.calls[1][0].service == "GREETER", "Micro-Service is taken at its word"


def test_a_request_without_a_body_is_one_frame_and_so_is_its_answer() -> None:
    program = Program()
    program.says(GET)
    [(head, opened, stream)] = program.calls
    assert (head.service, head.endpoint, head.protocol) == ("greeter", "/hello", "http")
    assert stream.ended
    assert opened.body == b""
    stream.send_head(reply(content_type="text/plain"), b"hello", end=True)
    assert answer_of(program.hears()) == (200, {"content-type": "text/plain", "content-length": "5"}, b"hello", True)
    assert not program.port.streams


def test_each_call_has_an_id_of_its_own() -> None:
    program = Program()
    for _ in range(3):
        program.says(GET)
        program.stream.send_head(reply(), end=True)
    ids = {head.call_id for head, _, _ in program.calls}
    assert len(ids) == 3
    assert all(len(each) == 16 and each.startswith(b"c" * 8) for each in ids)


def test_a_request_with_a_body_that_came_with_it_is_one_frame() -> None:
    program = Program()
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
    [(_, opened, stream)] = program.calls
    assert opened.body == b"hello"
    assert stream.ended
    program = Program()
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")
    [(_, opened, stream)] = program.calls
    assert opened.body == b"hello"
    assert stream.ended


def test_a_body_that_comes_later_is_passed_on_as_it_comes() -> None:
    program = Program()
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
    assert not program.stream.ended
    program.says(b"hello")
    assert program.stream.take() == b"hello"
    program.says(b"world" + GET)
    assert program.stream.take() == b"world"
    assert program.stream.ended
    assert len(program.calls) == 1


def test_trailers_of_a_request_go_with_its_end() -> None:
    program = Program()
    program.says(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Sum: 1\r\nHost: b\r\n\r\n"
    )
    assert program.stream.ended
    assert program.stream.trailers is not None
    assert parse_trailers_untrusted(program.stream.trailers).metadata == ("x-sum", "1")


@pytest.mark.parametrize("apart", [True, False])
def test_trailers_that_no_frame_holds_are_refused(apart: bool) -> None:
    program = Program()
    trailers = b"0\r\nX: %b\r\n\r\n" % (b"\xff" * 40_000)  # as text in a frame it is twice as long
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"" if apart else trailers))
    program.says(trailers if apart else b"")
    assert answer_of(program.hears())[0] == 431
    assert not program.port.streams


def test_a_body_that_does_not_fit_the_first_frame_fills_the_next() -> None:
    program = Program()
    body = bytes(range(256)) * 239
    head = b"POST / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 10_000 + b"\r\nContent-Length: %d\r\n\r\n" % len(body)
    program.says(head[:5000])
    program.port.receive_data(head[5000:] + body[: PIECE - 5000])
    program.says(body[PIECE - 5000 :])
    assert program.stream.take() == body
    assert program.stream.ended


@given(st.lists(st.integers(1, 400), min_size=1, max_size=30), st.booleans())
@settings(deadline=None, max_examples=50)
def test_it_makes_no_difference_where_the_connection_cuts_requests(cuts: list[int], chunked: bool) -> None:
    bodies = [b"", b"one", bytes(300)]
    client = b""
    for body in bodies:
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
        client += b"\r\nPOST / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % framing
        client += (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n" if chunked else body
    program = Program()
    got = []
    while client:
        size = cuts[len(client) % len(cuts)]
        program.says(client[:size])
        client = client[size:]
        while program.port.streams and program.stream.ended:
            got.append(program.stream.take())
            program.stream.send_head(reply(), b"ok", end=True)
    assert got == bodies
    assert program.hears().count(b"HTTP/1.1 200 OK") == 3


# Keep-alive and pipelining.


def test_one_connection_takes_request_after_request() -> None:
    program = Program()
    for number in range(3):
        program.says(GET)
        program.stream.send_head(reply(), b"%d" % number, end=True)
        assert answer_of(program.hears())[2] == b"%d" % number
    assert not program.port.finished_writing


def test_requests_behind_one_that_is_not_answered_wait_for_their_turn() -> None:
    program = Program()
    program.says(GET + GET.replace(b"hello", b"second") + GET.replace(b"hello", b"third"))
    for endpoint in ("/hello", "/second", "/third"):
        assert program.calls[-1][0].endpoint == endpoint
        program.stream.send_head(reply(), endpoint.encode(), end=True)
    heard = program.hears()
    assert heard.index(b"/hello") < heard.index(b"/second") < heard.index(b"/third")


def test_few_bytes_of_waiting_requests_are_read_and_the_rest_stays_in_the_socket() -> None:
    program = Program()
    program.says(GET)
    while size := program.port.may_read:
        program.port.receive_data(b"G" * min(size, 1000))
    assert program.port._buffer == b"G" * MAX_PIPELINED


def test_who_does_not_read_its_answers_is_not_answered_more() -> None:
    program = Program(refuse=True)
    program.port.receive_data(GET * 1000)
    assert len(program.calls) < 200
    assert program.port.may_read == 0
    written = 0
    while out := program.port.data_to_send():
        written += b"".join(out).count(b"HTTP/1.1 404")
    assert written == len(program.calls) == 1000
    assert program.port.may_read == PIECE
    assert program.woken


def test_many_requests_at_once_are_taken_one_after_the_other_and_not_one_inside_the_other() -> None:
    program = Program(refuse=True)
    program.port.receive_data(GET * 60)
    assert len(program.calls) == 60
    assert len(set(program.depths)) == 1


def test_empty_lines_before_a_request_are_skipped() -> None:  # RFC 9112, 2.2
    program = Program()
    program.says(b"\r\n" * 1000 + b"\r")
    program.says(b"\n" + GET)
    assert len(program.calls) == 1


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), b"close"),
        (GET.replace(b"1.1", b"1.0"), b"close"),
        (GET.replace(b"1.1", b"1.0").replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"), b"keep-alive"),
        (GET, b""),
    ],
)
def test_a_connection_ends_after_the_answer_where_that_was_asked_for(request_: bytes, field: bytes) -> None:
    program = Program()
    program.says(request_)
    program.stream.send_head(reply(), b"x", end=True)
    heard = program.hears()
    assert (b"connection: " + field in heard) if field else (b"connection" not in heard)
    assert program.port.finished_writing is (field == b"close")
    assert program.port.wants_nothing is (field == b"close")


# Answers.


def test_an_answer_of_unknown_length_comes_in_chunks_each_at_once() -> None:  # server-sent events, say
    program = Program()
    program.says(GET)
    program.stream.send_head(reply(content_type="text/event-stream"))
    heard = program.hears()
    assert b"transfer-encoding: chunked" in heard
    for number in range(3):
        program.stream.write(b"data: %d\n\n" % number)
        assert program.hears() == b"9\r\ndata: %d\n\n\r\n" % number
    program.stream.end()
    assert program.hears() == b"0\r\n\r\n"
    program.says(GET)
    assert len(program.calls) == 2


def test_what_comes_before_an_answer_is_said_before_it_rfc9110_15_2() -> None:
    program = Program()
    program.says(GET)
    woken = program.woken
    program.port.send(INTERIM, 0, 1, reply("link", "a", status=103))
    assert program.woken > woken
    assert program.hears() == b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n"
    program.port.send(INTERIM, 0, 1, reply(status=102))
    program.stream.send_head(reply(), b"x", end=True)
    assert program.hears().startswith(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n")
    program.port.send(INTERIM, 0, 1, reply(status=103))
    assert program.hears() == b"", "the answer is over"


def test_to_http_1_0_nothing_comes_before_an_answer() -> None:
    program = Program()
    program.says(GET.replace(b"1.1", b"1.0"))
    program.port.send(INTERIM, 0, 1, reply("link", "a", status=103))
    assert program.hears() == b""


def test_what_cannot_come_before_an_answer_breaks_the_call_off() -> None:
    program = Program()
    program.says(GET)
    program.port.send(INTERIM, 0, 1, reply(status=200))
    assert program.stream.reset_by_peer is not None
    assert program.hears().startswith(b"HTTP/1.1 502 ")


def test_an_answer_of_known_length_comes_as_it_is() -> None:
    program = Program()
    program.says(GET)
    program.stream.send_head(reply("content-length", "10"), b"hello")
    program.stream.write(b"world")
    program.stream.end()
    assert answer_of(program.hears()) == (200, {"content-length": "10"}, b"helloworld", True)


def test_an_answer_of_unknown_length_to_http_1_0_ends_with_the_connection() -> None:
    program = Program()
    program.says(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
    program.stream.send_head(reply())
    program.stream.write(b"hello")
    heard = program.hears()
    assert heard == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello"
    program.stream.end()
    assert program.port.finished_writing


def test_trailers_of_an_answer_come_behind_its_chunks() -> None:
    program = Program()
    program.says(GET)
    program.stream.send_head(reply())
    program.stream.write(b"x")
    program.stream.end(pack_trailers(Trailers(metadata=("x-sum", "1", "content-length", "5"))))
    assert program.hears().endswith(b"1\r\nx\r\n0\r\nx-sum: 1\r\n\r\n")


def test_trailers_in_the_head_of_an_answer_that_is_one_frame_come_behind_it_too() -> None:
    program = Program()
    program.says(GET)
    head = ReplyHead("", (":status", "200"), trailers=("x-sum", "1"))
    program.stream.send_head(pack_reply_head(head), b"x", end=True)
    assert program.hears().endswith(b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-sum: 1\r\n\r\n")


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_an_answer_that_has_no_body_has_none(method: str, status: int) -> None:
    program = Program()
    program.says(GET.replace(b"GET", method.encode()))
    program.stream.send_head(reply("content-length", "5", status=status), end=True)
    code, fields, body, complete = answer_of(program.hears(), method)
    assert (code, body, complete) == (status, b"", True)
    assert ("content-length" in fields) is (status != 204)
    program.says(GET)
    assert len(program.calls) == 2


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (reply("content-length", "3"), b"longer"),  # what is behind would be the next answer (response splitting)
        (reply("content-length", "20"), b"short"),
        (reply("content-length", "3", status=304), b"body"),
    ],
)
def test_an_answer_that_is_not_as_long_as_it_says_is_cut(head: bytes, said: bytes) -> None:
    program = Program()
    program.says(GET)
    stream = program.stream
    stream.send_head(head)
    stream.write(said)
    if stream.reset_by_peer is None:
        stream.end()
    heard = program.hears()
    assert not heard.endswith(b"longer")
    assert program.port.finished_writing
    assert program.port.wants_nothing


@pytest.mark.parametrize("head", [b"rubbish", reply(status=100), reply("a", "b\r\nc: d"), reply(status=101)])
def test_an_answer_that_cannot_be_said_is_502(head: bytes) -> None:
    program = Program()
    program.says(GET)
    program.stream.send_head(head, b"x")
    assert program.stream.reset_by_peer is not None
    assert program.stream.reset_by_peer.status == Status.INTERNAL
    code, fields, _, _ = answer_of(program.hears())
    assert code == 502
    assert "proxy-status" in fields
    program.says(GET)
    assert len(program.calls) == 2


def test_an_answer_without_a_head_is_502() -> None:
    program = Program()
    program.says(GET)
    program.stream.end(pack_trailers(Trailers(13, "no")))
    assert answer_of(program.hears())[0] == 502


def test_trailers_that_cannot_be_read_cut_the_answer_and_blame_nobody_else() -> None:
    program = Program()
    program.says(GET)
    program.stream.send_head(reply())
    program.stream.end(b"rubbish")
    heard = program.hears()
    assert b"0\r\n\r\n" not in heard
    assert program.port.finished_writing


# What the mesh says itself.


def test_a_call_that_leads_nowhere_is_told_so_and_the_connection_goes_on() -> None:
    program = Program(refuse=True)
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
    code, fields, text, complete = answer_of(program.hears())
    assert (code, text, complete) == (404, b"no such service\n", True)
    assert fields["proxy-status"] == 'micro; error=destination_not_found; details="no such service"'
    assert fields["micro-fate"] == "not-reached"
    program.says(GET)
    assert len(program.calls) == 2


def test_where_the_body_is_still_coming_the_connection_ends_with_a_refusal() -> None:
    program = Program(refuse=True)
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\nExpect: 100-continue\r\n\r\n")
    heard = program.hears()
    assert b"100 Continue" not in heard
    assert answer_of(heard)[1]["connection"] == "close"
    assert program.port.finished_writing
    program.says(bytes(500_000))
    assert len(program.calls) == 1


def test_a_refusal_of_head_has_no_body() -> None:
    program = Program(refuse=True)
    program.says(GET.replace(b"GET", b"HEAD"))
    assert program.hears().endswith(b"\r\n\r\n")


def test_a_call_that_is_reset_in_the_middle_of_its_answer_is_cut() -> None:
    program = Program()
    program.says(GET)
    program.stream.send_head(reply())
    program.stream.write(b"half")
    program.stream.reset(Status.UNAVAILABLE, "gone")
    heard = program.hears()
    assert heard.endswith(b"4\r\nhalf\r\n")
    assert answer_of(heard)[3] is False
    assert program.port.finished_writing
    assert program.port.reset is None


def test_where_only_the_end_of_the_connection_ends_an_answer_it_is_broken_off() -> None:
    program = Program()
    program.says(GET.replace(b"1.1", b"1.0"))
    program.stream.send_head(reply())
    program.stream.reset(Status.UNAVAILABLE, "gone")
    assert program.port.reset is not None


def test_a_program_without_the_right_token_is_not_let_in() -> None:
    tokens: list[bytes] = []

    def objection(token: bytes) -> str:
        tokens.append(token)
        return "" if token == b"Bearer right" else "show the token"

    program = Program(objection=objection)
    program.says(GET.replace(b"\r\n\r\n", b"\r\nProxy-Authorization: Bearer right\r\n\r\n"))
    program.stream.send_head(reply(), end=True)
    program.hears()
    program.says(GET)
    code, fields, text, _ = answer_of(program.hears())
    assert (code, text) == (407, b"show the token\n")
    assert fields["proxy-authenticate"].startswith("Basic ")
    assert tokens == [b"Bearer right", b""]
    assert len(program.calls) == 1
    assert program.port.finished_writing


def test_a_web_page_whose_name_leads_here_calls_no_service() -> None:
    page = b"GET / HTTP/1.1\r\nHost: evil.example:8081\r\nMicro-Service: billing\r\nAccept-Language: en\r\n\r\n"
    program = Program(meant_by=lambda host: host if host == "shop.example" else "")
    program.says(page)
    status, fields, body, _ = answer_of(program.hears())
    assert (status, fields["micro-fate"], program.calls) == (421, "not-reached", [])
    assert b"'evil.example'" in body
    program = Program(meant_by=lambda host: host if host == "shop.example" else "")
    program.says(page.replace(b"evil", b"shop"))
    assert program.calls[0][0].service == "billing"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 60_000 + b"\r\nY: " + b"y" * 5400 + b"\r\n\r\n", 431),
        (b"x" * 70_000, 431),
        (b"\x16\x03\x01\n", 400),
    ],
)
def test_a_request_that_cannot_be_read_is_told_why_and_nothing_behind_it_is_read(data: bytes, status: int) -> None:
    program = Program()
    while data and not program.port.wants_nothing:
        program.port.receive_data(data[: program.port.may_read])
        data = data[PIECE:]
    program.says(GET)
    code, fields, _, complete = answer_of(program.hears())
    assert (code, complete) == (status, True)
    assert fields["connection"] == "close"
    assert fields["proxy-status"].startswith("micro; error=")
    assert fields["micro-fate"] == "not-reached"
    assert not program.calls
    assert program.port.finished_writing


def test_a_body_that_cannot_be_read_is_told_so_and_its_call_never_ends_well() -> None:
    program = Program()
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
    program.says(b"loXX" + GET)
    assert program.stream.cut
    assert program.stream.reset_by_peer is not None
    assert program.stream.reset_by_peer.status == Status.CANCELLED
    status, fields, *_ = answer_of(program.hears())
    assert (status, fields["micro-fate"]) == (400, "may-have-run")
    assert program.port.finished_writing


def test_a_bad_body_behind_a_complete_answer_is_not_answered_again() -> None:
    program = Program()
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    program.stream.send_head(reply(), b"early", end=True)
    program.says(b"rubbish\r\n")
    assert program.hears().count(b"HTTP/1.1") == 1
    assert program.port.finished_writing


# 100 Continue.


def test_who_waits_for_100_gets_it_when_the_call_is_on_its_way() -> None:
    program = Program()
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    assert program.hears() == b"HTTP/1.1 100 Continue\r\n\r\n"
    program.says(b"hello")
    program.stream.send_head(reply(), end=True)
    assert program.hears().startswith(b"HTTP/1.1 200 OK")


def test_who_has_sent_its_body_is_not_told_to() -> None:
    program = Program()
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello")
    assert program.hears() == b""


# Credit.


def test_a_body_is_read_as_far_as_its_credit_and_on_when_that_is_granted() -> None:
    program = Program()
    program.says(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
    while size := program.port.may_read:
        program.port.receive_data(bytes(size))
    assert program.stream.buffered == INITIAL_CREDIT
    woken = program.woken
    program.stream.take()
    assert program.port.may_read == PIECE
    assert program.woken == woken + 1


def test_the_far_end_is_granted_credit_for_what_the_connection_took() -> None:
    program = Program()
    program.says(GET)
    program.stream.send_head(reply())
    assert program.stream.write(bytes(100_000)) == INITIAL_CREDIT
    assert program.stream.may_send == 0
    program.port.data_to_send()
    assert program.stream.may_send == 0, "it is on its way to a socket that may be full"
    assert program.port.data_to_send() == []
    assert program.stream.may_send == INITIAL_CREDIT


def test_who_has_sent_all_of_its_answer_is_granted_nothing_for_it() -> None:
    program = Program()
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
    program.stream.send_head(reply())
    assert program.stream.write(bytes(60_000)) == 60_000
    program.stream.end()
    program.hears()
    assert program.stream.may_send == INITIAL_CREDIT - 60_000


def test_credit_of_one_call_is_not_that_of_the_next() -> None:
    program = Program()
    left = program.pool.left
    program.says(GET)
    program.stream.send_head(reply())
    for _ in range(10):
        program.now += 0.1
        allowed = program.stream.may_send
        while allowed:
            allowed -= program.stream.write(bytes(min(allowed, 16384)))
            program.hears()
    assert program.pool.left < left
    program.stream.write(bytes(60_000))
    program.stream.end()
    program.says(GET)
    program.stream.send_head(reply())
    program.hears()
    assert program.stream.may_send == INITIAL_CREDIT
    assert program.pool.left == left


# How calls and connections end.


def test_a_program_that_leaves_gives_its_call_up() -> None:
    for request in (GET, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel"):
        program = Program()
        program.says(request)
        program.says(b"")
        assert program.stream.reset_by_peer is not None
        assert program.stream.reset_by_peer.status == Status.CANCELLED
        assert program.port.finished_writing
        assert not program.port.streams


def test_a_connection_that_is_lost_gives_its_call_up() -> None:
    program = Program()
    program.says(GET)
    program.port.connection_lost("it broke")
    program.port.connection_lost("again")
    assert program.dead == ["it broke"]
    program.stream.send_head(reply(), b"late", end=True)
    assert program.hears() == b""


def test_an_end_between_requests_is_an_end() -> None:
    program = Program()
    program.says(GET)
    program.stream.send_head(reply(), end=True)
    program.says(b"")
    assert program.hears().startswith(b"HTTP/1.1 200 OK")
    assert program.port.finished_writing


def test_an_answer_may_come_before_the_request_is_complete() -> None:
    program = Program()
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
    program.stream.send_head(reply(), b"early", end=True)
    assert answer_of(program.hears())[2] == b"early"
    program.says(b"world" + GET)
    assert program.calls[0][2].take() == b"helloworld"
    assert program.calls[0][2].ended
    assert len(program.calls) == 2


def test_a_body_that_nobody_wants_is_dropped_and_the_connection_ends_with_the_answer() -> None:
    program = Program()
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n")
    program.stream.stop()
    program.says(bytes(400_000))
    assert program.stream.ended
    assert program.stream.buffered == 0
    program.stream.send_head(reply(), b"enough", end=True)
    assert answer_of(program.hears())[1]["connection"] == "close"
    assert program.port.finished_writing


def test_a_body_may_be_found_unwanted_after_its_answer() -> None:
    program = Program()
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n")
    program.stream.send_head(reply(), b"enough", end=True)
    assert not program.port.finished_writing
    program.stream.stop()
    assert program.hears().endswith(b"enough")
    assert program.port.finished_writing
    assert not program.port.streams


def test_a_node_that_goes_away_finishes_what_it_has_begun() -> None:
    program = Program()
    program.says(GET)
    program.port.go_away()
    assert not program.port.finished_writing
    program.stream.send_head(reply(), b"x", end=True)
    assert answer_of(program.hears())[1]["connection"] == "close"
    assert program.port.finished_writing


def test_a_connection_is_kept_until_an_answer_has_said_that_it_ends() -> None:
    # Idle, and with an answer under way that promised more: a request may be on its way.
    for idle in (True, False):
        program = Program()
        if not idle:
            program.says(GET)
            program.stream.send_head(reply("content-length", "2"), b"x", end=False)
            assert "connection" not in answer_of(program.hears())[1]
        program.port.go_away()
        assert not program.port.refusing
        if not idle:
            program.stream.write(b"x")
            program.stream.end()
            assert program.hears() == b"x"
        assert not program.port.finished_writing
        program.says(GET)
        assert program.port.refusing
        program.stream.send_head(reply(), b"x", end=True)
        assert answer_of(program.hears())[1]["connection"] == "close"
        assert program.port.finished_writing


def test_a_request_after_the_time_for_that_is_refused_as_not_reached() -> None:
    program = Program()
    program.port.go_away()
    program.port.refuse()
    assert program.port.refusing
    assert not program.port.finished_writing
    program.says(GET)
    assert not program.calls
    status, fields, body, complete = answer_of(program.hears())
    assert (status, fields["connection"], fields["micro-fate"]) == (503, "close", "not-reached")
    assert (body, complete) == (f"{STOPPING}\n".encode(), True)
    assert program.port.finished_writing


@pytest.mark.parametrize("beginning", [b"", GET[:10]])
def test_a_connection_that_is_left_says_that_no_request_was_read(beginning: bytes) -> None:
    program = Program()
    if beginning:
        program.says(beginning)
    program.port.refuse()
    program.port.take_leave()
    program.says(GET)  # it crosses these words
    assert not program.calls
    status, fields, body, complete = answer_of(program.hears())
    assert (status, fields["connection"], fields["micro-fate"]) == (408, "close", "not-reached")
    assert (body, complete) == (f"{STOPPING}\n".encode(), True)
    assert program.port.finished_writing


def test_a_connection_with_a_call_is_not_left() -> None:
    program = Program()
    program.says(GET)
    program.port.take_leave()
    assert program.hears() == b""
    program.stream.send_head(reply(), b"x", end=True)
    assert answer_of(program.hears())[0] == 200


def test_a_request_that_was_on_its_way_when_the_node_went_away_is_the_last() -> None:
    program = Program()
    program.says(GET[:10])
    program.port.go_away()
    program.says(GET[10:])
    program.stream.send_head(reply(), b"x", end=True)
    assert answer_of(program.hears())[1]["connection"] == "close"


LIMITS = Limits(idle=60.0, stall=30.0, max_body=100)


def after(program: Program, seconds: float) -> None:
    """Time passes, and the driver looks as often as the port wants."""
    until = program.now + seconds
    while program.port.next_timeout() <= until:
        program.now = max(program.now, program.port.next_timeout())
        program.port.handle_timeout(program.now)
    program.now = until


def test_a_connection_without_a_call_is_ended_when_its_time_is_up() -> None:
    program = Program(limits=LIMITS)
    after(program, 59.0)
    program.says(GET)
    after(program, 1000.0)  # a call may be as silent as it is
    program.stream.send_head(reply(), b"x", end=True)
    assert answer_of(program.hears())[0] == 200
    after(program, 59.0)
    assert not program.port.finished_writing
    after(program, 1.0 + LOOK)
    assert program.hears() == b""
    assert program.port.finished_writing


def test_without_limits_connections_and_calls_last_for_ever() -> None:
    program = Program(limits=Limits(idle=0.0, stall=0.0))
    after(program, 10_000.0)
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
    program.port.data_to_send()
    after(program, 10_000.0)
    assert not program.port.finished_writing
    assert program.port.reset is None


@pytest.mark.parametrize("begun", [b"", GET])
def test_the_head_of_a_request_has_ten_seconds_from_its_first_byte(begun: bytes) -> None:
    program = Program(limits=LIMITS)
    if begun:
        program.says(begun + GET[:3])
        program.stream.send_head(reply(), b"x", end=True)
        program.hears()
    else:
        after(program, 50.0)
        program.says(GET[:3])
    for at in range(3, 11):
        after(program, HEAD_WITHIN / 8 - 0.01)
        program.says(GET[at : at + 1])  # a byte now and then helps nobody
    assert not program.port.finished_writing
    after(program, LOOK + 0.1)
    assert answer_of(program.hears())[0] == 408
    assert program.port.finished_writing


@pytest.mark.parametrize("framing", [b"Content-Length: 10\r\n\r\nhe", b"Transfer-Encoding: chunked\r\n\r\na\r\nhe"])
def test_a_body_that_was_announced_and_stands_still_ends_its_call(framing: bytes) -> None:
    program = Program(limits=LIMITS)
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing)
    after(program, 29.0)
    program.says(b"l")
    after(program, 29.0)
    assert program.stream.reset_by_peer is None
    after(program, 1.0 + 2 * LOOK)
    assert program.stream.reset_by_peer is not None
    assert program.stream.reset_by_peer.status == Status.CANCELLED
    assert "sent nothing of the rest of a body for 30 s" in program.stream.reset_by_peer.detail
    assert answer_of(program.hears())[0] == 408
    assert program.port.finished_writing


def test_a_body_in_chunks_may_be_silent_between_them() -> None:
    program = Program(limits=LIMITS)
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n")
    after(program, 10_000.0)
    program.says(b"0\r\n\r\n")
    assert program.stream.ended


def test_a_program_that_may_send_nothing_does_not_stand_still() -> None:
    program = Program(limits=Limits(stall=30.0))
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + bytes(INITIAL_CREDIT))
    assert program.port.may_read == 0
    after(program, 10_000.0)
    program.stream.take()  # now it may
    assert program.port.may_read > 0
    after(program, 29.0)
    assert program.stream.reset_by_peer is None
    after(program, 1.0 + 2 * LOOK)
    assert program.stream.reset_by_peer is not None


def test_a_program_that_takes_nothing_of_its_answer_is_broken_off_and_one_that_is_slow_is_not() -> None:
    program = Program(limits=LIMITS)
    program.says(GET)
    program.stream.send_head(reply(), b"x", end=False)
    taken = 0
    program.port.progress = lambda: taken
    assert program.port.data_to_send()  # and the driver does not come back
    for _ in range(100):
        after(program, 29.0)
        taken += 1
    assert program.port.reset is None
    after(program, 31.0 + 2 * LOOK)
    assert program.port.reset is not None
    assert "taken nothing of what was sent to it for 30 s" in program.port.reset.detail
    assert program.stream.reset_by_peer is not None


def test_what_a_connection_was_upgraded_to_has_no_clock() -> None:
    program = Program(limits=LIMITS)
    program.says(UPGRADE)
    program.stream.send_head(reply(":upgrade", "websocket", status=101), b"welcome")
    program.port.data_to_send()
    after(program, 10_000.0)
    assert program.port.reset is None
    program.says(b"still here")
    assert program.stream.take() == b"still here"


def test_a_request_may_be_as_long_as_the_limit() -> None:
    program = Program(limits=LIMITS)
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + bytes(100))
    assert program.stream.take() == bytes(100)
    program.stream.send_head(reply(), b"x", end=True)
    assert answer_of(program.hears())[0] == 200
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    program.says(chunked + b"32\r\n" + bytes(50))
    program.says(b"\r\n32\r\n" + bytes(50) + b"\r\n0\r\n\r\n")
    assert program.stream.take() == bytes(100)
    assert program.stream.ended


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 101\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n65\r\n%b" % bytes(101)]
)
def test_a_request_that_is_known_to_be_longer_is_refused_before_anybody_sees_it(framing: bytes) -> None:
    program = Program(limits=LIMITS)
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing)
    assert not program.calls
    status, fields, text, _ = answer_of(program.hears())
    assert (status, text) == (413, b"the body of a request may have 100 bytes here and no more\n")
    assert "http_request_error" in fields["proxy-status"]
    assert fields["micro-fate"] == "not-reached"
    assert program.port.finished_writing


def test_a_request_that_turns_out_to_be_longer_is_ended_and_its_call_cancelled() -> None:
    program = Program(limits=LIMITS)
    program.says(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n" + bytes(100))
    assert program.stream.reset_by_peer is None
    program.says(b"\r\n1\r\n\0")
    assert program.stream.reset_by_peer is not None
    assert program.stream.reset_by_peer.status == Status.CANCELLED
    status, fields, *_ = answer_of(program.hears())
    assert (status, fields["micro-fate"]) == (413, "may-have-run")


def test_a_program_takes_no_calls() -> None:
    program = Program()
    assert not program.port.was_sent(1)
    with pytest.raises(Unavailable):
        program.port.next_stream()


# Upgrades.

UPGRADE = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def test_after_an_upgrade_bytes_pass_both_ways_as_they_are() -> None:
    program = Program()
    program.says(UPGRADE + b"early")
    assert not program.stream.ended
    assert program.stream.take() == b""
    program.stream.send_head(reply(":upgrade", "websocket", "sec-websocket-accept", "x", status=101), b"welcome")
    assert program.hears() == (
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-accept: x\r\n\r\nwelcome"
    )
    assert program.stream.take() == b"early"
    program.says(b"\0GET / HTTP/1.1\r\n\r\n")
    assert program.stream.take() == b"\0GET / HTTP/1.1\r\n\r\n"
    program.stream.write(b"0\r\n\r\n")
    assert program.hears() == b"0\r\n\r\n"
    program.says(b"")
    assert program.stream.ended
    assert not program.port.finished_writing
    program.stream.write(b"last")
    program.stream.end()
    assert program.hears() == b"last"
    assert program.port.finished_writing
    assert not program.port.streams


def test_an_upgrade_that_is_not_agreed_to_is_a_request_like_any_other() -> None:
    program = Program()
    program.says(UPGRADE + GET)
    program.stream.send_head(reply(status=403), b"no", end=True)
    assert program.calls[0][2].ended
    assert answer_of(program.hears())[:3] == (403, {"content-length": "2"}, b"no")
    assert [head.endpoint for head, _, _ in program.calls] == ["/chat", "/hello"]


def test_an_upgraded_connection_is_read_within_its_credit_and_broken_off_when_the_call_is_reset() -> None:
    program = Program()
    program.says(UPGRADE)
    program.stream.send_head(reply(":upgrade", "websocket", status=101))
    while size := program.port.may_read:
        program.port.receive_data(bytes(size))
    assert program.stream.buffered == INITIAL_CREDIT
    program.stream.reset(Status.UNAVAILABLE, "gone")
    assert program.port.reset is not None
