"""HTTP/1.1 towards instances: a mux on one side, h11, or plain bytes, on the other; no sockets, no event loop."""

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.errors import Status, Unavailable
from sdk.head import (
    CallHead,
    Trailers,
    pack_call_head,
    pack_trailers,
    parse_reply_head_untrusted,
    parse_trailers_untrusted,
)
from sdk.port import Port
from sdk.port.http1 import PIECE
from sdk.port.http1calling import KEPT, CallingHttp1Port
from sdk.port.limits import DEFAULT, Limits
from sdk.wire.credit import CreditPool
from sdk.wire.frame import INITIAL_CREDIT, INTERIM, MAX_INTERIM, MAX_INTERIM_SIZE, Fate
from sdk.wire.mux import Mux, MuxStream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def head(method: str = "GET", *fields: str, upgrade: str = "") -> bytes:
    asked = (":upgrade", upgrade) if upgrade else ()
    metadata = (":method", method, ":scheme", "http", ":authority", "greeter", *asked, *fields)
    return pack_call_head(CallHead("greeter", "/a", "http", 0, "", metadata, b"i" * 16))


class Instance:
    """An instance's connection, as its bytes and as the calls that become them."""

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self.free: list[CallingHttp1Port] = []
        self.dead: list[str] = []
        self.now = 1000.0
        self.woken = 0
        self.pool = CreditPool()
        self.mux = Mux(on_dead=self.dead.append)
        self.port = CallingHttp1Port(
            self.mux,
            name="instance",
            clock=lambda: self.now,
            on_free=self.free.append,
            limits=limits,
            pool=self.pool,
        )
        self.mux.attach(self.port)
        self.port.wake = self._wake
        self.port.sink = self
        self.interim: list[tuple[str, ...]] = []

    def on_frame(self, port: Port, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """To the mux, which knows nothing of what comes before an answer."""
        if kind == INTERIM:
            self.interim.append(parse_reply_head_untrusted(payload).metadata)
        self.mux.on_frame(port, kind, flags, stream, payload)

    def on_dead(self, port: Port, reason: str) -> None:
        self.mux.on_dead(port, reason)

    def _wake(self) -> None:
        self.woken += 1

    def call(self, method: str = "GET", body: bytes = b"", *fields: str, end: bool = True) -> MuxStream:
        return self.mux.open(head(method, *fields), body, end=end)

    def says(self, data: bytes) -> None:
        """The instance sends this, and the port reads as much of it at a time as it wants."""
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


def requests_in(data: bytes) -> list[tuple[h11.Request, bytes, list[tuple[bytes, bytes]]]]:
    """The requests that h11 reads, with body and trailers."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(data)
    found = []
    while isinstance(request := server.next_event(), h11.Request):
        body = b""
        while isinstance(event := server.next_event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage), event
        found.append((request, body, list(event.headers)))
        server.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        server.send(h11.EndOfMessage())
        server.start_next_cycle()
    return found


def reply_of(stream: MuxStream) -> tuple[dict[str, str], bytes, Trailers]:
    assert stream.head is not None
    reply = parse_reply_head_untrusted(stream.head)
    fields = dict(zip(reply.metadata[::2], reply.metadata[1::2], strict=True))
    trailers = parse_trailers_untrusted(stream.trailers) if stream.trailers else Trailers()
    return fields, stream.take(), trailers


# Requests.


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS"])
def test_a_call_without_a_body_is_a_request_without_one(method: str) -> None:
    instance = Instance()
    instance.call(method, b"", "x-a", "1")
    heard = instance.hears()
    assert heard == b"%b /a HTTP/1.1\r\nhost: greeter\r\nx-a: 1\r\n\r\n" % method.encode()
    assert len(requests_in(heard)) == 1


def test_an_empty_body_is_said_to_be_one_where_one_is_expected() -> None:  # RFC 9110, 8.6
    instance = Instance()
    instance.call("POST")
    assert instance.hears().endswith(b"content-length: 0\r\n\r\n")


def test_a_body_that_is_complete_has_its_length_said() -> None:
    instance = Instance()
    instance.call("POST", b"hello")
    [(request, body, _)] = requests_in(instance.hears())
    assert dict(request.headers)[b"content-length"] == b"5"
    assert body == b"hello"


def test_a_body_of_known_length_comes_as_it_is() -> None:
    instance = Instance()
    stream = instance.call("POST", b"hello", "content-length", "10", end=False)
    stream.write(b"world")
    stream.end()
    [(request, body, _)] = requests_in(instance.hears())
    assert b"transfer-encoding" not in dict(request.headers)
    assert body == b"helloworld"


def test_a_body_of_unknown_length_comes_in_chunks_with_trailers_behind() -> None:
    instance = Instance()
    stream = instance.call("POST", b"hello", end=False)
    stream.write(b"world")
    stream.end(pack_trailers(Trailers(metadata=("x-sum", "1", "host", "b"))))
    [(request, body, trailers)] = requests_in(instance.hears())
    assert dict(request.headers)[b"transfer-encoding"] == b"chunked"
    assert body == b"helloworld"
    assert trailers == [(b"x-sum", b"1")]


@pytest.mark.parametrize("bad", [head("GET", "a", "b\r\nc: d"), b"rubbish"])
def test_a_call_that_cannot_be_said_is_refused_and_the_connection_takes_the_next(bad: bytes) -> None:
    instance = Instance()
    stream = instance.mux.open(bad, end=True)
    assert stream.reset_by_peer is not None
    assert stream.reset_by_peer[:2] == (Status.INVALID_ARGUMENT, Fate.NOT_REACHED)
    assert instance.free == [instance.port]
    assert instance.hears() == b""
    instance.call()
    assert len(requests_in(instance.hears())) == 1


@pytest.mark.parametrize(("body", "end"), [(b"more than said", True), (b"less", True), (b"more than said", False)])
def test_a_body_that_is_not_as_long_as_it_says_never_becomes_a_request_of_its_own(body: bytes, end: bool) -> None:
    instance = Instance()
    stream = instance.call("POST", body, "content-length", "8", end=end)
    assert stream.reset_by_peer is not None
    assert stream.reset_by_peer.status == Status.INVALID_ARGUMENT
    assert b"more than" not in instance.hears()


@pytest.mark.parametrize("more", [b"", b"more than was said"])
def test_a_body_whose_rest_is_not_as_long_as_it_says_breaks_the_connection(more: bytes) -> None:
    instance = Instance()
    stream = instance.call("POST", b"four", "content-length", "8", end=False)
    instance.hears()
    stream.write(more)
    if stream.reset_by_peer is None:
        stream.end()
    assert instance.port.reset is not None
    assert not instance.port.free
    if more:
        assert stream.reset_by_peer is not None
        assert stream.reset_by_peer.fate == Fate.MAY_HAVE_RUN


def test_trailers_that_cannot_be_read_break_the_connection_and_blame_nobody_else() -> None:
    instance = Instance()
    stream = instance.call("POST", b"four", end=False)
    instance.hears()
    stream.end(b"rubbish")
    assert instance.port.reset is not None
    assert b"0\r\n" not in instance.hears()


# Answers.


def test_an_answer_that_came_whole_is_one_frame() -> None:
    instance = Instance()
    stream = instance.call()
    instance.hears()
    instance.says(OK)
    assert stream.head_is_final
    fields, body, _ = reply_of(stream)
    assert fields == {":status": "200", "content-length": "5", "via": "1.1 micro"}
    assert body == b"hello"
    assert not instance.port.streams


def test_an_answer_in_chunks_is_passed_on_as_it_comes() -> None:
    instance = Instance()
    stream = instance.call()
    instance.hears()
    instance.says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert stream.head is not None
    for piece in (b"one", b"two"):
        instance.says(b"3\r\n%b\r\n" % piece)
        assert stream.take() == piece
    instance.says(b"0\r\nX-Sum: 1\r\nSet-Cookie: 2\r\n\r\n")
    assert stream.ended
    assert reply_of(stream)[2] == Trailers(metadata=("x-sum", "1"))
    assert instance.port.free


def test_an_answer_may_end_with_the_connection() -> None:
    instance = Instance()
    stream = instance.call()
    instance.hears()
    instance.says(b"HTTP/1.0 200 OK\r\n\r\nhel")
    instance.says(b"lo")
    assert not stream.ended
    instance.says(b"")
    assert (stream.ended, stream.cut, stream.take()) == (True, False, b"hello")
    assert instance.port.finished_writing
    assert not instance.free


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_an_answer_that_has_no_body_ends_with_its_head(method: str, status: int) -> None:
    instance = Instance()
    stream = instance.call(method)
    instance.hears()
    instance.says(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status)
    assert stream.ended
    assert instance.port.free


def test_what_comes_before_an_answer_is_passed_on_but_that_the_body_may_come_rfc9110_15_2() -> None:
    instance = Instance()
    stream = instance.call()
    instance.hears()
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\nConnection: x\r\nX: hop\r\n\r\n"
    instance.says(b"HTTP/1.1 100 Continue\r\n\r\n" + hints)
    assert instance.interim == [(":status", "103", "link", "a", "via", "1.1 micro")]
    instance.says(b"HTTP/1.1 102 Processing\r\n\r\n" + OK)
    assert instance.interim[1:] == [(":status", "102", "via", "1.1 micro")]
    assert reply_of(stream)[0][":status"] == "200"


def test_no_more_of_that_is_passed_on_than_may_be() -> None:
    instance = Instance()
    for _ in range(2):
        stream = instance.call()
        instance.hears()
        instance.interim.clear()
        instance.says(b"HTTP/1.1 103 Early Hints\r\nLink: %b\r\n\r\n" % (b"l" * MAX_INTERIM_SIZE))
        assert not instance.interim
        instance.says(b"HTTP/1.1 102 Processing\r\n\r\n" * (MAX_INTERIM + 5) + OK)
        assert len(instance.interim) == MAX_INTERIM
        assert reply_of(stream)[0][":status"] == "200"


def test_a_long_head_and_a_body_that_do_not_fit_one_frame_take_two() -> None:
    instance = Instance()
    stream = instance.call()
    instance.hears()
    body = bytes(range(256)) * 200
    data = b"HTTP/1.1 200 OK\r\nX: %b\r\nContent-Length: %d\r\n\r\n" % (b"x" * 20_000, len(body)) + body
    instance.port.receive_data(data[:15_000])
    instance.port.receive_data(data[15_000:])
    assert reply_of(stream)[1] == body
    assert stream.ended


@given(st.lists(st.integers(1, 200), min_size=1, max_size=30))
@settings(deadline=None, max_examples=50)
def test_it_makes_no_difference_where_the_connection_cuts_answers(cuts: list[int]) -> None:
    instance = Instance()
    answers = (
        OK,
        b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    for data in answers:
        stream = instance.call()
        instance.hears()
        while data:
            size = cuts[len(data) % len(cuts)]
            instance.says(data[:size])
            data = data[size:]
        assert (stream.take(), stream.ended) == (b"hello", True)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 5\n\n",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"\xff" * 40_000 + b"\r\n\r\n",  # as text in a frame it is twice as long
    ],
)
def test_an_answer_that_cannot_be_read_fails_the_call_and_ends_the_connection(data: bytes) -> None:
    instance = Instance()
    stream = instance.call()
    instance.hears()
    while data and instance.port.reset is None:
        instance.port.receive_data(data[:PIECE])
        data = data[PIECE:]
    assert stream.reset_by_peer is not None
    assert stream.reset_by_peer[:2] == (Status.INTERNAL, Fate.MAY_HAVE_RUN)
    assert "instance" in stream.reset_by_peer.detail
    assert instance.port.reset is not None
    assert not instance.port.free


def test_trailers_that_no_frame_holds_cut_the_answer() -> None:
    instance = Instance()
    stream = instance.call()
    instance.hears()
    instance.says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: %b\r\n\r\n" % (b"\xff" * 40_000))
    assert stream.cut
    assert instance.port.reset is not None


def test_a_body_that_cannot_be_read_cuts_the_answer() -> None:
    instance = Instance()
    stream = instance.call()
    instance.hears()
    instance.says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello")
    instance.says(b"XX")
    assert stream.cut
    assert instance.port.reset is not None


# One call after the other.


def test_a_connection_takes_call_after_call() -> None:
    instance = Instance()
    assert instance.port.free
    for _ in range(3):
        stream = instance.call()
        assert not instance.port.free
        with pytest.raises(Unavailable):
            instance.port.next_stream()
        instance.hears()
        instance.says(OK)
        assert stream.take() == b"hello"
        assert instance.port.free
    assert instance.free == [instance.port] * 3


@pytest.mark.parametrize(
    "data",
    [
        OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        OK.replace(b"1.1", b"1.0"),
        OK + b"HTTP/1.1 200 OK\r\n",  # whose answer would that be? (CVE-2023-37276 and the like: response queues)
    ],
)
def test_a_connection_that_cannot_be_trusted_with_another_call_ends(data: bytes) -> None:
    instance = Instance()
    stream = instance.call()
    instance.hears()
    instance.says(data)
    assert stream.take() == b"hello"
    assert not instance.free
    assert not instance.port.free
    assert instance.port.finished_writing
    assert instance.port.wants_nothing


def test_an_answer_that_nobody_asked_for_ends_the_connection_before_anybody_gets_it() -> None:
    instance = Instance()
    instance.says(OK)
    assert not instance.port.free
    assert instance.port.finished_writing
    late = Instance()
    stream = late.call()
    late.says(OK)  # it came before the request was written
    assert stream.reset_by_peer is not None
    assert stream.reset_by_peer.fate == Fate.NOT_REACHED


def test_a_connection_is_kept_for_a_while() -> None:
    instance = Instance()
    instance.call()
    instance.hears()
    instance.now += 100
    instance.port.handle_timeout(instance.now)
    assert instance.port.next_timeout() == instance.now + KEPT
    instance.says(OK)
    instance.now += KEPT - 0.1
    instance.port.handle_timeout(instance.now)
    assert instance.port.free
    instance.now += 0.1
    assert not instance.port.free
    instance.port.handle_timeout(instance.now)
    assert instance.port.finished_writing


def stand_still(instance: Instance, seconds: float) -> None:
    """Time passes, and the driver looks as often as the port wants."""
    until = instance.now + seconds
    while instance.port.next_timeout() <= until:
        instance.now = max(instance.now, instance.port.next_timeout())
        instance.port.handle_timeout(instance.now)
    instance.now = until


def test_an_instance_may_think_about_an_answer_but_not_keep_back_the_rest_of_one() -> None:
    instance = Instance(Limits(stall=30.0))
    stream = instance.call()
    instance.hears()
    stand_still(instance, 10_000.0)
    instance.says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
    stand_still(instance, 29.0)
    instance.says(b"l")
    stand_still(instance, 29.0)
    assert stream.reset_by_peer is None
    stand_still(instance, 1.0 + 3 * KEPT)
    assert stream.reset_by_peer is not None
    assert (stream.reset_by_peer.status, stream.reset_by_peer.fate) == (Status.UNAVAILABLE, Fate.MAY_HAVE_RUN)
    assert "instance has sent nothing of the rest of a body for 30 s" in stream.reset_by_peer.detail
    assert instance.port.reset is not None


def test_an_answer_without_a_length_may_be_as_silent_as_it_is() -> None:
    instance = Instance(Limits(stall=30.0))
    stream = instance.call()
    instance.hears()
    instance.says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n")
    stand_still(instance, 10_000.0)
    assert stream.reset_by_peer is None


def test_an_instance_that_takes_nothing_of_a_request_is_given_up() -> None:
    instance = Instance(Limits(stall=30.0))
    stream = instance.call("POST", b"x" * 1000, end=False)
    assert instance.port.data_to_send()  # and the driver does not come back
    stand_still(instance, 30.0 + 3 * KEPT)
    assert stream.reset_by_peer is not None
    assert "taken nothing of what was sent to it" in stream.reset_by_peer.detail


def test_an_instance_that_closes_a_kept_connection_is_not_called_on_it() -> None:
    instance = Instance()
    instance.says(b"")
    assert not instance.port.free
    with pytest.raises(Unavailable):
        instance.port.next_stream()
    assert instance.port.finished_writing


@pytest.mark.parametrize("cut", [0, 10, len(OK) - 2])
@pytest.mark.parametrize("fields", [(), ("content-length", "500000")])
def test_an_answer_before_the_end_of_its_request_stops_the_caller_and_ends_the_connection(
    fields: tuple[str, ...], cut: int
) -> None:
    instance = Instance()
    stream = instance.call("POST", b"some", *fields, end=False)
    instance.hears()
    if cut:
        instance.says(OK[:cut])
    instance.says(OK[cut:])
    assert stream.take() == b"hello"
    assert stream.stopped
    assert stream.ended
    assert not stream.cut
    assert not instance.port.streams
    assert instance.port.finished_writing
    assert not instance.free


# What is known of a call that failed.


def test_a_call_on_a_connection_that_never_came_about_was_not_reached() -> None:
    instance = Instance()
    stream = instance.call()
    assert not instance.port.was_sent(stream.number)
    instance.port.connection_lost("connection refused")
    assert stream.reset_by_peer is not None
    assert stream.reset_by_peer.fate == Fate.NOT_REACHED
    assert instance.dead == ["connection refused"]


def test_a_call_that_was_not_written_to_a_kept_connection_was_not_reached() -> None:
    instance = Instance()
    instance.call()
    instance.hears()
    instance.says(OK)
    stream = instance.call()
    instance.says(b"")
    assert stream.reset_by_peer is not None
    assert stream.reset_by_peer[:2] == (Status.UNAVAILABLE, Fate.NOT_REACHED)


@pytest.mark.parametrize("came", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"])
def test_a_call_whose_request_was_written_may_have_run(came: bytes) -> None:
    for closed in (True, False):
        instance = Instance()
        stream = instance.call()
        instance.hears()
        if came:
            instance.says(came)
        if closed:
            instance.says(b"")
        else:
            instance.port.connection_lost("it broke")
        assert stream.reset_by_peer is not None
        assert stream.reset_by_peer[:2] == (Status.UNAVAILABLE, Fate.MAY_HAVE_RUN)
        assert "instance" in stream.reset_by_peer.detail
        assert not instance.port.free


def test_a_call_that_is_given_up_before_it_was_written_leaves_the_connection_as_it_was() -> None:
    instance = Instance()
    stream = instance.call("POST", b"x", end=False)
    stream.reset(Status.CANCELLED, "never mind")
    assert instance.hears() == b""
    assert instance.free == [instance.port]
    second = instance.call()
    instance.hears()
    instance.says(OK)
    assert second.take() == b"hello"


def test_a_call_that_is_given_up_later_breaks_the_connection_off() -> None:
    instance = Instance()
    stream = instance.call()
    instance.hears()
    stream.reset(Status.CANCELLED, "never mind")
    assert instance.port.reset is not None
    assert not instance.free
    instance.port.connection_lost("never mind")
    assert not instance.port.streams


def test_a_caller_that_wants_no_answer_ends_the_connection() -> None:
    instance = Instance()
    stream = instance.call()
    instance.hears()
    instance.says(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    stream.stop()
    assert stream.ended
    assert instance.port.reset is not None


# Credit.


def test_an_answer_is_read_as_far_as_its_credit_and_on_when_that_is_granted() -> None:
    instance = Instance()
    stream = instance.call()
    instance.hears()
    instance.says(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while size := instance.port.may_read:
        instance.port.receive_data(bytes(size))
    assert stream.buffered == INITIAL_CREDIT
    woken = instance.woken
    stream.take()
    assert instance.port.may_read == PIECE
    assert instance.woken == woken + 1


def test_the_caller_is_granted_credit_for_what_the_connection_took() -> None:
    instance = Instance()
    stream = instance.call("POST", end=False)
    assert stream.write(bytes(100_000)) == INITIAL_CREDIT
    assert instance.port.ahead() == INITIAL_CREDIT
    instance.port.data_to_send()
    assert stream.may_send == 0, "it is on its way to a socket that may be full"
    instance.port.data_to_send()
    assert stream.may_send == INITIAL_CREDIT
    assert instance.port.ahead() == 0


# Upgrades.


def upgraded(instance: Instance, *early: bytes) -> MuxStream:
    stream = instance.mux.open(head(upgrade="websocket"), end=False)
    for data in early:
        stream.write(data)
    return stream


def test_after_an_upgrade_bytes_pass_both_ways_as_they_are() -> None:
    instance = Instance()
    stream = upgraded(instance, b"early")
    heard = instance.hears()
    assert heard.endswith(b"connection: upgrade\r\nupgrade: websocket\r\n\r\n")
    instance.says(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX: y\r\n\r\nwelcome"
    )
    fields, body, _ = reply_of(stream)
    assert (fields[":status"], fields[":upgrade"], fields["x"], body) == ("101", "websocket", "y", b"welcome")
    assert instance.hears() == b"early"
    stream.write(b"frame")
    assert instance.hears() == b"frame"
    instance.says(b"HTTP/1.1 400 no\r\n\r\n")
    assert stream.take() == b"HTTP/1.1 400 no\r\n\r\n"
    instance.says(b"")
    assert stream.ended
    assert not instance.port.finished_writing
    stream.write(b"last")
    stream.end()
    assert instance.hears() == b"last"
    assert instance.port.finished_writing
    assert not instance.port.streams
    assert not instance.free


def test_what_came_before_an_upgrade_that_is_not_agreed_to_is_never_read_as_a_request() -> None:
    instance = Instance()
    stream = upgraded(instance, b"DELETE /all HTTP/1.1\r\nHost: a\r\n\r\n")
    heard = instance.hears()
    instance.says(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
    assert reply_of(stream)[:2] == ({":status": "403", "content-length": "2", "via": "1.1 micro"}, b"no")
    assert not instance.free
    stream.end()
    assert b"DELETE" not in heard + instance.hears()
    assert not instance.port.streams
    assert instance.free == [instance.port]


@pytest.mark.parametrize("more", [b"", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_connection_that_goes_on_or_ends_before_its_call_is_over_takes_no_other(more: bytes) -> None:
    instance = Instance()
    stream = upgraded(instance)
    instance.hears()
    instance.says(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
    instance.says(more)
    stream.end()
    assert not instance.free
    assert instance.port.finished_writing
