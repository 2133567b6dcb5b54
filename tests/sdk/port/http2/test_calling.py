"""What an instance gets from the port, what becomes of its answers, and how it drains, refuses and vanishes."""

import math

import h2.errors
import h2.events
import pytest

from sdk.errors import Unavailable
from sdk.head import CallHead, ReplyHead, Trailers, parse_reply_head_untrusted
from sdk.port.http2.calling import ANSWER_WITHIN, ASK_AGAIN, DRAINED, SILENCE
from sdk.port.http2.limits import BEFORE_SETTINGS
from sdk.port.limits import LOOK, Limits
from sdk.wire import frame, http2
from sdk.wire.frame import BLAMELESS, CREDIT, DATA, END, OPEN, RESET, STOP, TRAILERS, split_headed_untrusted
from tests.sdk.port.http2.ends import (
    ANSWER,
    MESSAGE,
    SETTINGS,
    STATUS,
    Conversation,
    Raw,
    call,
    calling,
    data,
    instance,
    open_payload,
    pairs,
    raw_instance,
    reset_payload,
    trailers_payload,
    window,
)

HTTP_CALL = CallHead(
    "greeter", "/hello?a=1", "http", 0, "text/plain", (":method", "PUT", ":scheme", "http", ":authority", "greeter",
    "x-a", "1", "connection", "close", "Bad Name", "x", "x-bad", "a\r\nb"), b"i" * 16,
)  # fmt: skip


def begin(talk: Conversation, payload: bytes = b"", flags: int = END) -> int:
    """A call, as the switch makes it; its number."""
    stream: int = talk.port.next_stream()
    talk.port.streams[stream] = None
    talk.port.send(OPEN, flags, stream, payload or open_payload(body=MESSAGE))
    talk.pump()
    return stream


def asked(talk: Conversation) -> dict[str, str]:
    """The header list of the request that came last."""
    events = [event for event in talk.events if isinstance(event, h2.events.RequestReceived)]
    return {str(name): str(value) for name, value in events[-1].headers or ()}


def answer(talk: Conversation, stream: int, body: bytes = MESSAGE) -> None:
    talk.h2.send_headers(stream, pairs(ANSWER))
    talk.h2.send_data(stream, body)
    talk.h2.send_headers(stream, pairs(STATUS), end_stream=True)
    talk.pump()


# Requests.


def test_a_grpc_call_arrives_as_it_was_made() -> None:
    talk = instance()
    begin(talk, open_payload(body=MESSAGE, ms=1500))
    assert asked(talk) == {
        ":method": "POST", ":scheme": "http", ":path": "/greeter.Greeter/Hello", ":authority": "10.0.0.1:80",
        "te": "trailers", "content-type": "application/grpc", "x-tenant": "blue", "grpc-timeout": "1500m",
    }  # fmt: skip
    assert talk.body(1) == MESSAGE
    assert any(isinstance(event, h2.events.StreamEnded) for event in talk.events)


@pytest.mark.parametrize(
    ("endpoint", "content_type", "path", "typed"),
    [
        ("Greeter.Hello", "application/msgpack", "/greeter.Greeter/Hello", "application/grpc+msgpack"),
        ("Greeter.Hello", "application/json", "/greeter.Greeter/Hello", "application/grpc+json"),
        ("/pkg.Greeter/Hello", "application/protobuf", "/pkg.Greeter/Hello", "application/grpc+proto"),
        ("Hello", "", "/greeter/Hello", "application/grpc"),
    ],
)
def test_an_rpc_call_arrives_as_a_grpc_call(endpoint: str, content_type: str, path: str, typed: str) -> None:
    talk = instance()
    begin(talk, open_payload(CallHead("greeter", endpoint, "rpc", 0, content_type)))
    assert (asked(talk)[":path"], asked(talk)["content-type"]) == (path, typed)


def test_an_http_call_arrives_with_its_own_method_and_authority_and_no_field_that_is_none() -> None:
    talk = instance()
    begin(talk, open_payload(HTTP_CALL))
    assert asked(talk) == {
        ":method": "PUT", ":scheme": "http", ":path": "/hello?a=1", ":authority": "greeter",
        "content-type": "text/plain", "x-a": "1",
    }  # fmt: skip


@pytest.mark.parametrize(
    "head",
    [
        CallHead("db", "", "tcp"),
        CallHead("greeter", "no path", "http", 0, "", (":method", "GET")),
        CallHead("greeter", "/", "http", 0, "", (":method", "GET", ":upgrade", "websocket")),
        CallHead("greeter", "/a b", "grpc"),
    ],
)
def test_a_call_that_http2_cannot_make_is_refused_and_not_reached(head: CallHead) -> None:
    talk = instance()
    begin(talk, open_payload(head))
    assert talk.notes.lines == ["RESET 1 12 NOT_REACHED"]
    assert not talk.port._exchanges


def test_the_request_goes_on_in_parts_and_may_end_in_trailers() -> None:
    talk = instance()
    stream = begin(talk, open_payload(HTTP_CALL, b"one"), 0)
    talk.port.send(DATA, 0, stream, b"two")
    talk.port.send(DATA, END | TRAILERS, stream, trailers_payload(Trailers(metadata=("x-sum", "9")), b"three"))
    talk.pump()
    assert talk.body(stream) == b"onetwothree"
    [trailers] = [event for event in talk.events if isinstance(event, h2.events.TrailersReceived)]
    assert [(str(name), str(value)) for name, value in trailers.headers or ()] == [("x-sum", "9")]


# Answers.


def test_an_answer_that_comes_at_once_is_one_frame() -> None:
    talk = instance()
    for stream in (1, 3, 5):  # as it is read, and as it is remembered
        begin(talk)
        answer(talk, stream)
        [(kind, flags, number, payload)] = talk.notes.take()
        assert (kind, flags, number) == (frame.HEAD, END, stream)
        packed, body = split_headed_untrusted(payload)
        assert body == MESSAGE
        assert parse_reply_head_untrusted(packed) == ReplyHead(
            "application/grpc", ("x-first", "a"), 0, "", ("x-last", "b")
        )
    assert not talk.port._exchanges


def test_an_answer_in_parts_goes_on_in_parts() -> None:
    talk = instance()
    begin(talk)
    talk.h2.send_headers(1, pairs(ANSWER))
    talk.pump()
    for part in (b"one", b"two"):
        talk.h2.send_data(1, part)
        talk.pump()
    talk.h2.send_headers(1, [("grpc-status", "5"), ("grpc-message", "n%C3%B6")], end_stream=True)
    talk.pump()
    assert talk.notes.lines == ["HEAD 1", "DATA 1 3 bytes", "DATA 1 3 bytes", "DATA 1 END 5 nö"]


def test_a_long_answer_is_not_held_back() -> None:
    raw = raw_instance()
    call(raw)
    raw.say(raw.headers(1, ANSWER), *[data(1, b"x" * 16384)] * 3, raw.headers(1, STATUS, end=True))
    assert raw.notes.lines == ["HEAD 1 32768 bytes", "DATA 1 16384 bytes", "DATA 1 END 0"]


def test_trailers_only_is_an_answer_of_one_frame() -> None:
    raw = raw_instance()
    call(raw)
    only = (":status", "200", "content-type", "application/grpc", "grpc-status", "12", "grpc-message", "no", "x-a", "1")
    raw.say(raw.headers(1, only, end=True))
    packed, _ = split_headed_untrusted(raw.notes.frames[0][3])
    assert parse_reply_head_untrusted(packed) == ReplyHead("application/grpc", (), 12, "no", ("x-a", "1"))


@pytest.mark.parametrize(
    ("status", "grpc"), [("404", 12), ("503", 14), ("401", 16), ("200", 2)], ids=["404", "503", "401", "html"]
)
def test_what_answers_a_grpc_call_and_is_no_grpc_server_is_told_by_its_http_status(status: str, grpc: int) -> None:
    raw = raw_instance()
    call(raw)
    assert raw.say(raw.headers(1, (":status", status, "content-type", "text/html")))[-1] == "RST_STREAM 1 CANCEL"
    assert raw.notes.lines == [f"RESET 1 {grpc} MAY_HAVE_RUN"]


def test_a_grpc_answer_without_a_status_is_an_error() -> None:
    raw = raw_instance()
    call(raw)
    raw.say(raw.headers(1, ANSWER), data(1, MESSAGE, end=True))
    assert raw.notes.lines == ["RESET 1 13 MAY_HAVE_RUN"]


def test_an_http_answer_keeps_its_status_and_needs_no_trailers() -> None:
    raw = raw_instance()
    call(raw, open_payload(HTTP_CALL))
    raw.say(
        raw.headers(1, (":status", "100")), raw.headers(1, (":status", "404", "x-a", "1")), data(1, b"no", end=True)
    )
    [(kind, flags, _, payload)] = raw.notes.take()
    packed, body = split_headed_untrusted(payload)
    assert (kind, flags, body) == (frame.HEAD, END, b"no")
    assert parse_reply_head_untrusted(packed).metadata == (":status", "404", "x-a", "1", "via", "2 micro")
    assert not raw.port._exchanges


def test_what_comes_before_an_http_answer_is_passed_on_and_no_more_of_it_than_may_be() -> None:
    raw = raw_instance()
    call(raw, open_payload(HTTP_CALL))
    raw.say(raw.headers(1, (":status", "103", "link", "a" * frame.MAX_INTERIM_SIZE)))
    assert not raw.notes.frames
    for _ in range(frame.MAX_INTERIM + 1):
        raw.say(raw.headers(1, (":status", "103", "link", "a", "te", "trailers")))
    frames = raw.notes.take()
    assert [kind for kind, *_ in frames] == [frame.INTERIM] * frame.MAX_INTERIM
    assert parse_reply_head_untrusted(frames[0][3]).metadata == (":status", "103", "link", "a", "via", "2 micro")
    raw.say(raw.headers(1, (":status", "200"), end=True))
    assert raw.notes.lines == ["HEAD 1 END 0"]


def test_what_comes_before_a_grpc_answer_is_nobodys_business() -> None:
    raw = raw_instance()
    call(raw)
    raw.say(raw.headers(1, (":status", "103")))
    assert not raw.notes.frames


def test_an_http_answer_may_end_before_its_request() -> None:
    raw = raw_instance()
    call(raw, open_payload(HTTP_CALL), 0)
    raw.say(raw.headers(1, (":status", "200"), end=True))
    raw.port.send(DATA, 0, 1, b"more")
    assert raw.heard() == ["DATA 1 4 bytes"]
    raw.say(http2.pack_frame(http2.RST_STREAM, 0, 1, frame.pack_u32(0)))
    assert raw.notes.lines == ["HEAD 1 END 0", "STOP 1"]


def test_an_http_answer_that_ends_in_its_body_is_over_with_its_request() -> None:
    raw = raw_instance()
    call(raw, open_payload(HTTP_CALL), 0)
    raw.say(raw.headers(1, (":status", "200")))
    raw.say(data(1, b"all", end=True))
    assert raw.notes.lines == ["HEAD 1", "DATA 1 END 3 bytes"]
    raw.port.send(DATA, END, 1, b"")
    assert not raw.port._exchanges


def test_a_grpc_answer_ends_its_request_too() -> None:
    raw = raw_instance()
    call(raw, flags=0)
    raw.heard()
    assert raw.say(raw.headers(1, (*ANSWER[:4], "grpc-status", "3"), end=True)) == ["RST_STREAM 1 CANCEL"]
    assert raw.notes.lines == ["HEAD 1 END 3", "STOP 1"]


# How calls end otherwise.


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (http2.ErrorCode.REFUSED_STREAM, "RESET 1 14 NOT_REACHED"),
        (http2.ErrorCode.CANCEL, "RESET 1 1 MAY_HAVE_RUN"),
        (http2.ErrorCode.ENHANCE_YOUR_CALM, "RESET 1 8 MAY_HAVE_RUN"),
        (http2.ErrorCode.INTERNAL_ERROR, "RESET 1 13 MAY_HAVE_RUN"),
        (77, "RESET 1 13 MAY_HAVE_RUN"),
    ],
)
def test_what_an_instance_breaks_off_is_told_by_its_reason(code: int, line: str) -> None:
    raw = raw_instance()
    call(raw)
    raw.say(http2.pack_frame(http2.RST_STREAM, 0, 1, frame.pack_u32(code)))
    assert raw.notes.lines == [line]


def test_a_call_that_nobody_waits_for_is_cancelled_at_the_instance() -> None:
    raw = raw_instance()
    for kind, payload in ((RESET, reset_payload(4)), (STOP, b"")):
        raw.port.send(kind, 0, call(raw), payload)
    assert [line for line in raw.heard() if "RST" in line] == ["RST_STREAM 1 CANCEL", "RST_STREAM 3 CANCEL"]
    assert raw.notes.lines == ["DATA 3 END"]
    raw.say(raw.headers(1, ANSWER), data(3, b"was under way"))
    assert raw.fault is None
    assert not raw.notes.frames


def test_an_instance_that_sends_nonsense_on_a_stream_breaks_that_call_alone() -> None:
    raw = raw_instance()
    call(raw)
    call(raw)
    raw.say(data(1, b"before its headers"), raw.headers(3, ANSWER))
    assert raw.notes.lines == ["RESET 1 13 MAY_HAVE_RUN", "HEAD 3"]


# Credit.


def test_an_instance_may_send_64_kib_ahead_and_then_what_is_granted() -> None:
    talk = instance()
    begin(talk)
    assert talk.h2.local_flow_control_window(1) == frame.INITIAL_CREDIT
    talk.port.send(CREDIT, 0, 1, frame.pack_u32(5))
    talk.pump()
    assert talk.h2.local_flow_control_window(1) == frame.INITIAL_CREDIT + 5


def test_what_an_instance_does_not_take_waits_and_is_granted_back_once_it_left() -> None:
    raw = raw_instance()
    call(raw, open_payload(body=b"x" * 60000), 0)
    raw.port.send(DATA, 0, 1, b"y" * 5536)
    sent = [line for line in raw.heard() if line.startswith("DATA")]
    assert sent == [*["DATA 1 16384 bytes"] * 3, "DATA 1 10848 bytes", "DATA 1 5535 bytes"]
    assert raw.port.held == 1
    raw.heard()
    assert [line.split()[0] for line in raw.notes.lines] == ["CREDIT"]
    assert raw.say(window(0, 100), window(1, 100)) == ["DATA 1 1 bytes"]
    assert raw.port.held == 0


# The connection.


def test_an_instance_gets_no_more_streams_than_it_takes() -> None:
    limit = http2.pack_frame(http2.SETTINGS, 0, 0, http2.pack_settings({http2.MAX_CONCURRENT_STREAMS: 2}))
    raw = raw_instance(limit)
    call(raw)
    assert not raw.port.full
    call(raw)
    assert raw.port.full
    with pytest.raises(Unavailable, match="limit of 2") as raised:
        raw.port.next_stream()
    assert not raised.value.may_have_run
    raw.say(raw.headers(1, (*ANSWER[:4], "grpc-status", "0"), end=True))
    assert call(raw) == 5


def test_a_connection_whose_numbers_are_used_up_takes_no_more() -> None:
    raw = raw_instance()
    raw.port._next = http2.MAX_STREAM
    assert call(raw) == http2.MAX_STREAM
    with pytest.raises(Unavailable):
        raw.port.next_stream()
    assert raw.port.draining


def go_away(raw: Raw, last: int, code: int = 0, text: bytes = b"") -> list[str]:
    return raw.say(http2.pack_frame(http2.GOAWAY, 0, 0, frame.pack_u32(last) + frame.pack_u32(code) + text))


def test_calls_beyond_the_last_of_a_goaway_were_not_reached_and_the_others_go_on() -> None:
    raw = raw_instance()
    closed: list[str] = []
    raw.port.close = closed.append
    for _ in range(3):
        call(raw)
    go_away(raw, http2.MAX_STREAM)
    assert raw.port.draining
    assert not raw.notes.frames
    go_away(raw, 3, 0, b"bye")
    assert raw.notes.lines == ["RESET 5 14 NOT_REACHED"]
    with pytest.raises(Unavailable, match="draining"):
        raw.port.next_stream()
    ended = (*ANSWER[:4], "grpc-status", "0")
    raw.say(raw.headers(1, ended, end=True))
    assert not closed
    raw.say(raw.headers(3, ended, end=True))
    assert closed == [DRAINED]


@pytest.mark.parametrize(
    ("last", "code", "flags"),
    [
        (1, http2.ErrorCode.NO_ERROR, BLAMELESS),
        (0, http2.ErrorCode.NO_ERROR, 0),
        (1, http2.ErrorCode.INTERNAL_ERROR, 0),
    ],
)
def test_who_ends_a_connection_that_has_served_is_not_at_fault(last: int, code: int, flags: int) -> None:
    raw = raw_instance()
    for _ in range(2):
        call(raw)
    go_away(raw, last, code)
    assert raw.notes.take()[-1][:2] == (RESET, flags)


def test_who_refuses_what_was_sent_before_its_limit_was_known_is_not_at_fault() -> None:
    port, notes = calling()
    raw = Raw(port, notes)
    for _ in range(3):
        call(raw)
    raw.say(http2.pack_frame(http2.SETTINGS, 0, 0, http2.pack_settings({http2.MAX_CONCURRENT_STREAMS: 2})))
    for stream, flags in ((5, BLAMELESS), (3, 0)):
        raw.say(http2.pack_frame(http2.RST_STREAM, 0, stream, frame.pack_u32(http2.ErrorCode.REFUSED_STREAM)))
        assert notes.take()[-1][:3] == (RESET, flags, stream)


def test_who_goes_opens_nothing_more_and_says_so() -> None:
    raw = raw_instance()
    raw.port.go_away()
    assert raw.heard() == ["GOAWAY 0 NO_ERROR"]
    with pytest.raises(Unavailable):
        raw.port.next_stream()


def test_a_call_was_sent_once_its_bytes_were_given_to_the_connection() -> None:
    raw = raw_instance()
    stream = call(raw)
    assert not raw.port.was_sent(stream)
    raw.heard()
    assert raw.port.was_sent(stream)


def test_a_connection_that_is_lost_is_told_of_once_and_takes_nothing_more() -> None:
    raw = raw_instance()
    call(raw)
    raw.port.connection_lost("it broke")
    raw.port.connection_lost("again")
    assert raw.notes.deaths == ["it broke"]
    assert raw.say(data(1, b"x")) == []
    raw.port.send(OPEN, END, 3, open_payload())
    assert raw.port.data_to_send(0.0) == b""
    with pytest.raises(Unavailable, match="gone"):
        raw.port.next_stream()


# Whether it is still there.


def silent(raw: Raw, now: float) -> list[str]:
    raw.port.handle_timeout(now)
    return [line for line in raw.heard() if "PING" in line]


def test_an_instance_that_is_silent_while_calls_are_open_is_asked_and_then_given_up() -> None:
    raw = raw_instance()
    closed: list[str] = []
    raw.port.close = closed.append
    assert raw.port.next_timeout() < math.inf
    assert not silent(raw, raw.now + 1000)  # no call is open
    call(raw)
    assert not silent(raw, raw.now + SILENCE / 2)
    assert silent(raw, raw.now + SILENCE) == ["PING 0 8 bytes"]
    assert not silent(raw, raw.now + SILENCE + ANSWER_WITHIN / 2)
    assert not closed
    silent(raw, raw.now + SILENCE + ANSWER_WITHIN)
    assert len(closed) == 1


def test_an_instance_that_answers_is_not_asked_so_often_that_it_takes_offence() -> None:
    """grpc servers count PINGs that come less than five minutes apart while they send nothing, and end the connection
    at the third."""
    raw = raw_instance()
    closed: list[str] = []
    raw.port.close = closed.append
    call(raw)
    asked = []
    for second in range(0, 620, 5):
        raw.now = 100.0 + second
        if silent(raw, raw.now):
            asked.append(second)
            raw.say(http2.pack_frame(http2.PING, http2.ACK, 0, b"there?  "))
    assert len(asked) == 2
    assert asked[1] - asked[0] >= ASK_AGAIN
    raw.say(raw.headers(1, ANSWER))
    raw.now += SILENCE
    assert silent(raw, raw.now)
    assert not closed


def looks(raw: Raw, seconds: float) -> list[str]:
    """Time passes, and the driver looks and writes; what the instance hears."""
    heard: list[str] = []
    until = raw.now + seconds
    while raw.now < until:
        raw.now += LOOK
        raw.port.handle_timeout(raw.now)
        raw.say_unread(http2.pack_frame(http2.PING, http2.ACK, 0, b"there?  "))  # the instance itself is well
        while lines := raw.heard():
            heard += lines
    return heard


def test_an_instance_may_think_about_an_answer_but_not_keep_back_the_rest_of_one() -> None:
    raw = raw_instance(limits=Limits(stall=30.0))
    call(raw)
    looks(raw, 1000.0)
    assert not raw.notes.frames
    raw.say(raw.headers(1, (*ANSWER, "content-length", "10")), data(1, b"he"))
    raw.notes.take()
    looks(raw, 27.0)
    assert not raw.notes.frames
    assert looks(raw, 3.0 + 2 * LOOK) == ["RST_STREAM 1 CANCEL"]
    assert raw.notes.lines == ["RESET 1 14 MAY_HAVE_RUN"]


def test_an_instance_that_takes_nothing_of_a_request_is_given_up() -> None:
    raw = raw_instance(limits=Limits(stall=30.0))
    call(raw, flags=0)
    raw.port.send(DATA, 0, 1, bytes(60_000))
    raw.port.send(DATA, 0, 1, bytes(20_000))
    raw.heard()
    looks(raw, 30.0 + 2 * LOOK)
    assert raw.notes.lines[-1] == "RESET 1 14 MAY_HAVE_RUN"


def test_an_instance_that_has_answered_and_takes_nothing_more_is_left_alone() -> None:
    raw = raw_instance(limits=Limits(stall=30.0))
    call(raw, open_payload(HTTP_CALL), flags=0)
    raw.port.send(DATA, 0, 1, bytes(60_000))
    raw.port.send(DATA, 0, 1, bytes(20_000))
    raw.say(raw.headers(1, (":status", "200"), end=True))
    raw.notes.take()
    looks(raw, 30.0 + 2 * LOOK)
    assert raw.notes.lines == ["CREDIT 1 60000", "STOP 1"]


def test_no_more_calls_than_a_hundred_are_made_before_an_instance_has_said_how_many_it_takes_rfc9113_6_5_2() -> None:
    port, notes = calling()
    raw = Raw(port, notes)
    for _ in range(BEFORE_SETTINGS):
        assert not port.full
        call(raw, open_payload())
    assert port.full
    assert port.takes == BEFORE_SETTINGS
    raw.say(SETTINGS)
    assert not port.full, "it takes any number"
    assert port.takes == BEFORE_SETTINGS


@pytest.mark.parametrize(("limit", "takes"), [(0, 1), (5, 5), (1000, BEFORE_SETTINGS)])
def test_another_connection_is_expected_to_take_no_more_than_this_one(limit: int, takes: int) -> None:
    limited = http2.pack_frame(http2.SETTINGS, 0, 0, http2.pack_settings({http2.MAX_CONCURRENT_STREAMS: limit}))
    assert raw_instance(limited).port.takes == takes
