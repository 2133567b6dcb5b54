"""The native port: how a connection begins, numbers its streams, drains, and what it does to a peer that misbehaves."""

import itertools
import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.errors import RemoteProtocolError, Unavailable
from sdk.port.native import LAST_CALL, MAX_ANSWERS, MAX_BACKLOG, MAX_FRAMES, MAX_UNREAD, NativePort
from sdk.wire import frame
from sdk.wire.credit import CreditPool, Window
from sdk.wire.frame import END, Fate, Hello, pack_frame
from tests.sdk.pair import Pair, Recorder, frames_of

HELLO = pack_frame(frame.HELLO, 0, 0, frame.pack_hello(Hello(1, "client", 100)))
BEGINNING = frame.PREFACE + HELLO
OPEN = frame.pack_open(3, b"", frame.NO_DEADLINE, b"head", b"")


def acceptor(*, max_streams: int = 10_000, keep_streams: bool = True) -> tuple[NativePort, Recorder]:
    sink = Recorder(keep_streams=keep_streams)
    port = NativePort(sink, role="node", dialled=False, name="peer", max_streams=max_streams)
    assert not port.receive_data(BEGINNING, 0.0)
    port.data_to_send(0.0)
    return port, sink


def dialler(hello: bytes = HELLO) -> tuple[NativePort, Recorder]:
    sink = Recorder()
    port = NativePort(sink, role="client", dialled=True, name="peer")
    assert not port.receive_data(frame.PREFACE + hello, 0.0)
    port.data_to_send(0.0)
    return port, sink


def opens(*streams: int) -> bytes:
    return b"".join(pack_frame(frame.OPEN, END, stream, OPEN) for stream in streams)


# How a connection begins.


def test_both_ends_say_the_preface_and_a_hello_before_anything_else() -> None:
    port = NativePort(Recorder(), role="instance", dialled=False, name="peer", max_streams=7)
    data = port.data_to_send(0.0)
    assert data.startswith(frame.PREFACE)
    [(kind, _, stream, payload)] = frames_of(data)
    assert (kind, stream) == (frame.HELLO, 0)
    assert frame.parse_hello_untrusted(payload) == Hello(frame.VERSION, "instance", 7)


@pytest.mark.parametrize("late", [False, True])
def test_a_dialler_sends_nothing_but_its_greeting_until_somebody_is_there(late: bool) -> None:
    port = NativePort(Recorder(), role="client", dialled=True, name="server")
    woken: list[None] = []
    port.wake = lambda: woken.append(None)
    greeting = b"" if late else port.data_to_send(0.0)
    port.send(frame.OPEN, END, 1, b"opened")
    assert late or port.data_to_send(0.0) == b""
    assert not port.was_sent(1)
    woken.clear()
    port.receive_data(frame.PREFACE + HELLO, 0.0)
    assert woken
    sent = greeting + port.data_to_send(0.0)
    assert [kind for kind, *_ in frames_of(sent)] == [frame.HELLO, frame.OPEN]
    assert port.was_sent(1)


def test_a_link_says_no_preface_because_its_handshake_did() -> None:
    port = NativePort(Recorder(), role="node", dialled=True, name="peer", preface=False)
    assert not port.data_to_send(0.0).startswith(frame.PREFACE[:1])
    assert not port.receive_data(HELLO + pack_frame(frame.PING, 0, 0, b"12345678"), 0.0)
    assert [kind for kind, *_ in frames_of(port.data_to_send(0.0))] == [frame.PONG]


def test_a_beginning_that_arrives_byte_by_byte_is_understood() -> None:
    sink = Recorder()
    port = NativePort(sink, role="node", dialled=False, name="peer")
    for byte in BEGINNING + opens(1):
        assert not port.receive_data(bytes([byte]), 0.0)
    assert port.hello == Hello(1, "client", 100)
    assert sink.frames == [(frame.OPEN, END, 1, OPEN)]


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00\x01", b"\xffmicrx", b"\x00"])
def test_another_protocol_is_refused_at_its_first_bytes(first: bytes) -> None:
    port = NativePort(Recorder(), role="node", dialled=False, name="peer")
    with pytest.raises(RemoteProtocolError, match="does not speak frames"):
        port.receive_data(first, 0.0)


@pytest.mark.parametrize("versions", [b"\x02\x03", b"\x00\x00", b"\x03\x02"])
def test_a_peer_of_no_common_version_is_told_apart_from_garbage(versions: bytes) -> None:
    port = NativePort(Recorder(), role="node", dialled=False, name="peer")
    with pytest.raises(RemoteProtocolError, match="speaks versions"):
        port.receive_data(frame.PREFACE[:6] + versions, 0.0)


@pytest.mark.parametrize(
    "first",
    [
        pack_frame(frame.PING, 0, 0, b"12345678"),
        pack_frame(frame.OPEN, END, 1, OPEN),
        pack_frame(frame.DATA, 0, 1, b"x"),
        pack_frame(frame.HELLO, 0, 1, b""),
    ],
    ids=["ping", "open", "data of an unknown stream", "hello on a stream"],
)
def test_nothing_may_come_before_the_hello(first: bytes) -> None:
    port = NativePort(Recorder(), role="node", dialled=False, name="peer")
    with pytest.raises(RemoteProtocolError, match="instead of HELLO"):
        port.receive_data(frame.PREFACE + first, 0.0)


def test_a_stream_opened_before_the_peers_hello_hears_nothing_until_it_came() -> None:
    sink = Recorder()
    port = NativePort(sink, role="client", dialled=True, name="peer")
    port.streams[port.next_stream()] = None
    with pytest.raises(RemoteProtocolError, match="instead of HELLO"):
        port.receive_data(frame.PREFACE + pack_frame(frame.DATA, 0, 1, b"x"), 0.0)
    assert not sink.frames


def test_a_hello_of_more_than_4_kib_is_refused_before_it_is_read() -> None:
    port = NativePort(Recorder(), role="node", dialled=False, name="peer")
    with pytest.raises(RemoteProtocolError, match="4096 are allowed"):
        port.receive_data(frame.PREFACE + frame.HEADER.pack(4097, frame.HELLO, 0, 0), 0.0)


def test_a_frame_of_more_than_64_kib_is_refused_before_it_is_read() -> None:
    port, _ = acceptor()
    with pytest.raises(RemoteProtocolError, match="65536 are allowed"):
        port.receive_data(frame.HEADER.pack(frame.MAX_PAYLOAD + 1, frame.DATA, 0, 1), 0.0)


def test_a_frame_of_exactly_64_kib_is_taken() -> None:
    port, sink = acceptor()
    port.receive_data(opens(1) + pack_frame(frame.DATA, 0, 1, b"x" * frame.MAX_PAYLOAD), 0.0)
    assert [len(payload) for *_, payload in sink.frames] == [len(OPEN), frame.MAX_PAYLOAD]


def test_frames_of_unknown_types_and_streams_are_skipped() -> None:
    port, sink = acceptor()
    skipped = (pack_frame(200, 255, 0, b"?"), HELLO, pack_frame(frame.DATA, 0, 77, b"x"), pack_frame(99, 0, 5, b""))
    port.receive_data(b"".join(skipped) + opens(1), 0.0)
    assert [kind for kind, *_ in sink.frames] == [frame.OPEN]


def test_a_control_frame_ends_a_connection_that_is_no_link() -> None:
    port, _ = acceptor()
    with pytest.raises(RemoteProtocolError, match="no link"):
        port.receive_data(pack_frame(frame.CONTROL, END, 0, b""), 0.0)


# Fairness.


def test_frames_are_handed_on_a_few_at_a_time_and_none_is_lost_or_repeated() -> None:
    port, sink = acceptor()
    data = opens(1) + b"".join(pack_frame(frame.DATA, 0, 1, b"%d" % n) for n in range(1000))
    cut = len(data) - 5
    counts = []
    more = port.receive_data(data[:cut], 0.0)
    while more:
        counts.append(len(sink.frames))
        more = port.receive_data(b"", 0.0)
    assert counts == list(range(MAX_FRAMES, 1000, MAX_FRAMES))
    assert not port.receive_data(data[cut:], 0.0)
    assert [payload for *_, payload in sink.frames[1:]] == [b"%d" % n for n in range(1000)]


def test_the_last_frame_of_a_turn_leaves_nothing_to_come_back_for() -> None:
    port, sink = acceptor()
    assert not port.receive_data(opens(*range(1, 2 * MAX_FRAMES, 2)), 0.0)
    assert len(sink.frames) == MAX_FRAMES


def test_a_full_read_of_the_smallest_frames_takes_no_more_turns_than_it_must() -> None:
    port, sink = acceptor()
    port.receive_data(opens(1), 0.0)
    rounds, more = 1, port.receive_data(pack_frame(frame.STOP, 0, 1, b"") * 6553, 0.0)
    while more:
        rounds, more = rounds + 1, port.receive_data(b"", 0.0)
    assert len(sink.frames) == 1 + 6553
    assert rounds == -(-6553 // MAX_FRAMES)


def test_a_port_wakes_its_writer_once_for_all_that_gathers() -> None:
    port, _ = acceptor()
    woken: list[None] = []
    port.wake = lambda: woken.append(None)
    port.ping(b"12345678")
    port.ping(b"12345678")
    assert len(woken) == 1
    assert port.queued == 36
    assert len(port.data_to_send(0.0)) == 36
    assert (port.queued, port.data_to_send(0.0)) == (0, b"")
    port.ping(b"12345678")
    assert len(woken) == 2


# Numbers of streams.


def test_the_dialler_opens_odd_numbers_and_the_acceptor_even_ones() -> None:
    assert [dialler()[0].next_stream(), acceptor()[0].next_stream()] == [1, 2]


@pytest.mark.parametrize("dialled", [True, False])
def test_numbers_wrap_past_those_alive_and_never_to_zero(dialled: bool) -> None:
    port = (dialler if dialled else acceptor)()[0]
    first, last = (1, 0xFFFFFFFF) if dialled else (2, 0xFFFFFFFE)
    port._next = last
    port.streams.update({last: None, first: None, first + 2: None})
    assert port.next_stream() == first + 4
    port._next = last
    del port.streams[last], port.streams[first + 2]
    assert [port.next_stream(), port.next_stream()] == [last, first + 2]


@pytest.mark.parametrize("dialled", [True, False])
def test_the_peer_may_wrap_too(dialled: bool) -> None:
    port, sink = (dialler if dialled else acceptor)()
    last, again = (0xFFFFFFFE, 2) if dialled else (0xFFFFFFFF, 1)
    for stream in (0x40000000 + again, 0x90000000 + again, last, again + 2):
        port.receive_data(opens(stream), 0.0)
    assert len(sink.frames) == 4
    with pytest.raises(RemoteProtocolError, match="after"):
        port.receive_data(opens(last - 2), 0.0)


@pytest.mark.parametrize("stream", [0, 2, 0xFFFFFFFE])
def test_an_open_with_a_number_of_the_wrong_end_is_an_error(stream: int) -> None:
    with pytest.raises(RemoteProtocolError, match="ours to give"):
        acceptor()[0].receive_data(opens(stream), 0.0)


def test_an_open_on_a_stream_that_is_alive_is_an_error() -> None:
    with pytest.raises(RemoteProtocolError, match="alive"):
        acceptor()[0].receive_data(opens(1, 1), 0.0)


def test_numbers_only_go_up() -> None:
    port, _ = acceptor(keep_streams=False)
    with pytest.raises(RemoteProtocolError, match="opened stream 3 after 5"):
        port.receive_data(opens(5, 3), 0.0)


def test_an_end_opens_no_more_streams_than_the_other_allowed() -> None:
    port, _ = dialler(pack_frame(frame.HELLO, 0, 0, frame.pack_hello(Hello(1, "node", 2))))
    for _ in range(2):
        port.streams[port.next_stream()] = None
    with pytest.raises(Unavailable, match="its limit of 2 streams"):
        port.next_stream()
    del port.streams[1]
    assert port.next_stream() == 5


def test_a_stream_too_many_is_refused_and_the_others_go_on() -> None:
    port, sink = acceptor(max_streams=2)
    port.receive_data(opens(1, 3, 5), 0.0)
    [(kind, _, stream, payload)] = frames_of(port.data_to_send(0.0))
    assert (kind, stream) == (frame.RESET, 5)
    reset = frame.parse_reset_untrusted(payload)
    assert reset.fate == Fate.NOT_REACHED
    assert "limit of 2 streams" in reset.detail
    del port.streams[1]
    port.receive_data(opens(7), 0.0)
    assert [stream for _, _, stream, _ in sink.frames] == [1, 3, 7]


# Floods.


def test_pings_are_answered_as_long_as_the_answers_are_read() -> None:
    port, _ = acceptor()
    for _ in range(3):
        data = pack_frame(frame.PING, 0, 0, b"12345678") * MAX_ANSWERS
        while port.receive_data(data, 0.0):
            data = b""
        assert list(frames_of(port.data_to_send(0.0))) == [(frame.PONG, 0, 0, b"12345678")] * MAX_ANSWERS


def test_a_peer_that_lets_answers_to_its_pings_pile_up_is_a_flood() -> None:
    port, _ = acceptor()
    with pytest.raises(RemoteProtocolError, match="pile up"):
        feed(port, pack_frame(frame.PING, 0, 0, b"12345678") * (MAX_ANSWERS + 1))


@pytest.mark.parametrize("size", [0, 7, 9])
def test_a_ping_has_eight_bytes(size: int) -> None:
    with pytest.raises(RemoteProtocolError, match="PING"):
        acceptor()[0].receive_data(pack_frame(frame.PING, 0, 0, bytes(size)), 0.0)


def test_a_peer_that_lets_refusals_of_its_streams_pile_up_is_a_flood() -> None:
    port, _ = acceptor(max_streams=1)
    with pytest.raises(RemoteProtocolError, match="pile up"):
        feed(port, opens(*range(1, 2 * MAX_ANSWERS + 5, 2)))


def test_calls_that_the_sink_answers_at_once_count_too() -> None:
    port, _ = acceptor(keep_streams=False)
    with pytest.raises(RemoteProtocolError, match="pile up"):
        feed(port, opens(*range(1, 2 * MAX_ANSWERS + 3, 2)))


def test_calls_that_take_a_while_do_not_count() -> None:
    port, sink = acceptor()
    feed(port, opens(*range(1, 2 * MAX_ANSWERS + 3, 2)))
    assert len(sink.frames) == MAX_ANSWERS + 1


def test_a_peer_that_does_not_read_its_answers_gets_no_new_calls_until_it_does() -> None:
    port, sink = acceptor()
    port.receive_data(opens(1), 0.0)
    for _ in range(MAX_BACKLOG // frame.MAX_PAYLOAD + 1):
        port.send(frame.DATA, 0, 1, bytes(frame.MAX_PAYLOAD))
    port.receive_data(opens(3), 0.0)
    [*_, (kind, _, stream, payload)] = frames_of(port.data_to_send(0.0))
    assert (kind, stream) == (frame.RESET, 3)
    assert "16 MiB" in frame.parse_reset_untrusted(payload).detail
    port.receive_data(opens(5), 0.0)
    assert [stream for _, _, stream, _ in sink.frames] == [1, 5]


def credit(stream: int, size: int) -> bytes:
    return pack_frame(frame.CREDIT, 0, stream, frame.pack_u32(size))


def test_a_peer_that_grants_credit_and_reads_nothing_gets_its_streams_broken_off() -> None:
    port, sink = acceptor()
    streams = range(1, 200, 2)
    port.receive_data(opens(*streams), 0.0)
    feed(port, b"".join(credit(stream, frame.MAX_CREDIT - frame.INITIAL_CREDIT) for stream in streams))
    assert {kind for kind, *_ in sink.frames} == {frame.OPEN, frame.RESET}
    broken = [(stream, payload) for kind, _, stream, payload in sink.frames if kind == frame.RESET]
    assert [stream for stream, _ in broken] == list(streams)
    told = [(stream, payload) for kind, _, stream, payload in frames_of(port.data_to_send(0.0)) if kind == frame.RESET]
    assert told == broken
    assert "before it can have read" in frame.parse_reset_untrusted(told[0][1]).detail


@settings(max_examples=20)
@given(st.lists(st.integers(1, frame.MAX_PAYLOAD), min_size=1, max_size=8), st.integers(1, 9))
def test_a_peer_that_reads_may_grant_as_much_as_any_window_grows(sizes: list[int], streams: int) -> None:
    port, sink = acceptor()
    port.receive_data(opens(*range(1, 2 * streams, 2)), 0.0)
    windows = {stream: Window(CreditPool()) for stream in range(1, 2 * streams, 2)}
    for size, (stream, window) in itertools.product(sizes * 40, windows.items()):
        port.send(frame.DATA, 0, stream, bytes(size))
        port.data_to_send(0.0)
        if granted := window.read(size, 0.0):  # at no time at all windows are doubled at every grant
            port.receive_data(credit(stream, granted), 0.0)
    assert all(kind != frame.RESET for kind, *_ in sink.frames)


def test_what_a_peer_read_long_ago_earns_it_no_credit_without_end() -> None:
    port, sink = acceptor()
    port.receive_data(opens(1), 0.0)
    port._handed = 1 << 40
    for _ in range(MAX_UNREAD // frame.MAX_CREDIT):
        port.receive_data(credit(1, frame.MAX_CREDIT), 0.0)
    assert sink.frames[-1][0] == frame.CREDIT
    port.receive_data(credit(1, frame.MAX_CREDIT), 0.0)
    assert sink.frames[-1][0] == frame.RESET


def feed(port: NativePort, data: bytes) -> None:
    """As a driver whose peer reads nothing."""
    while port.receive_data(data, 0.0):
        data = b""


# Draining.


def test_an_end_that_drains_takes_what_crosses_its_goaway_and_refuses_what_comes_later() -> None:
    port, sink = acceptor()
    port.receive_data(opens(1, 3), 0.0)
    port.go_away()
    port.go_away()
    with pytest.raises(Unavailable, match="draining"):
        port.next_stream()
    port.receive_data(opens(5) + pack_frame(frame.DATA, END, 3, b"x"), 0.0)
    assert not port.refusing
    port.receive_data(pack_frame(frame.PONG, 0, 0, LAST_CALL) + opens(7), 0.0)
    assert port.refusing
    port.go_away()
    sent = list(frames_of(port.data_to_send(0.0)))
    assert [(kind, stream) for kind, _, stream, _ in sent] == [
        (frame.GOAWAY, 0), (frame.PING, 0), (frame.GOAWAY, 0), (frame.RESET, 7),
    ]  # fmt: skip
    assert sent[1][3] == LAST_CALL
    assert frame.parse_u32_untrusted(sent[2][3]) == 5
    assert frame.parse_reset_untrusted(sent[3][3]).fate == Fate.NOT_REACHED
    assert [(kind, stream) for kind, _, stream, _ in sink.frames] == [
        (frame.OPEN, 1), (frame.OPEN, 3), (frame.OPEN, 5), (frame.DATA, 3),
    ]  # fmt: skip


def test_an_end_that_refuses_does_so_at_once() -> None:
    port, sink = acceptor()
    port.receive_data(opens(1), 0.0)
    port.refuse()
    port.refuse()
    port.receive_data(opens(3), 0.0)
    sent = list(frames_of(port.data_to_send(0.0)))
    assert [(kind, stream) for kind, _, stream, _ in sent] == [(frame.GOAWAY, 0), (frame.RESET, 3)]
    assert frame.parse_u32_untrusted(sent[0][3]) == 1
    assert frame.parse_reset_untrusted(sent[1][3]).fate == Fate.NOT_REACHED
    assert [(kind, stream) for kind, _, stream, _ in sink.frames] == [(frame.OPEN, 1)]
    with pytest.raises(Unavailable, match="draining"):
        port.next_stream()


@pytest.mark.parametrize("accepted", [1, 0x3FFFFFFF, 0x7FFFFFFF, 0xBFFFFFFF, 0xFFFFFFFF])
def test_a_first_goaway_leaves_out_no_stream_whether_old_or_on_its_way(accepted: int) -> None:
    there, _ = acceptor()
    there._accepted = accepted
    there.go_away()
    [told, _] = frames_of(there.data_to_send(0.0))
    here, sink = dialler()
    here._next = (accepted + 20002) & 0xFFFFFFFF
    here.streams.update(dict.fromkeys((accepted + offset) & 0xFFFFFFFF for offset in (-20000, -2, 0, 2, 20000)))
    here.receive_data(pack_frame(*told), 0.0)
    assert here.draining
    assert not sink.frames


def test_a_pong_that_says_so_unasked_ends_nothing() -> None:
    port, _ = acceptor()
    port.receive_data(pack_frame(frame.PONG, 0, 0, LAST_CALL), 0.0)
    assert not port.refusing
    assert not port.draining


def test_streams_above_the_last_accepted_one_were_not_reached() -> None:
    port, sink = dialler()
    port._next = 7
    port.streams.update(dict.fromkeys((1, 3, 5, 2, 4)))
    port.receive_data(pack_frame(frame.GOAWAY, 0, 0, frame.pack_u32(3)), 0.0)
    [(kind, _, stream, payload)] = sink.frames
    assert (kind, stream) == (frame.RESET, 5)
    assert frame.parse_reset_untrusted(payload).fate == Fate.NOT_REACHED
    assert port.draining


def test_above_is_meant_in_serial_numbers_so_that_it_holds_across_a_wrap() -> None:
    port, sink = dialler()
    port._next = 0xFFFFFFFD
    port.streams.update(dict.fromkeys([port.next_stream() for _ in range(4)]))
    port.receive_data(pack_frame(frame.GOAWAY, 0, 0, frame.pack_u32(0xFFFFFFFF)), 0.0)
    assert sorted(stream for _, _, stream, _ in sink.frames) == [1, 3]


@pytest.mark.parametrize("said_first", [True, False])
@pytest.mark.parametrize("opened_since", [0x20000000, 0x40000000, 0x70000000])
def test_a_stream_that_was_open_while_a_billion_others_came_and_went_is_not_among_them(
    opened_since: int, said_first: bool
) -> None:
    port, sink = dialler()
    old = port.next_stream()
    port._next = (old + 2 * opened_since) & 0xFFFFFFFF
    accepted, crossing = port.next_stream(), port.next_stream()
    port.streams.update(dict.fromkeys((old, accepted, crossing)))
    last = accepted + (0x40000000 if said_first else 0)
    port.receive_data(pack_frame(frame.GOAWAY, 0, 0, frame.pack_u32(last & 0xFFFFFFFF)), 0.0)
    assert [stream for _, _, stream, _ in sink.frames] == ([] if said_first else [crossing])


@pytest.mark.parametrize("dialled", [True, False])
def test_an_end_that_accepted_nothing_says_so_of_every_stream(dialled: bool) -> None:
    pair = Pair()
    near, far = (pair.client, pair.server) if dialled else (pair.server, pair.client)
    pair.pump()
    streams = [near.mux.open(b"head", end=True) for _ in range(3)]
    far.port.refuse()
    with pair.shown():
        pair.pump()
        assert [stream.reset_by_peer and stream.reset_by_peer.fate for stream in streams] == [Fate.NOT_REACHED] * 3
        assert not far.opened
        assert (near.alive, far.alive) == ([], [])


# The end.


def test_the_end_of_a_connection_is_told_once_and_nothing_is_sent_or_taken_after_it() -> None:
    port, sink = acceptor()
    port.ping(b"12345678")
    port.connection_lost("it broke")
    port.connection_lost("it broke again")
    port.ping(b"12345678")
    assert sink.deaths == ["it broke"]
    assert (port.queued, port.data_to_send(0.0)) == (0, b"")
    assert not port.receive_data(opens(1), 0.0)
    assert not sink.frames
    with pytest.raises(Unavailable, match="gone"):
        port.next_stream()


def test_a_call_counts_as_sent_once_its_open_was_given_to_the_writer() -> None:
    port, _ = dialler()
    port.send(frame.OPEN, 0, 1, OPEN)
    assert not port.was_sent(1)
    port.data_to_send(0.0)
    port.send(frame.OPEN, 0, 3, OPEN)
    port.connection_lost("gone")
    assert (port.was_sent(1), port.was_sent(3)) == (True, False)


def test_a_port_has_no_deadlines_of_its_own() -> None:
    port, _ = acceptor()
    port.handle_timeout(1e9)
    assert port.next_timeout() == float("inf")
    assert not port.data_to_send(1e9)


# Whatever comes.


@given(data=st.binary(max_size=400), begun=st.booleans())
def test_random_bytes_raise_nothing_but_the_documented_error(data: bytes, begun: bool) -> None:
    pair = Pair()
    if begun:
        pair.pump()
    with suppress(RemoteProtocolError):
        feed(pair.server.port, data)


def a_conversation() -> tuple[bytes, bytes]:
    """Everything two ends say in a few calls of every kind: what the client sent and what the server sent."""
    pair, said = Pair(), {"client": b"", "server": b""}

    def pump() -> None:
        pair.collect()
        while pair.client.inbox or pair.server.inbox:
            said["client"] += pair.server.inbox
            said["server"] += pair.client.inbox
            pair.deliver(pair.client)
            pair.deliver(pair.server)
            pair.collect()

    for number in range(4):
        stream = pair.client.mux.open(b"head", b"x" * number * 30, end=number == 0)
        pump()
        answer, _ = pair.server.opened[-1]
        answer.take()
        answer.send_head(b"fine", b"body", end=number == 0)
        if number:
            stream.write(b"y" * 40000)
            pump()
            answer.take()
            answer.write(b"z" * 50)
        if number == 1:
            stream.end()
            answer.end(b"trailers")
        if number == 2:
            answer.stop()
            stream.reset(1, "never mind")
        if number == 3:
            answer.reset(14, "sorry")
        pair.client.port.ping(b"12345678")
        pump()
    pair.server.port.go_away()
    pump()
    return said["client"], said["server"]


CLIENT_SAID, SERVER_SAID = a_conversation()


@settings(max_examples=200)
@given(random=st.randoms(use_true_random=False), at_server=st.booleans(), mutations=st.integers(0, 6))
def test_a_conversation_changed_and_cut_anywhere_raises_nothing_but_the_documented_error(
    random: random.Random, at_server: bool, mutations: int
) -> None:
    data = bytearray(CLIENT_SAID if at_server else SERVER_SAID)
    for _ in range(mutations):
        match random.randrange(4):
            case 0:
                data[random.randrange(len(data))] = random.randrange(256)
            case 1:
                start = random.randrange(len(data))
                del data[start : start + random.randrange(50)]
            case 2:
                data.insert(random.randrange(len(data)), random.randrange(256))
            case 3:  # a piece said again
                start = random.randrange(len(data))
                data[start:start] = data[start : start + random.randrange(200)]
    pair = Pair()
    pair.client.mux.open(b"head", end=False)
    half = pair.server if at_server else pair.client
    cuts = sorted(random.sample(range(len(data)), min(20, len(data))))
    with suppress(RemoteProtocolError):
        for start, stop in itertools.pairwise([0, *cuts, len(data)]):
            pair.deliver(half)  # nothing, as after an empty read
            half.inbox = bytes(data[start:stop])
            pair.deliver(half)
            for stream, _ in half.opened:
                stream.take(random.randrange(1, 1000))
    half.port.connection_lost("the test is over")
    assert not half.alive


def test_that_conversation_itself_is_understood_however_it_is_cut() -> None:
    for size in (1, 7, 1000, 1 << 20):
        pair = Pair()
        pair.server.inbox = CLIENT_SAID
        while pair.server.inbox:
            pair.deliver(pair.server, size)
            for stream, _ in pair.server.opened:
                stream.take()
        assert len(pair.server.opened) == 4


def test_a_subclass_hears_the_hello_before_any_other_frame() -> None:
    heard: list[object] = []

    class Curious(NativePort):
        def on_hello(self, hello: Hello) -> None:
            heard.append(hello)

    dialler = NativePort(Recorder(), role="client", dialled=True, name="peer", token=b"secret")
    dialler.send(frame.OPEN, 0, dialler.next_stream(), frame.pack_open(0, b"", 1, b"", b""))
    recorder = Recorder()
    port = Curious(recorder, role="node", dialled=False, name="peer")
    data = dialler.data_to_send(0.0)
    port.receive_data(data[:20], 0.0)
    assert not heard
    port.receive_data(data[20:], 0.0)
    assert heard == [Hello(frame.VERSION, "client", 10_000, b"secret")]
    assert not port.trusted
