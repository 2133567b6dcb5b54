"""What a program gets from the port: calls of its requests, and answers that are right in HTTP and in gRPC."""

import h2.events
import pytest

from sdk.errors import Status, Unavailable
from sdk.head import IDEMPOTENT, ReplyHead, Trailers, pack_reply_head
from sdk.port import Port
from sdk.port.limits import HEAD_WITHIN, LOOK, Limits
from sdk.wire import frame, http2
from sdk.wire.frame import CREDIT, DATA, END, HEAD, INITIAL_CREDIT, RESET, STOP, TRAILERS, Fate
from tests.sdk.port.http2.ends import (
    GRPC_REQUEST,
    HTTP_REQUEST,
    MESSAGE,
    Conversation,
    Raw,
    data,
    head_payload,
    opened,
    pairs,
    program,
    raw_program,
    reset_payload,
    serving,
    trailers_payload,
)

REPLY = ReplyHead("application/grpc+proto", ("x-first", "a"))


def request(talk: Conversation, headers: tuple[str, ...] = GRPC_REQUEST, body: bytes | None = MESSAGE) -> int:
    """A whole request, in one read."""
    stream = talk.h2.get_next_available_stream_id()
    talk.h2.send_headers(stream, pairs(headers), end_stream=body is None)
    if body is not None:
        talk.h2.send_data(stream, body, end_stream=True)
    talk.pump()
    return stream


def heard(talk: Conversation, kind: type[h2.events.Event]) -> list[tuple[str, str]]:
    """The header list that came last, of its kind."""
    events = [event for event in talk.events if isinstance(event, kind)]
    return [(str(name), str(value)) for name, value in getattr(events[-1], "headers", ())]


# Requests.


def test_a_small_unary_request_is_one_frame() -> None:
    talk = program()
    request(talk)
    [(kind, flags, stream, payload)] = talk.notes.take()
    head, parts = opened(payload)
    assert (kind, flags, stream) == (frame.OPEN, END, 1)
    assert (parts.hops, parts.path, parts.ms, parts.body) == (frame.MAX_HOPS, b"", frame.NO_DEADLINE, MESSAGE)
    assert (head.service, head.endpoint, head.protocol) == ("greeter", "/greeter.Greeter/Hello", "grpc")
    assert (head.content_type, head.metadata, head.call_id) == ("application/grpc", ("x-tenant", "blue"), bytes(16))


def test_each_call_has_an_id_of_its_own() -> None:
    talk = program()
    for _ in range(3):
        request(talk)
    assert len({opened(payload)[0].call_id for *_, payload in talk.notes.take()}) == 3


def test_the_deadline_becomes_milliseconds_and_is_no_metadata() -> None:
    talk = program()
    request(talk, (*GRPC_REQUEST, "grpc-timeout", "1500000u"))
    head, parts = opened(talk.notes.take()[0][3])
    assert parts.ms == 1500
    assert "grpc-timeout" not in head.metadata


def test_a_request_without_a_body_is_one_frame() -> None:
    talk = program()
    request(talk, HTTP_REQUEST, None)
    assert talk.notes.lines == ["OPEN 1 END http greeter /hello?a=1"]


def test_a_request_opens_at_the_end_of_the_read_at_the_latest() -> None:
    talk = program()
    talk.h2.send_headers(1, pairs(GRPC_REQUEST))
    talk.pump()
    assert talk.notes.lines == ["OPEN 1 grpc greeter /greeter.Greeter/Hello"]
    talk.h2.send_data(1, b"12345")
    talk.pump()
    talk.h2.send_data(1, b"678", end_stream=True)
    talk.pump()
    assert talk.notes.lines == ["DATA 1 5 bytes", "DATA 1 END 3 bytes"]


def test_a_long_body_that_comes_at_once_is_split_where_a_frame_ends() -> None:
    raw = raw_program()
    raw.say(raw.headers(1, GRPC_REQUEST), data(1, b"a" * 16384), data(1, b"b" * 16384), data(1, b"c" * 16384, end=True))
    bodies = [opened(payload)[1].body if kind == frame.OPEN else payload for kind, _, _, payload in raw.notes.frames]
    assert b"".join(bodies) == b"a" * 16384 + b"b" * 16384 + b"c" * 16384
    assert raw.notes.frames[-1][1] == END
    assert all(len(payload) <= frame.MAX_OPEN + 8 for *_, payload in raw.notes.frames)


def test_plain_http_brings_its_pseudo_headers_and_its_way_along() -> None:
    talk = program(forwarded="for=10.0.0.9;proto=http")
    request(talk, (*HTTP_REQUEST, "cookie", "a=1", "cookie", "b=2"), None)
    head, _ = opened(talk.notes.take()[0][3])
    assert head.flags == IDEMPOTENT
    assert pairs(head.metadata) == [
        (":method", "GET"), (":scheme", "http"), (":authority", "greeter"), ("accept", "*/*"), ("cookie", "a=1; b=2"),
        ("forwarded", "for=10.0.0.9;proto=http"), ("via", "2 micro"),
    ]  # fmt: skip


def test_the_trailers_of_an_http_request_go_on_and_those_of_grpc_mean_its_end() -> None:
    talk = program()
    for stream, headers in ((1, HTTP_REQUEST), (3, GRPC_REQUEST)):
        talk.h2.send_headers(stream, pairs((*headers[:1], "POST", *headers[2:])))
        talk.h2.send_data(stream, b"12345")
        talk.h2.send_headers(stream, [("x-sum", "9")], end_stream=True)
    talk.pump()
    assert talk.notes.lines == [
        "OPEN 1 http greeter /hello?a=1 5 bytes",
        "DATA 1 END 0",
        "OPEN 3 END grpc greeter /greeter.Greeter/Hello 5 bytes",
    ]


def test_who_waits_for_100_continue_hears_it() -> None:
    raw = raw_program()
    said = raw.say(raw.headers(1, (*HTTP_REQUEST, "expect", "100-continue")))
    assert said == ["HEADERS 1 {':status': '100'}"]
    assert raw.notes.lines == ["OPEN 1 http greeter /hello?a=1"]


def test_which_service_is_meant_may_be_asked_of_the_node() -> None:
    talk = program(service_of=lambda request: "+".join(request.names))
    request(talk)
    request(talk, (*GRPC_REQUEST, "micro-service", "other"))
    assert [opened(payload)[0].service for *_, payload in talk.notes.take()] == ["node+greeter", "other"]


def test_a_request_that_names_no_service_is_answered_at_once() -> None:
    talk = program()
    request(talk, (*HTTP_REQUEST[:6], ":authority", "127.0.0.1:8081"), None)
    assert not talk.notes.frames
    assert (":status", "404") in heard(talk, h2.events.ResponseReceived)


def test_a_request_that_shows_no_token_is_told_so() -> None:
    talk = program(objection=lambda credentials: "" if credentials == "Bearer right" else "show a token")
    request(talk, (*GRPC_REQUEST, "proxy-authorization", "Bearer right"))
    assert len(talk.notes.take()) == 1
    request(talk)
    assert not talk.notes.frames
    assert ("grpc-status", str(int(Status.UNAUTHENTICATED))) in heard(talk, h2.events.ResponseReceived)
    request(talk, HTTP_REQUEST, None)
    assert (":status", "407") in heard(talk, h2.events.ResponseReceived)


# Answers.


def answer(port: Port, stream: int) -> None:
    """All of an answer in one frame, given as soon as the call is opened."""
    head = REPLY._replace(status=0, trailers=("x-last", "b"))
    port.send(HEAD, END, stream, head_payload(head, MESSAGE))


def test_what_comes_before_an_answer_is_said_before_it_but_not_to_grpc() -> None:
    hints = pack_reply_head(ReplyHead("", (":status", "103", "link", "a")))
    talk = program()
    stream = request(talk, HTTP_REQUEST, None)
    talk.port.send(frame.INTERIM, 0, stream, hints)
    talk.pump()
    assert heard(talk, h2.events.InformationalResponseReceived) == [(":status", "103"), ("link", "a")]
    talk.port.send(HEAD, END, stream, head_payload(ReplyHead("", (":status", "204"))))
    talk.pump()
    assert heard(talk, h2.events.ResponseReceived) == [(":status", "204")]
    talk.events.clear()
    stream = request(talk)
    talk.port.send(frame.INTERIM, 0, stream, hints)
    talk.pump()
    assert not talk.events


def test_what_cannot_come_before_an_answer_breaks_the_call_off() -> None:
    talk = program()
    stream = request(talk, HTTP_REQUEST, None)
    talk.port.send(frame.INTERIM, 0, stream, pack_reply_head(ReplyHead("", (":status", "200"))))
    talk.pump()
    assert (":status", "502") in heard(talk, h2.events.ResponseReceived)
    assert talk.notes.lines[1:] == ["RESET 1 13 MAY_HAVE_RUN"]


def test_an_answer_in_one_frame_is_headers_body_and_trailers() -> None:
    talk = program()
    talk.notes.on_open = answer
    for stream in (1, 3, 5):  # as it is made, and as it is remembered
        request(talk)
        assert heard(talk, h2.events.ResponseReceived) == [
            (":status", "200"), ("content-type", "application/grpc+proto"), ("x-first", "a"),
        ]  # fmt: skip
        assert talk.body(stream) == MESSAGE
        assert heard(talk, h2.events.TrailersReceived) == [("grpc-status", "0"), ("x-last", "b")]
    assert not talk.port._exchanges


def test_an_answer_in_parts_arrives_in_parts() -> None:
    talk = program()
    request(talk)
    for kind, flags, payload in (
        (HEAD, 0, head_payload(REPLY, b"one")),
        (DATA, 0, b"two"),
        (DATA, END | TRAILERS, trailers_payload(Trailers(5, "nö"), b"three")),
    ):
        talk.port.send(kind, flags, 1, payload)
        talk.pump()
    assert talk.body(1) == b"onetwothree"
    assert heard(talk, h2.events.TrailersReceived) == [("grpc-status", "5"), ("grpc-message", "n%C3%B6")]


def test_an_error_without_a_body_is_trailers_only() -> None:
    raw = raw_program()
    raw.say(raw.headers(1, GRPC_REQUEST, end=True))
    raw.port.send(HEAD, END, 1, head_payload(ReplyHead("application/grpc", (), 12, "no", ("x-last", "b"))))
    [said] = raw.heard()
    assert said.startswith("HEADERS 1 END_STREAM")
    assert "'grpc-status': '12', 'grpc-message': 'no', 'x-last': 'b'" in said


def test_an_http_answer_has_its_own_status_and_no_trailers_unless_there_are_some() -> None:
    talk = program()
    for stream, trailers in ((1, ()), (3, ("x-sum", "9"))):
        request(talk, HTTP_REQUEST, None)
        reply = ReplyHead("text/plain", (":status", "201", "connection", "close", "x-a", "1"), 0, "", trailers)
        talk.port.send(HEAD, END, stream, head_payload(reply, b"body"))
        talk.pump()
        assert heard(talk, h2.events.ResponseReceived) == [
            (":status", "201"), ("content-type", "text/plain"), ("x-a", "1"),
        ]  # fmt: skip
        assert talk.body(stream) == b"body"
        assert any(isinstance(event, h2.events.TrailersReceived) for event in talk.events) is bool(trailers)


def test_an_answer_that_ends_without_a_status_is_not_taken_for_a_good_one() -> None:
    talk = program()
    request(talk)
    talk.port.send(DATA, END, 1, b"half")
    talk.pump()
    assert ("grpc-status", "2") in heard(talk, h2.events.TrailersReceived)


def test_an_answer_that_no_http_can_say_becomes_an_error_of_this_call_alone() -> None:
    talk = program()
    request(talk, HTTP_REQUEST, None)
    request(talk)
    talk.notes.take()
    talk.port.send(HEAD, 0, 1, head_payload(ReplyHead("", (":status", "101"))))
    talk.port.send(HEAD, 0, 3, b"\0\1\xc1")
    talk.pump()
    assert talk.notes.lines == ["RESET 1 13 MAY_HAVE_RUN", "RESET 3 13 MAY_HAVE_RUN"]
    assert ("grpc-status", "13") in heard(talk, h2.events.ResponseReceived)
    talk.events = [event for event in talk.events if getattr(event, "stream_id", 0) == 1]
    assert (":status", "502") in heard(talk, h2.events.ResponseReceived)


@pytest.mark.parametrize(("fate", "word"), [(Fate.NOT_REACHED, "not-reached"), (Fate.MAY_HAVE_RUN, "may-have-run")])
def test_a_reset_is_a_status_that_says_whether_the_call_may_have_run(fate: Fate, word: str) -> None:
    raw = raw_program()
    raw.say(raw.headers(1, GRPC_REQUEST, end=True))
    raw.port.send(RESET, 0, 1, reset_payload(14, "50% gone", fate))
    [said] = raw.heard()
    assert said.startswith("HEADERS 1 END_STREAM")
    assert f"'grpc-status': '14', 'grpc-message': '50%25 gone', 'micro-fate': '{word}'" in said


def test_a_reset_within_a_grpc_answer_is_its_trailers() -> None:
    talk = program()
    request(talk)
    talk.port.send(HEAD, 0, 1, head_payload(REPLY, b"some"))
    talk.port.send(RESET, 0, 1, reset_payload(4, "late"))
    talk.pump()
    assert ("grpc-status", "4") in heard(talk, h2.events.TrailersReceived)


def test_a_reset_before_an_http_answer_is_one_in_plain_words() -> None:
    talk = program()
    request(talk, HTTP_REQUEST, None)
    talk.port.send(RESET, 0, 1, reset_payload(5, 'no "greeter"'))
    talk.pump()
    headers = dict(heard(talk, h2.events.ResponseReceived))
    assert headers[":status"] == "404"
    assert headers["proxy-status"] == 'micro; error=destination_not_found; details="no \\"greeter\\""'
    assert talk.body(1) == b'no "greeter"\n'


def test_a_reset_within_an_http_answer_breaks_the_stream_so_that_nobody_takes_it_for_whole() -> None:
    raw = raw_program()
    raw.say(raw.headers(1, HTTP_REQUEST, end=True))
    raw.port.send(HEAD, 0, 1, head_payload(ReplyHead("", (":status", "200")), b"half"))
    raw.heard()
    raw.port.send(RESET, 0, 1, reset_payload(14))
    assert raw.heard() == ["RST_STREAM 1 INTERNAL_ERROR"]


def test_a_call_is_over_with_its_answer_even_if_the_request_is_not() -> None:
    raw = raw_program()
    raw.say(raw.headers(1, GRPC_REQUEST))
    raw.notes.take()
    raw.port.send(HEAD, END, 1, head_payload(ReplyHead("", (), 3, "no")))
    assert raw.heard()[-1] == "RST_STREAM 1 NO_ERROR"
    assert raw.notes.lines == ["DATA 1 END"]
    assert raw.say(data(1, b"was under way")) == []
    assert raw.fault is None


def test_an_http_request_is_read_to_its_end_after_the_answer_unless_nobody_wants_it() -> None:
    raw = raw_program()
    post = (":method", "POST", *HTTP_REQUEST[2:])
    raw.say(raw.headers(1, post), raw.headers(3, post))
    raw.notes.take()
    raw.port.send(STOP, 0, 3, b"")
    for stream in (1, 3):
        raw.port.send(HEAD, END, stream, head_payload(ReplyHead("", (":status", "200")), b"enough"))
    assert [line for line in raw.heard() if "RST" in line] == ["RST_STREAM 3 NO_ERROR"]
    raw.say(data(1, b"more", end=True))
    assert raw.notes.lines == ["DATA 3 END", "DATA 1 END 4 bytes"]
    assert not raw.port._exchanges


def test_a_program_that_takes_its_request_back_cancels_the_call() -> None:
    talk = program()
    request(talk)
    talk.notes.take()
    talk.h2.reset_stream(1, error_code=8)
    talk.pump()
    assert talk.notes.lines == ["RESET 1 1 MAY_HAVE_RUN"]
    assert not talk.port._exchanges


# Credit.


def test_a_program_may_send_64_kib_ahead_and_then_what_is_granted() -> None:
    talk = program()
    talk.h2.send_headers(1, pairs(GRPC_REQUEST))
    talk.pump()
    assert talk.h2.local_flow_control_window(1) == INITIAL_CREDIT
    talk.port.send(CREDIT, 0, 1, frame.pack_u32(1000))
    talk.pump()
    assert talk.h2.local_flow_control_window(1) == INITIAL_CREDIT + 1000


def test_what_was_written_to_the_program_is_granted_back_and_not_before() -> None:
    raw = raw_program()
    raw.say(raw.headers(1, GRPC_REQUEST, end=True))
    raw.notes.take()
    raw.port.send(HEAD, 0, 1, head_payload(REPLY, b"x" * 16384))
    raw.port.send(DATA, 0, 1, b"y" * 16384)
    assert not raw.notes.frames
    raw.port.data_to_send(0.0)
    assert not raw.notes.frames
    raw.port.data_to_send(1.0)
    assert raw.notes.lines == ["CREDIT 1 32768"]


def test_what_is_sent_within_the_grant_of_credit_is_granted_back_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = raw_program()
    raw.say(raw.headers(1, GRPC_REQUEST, end=True))
    raw.notes.take()
    take_down = raw.notes.on_frame

    def eager(port: Port, kind: int, flags: int, stream: int, payload: bytes) -> None:
        take_down(port, kind, flags, stream, payload)
        if len(raw.notes.frames) == 1:
            raw.port.send(DATA, 0, 1, b"z" * 32767)

    monkeypatch.setattr(raw.notes, "on_frame", eager)
    raw.port.send(HEAD, 0, 1, head_payload(REPLY, b"x" * 32768))
    for now in (0.0, 1.0, 2.0):
        raw.port.data_to_send(now)
    assert raw.notes.lines == ["CREDIT 1 32768", "CREDIT 1 32767"]


def test_programs_are_not_called() -> None:
    talk = program()
    with pytest.raises(Unavailable):
        talk.port.next_stream()
    assert talk.port.was_sent(1)


# Draining.


def test_a_program_is_told_to_go_before_its_requests_are_refused() -> None:
    raw = raw_program()
    raw.port.go_away()
    raw.port.go_away()
    assert raw.heard() == [f"GOAWAY {http2.MAX_STREAM} NO_ERROR", "PING 0 8 bytes"]
    raw.say(raw.headers(1, HTTP_REQUEST, end=True))
    assert raw.notes.lines == ["OPEN 1 END http greeter /hello?a=1"]
    assert raw.say(http2.pack_frame(http2.PING, http2.ACK, 0, b"drained.")) == ["GOAWAY 1 NO_ERROR"]
    assert raw.port.refusing
    assert raw.say(raw.headers(3, HTTP_REQUEST, end=True)) == ["RST_STREAM 3 REFUSED_STREAM"]
    assert not raw.notes.frames


def test_a_program_that_does_not_listen_is_refused_at_last() -> None:
    raw = raw_program()
    raw.port.go_away()
    raw.heard()
    raw.port.refuse()
    raw.port.refuse()
    assert raw.heard() == ["GOAWAY 0 NO_ERROR"]
    assert raw.say(raw.headers(1, HTTP_REQUEST, end=True)) == ["RST_STREAM 1 REFUSED_STREAM"]


# Clocks, and the length of bodies.

LIMITS = Limits(idle=60.0, stall=30.0, max_body=100)
UPLOAD = (":method", "POST", ":scheme", "http", ":path", "/", ":authority", "greeter")


def after(raw: Raw, seconds: float) -> list[str]:
    """Time passes, and the driver looks as often as the port wants; what the program hears, and that it is closed."""
    closed: list[str] = []
    raw.port.close = closed.append
    assert raw.port.data_to_send(raw.now) == b"", "what went before was written"
    until = raw.now + seconds
    while not closed and (due := max(raw.port.next_timeout(), raw.now)) <= until:
        raw.now = due
        raw.port.handle_timeout(raw.now)
    raw.now = until
    return [*raw.heard(), *closed]


def test_a_connection_without_a_call_is_told_so_and_then_closed_rfc9113_6_8() -> None:
    raw = raw_program(limits=LIMITS)
    assert after(raw, 55.0) == []
    raw.say(raw.headers(1, HTTP_REQUEST, end=True))
    assert after(raw, 10_000.0) == []  # a call may be as silent as it is
    raw.port.send(HEAD, END, 1, head_payload(ReplyHead(), b"x"))
    raw.heard()
    assert after(raw, 57.0) == []
    assert after(raw, 3 * LOOK) == [f"GOAWAY {http2.MAX_STREAM} NO_ERROR", "PING 0 8 bytes"]
    assert raw.port.draining
    assert not raw.port.refusing
    assert after(raw, 2 * LOOK) == ["GOAWAY 1 NO_ERROR", "program has no call open"]


def test_a_call_that_crosses_the_word_that_the_connection_ends_is_answered() -> None:
    raw = raw_program(limits=LIMITS)
    after(raw, 60.0 + LOOK)
    raw.say(raw.headers(1, HTTP_REQUEST, end=True))
    assert raw.notes.lines == ["OPEN 1 END http greeter /hello?a=1"]
    assert after(raw, 10_000.0) == []
    raw.port.send(HEAD, END, 1, head_payload(ReplyHead(), b"x"))
    assert "HEADERS" in raw.heard()[0]
    assert after(raw, 3 * LOOK)[-1] == "program has no call open"


@pytest.mark.parametrize("begun", ["preface", "settings", "block", "frame"])
def test_what_a_program_begins_it_has_to_end_within_ten_seconds(begun: str) -> None:
    raw = raw_program(limits=LIMITS)
    if begun in ("preface", "settings"):
        raw = Raw(*serving(limits=LIMITS))
        raw.say(http2.PREFACE[:20] if begun == "preface" else http2.PREFACE)
    elif begun == "block":
        raw.say(http2.pack_frame(http2.HEADERS, 0, 1, raw.block(HTTP_REQUEST)))
    else:
        raw.say(raw.headers(1, HTTP_REQUEST)[:20])
    assert after(raw, HEAD_WITHIN - 0.1) == []
    assert after(raw, 2 * LOOK) == ["GOAWAY 0 ENHANCE_YOUR_CALM", "program did not send a head within 10 s"]


def test_a_slow_body_may_cut_its_frames_anywhere() -> None:
    raw = raw_program(limits=LIMITS)
    raw.say(raw.headers(1, UPLOAD))
    raw.say(data(1, b"hello")[:11])
    assert after(raw, 10_000.0) == []


def test_a_body_that_was_announced_and_stands_still_ends_its_call() -> None:
    raw = raw_program(limits=LIMITS)
    raw.say(raw.headers(1, (*UPLOAD, "content-length", "10")), data(1, b"he"))
    after(raw, 29.0)
    raw.say(data(1, b"l"))
    assert after(raw, 29.0) == []
    raw.notes.take()
    heard = after(raw, 1.0 + 2 * LOOK)
    assert "':status': '408'" in heard[0]
    assert heard[-1] == "RST_STREAM 1 NO_ERROR"
    assert raw.notes.lines[0] == "RESET 1 1 MAY_HAVE_RUN"


def test_a_program_that_may_send_nothing_does_not_stand_still() -> None:
    raw = raw_program(limits=Limits(stall=30.0))
    raw.say(raw.headers(1, (*UPLOAD, "content-length", "100000")), *[data(1, bytes(16384))] * 4)
    raw.notes.take()
    assert after(raw, 10_000.0) == []
    raw.port.send(CREDIT, 0, 1, frame.pack_u32(1000))
    raw.heard()
    assert "408" in after(raw, 30.0 + 2 * LOOK)[0]


def test_streams_are_silent_for_as_long_as_they_like() -> None:
    raw = raw_program(limits=LIMITS)
    raw.say(raw.headers(1, GRPC_REQUEST), data(1, MESSAGE))
    raw.port.send(HEAD, 0, 1, head_payload(REPLY, MESSAGE))
    raw.heard()
    assert after(raw, 10_000.0) == []


@pytest.mark.parametrize("kind", [GRPC_REQUEST, HTTP_REQUEST])
def test_an_answer_of_which_the_program_takes_nothing_is_ended(kind: tuple[str, ...]) -> None:
    raw = raw_program(limits=LIMITS)
    raw.say(raw.headers(1, kind, end=True))
    raw.port.send(HEAD, 0, 1, head_payload(REPLY, bytes(60_000)))
    raw.port.send(DATA, 0, 1, bytes(20_000))  # the window has 65,535
    for _ in range(10):
        raw.heard()
        assert after(raw, 29.0) == []
        raw.say_unread(
            http2.pack_frame(http2.WINDOW_UPDATE, 0, 0, frame.pack_u32(100)),
            http2.pack_frame(http2.WINDOW_UPDATE, 0, 1, frame.pack_u32(100)),
        )
    raw.heard()
    raw.notes.take()
    [last] = after(raw, 30.0 + 2 * LOOK)
    assert "'grpc-status': '4'" in last if kind is GRPC_REQUEST else last == "RST_STREAM 1 INTERNAL_ERROR"
    assert raw.notes.lines == ["RESET 1 1 MAY_HAVE_RUN"]


def test_an_answer_that_is_complete_but_for_its_delivery_is_ended_too() -> None:
    raw = raw_program(limits=LIMITS)
    raw.say(raw.headers(1, HTTP_REQUEST, end=True))
    raw.port.send(HEAD, 0, 1, head_payload(REPLY, bytes(60_000)))
    raw.port.send(DATA, END, 1, bytes(20_000))
    raw.heard()
    assert after(raw, 30.0 + 2 * LOOK) == ["RST_STREAM 1 CANCEL"]
    assert raw.port.held == 0


def test_a_program_that_takes_nothing_at_all_is_gone_and_one_that_is_slow_is_not() -> None:
    raw = raw_program(limits=LIMITS)
    raw.say(raw.headers(1, GRPC_REQUEST, end=True))
    raw.port.send(HEAD, 0, 1, head_payload(REPLY, MESSAGE))
    closed: list[str] = []
    raw.port.close = closed.append
    assert raw.port.data_to_send(raw.now)  # and the driver does not come back
    taken = 0
    raw.port.progress = lambda: taken
    for _ in range(100):
        raw.now += 29.0
        raw.port.handle_timeout(raw.now)
        taken += 1
    assert not closed
    for _ in range(20):
        raw.now += LOOK
        raw.port.handle_timeout(raw.now)
    assert "taken nothing of what was sent to it for 30 s" in closed[0]


def test_a_request_may_be_as_long_as_the_limit() -> None:
    raw = raw_program(limits=LIMITS)
    raw.say(raw.headers(1, (*UPLOAD, "content-length", "100")), data(1, bytes(100), end=True))
    raw.say(raw.headers(3, UPLOAD), data(3, bytes(50)))
    raw.say(data(3, bytes(50), end=True))
    assert raw.notes.lines == [
        "OPEN 1 END http greeter / 100 bytes",
        "OPEN 3 http greeter / 50 bytes",
        "DATA 3 END 50 bytes",
    ]


@pytest.mark.parametrize("frames", [("content-length", "101"), ()])
def test_a_request_that_is_known_to_be_longer_is_refused_before_anybody_sees_it(frames: tuple[str, ...]) -> None:
    raw = raw_program(limits=LIMITS)
    heard = raw.say(raw.headers(1, (*UPLOAD, *frames)), data(1, bytes(101)))
    assert "':status': '413'" in heard[0]
    assert heard[-1] == "RST_STREAM 1 NO_ERROR"
    assert not raw.notes.frames


def test_a_request_that_turns_out_to_be_longer_is_ended_and_its_call_cancelled() -> None:
    raw = raw_program(limits=LIMITS)
    raw.say(raw.headers(1, GRPC_REQUEST), data(1, bytes(100)))
    heard = raw.say(data(1, b"x"))
    assert "'grpc-status': '8'" in heard[0]
    assert "'micro-fate': 'may-have-run'" in heard[0]
    assert heard[1] == "RST_STREAM 1 NO_ERROR"
    assert raw.notes.lines[:2] == ["OPEN 1 grpc greeter /greeter.Greeter/Hello 100 bytes", "RESET 1 1 MAY_HAVE_RUN"]


# Tunnels.

TUNNEL = (":method", "CONNECT", ":authority", "db:5432")


def test_a_connect_is_a_raw_call_until_both_ends_have_ended_rfc9113_8_5() -> None:
    talk = program(tunnels=True, limits=Limits(max_body=4))
    stream = talk.h2.get_next_available_stream_id()
    talk.h2.send_headers(stream, pairs(TUNNEL))
    talk.pump()
    assert talk.notes.lines == ["OPEN 1 tcp db"]
    talk.port.send(HEAD, 0, stream, head_payload(ReplyHead()))
    talk.pump()
    assert heard(talk, h2.events.ResponseReceived) == [(":status", "200")]
    talk.h2.send_data(stream, b"hello")
    talk.pump()
    assert talk.notes.lines == ["DATA 1 5 bytes"], "no limit of bodies is for it"
    talk.port.send(DATA, END, stream, b"welcome")
    talk.pump()
    assert talk.body(stream) == b"welcome"
    talk.h2.send_data(stream, b"bye", end_stream=True)
    talk.pump()
    assert talk.notes.lines == ["DATA 1 END 3 bytes"]
    assert not talk.port._exchanges


def test_a_connect_that_leads_nowhere_is_answered() -> None:
    talk = program(tunnels=True)
    stream = talk.h2.get_next_available_stream_id()
    talk.h2.send_headers(stream, pairs(TUNNEL))
    talk.pump()
    talk.port.send(RESET, 0, stream, reset_payload(Status.NOT_FOUND, "no such service", Fate.NOT_REACHED))
    talk.pump()
    fields = heard(talk, h2.events.ResponseReceived)
    assert fields[0] == (":status", "404")
    assert ("micro-fate", "not-reached") in fields


def test_where_no_tunnel_begins_a_connect_is_malformed() -> None:
    raw = raw_program()
    said = raw.say(raw.headers(1, TUNNEL))
    assert said == ["RST_STREAM 1 PROTOCOL_ERROR"]
    assert not raw.notes.lines
