import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.errors import LocalProtocolError, RemoteProtocolError, Status
from sdk.port import Port
from sdk.port.native import MAX_ANSWERS, MAX_BACKLOG
from sdk.wire import frame
from sdk.wire.frame import Fate, Reset
from tests.tunnel.bench import KEYS, Recorder, certificate
from tunnel.link import Link
from tunnel.linkport import MAX_CONTROL, MAX_PIECE, LinkPort
from tunnel.meter import Segments
from tunnel.noise import Cipher
from tunnel.pacing import FIRST
from tunnel.rtt import RoundTrip


class End:
    """One end of a link: its port, and what came of it."""

    def __init__(self, number: int, *, dialled: bool, ciphers: tuple[Cipher, Cipher], first: bytes = b"") -> None:
        self.recorder = Recorder()
        self.round_trip = RoundTrip()
        self.closed: list[str] = []
        self.segments: Segments | None = None
        self.depths: list[int] = []
        peer = certificate(KEYS[1 - number], name=f"n{1 - number}")
        self.port = LinkPort(
            self.recorder,
            dialled=dialled,
            peer=peer,
            ciphers=ciphers,
            now=0.0,
            round_trip=self.round_trip,
            on_control=lambda message: self.recorder.control(self.link, message),
            on_lost=lambda reason: self.recorder.link_down(self.link, reason),
            segments=lambda: self.segments,
            set_depth=self.depths.append,
            first=first,
        )
        self.port.close = self.closed.append
        self.link = Link(
            certificate=peer, dialled=dialled, address="somewhere", transport="mem", port=self.port, up_since=0.0
        )


def pair(first: bytes = b"") -> tuple[End, End]:
    here, there = b"1" * 32, b"2" * 32
    return (
        End(0, dialled=True, ciphers=(Cipher(here), Cipher(there)), first=first),
        End(1, dialled=False, ciphers=(Cipher(there), Cipher(here))),
    )


def carry(source: End, target: End, now: float = 0.0, *, chunk: int = 65536) -> bytes:
    """Moves what waits at one end to the other; returns the bytes on the wire."""
    everything = b""
    while data := source.port.data_to_send(now):
        everything += data
        for start in range(0, len(data), chunk):
            more = target.port.receive_data(data[start : start + chunk], now)
            while more:
                more = target.port.receive_data(b"", now)
    return everything


def meet(a: End, b: End) -> None:
    carry(a, b)
    carry(b, a)


def open_calls(a: End, b: End, count: int) -> None:
    """Opens so many streams from a to b and forgets the frames."""
    for _ in range(count):
        stream = a.port.next_stream()
        a.port.streams[stream] = b.port.streams[stream] = None
        a.port.send(frame.OPEN, 0, stream, frame.pack_open(0, b"", 0, b"", b""))
    a.port.streams.clear()
    b.port.streams.clear()
    carry(a, b)
    for stream in range(1, 2 * count, 2):
        a.port.streams[stream] = b.port.streams[stream] = None
    b.recorder.frames.clear()


def test_frames_cross_in_one_record_and_in_cipher() -> None:
    a, b = pair()
    meet(a, b)
    assert a.port.next_stream() == 1
    a.port.send(frame.OPEN, 0, 1, b"hello")
    a.port.send(frame.DATA, frame.END, 1, b"world")
    wire = carry(a, b)
    assert b.recorder.frames == [(frame.OPEN, 0, 1, b"hello"), (frame.DATA, frame.END, 1, b"world")]
    assert b"hello" not in wire
    assert len(wire) == 2 + 2 * frame.HEADER_SIZE + 10 + 16
    assert a.port.statistics().records_out == b.port.statistics().records_in == 2


@given(st.integers(1, 200), st.lists(st.integers(0, 65536), max_size=5))
def test_frames_of_any_size_arrive_in_order_whatever_the_pieces(chunk: int, sizes: list[int]) -> None:
    a, b = pair()
    meet(a, b)
    open_calls(a, b, 1)
    for number, size in enumerate(sizes):
        a.port.send(frame.DATA, 0, 1, bytes([number]) * size)
    carry(a, b, chunk=chunk * 331)
    assert {kind for kind, *_ in b.recorder.frames} <= {frame.DATA}
    assert b"".join(payload for *_, payload in b.recorder.frames) == b"".join(
        bytes([number]) * size for number, size in enumerate(sizes)
    )


def test_much_that_waits_goes_in_several_records_and_one_write() -> None:
    a, b = pair()
    meet(a, b)
    open_calls(a, b, 4)
    for stream in (1, 3, 5, 7):
        a.port.send(frame.DATA, 0, stream, bytes(60_000))
    assert a.port.statistics().queued == 4 * 60_010
    assert len(a.port.data_to_send(0.0)) > FIRST
    assert a.port.statistics().records_out == 2 + 2
    while a.port.data_to_send(0.0):
        pass
    assert a.port.statistics().queued == 0


def test_bytes_are_counted_the_same_at_both_ends() -> None:
    a, b = pair()
    meet(a, b)
    open_calls(a, b, 4)
    for stream in (1, 3, 5, 7):
        a.port.send(frame.DATA, 0, stream, bytes(60_000))
    carry(a, b)
    assert a.port.statistics().bytes_out == b.port.statistics().bytes_in


def test_the_end_of_the_handshake_goes_first() -> None:
    a, b = pair(first=b"last word")
    wire = a.port.data_to_send(0.0)
    assert wire.startswith(b"last word")
    b.port.receive_data(wire.removeprefix(b"last word"), 0.0)
    assert b.port.hello is not None
    assert a.port.data_to_send(0.0) == b""


def test_a_record_that_was_touched_ends_the_link() -> None:
    a, b = pair()
    wire = bytearray(a.port.data_to_send(0.0))
    wire[5] ^= 1
    with pytest.raises(RemoteProtocolError, match="damaged or forged"):
        b.port.receive_data(bytes(wire), 0.0)


@given(st.binary(min_size=1, max_size=500))
def test_whatever_comes_only_the_documented_error_comes_out(junk: bytes) -> None:
    _, b = pair()
    try:
        b.port.receive_data(junk, 0.0)
    except RemoteProtocolError:
        pass
    assert b.recorder.frames == []


# Control messages.


@pytest.mark.parametrize("size", [0, 1, MAX_PIECE, MAX_PIECE + 1, 3 * MAX_PIECE, MAX_CONTROL])
def test_a_control_message_arrives_whole(size: int) -> None:
    a, b = pair()
    meet(a, b)
    message = bytes(range(256)) * (size // 256) + bytes(size % 256)
    a.link.send_control(message)
    a.link.send_control(b"next")
    carry(a, b)
    assert b.recorder.controls == [message, b"next"]


def test_a_control_message_may_not_be_endless() -> None:
    a, b = pair()
    meet(a, b)
    with pytest.raises(LocalProtocolError):
        a.link.send_control(bytes(MAX_CONTROL + 1))
    for _ in range(MAX_CONTROL // 65536 + 1):
        a.port.send(frame.CONTROL, 0, 0, bytes(65536))
    with pytest.raises(RemoteProtocolError, match="control message"):
        carry(a, b)


# Liveness.


def run_until(end: End, until: float, *, answer: Callable[[float], object] = lambda _: None) -> list[float]:
    """Calls the timeout of one end when it is due; returns when it sent something."""
    asked = []
    while (now := end.port.next_timeout()) < until and not end.port.dead:
        end.port.handle_timeout(now)
        if end.port.queued:
            asked.append(now)
            answer(now)
    return asked


def test_an_idle_link_is_asked_every_second_and_its_delay_is_known() -> None:
    a, b = pair()
    meet(a, b)

    def answer(now: float) -> None:
        carry(a, b, now + 0.05)
        carry(b, a, now + 0.1)

    assert run_until(a, 5.5, answer=answer) == [1, 2, 3, 4, 5]
    assert a.round_trip.srtt == pytest.approx(0.1)
    assert a.port.delay_ms == 50
    assert a.link.statistics().srtt == pytest.approx(0.1)


def test_a_busy_link_is_asked_every_five_seconds() -> None:
    a, b = pair()
    meet(a, b)
    asked = []
    for tenths in range(1, 121):
        now = tenths / 10
        b.port.send(frame.CONTROL, frame.END, 0, bytes(500))
        carry(b, a, now)
        while a.port.next_timeout() <= now:
            a.port.handle_timeout(now)
            if a.port.queued:
                asked.append(now)
        carry(a, b, now)
    assert asked == [5, 10]


def test_a_silent_peer_is_dead_after_two_and_a_half_seconds_and_that_is_told_once() -> None:
    a, b = pair()
    meet(a, b)
    run_until(a, math.inf, answer=a.port.data_to_send)
    reason = "n1 was silent for 2.5 s"
    assert a.recorder.story == [f"down: n1: {reason}", f"dead: {reason}"]  # routes first, then the calls
    assert a.closed == [reason]
    assert a.link.statistics().state == "down"
    a.port.connection_lost("again")
    assert len(a.recorder.story) == 2


def test_any_frame_is_a_sign_of_life() -> None:
    a, b = pair()
    meet(a, b)
    for second in range(1, 20):
        b.port.send(frame.CONTROL, frame.END, 0, b"x")
        carry(b, a, float(second))
        run_until(a, second + 0.9, answer=a.port.data_to_send)
    assert not a.port.dead


def test_a_far_peer_is_given_more_time() -> None:
    a, _ = pair()
    for _ in range(100):
        a.round_trip.sample(1.0)
    run_until(a, math.inf, answer=a.port.data_to_send)
    assert a.closed == ["n1 was silent for 6.0 s"]


def test_a_process_that_slept_condemns_nobody() -> None:
    a, b = pair()
    meet(a, b)
    a.port.handle_timeout(100.0)  # due at 1.0
    assert not a.port.dead
    run_until(a, math.inf, answer=a.port.data_to_send)
    assert a.closed == ["n1 was silent for 2.5 s"]
    assert a.port.next_timeout() > 100


def test_a_process_that_is_slow_itself_is_more_patient_and_becomes_as_strict_again() -> None:
    a, _ = pair()
    now = 0.0
    for _ in range(8):  # the loop is 0.2 s late each time; the peer says something now and then
        now = a.port.next_timeout() + 0.2
        a.port._heard = now
        a.port.handle_timeout(now)
    patient = a.port.next_timeout
    assert a.port._patience() == pytest.approx(3 * 2.5)
    while not a.closed:
        a.port.data_to_send(now)
        now = patient() + 0.2
        a.port.handle_timeout(now)
    assert "silent for 7." in a.closed[0]

    b, _ = pair()
    for late in (0.2, 0.2, *[0.0] * 9):
        now = b.port.next_timeout() + late
        b.port._heard = now
        b.port.handle_timeout(now)
    assert b.port._patience() == pytest.approx(2.5)


def test_a_pong_that_nobody_asked_for_teaches_nothing() -> None:
    a, b = pair()
    meet(a, b)
    b.port.send(frame.PONG, 0, 0, bytes(8))
    carry(b, a, 5.0)
    assert a.round_trip.srtt is None


def test_a_probe_is_answered_by_the_peer_or_by_the_end_of_the_link() -> None:
    a, b = pair()
    meet(a, b)
    heard: list[str] = []
    a.port.probe(0.0, lambda: heard.append("first"))
    assert heard == []
    carry(a, b)
    carry(b, a)
    assert heard == ["first"]
    a.port.probe(0.0, lambda: heard.append("second"))
    a.port.connection_lost("gone")
    assert heard == ["first", "second"]
    assert a.port.dead


def test_a_peer_that_never_answers_does_not_fill_our_memory() -> None:
    a, b = pair()
    meet(a, b)
    for number in range(100):
        a.port.probe(float(number), lambda: None)
    assert len(a.port._pings) <= 16


# What a person sees.


def test_a_link_tells_what_it_carries_and_what_gets_lost() -> None:
    a, b = pair()
    meet(a, b)
    idle = b.link.statistics()
    assert (idle.rate_in, idle.rate_out, idle.loss, idle.rttvar) == (0, 0, 0, 0)
    for second in range(1, 31):
        a.port.send(frame.CONTROL, frame.END, 0, bytes(10_000))
        carry(a, b, float(second))
        carry(b, a, second + 0.1)
        b.segments = Segments(sent=100 * second, again=5 * second)
        for end in (a, b):
            end.port.handle_timeout(second + 0.2)
    assert b.link.statistics().rate_in == a.link.statistics().rate_out == pytest.approx(10_000, rel=0.02)
    assert b.link.statistics().rate_out == a.link.statistics().rate_in < 100
    assert b.link.loss == b.link.statistics().loss == pytest.approx(0.05)
    assert a.link.loss == 0
    assert a.link.statistics().rttvar == a.round_trip.rttvar > 0


def test_what_waits_is_counted_until_the_connection_has_taken_it() -> None:
    a, b = pair()
    meet(a, b)
    a.port.data_to_send(0.0)
    assert a.link.statistics().queued == 0
    a.port.send(frame.DATA, 0, 1, bytes(1000))
    a.port.data_to_send(0.0)
    assert a.link.statistics().queued == 1010
    a.port.send(frame.DATA, 0, 1, bytes(500))
    assert a.link.statistics().queued == 1010 + 510
    a.port.data_to_send(0.0)
    assert a.link.statistics().queued == 510
    a.port.connection_lost("gone")
    assert a.link.statistics().queued == 0


def written(end: End, other: End, now: float = 0.0) -> list[tuple[int, int, int, int]]:
    """One write of an end, as the other gets it: kind, flags, stream and size of each frame."""
    before = len(other.recorder.frames)
    more = other.port.receive_data(end.port.data_to_send(now), now)
    while more:
        more = other.port.receive_data(b"", now)
    return [(kind, flags, stream, len(payload)) for kind, flags, stream, payload in other.recorder.frames[before:]]


def loaded(streams: int = 3) -> tuple[End, End]:
    """Two ends with streams open, and more of the first one's bytes waiting than one write takes."""
    a, b = pair()
    meet(a, b)
    open_calls(a, b, streams)
    for _ in range(10):
        a.port.send(frame.DATA, 0, 1, bytes(60_000))
    return a, b


def test_a_small_call_goes_before_the_bulk_that_waits() -> None:
    a, b = loaded()
    a.port.send(frame.DATA, frame.END, 3, b"small")
    first = written(a, b)
    assert first[0] == (frame.DATA, 0, 1, 60_000)  # it was taken before anything waited
    others = [stream for _, _, stream, _ in first[1:]]
    assert 3 in others
    ahead = sum(size for _, _, stream, size in first[1 : 1 + others.index(3)] if stream == 1)
    assert ahead <= 256 * 1024 // 8


def test_a_new_call_waits_for_what_is_small_only() -> None:
    a, b = loaded()
    assert a.port.queued > 500_000
    assert a.port.ahead() < 61_000
    a.port.send(frame.DATA, 0, 3, bytes(50_000))
    assert 100_000 < a.port.ahead() < 120_000
    carry(a, b)
    assert a.port.ahead() == a.port.queued == 0


def test_a_call_from_the_other_end_is_taken_however_much_bulk_waits_to_go_there() -> None:
    a, b = loaded()
    for _ in range(MAX_BACKLOG // frame.MAX_PAYLOAD + 1):
        a.port.send(frame.DATA, 0, 1, bytes(frame.MAX_PAYLOAD))
    assert a.port.queued > MAX_BACKLOG
    b.port.send(frame.OPEN, frame.END, b.port.next_stream(), frame.pack_open(0, b"", 0, b"", b""))
    carry(b, a)
    assert [kind for kind, *_ in a.recorder.frames] == [frame.OPEN]


def test_credit_overtakes_what_waits_and_a_ping_does() -> None:
    a, b = loaded()
    a.port.send(frame.CREDIT, 0, 1, frame.pack_u32(1))
    a.port.ping(bytes(8))
    assert written(a, b)[1][0] == frame.CREDIT
    assert len(b.port.data_to_send(0.0)) > 0  # the PONG


def test_a_reset_throws_away_what_waits_of_its_stream() -> None:
    a, b = loaded()
    reset = frame.pack_reset(frame.Reset(1, 1, "over"))
    a.port.send(frame.RESET, 0, 1, reset)
    assert a.port.queued == 60_010 + 10 + len(reset)
    assert [kind for kind, *_ in written(a, b)] == [frame.DATA, frame.RESET]
    assert a.port.data_to_send(0.0) == b""


def test_calls_are_opened_in_order_although_their_bodies_wait() -> None:
    a, b = loaded()
    for stream in (7, 9):
        a.port.streams[stream] = None
        body = bytes(50_000) if stream == 7 else b"short"
        a.port.send(frame.OPEN, frame.END, stream, frame.pack_open(0, b"", 9, b"head", body))
    carry(a, b)
    opened = [(flags, stream) for kind, flags, stream, _ in b.recorder.frames if kind == frame.OPEN]
    assert opened == [(0, 7), (frame.END, 9)]
    body_of_7 = [(flags, len(payload)) for _, flags, stream, payload in b.recorder.frames[1:] if stream == 7]
    assert sum(size for _, size in body_of_7[1:]) == 50_000
    assert [flags for flags, _ in body_of_7[1:]][-1] == frame.END


def test_a_write_that_was_not_full_says_nothing_of_the_link() -> None:
    a, b = pair()
    meet(a, b)
    open_calls(a, b, 1)
    for now in range(0, 100, 10):
        a.port.send(frame.DATA, 0, 1, bytes(1000))
        assert a.port.data_to_send(float(now))
    assert a.port._pacing.budget == FIRST


def test_on_a_slow_link_writes_get_small_and_the_socket_shallow() -> None:
    a, b = pair()
    assert a.depths == [FIRST // 2]
    meet(a, b)
    open_calls(a, b, 1)
    now = 0.0
    for _ in range(10):
        a.port.send(frame.DATA, 0, 1, bytes(60_000))
    sizes = []
    while data := a.port.data_to_send(now):
        sizes.append(len(data))
        now += len(data) / 1_250_000  # 10 Mbit/s
        while b.port.receive_data(data, now):
            data = b""
    assert b"".join(payload for *_, payload in b.recorder.frames) == bytes(600_000)
    assert sizes[0] > 60_000
    assert max(sizes[4:]) < 20_000
    assert a.depths[-1] < 20_000


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 70_000), st.booleans()), max_size=40),
    st.integers(1, 9),
    st.sampled_from([4096, 12_500, 50_000, 65_500, 70_000, 256 * 1024]),
)
def test_within_a_stream_nothing_overtakes_and_nothing_is_lost(
    frames: list[tuple[int, int, bool]], every: int, budget: int
) -> None:
    a, b = pair()
    meet(a, b)
    open_calls(a, b, 4)
    a.port._pacing.budget = budget
    sent: dict[int, bytearray] = {1: bytearray(), 3: bytearray(), 5: bytearray(), 7: bytearray()}
    for number, (which, size, drain) in enumerate(frames):
        stream, payload = 2 * which + 1, bytes([number % 251]) * min(size, 65_000)
        sent[stream] += payload
        a.port.send(frame.DATA, 0, stream, payload)
        if drain and number % every == 0:
            written(a, b)
    carry(a, b)
    for stream, expected in sent.items():
        assert b"".join(payload for _, _, at, payload in b.recorder.frames if at == stream) == expected
    assert a.port.queued == 0


def test_a_peer_may_grant_more_than_a_program_before_it_reads_and_not_without_end() -> None:
    a, b = pair()
    meet(a, b)
    open_calls(a, b, 20)
    for stream in range(1, 41, 2):
        a.port.send(frame.CREDIT, 0, stream, frame.pack_u32(frame.MAX_CREDIT - frame.INITIAL_CREDIT))
    carry(a, b)
    kinds = [kind for kind, *_ in b.recorder.frames if kind in (frame.CREDIT, frame.RESET)]
    assert kinds == [frame.CREDIT] * 8 + [frame.RESET] * 12


def test_calls_that_are_refused_while_the_line_stalls_end_no_link_and_not_without_end() -> None:
    a, b = pair()
    meet(a, b)

    def refuse(port: Port, kind: int, flags: int, stream: int, payload: bytes) -> None:
        port.send(frame.RESET, 0, stream, frame.pack_reset(Reset(Status.NOT_FOUND, Fate.NOT_REACHED, "nobody")))

    b.recorder.on_frame = refuse  # type: ignore[method-assign]
    for _ in range(10 * MAX_ANSWERS):
        a.port.send(frame.OPEN, frame.END, a.port.next_stream(), frame.pack_open(0, b"", 0, b"", b""))
    carry(a, b)
    assert not b.port.dead
    assert b.port.queued > 10 * MAX_ANSWERS * frame.HEADER_SIZE
    b.port._answers = LinkPort.most_answers
    a.port.send(frame.OPEN, frame.END, a.port.next_stream(), frame.pack_open(0, b"", 0, b"", b""))
    with pytest.raises(RemoteProtocolError, match="pile up"):
        carry(a, b)
