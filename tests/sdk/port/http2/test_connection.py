"""The rules of RFC 9113 that belong to a connection, each test with its section, and what attackers do within them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.head import ReplyHead
from sdk.port.http2.limits import MAX_ANSWERS, MAX_BLOCK, MAX_CONTINUATIONS, MAX_FRAMES, MAX_NUISANCES, WIDE
from sdk.wire import frame, http2
from sdk.wire.frame import END, HEAD
from sdk.wire.http2 import pack_frame
from tests.sdk.port.http2.ends import (
    ACK,
    ANSWER,
    GRPC_REQUEST,
    HTTP_REQUEST,
    SETTINGS,
    Raw,
    call,
    calling,
    data,
    head_payload,
    http2_frames,
    raw_instance,
    raw_program,
    serving,
    window,
)

POST = (":method", "POST", *HTTP_REQUEST[2:])


def rst(stream: int, code: int = 8) -> bytes:
    return pack_frame(http2.RST_STREAM, 0, stream, frame.pack_u32(code))


def settings(values: dict[int, int]) -> bytes:
    return pack_frame(http2.SETTINGS, 0, 0, http2.pack_settings(values))


# 3.4: how a connection begins.


def test_both_ends_begin_with_their_settings_3_4() -> None:
    port, _ = serving()
    (kind, flags, stream, payload), *_ = http2_frames(port.data_to_send(0.0))
    assert (kind, flags, stream) == (http2.SETTINGS, 0, 0)
    assert http2.parse_settings_untrusted(payload)[http2.INITIAL_WINDOW_SIZE] == frame.INITIAL_CREDIT
    assert calling()[0].data_to_send(0.0).startswith(http2.PREFACE + b"\0\0\x12\4")


def test_the_preface_may_come_byte_by_byte_3_4() -> None:
    port, notes = serving()
    raw = Raw(port, notes)
    for byte in http2.PREFACE + SETTINGS + raw.headers(1, HTTP_REQUEST, end=True):
        raw.say(bytes([byte]))
    assert notes.lines == ["OPEN 1 END http greeter /hello?a=1"]


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"\0"])
def test_another_beginning_ends_the_connection_3_4(first: bytes) -> None:
    port, notes = serving()
    raw = Raw(port, notes)
    assert raw.say(first)[-1] == "GOAWAY 0 PROTOCOL_ERROR"
    assert raw.fault is not None


def test_the_first_frame_is_settings_3_4() -> None:
    for raw, first in ((Raw(*serving()), http2.PREFACE), (raw_instance(b""), b"")):
        assert raw.say(first + pack_frame(http2.PING, 0, 0, bytes(8)))[-1] == "GOAWAY 0 PROTOCOL_ERROR"
    raw = Raw(*serving())
    assert raw.say(http2.PREFACE + ACK)[-1] == "GOAWAY 0 PROTOCOL_ERROR"


# 4: frames.


def test_a_frame_beyond_the_size_we_offer_ends_the_connection_before_it_is_read_4_2() -> None:
    raw = raw_program()
    assert raw.say(http2.pack_header(16385, http2.DATA, 0, 1)) == ["GOAWAY 0 FRAME_SIZE_ERROR"]


def test_a_frame_of_exactly_that_size_is_taken_4_2() -> None:
    raw = raw_program()
    raw.say(raw.headers(1, POST), data(1, b"x" * 16384))
    assert raw.fault is None


def test_no_frame_of_ours_is_larger_than_the_peer_takes_4_2() -> None:
    raw = raw_program(settings({http2.MAX_FRAME_SIZE: 20000}))
    raw.say(raw.headers(1, HTTP_REQUEST, end=True))
    raw.port.send(HEAD, END, 1, head_payload(ReplyHead("", (":status", "200", "x-a", "y" * 30000)), b"x" * 30000))
    written = [(kind, flags, len(payload)) for kind, flags, _, payload in http2_frames(raw.port.data_to_send(0.0))]
    assert written == [
        (http2.HEADERS, 0, 20000),
        (http2.CONTINUATION, http2.END_HEADERS, 10010),
        (http2.DATA, 0, 20000),
        (http2.DATA, http2.END_STREAM, 10000),
    ]


def test_unknown_frames_and_flags_are_ignored_4_1_5_5() -> None:
    raw = raw_program()
    assert raw.say(pack_frame(0xEE, 0xFF, 3, b"?"), pack_frame(http2.PING, 0xF0, 0, bytes(8))) == ["PING 0 ACK 8 bytes"]


def test_the_reserved_bit_of_a_stream_number_is_ignored_4_1() -> None:
    raw = raw_program()
    raw.say(pack_frame(http2.HEADERS, 5, 1 | 1 << 31, raw.block(HTTP_REQUEST)))
    assert raw.notes.lines == ["OPEN 1 END http greeter /hello?a=1"]


def test_a_broken_header_block_ends_the_connection_4_3() -> None:
    raw = raw_program()
    assert raw.say(pack_frame(http2.HEADERS, 5, 1, b"\xbe")) == ["GOAWAY 1 COMPRESSION_ERROR"]
    assert raw.fault is not None


@pytest.mark.parametrize(
    "between",
    [data(1, b"x"), pack_frame(http2.PING, 0, 0, bytes(8)), pack_frame(http2.CONTINUATION, 4, 3, b""), ACK],
    ids=["data", "ping", "another stream", "settings"],
)
def test_nothing_comes_between_the_frames_of_a_header_block_4_3(between: bytes) -> None:
    raw = raw_program()
    assert raw.say(pack_frame(http2.HEADERS, 0, 1, b"\x82") + between)[-1].endswith("PROTOCOL_ERROR")
    assert raw.fault is not None


def test_a_header_block_may_come_in_pieces_4_3() -> None:
    raw = raw_program()
    block = raw.block(HTTP_REQUEST)
    pieces = [block[at : at + 20] for at in range(0, len(block), 20)]
    said = [pack_frame(http2.HEADERS, http2.END_STREAM, 1, pieces[0])]
    said += [pack_frame(http2.CONTINUATION, 0, 1, piece) for piece in pieces[1:]]
    raw.say(*said, pack_frame(http2.CONTINUATION, http2.END_HEADERS, 1, b""))
    assert raw.notes.lines == ["OPEN 1 END http greeter /hello?a=1"]


# 5.1: the states of streams.


@pytest.mark.parametrize(
    "said",
    [data(1, b"x"), rst(1), window(1, 1), window(2, 1), data(2, b"x")],
    ids=["data", "rst", "window", "even", "even data"],
)
def test_on_an_idle_stream_nothing_comes_but_headers_5_1(said: bytes) -> None:
    raw = raw_program()
    assert raw.say(said) == ["GOAWAY 0 PROTOCOL_ERROR"]


def test_priority_may_come_at_any_time_5_1() -> None:
    raw = raw_program()
    assert raw.say(pack_frame(http2.PRIORITY, 0, 1, bytes(5)), pack_frame(http2.PRIORITY, 0, 77, bytes(5))) == []
    assert raw.fault is None


@pytest.mark.parametrize("stream", [2, 4])
def test_a_program_opens_odd_streams_only_5_1_1(stream: int) -> None:
    raw = raw_program()
    assert raw.say(raw.headers(stream, HTTP_REQUEST, end=True)) == ["GOAWAY 0 PROTOCOL_ERROR"]


def test_headers_below_a_stream_that_was_opened_are_no_new_stream_5_1_1() -> None:
    raw = raw_program()
    raw.say(raw.headers(5, HTTP_REQUEST, end=True))
    assert raw.say(raw.headers(3, HTTP_REQUEST, end=True)) == ["RST_STREAM 3 STREAM_CLOSED"]


def test_a_stream_whose_peer_has_ended_takes_nothing_more_5_1() -> None:
    for again in (lambda raw: data(1, b"x"), lambda raw: raw.headers(1, ("x-a", "1"), end=True)):
        raw = raw_program()
        raw.say(raw.headers(1, POST), data(1, b"x", end=True))
        raw.notes.take()
        assert raw.say(again(raw)) == ["RST_STREAM 1 STREAM_CLOSED"]
        assert raw.notes.lines == ["RESET 1 1 MAY_HAVE_RUN"]


def test_a_stream_that_the_peer_broke_off_takes_nothing_more_5_1() -> None:
    raw = raw_program()
    raw.say(raw.headers(1, POST), rst(1))
    assert raw.say(data(1, b"x")) == ["RST_STREAM 1 STREAM_CLOSED"]


def test_what_crossed_our_rst_stream_is_ignored_but_counted_and_decoded_5_1() -> None:
    raw = raw_program()
    raw.say(raw.headers(1, GRPC_REQUEST))
    raw.port.send(HEAD, END, 1, head_payload(ReplyHead("", (), 3)))
    raw.heard()
    changing = [raw.headers(1, ("x-new", "1"), end=True) for _ in range(2)]
    assert raw.say(data(1, b"x"), *changing, window(1, 5), rst(1)) == []
    raw.say(raw.headers(3, (*GRPC_REQUEST, "x-new", "1"), end=True))
    assert raw.fault is None
    assert len(raw.notes.take()) == 3


def test_more_streams_than_we_take_are_refused_5_1_2() -> None:
    raw = raw_program(max_streams=2)
    said = raw.say(*(raw.headers(stream, POST) for stream in (1, 3, 5)))
    assert said == ["RST_STREAM 5 REFUSED_STREAM"]
    assert len(raw.notes.take()) == 2


# 6: each kind of frame.


def test_data_and_headers_belong_to_a_stream_6_1_6_2() -> None:
    for said in (data(0, b"x"), pack_frame(http2.HEADERS, 5, 0, b"\x82")):
        assert raw_program().say(said) == ["GOAWAY 0 PROTOCOL_ERROR"]


def test_padding_counts_in_the_window_and_is_given_back_6_1() -> None:
    raw = raw_program()
    said = raw.say(raw.headers(1, POST), pack_frame(http2.DATA, http2.PADDED, 1, b"\x09" + b"body" + bytes(9)))
    assert said == ["WINDOW_UPDATE 1 4 bytes"]
    assert raw.notes.lines == ["OPEN 1 http greeter /hello?a=1 4 bytes"]
    assert raw.port._exchanges[1].room == frame.INITIAL_CREDIT - 4


def test_padding_longer_than_its_frame_ends_the_connection_6_1_6_2() -> None:
    for kind in (http2.DATA, http2.HEADERS):
        raw = raw_program()
        raw.say(raw.headers(1, POST))
        assert raw.say(pack_frame(kind, http2.PADDED | 4, 1, b"\x09body")) == ["GOAWAY 1 PROTOCOL_ERROR"]


def test_the_priority_and_padding_of_headers_are_taken_off_6_2() -> None:
    raw = raw_program()
    block = b"\x02" + bytes(5) + raw.block(HTTP_REQUEST) + bytes(2)
    raw.say(pack_frame(http2.HEADERS, 5 | http2.PADDED | http2.WITH_PRIORITY, 1, block))
    assert raw.notes.lines == ["OPEN 1 END http greeter /hello?a=1"]
    assert raw.say(pack_frame(http2.HEADERS, 4 | http2.WITH_PRIORITY, 3, b"\0")) == ["GOAWAY 1 FRAME_SIZE_ERROR"]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (pack_frame(http2.PRIORITY, 0, 1, bytes(4)), "RST_STREAM 1 FRAME_SIZE_ERROR"),
        (pack_frame(http2.PRIORITY, 0, 0, bytes(5)), "GOAWAY 1 PROTOCOL_ERROR"),
        (pack_frame(http2.RST_STREAM, 0, 1, bytes(3)), "GOAWAY 1 FRAME_SIZE_ERROR"),
        (rst(0), "GOAWAY 1 PROTOCOL_ERROR"),
        (pack_frame(http2.SETTINGS, 0, 1, b""), "GOAWAY 1 PROTOCOL_ERROR"),
        (pack_frame(http2.SETTINGS, http2.ACK, 0, bytes(6)), "GOAWAY 1 FRAME_SIZE_ERROR"),
        (pack_frame(http2.SETTINGS, 0, 0, bytes(5)), "GOAWAY 1 FRAME_SIZE_ERROR"),
        (pack_frame(http2.PUSH_PROMISE, 4, 1, bytes(4)), "GOAWAY 1 PROTOCOL_ERROR"),
        (pack_frame(http2.PING, 0, 0, bytes(7)), "GOAWAY 1 FRAME_SIZE_ERROR"),
        (pack_frame(http2.PING, 0, 1, bytes(8)), "GOAWAY 1 PROTOCOL_ERROR"),
        (pack_frame(http2.GOAWAY, 0, 1, bytes(8)), "GOAWAY 1 PROTOCOL_ERROR"),
        (pack_frame(http2.GOAWAY, 0, 0, bytes(7)), "GOAWAY 1 FRAME_SIZE_ERROR"),
        (pack_frame(http2.WINDOW_UPDATE, 0, 0, bytes(3)), "GOAWAY 1 FRAME_SIZE_ERROR"),
        (window(0, 0), "GOAWAY 1 PROTOCOL_ERROR"),
        (window(1, 0), "RST_STREAM 1 PROTOCOL_ERROR"),
        (pack_frame(http2.CONTINUATION, 4, 1, b""), "GOAWAY 1 PROTOCOL_ERROR"),
    ],
    ids=["6.3 size", "6.3 stream", "6.4 size", "6.4 stream", "6.5 stream", "6.5 ack", "6.5 size", "6.6", "6.7 size",
         "6.7 stream", "6.8 stream", "6.8 size", "6.9 size", "6.9 connection", "6.9 stream", "6.10"],
)  # fmt: skip
def test_a_frame_that_cannot_be_ends_its_stream_or_the_connection_6(said: bytes, answer: str) -> None:
    raw = raw_program()
    raw.say(raw.headers(1, POST))
    assert raw.say(said) == [answer]
    assert (raw.fault is None) is answer.startswith("RST")


def test_an_instance_pushes_nothing_8_4() -> None:
    raw = raw_instance()
    call(raw)
    raw.say(pack_frame(http2.PUSH_PROMISE, 4, 1, frame.pack_u32(2) + b"\x82"))
    assert raw.fault is not None


def test_settings_are_acknowledged_and_pings_answered_6_5_3_6_7() -> None:
    raw = raw_program()
    said = raw.say(SETTINGS, pack_frame(http2.PING, 0, 0, b"12345678"), pack_frame(http2.PING, http2.ACK, 0, bytes(8)))
    assert said == ["SETTINGS 0 ACK 0 bytes", "PING 0 ACK 8 bytes"]


# 6.9: flow control.


def send_answer(raw: Raw, body: bytes, stream: int = 1) -> None:
    raw.port.send(HEAD, END, stream, head_payload(ReplyHead("", (":status", "200")), body))


def sizes(said: list[str]) -> list[int]:
    return [int(line.split()[-2]) for line in said if line.startswith("DATA")]


def test_a_smaller_initial_window_holds_and_a_larger_one_lets_go_6_9_2() -> None:
    raw = raw_program(settings({http2.INITIAL_WINDOW_SIZE: 10}))
    raw.say(raw.headers(1, HTTP_REQUEST, end=True))
    send_answer(raw, b"x" * 100)
    assert sizes(raw.heard()) == [10]
    assert sizes(raw.say(settings({http2.INITIAL_WINDOW_SIZE: 5}), window(1, 5))) == []
    assert sizes(raw.say(settings({http2.INITIAL_WINDOW_SIZE: 25}))) == [20]
    said = raw.say(window(1, 70))
    assert (sizes(said), said[-1]) == ([70], "DATA 1 END_STREAM 70 bytes")


def test_the_window_of_the_connection_holds_all_streams_and_they_share_what_opens_6_9_1() -> None:
    raw = raw_program(settings({http2.INITIAL_WINDOW_SIZE: 1 << 20}))
    for stream in (1, 3, 5):
        raw.say(raw.headers(stream, HTTP_REQUEST, end=True))
        send_answer(raw, b"x" * 60000, stream)
    raw.heard()
    said = raw.say(window(0, 3 * 16384))
    assert {line.split()[1] for line in said} == {"3", "5"}
    assert sum(sizes(said)) == 3 * 16384
    assert raw.port.held == 180000 - 65535 - 3 * 16384


def test_windows_that_overflow_end_the_stream_or_the_connection_6_9_1() -> None:
    raw = raw_program()
    raw.say(raw.headers(1, POST))
    assert raw.say(window(1, http2.MAX_WINDOW)) == ["RST_STREAM 1 FLOW_CONTROL_ERROR"]
    assert raw.say(window(0, http2.MAX_WINDOW)) == ["GOAWAY 1 FLOW_CONTROL_ERROR"]


def test_a_setting_that_makes_a_window_overflow_ends_the_connection_6_9_2() -> None:
    raw = raw_program()
    raw.say(raw.headers(1, POST), window(1, 100))
    assert raw.say(settings({http2.INITIAL_WINDOW_SIZE: http2.MAX_WINDOW})) == ["GOAWAY 1 FLOW_CONTROL_ERROR"]


def test_who_sends_more_than_the_window_of_its_stream_loses_the_stream_6_9_1() -> None:
    raw = raw_program()
    raw.say(raw.headers(1, POST), *[data(1, b"x" * 16384)] * 4)
    raw.notes.take()
    assert raw.say(data(1, b"x")) == ["RST_STREAM 1 FLOW_CONTROL_ERROR"]
    assert raw.notes.lines == ["RESET 1 1 MAY_HAVE_RUN"]


def test_the_window_of_the_connection_is_topped_up_long_before_it_is_used_6_9() -> None:
    raw = raw_program()
    raw.port._received = WIDE // 2 - 1
    raw.say(raw.headers(1, POST))
    assert raw.say(data(1, b"xx")) == ["WINDOW_UPDATE 0 4 bytes"]


# 8.1: messages.


@pytest.mark.parametrize(
    "headers",
    [
        (":method", "GET", ":scheme", "http", ":authority", "a"),
        (":method", "GET", ":scheme", "http", ":path", ""),
        (":method", "GET", ":path", "/", ":authority", "a"),
        (":scheme", "http", ":path", "/", ":authority", "a"),
        (*HTTP_REQUEST, ":path", "/"),
        ("accept", "*/*", *HTTP_REQUEST),
        (*HTTP_REQUEST, ":status", "200"),
        (*HTTP_REQUEST, "Accept", "x"),
        (*HTTP_REQUEST, "a b", "x"),
        (*HTTP_REQUEST, "", "x"),
        (*HTTP_REQUEST, "x-a", "a\r\nb: c"),
        (*HTTP_REQUEST, "x-a", " a"),
        (*HTTP_REQUEST, "connection", "close"),
        (*HTTP_REQUEST, "transfer-encoding", "chunked"),
        (*HTTP_REQUEST, "te", "gzip"),
        (*HTTP_REQUEST, "content-length", "1"),
        (*HTTP_REQUEST, "content-length", "x"),
        (*GRPC_REQUEST, "grpc-timeout", "soon"),
    ],
)
def test_a_malformed_request_ends_its_stream_alone_8_1_1(headers: tuple[str, ...]) -> None:
    raw = raw_program()
    assert raw.say(raw.headers(1, headers, end=True)) == ["RST_STREAM 1 PROTOCOL_ERROR"]
    assert not raw.notes.frames
    raw.say(raw.headers(3, HTTP_REQUEST, end=True))
    assert raw.notes.lines == ["OPEN 3 END http greeter /hello?a=1"]


@pytest.mark.parametrize("bodies", [(b"four", b"!"), (b"two",), ()])
def test_a_body_is_as_long_as_its_content_length_8_1_1(bodies: tuple[bytes, ...]) -> None:
    raw = raw_program()
    raw.say(raw.headers(1, (*POST, "content-length", "4")))
    frames = [data(1, body) for body in bodies]
    assert raw.say(*frames, data(1, b"", end=True))[0] == "RST_STREAM 1 PROTOCOL_ERROR"
    raw.say(raw.headers(3, (*POST, "content-length", "4")), data(3, b"12"), data(3, b"34", end=True))
    assert raw.notes.lines[-1].startswith("OPEN 3 END")


def test_trailers_end_a_message_and_have_no_pseudo_headers_8_1() -> None:
    for headers, end in (("x-a", "1"), False), ((":path", "/"), True):
        raw = raw_program()
        raw.say(raw.headers(1, POST))
        assert raw.say(raw.headers(1, headers, end=end)) == ["RST_STREAM 1 PROTOCOL_ERROR"]


def test_a_header_list_that_is_too_long_is_answered_so_10_5_1() -> None:
    raw = raw_program()
    answer = raw.say(raw.headers(1, HTTP_REQUEST + ("x", "") * 300, end=True))
    assert "':status': '431'" in answer[0]
    raw.say(raw.headers(3, HTTP_REQUEST, end=True))
    assert raw.notes.lines == ["OPEN 3 END http greeter /hello?a=1"]


# What attackers do.


def test_a_flood_of_continuations_is_cut_off_cve_2024_27316() -> None:
    raw = raw_program()
    said = [pack_frame(http2.HEADERS, 0, 1, b"")] + [pack_frame(http2.CONTINUATION, 0, 1, b"")] * MAX_CONTINUATIONS
    assert raw.say(*said) == []
    assert raw.say(pack_frame(http2.CONTINUATION, 0, 1, b"")) == ["GOAWAY 0 ENHANCE_YOUR_CALM"]


def test_a_header_block_has_an_end_10_5() -> None:
    raw = raw_program()
    frames = [pack_frame(http2.CONTINUATION, 0, 1, bytes(16384))] * (MAX_BLOCK // 16384)
    assert raw.say(pack_frame(http2.HEADERS, 0, 1, b"x"), *frames) == ["GOAWAY 0 ENHANCE_YOUR_CALM"]


def test_requests_that_are_taken_back_as_fast_as_they_come_end_the_connection_cve_2023_44487() -> None:
    raw = raw_program()
    stream = 1
    while raw.fault is None:
        said = raw.say(raw.headers(stream, GRPC_REQUEST, end=True), rst(stream))
        stream += 2
    assert said[-1].endswith("ENHANCE_YOUR_CALM")
    assert MAX_NUISANCES - 10 < stream // 2 <= MAX_NUISANCES + 1


def test_a_client_that_cancels_now_and_then_for_hours_is_served() -> None:
    raw = raw_program()
    for stream in range(1, 10_000, 2):
        raw.now += 0.01
        raw.say(raw.headers(stream, GRPC_REQUEST, end=True), rst(stream))
    assert raw.fault is None


def test_answers_that_are_complete_may_be_broken_off_for_nothing() -> None:
    raw = raw_program()
    for stream in range(1, 2 * MAX_NUISANCES + 100, 2):
        raw.say(raw.headers(stream, GRPC_REQUEST, end=True))
        raw.port.send(HEAD, 0, stream, head_payload(ReplyHead()))
        raw.say(rst(stream))
    assert raw.fault is None


@pytest.mark.parametrize(
    "nuisance",
    [
        lambda raw: data(1, b""),
        lambda raw: SETTINGS,
        lambda raw: window(1, 0),
        lambda raw: pack_frame(http2.PRIORITY, 0, 1, b""),
    ],
    ids=["cve-2019-9518", "cve-2019-9515", "cve-2025-8671", "made to reset"],
)
def test_what_costs_us_more_than_the_peer_is_borne_for_a_while_only(nuisance: object) -> None:
    raw = raw_program()
    raw.say(raw.headers(1, POST))
    for _ in range(MAX_NUISANCES + 10):
        assert callable(nuisance)
        said = raw.say(nuisance(raw))
        if raw.fault is not None:
            break
    assert said[-1] == "GOAWAY 1 ENHANCE_YOUR_CALM"


def test_pings_whose_answers_are_never_read_end_the_connection_cve_2019_9512() -> None:
    raw = raw_program()
    pings = pack_frame(http2.PING, 0, 0, bytes(8)) * (MAX_ANSWERS + 1)
    assert raw.say(pings)[-1] == "GOAWAY 0 ENHANCE_YOUR_CALM"


def test_who_opens_no_window_gets_no_more_calls_once_16_mib_wait_cve_2019_9517() -> None:
    raw = raw_program(settings({http2.INITIAL_WINDOW_SIZE: 0}))
    refused = 0
    for stream in range(1, 700, 2):
        said = raw.say(raw.headers(stream, HTTP_REQUEST, end=True))
        refused += "RST" in said[-1] if said else 0
        send_answer(raw, b"x" * 60000, stream)
        raw.heard()
    assert 0 < refused < 100
    assert raw.port.held < (17 << 20)


# Fairness, and whatever comes.


def test_frames_are_handled_a_few_at_a_time_and_none_is_lost() -> None:
    raw = raw_program()
    frames = [raw.headers(stream, HTTP_REQUEST, end=True) for stream in range(1, 401, 2)]
    assert raw.port.receive_data(b"".join(frames)[:-3], raw.now)
    assert len(raw.notes.frames) == MAX_FRAMES
    raw.say(b"")
    assert len(raw.notes.frames) == 199
    raw.say(b"".join(frames)[-3:])
    assert len(raw.notes.frames) == 200


@given(st.data())
def test_it_does_not_matter_how_the_bytes_are_cut(draw: st.DataObject) -> None:
    def said(raw: Raw) -> bytes:
        return b"".join(
            (
                raw.headers(1, GRPC_REQUEST), data(1, b"one"), data(1, b"two", end=True), window(0, 5),
                raw.headers(3, POST), data(3, b"x" * 500), raw.headers(3, ("x-sum", "1"), end=True), rst(3),
                pack_frame(http2.PING, 0, 0, bytes(8)),
            )
        )  # fmt: skip

    raw = raw_program()
    rest = said(raw)
    while rest:
        size = draw.draw(st.integers(1, len(rest)))
        raw.say(rest[:size])
        rest = rest[size:]
    assert raw.fault is None
    bodies: dict[int, bytes] = {1: b"", 3: b""}
    for kind, flags, stream, payload in raw.notes.frames:
        if kind == frame.OPEN:
            bodies[stream] += frame.split_open_untrusted(payload).body
        elif kind == frame.DATA and not flags & frame.TRAILERS:
            bodies[stream] += payload
    assert bodies == {1: b"onetwo", 3: b"x" * 500}


def test_an_instance_may_answer_any_number_of_calls_in_one_read() -> None:
    raw = raw_instance()
    streams = [call(raw) for _ in range(100)]
    answers = [raw.headers(stream, (*ANSWER, "grpc-status", "0"), end=True) for stream in streams]
    raw.say(*answers)
    assert len(raw.notes.frames) == 100
    assert not raw.port._exchanges
