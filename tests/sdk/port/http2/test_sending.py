"""What waits for the windows of a peer, whatever the order in which they open: nothing is lost, doubled or late."""

from hypothesis import given
from hypothesis import strategies as st

from sdk.head import ReplyHead, Trailers
from sdk.wire import frame, http2
from sdk.wire.frame import DATA, END, HEAD, TRAILERS
from tests.sdk.port.http2.ends import (
    GRPC_REQUEST,
    Raw,
    data,
    head_payload,
    http2_frames,
    raw_program,
    trailers_payload,
    window,
)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("body"), st.integers(0, 2), st.integers(0, 40_000)),
        st.tuples(st.just("end"), st.integers(0, 2), st.integers(0, 500)),
        st.tuples(st.just("window"), st.integers(0, 3), st.integers(1, 30_000)),
        st.tuples(st.just("settings"), st.integers(0, 0), st.integers(0, 50_000)),
        st.tuples(st.just("write"), st.integers(0, 0), st.integers(0, 0)),
    ),
    max_size=40,
)


class Reader:
    """A peer that keeps its windows and notes what came of each stream."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.first = 65535
        self.connection = 65535
        self.windows = {1: 65535, 3: 65535, 5: 65535}
        self.bodies = {1: b"", 3: b"", 5: b""}
        self.ended: list[int] = []

    def read(self) -> None:
        for kind, flags, stream, payload in http2_frames(self.raw.port.data_to_send(0.0)):
            if kind in (http2.DATA, http2.HEADERS):
                assert stream not in self.ended
                if flags & http2.END_STREAM:
                    self.ended.append(stream)
            if kind == http2.DATA:
                self.windows[stream] -= len(payload)
                self.connection -= len(payload)
                assert not payload or (self.windows[stream] >= 0 and self.connection >= 0)
                assert len(payload) <= http2.LEAST_FRAME
                self.bodies[stream] += payload

    def open(self, stream: int, size: int) -> None:
        if stream:
            self.windows[stream] += size
        else:
            self.connection += size
        self.raw.say_unread(window(stream, size))


@given(STEPS)
def test_every_byte_arrives_once_in_order_and_the_end_behind_it(steps: list[tuple[str, int, int]]) -> None:
    raw = raw_program()
    reader = Reader(raw)
    raw.say(*(raw.headers(stream, GRPC_REQUEST, end=True) for stream in (1, 3, 5)))
    sent = {1: b"", 3: b"", 5: b""}
    over: set[int] = set()
    for step, at, size in steps:
        stream = (1, 3, 5)[at] if at < 3 else 0
        if step in ("body", "end") and stream not in over and len(sent[stream]) + size <= frame.INITIAL_CREDIT:
            body = bytes(byte % 251 for byte in range(len(sent[stream]), len(sent[stream]) + size))
            sent[stream] += body
            if step == "end":
                over.add(stream)
                raw.port.send(DATA, END | TRAILERS, stream, trailers_payload(Trailers(), body))
            else:
                raw.port.send(DATA, 0, stream, body)
        elif step == "window" and (not stream or stream not in reader.ended):
            reader.open(stream, size)
        elif step == "settings":
            reader.read()  # what was written before it is within the windows there were
            raw.say_unread(http2.pack_frame(http2.SETTINGS, 0, 0, http2.pack_settings({4: size})))
            for number in reader.windows:
                reader.windows[number] += size - reader.first
            reader.first = size
        elif step == "write":
            reader.read()
    assert raw.fault is None
    reader.read()
    assert raw.port.held == sum(map(len, sent.values())) - sum(map(len, reader.bodies.values()))
    for stream in (0, 1, 3, 5):
        if stream not in reader.ended:
            reader.open(stream, 300_000)
    reader.read()
    assert reader.bodies == sent
    assert set(reader.ended) == over
    assert raw.port.held == 0
    assert not raw.port._ready


def test_pieces_that_waited_go_out_together() -> None:
    raw = raw_program(http2.pack_frame(http2.SETTINGS, 0, 0, http2.pack_settings({4: 0})))
    raw.say(raw.headers(1, GRPC_REQUEST, end=True))
    for byte in b"abcdefg":
        raw.port.send(DATA, 0, 1, bytes([byte]))
    raw.heard()
    assert raw.say(window(1, 5)) == ["DATA 1 5 bytes"]
    assert raw.say(window(1, 5)) == ["DATA 1 2 bytes"]


def test_a_window_that_opens_by_a_byte_is_no_reason_to_look_at_every_stream() -> None:
    """Ten thousand streams whose own windows are shut, and one byte after the other for the connection."""
    raw = raw_program(http2.pack_frame(http2.SETTINGS, 0, 0, http2.pack_settings({4: 0})))
    for stream in range(1, 401, 2):
        raw.say(raw.headers(stream, GRPC_REQUEST, end=True))
        raw.port.send(HEAD, 0, stream, head_payload(ReplyHead(), b"x"))
    assert raw.port.held == 200
    assert not raw.port._ready


def test_credit_comes_for_much_of_the_window_and_only_after_it_was_written() -> None:
    raw = raw_program()
    raw.say(raw.headers(1, GRPC_REQUEST, end=True))
    raw.notes.take()
    raw.port.send(HEAD, 0, 1, head_payload(ReplyHead(), b"x" * 10_000))
    for _ in range(3):
        raw.port.data_to_send(0.0)
    assert not raw.notes.frames
    raw.port.send(DATA, 0, 1, b"x" * 16_000)
    raw.port.data_to_send(0.0)
    raw.port.send(DATA, 0, 1, b"x" * 100)
    assert not raw.notes.frames
    raw.port.data_to_send(0.0)
    assert raw.notes.lines == ["CREDIT 1 26000"]


def test_a_stream_that_is_broken_off_leaves_nothing_waiting() -> None:
    raw = raw_program(http2.pack_frame(http2.SETTINGS, 0, 0, http2.pack_settings({4: 0})))
    raw.say(raw.headers(1, GRPC_REQUEST, end=True))
    raw.port.send(HEAD, 0, 1, head_payload(ReplyHead(), b"x" * 1000))
    assert raw.port.held == 1000
    raw.say(http2.pack_frame(http2.RST_STREAM, 0, 1, frame.pack_u32(8)))
    assert raw.port.held == 0
    assert not raw.port._ready


def test_the_driver_is_woken_when_there_is_something_to_write_and_not_again() -> None:
    raw = raw_program()
    woken: list[bool] = []
    raw.port.wake = lambda: woken.append(True)
    raw.port.receive_data(raw.headers(1, GRPC_REQUEST) + data(1, b"x"), 0.0)
    assert not woken
    raw.port.send(HEAD, 0, 1, head_payload(ReplyHead(), b"x"))
    raw.port.send(DATA, 0, 1, b"x")
    assert woken == [True]
    assert raw.port.queued > 0
    raw.port.data_to_send(0.0)
    assert raw.port.queued == 0
