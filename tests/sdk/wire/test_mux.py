"""Streams with credit, on two muxes joined by bytes in memory."""

from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from sdk.errors import BadRequest, LocalProtocolError, RemoteProtocolError, Status, Unavailable
from sdk.port.native import NativePort
from sdk.wire import frame
from sdk.wire.credit import CreditPool
from sdk.wire.frame import END, INITIAL_CREDIT, Fate, Reset, pack_frame
from sdk.wire.mux import CHUNK, Mux, MuxStream
from tests.sdk.pair import Half, Pair, frames_of


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    with pair.shown():
        pair.pump()
        yield pair


def said(pair: Pair, name: str) -> list[str]:
    """What one end said of streams, without sizes."""
    prefix = f"{name} >> "
    lines = [line.removeprefix(prefix).rsplit(" ", 2)[0] for line in pair.transcript if line.startswith(prefix)]
    return [line for line in lines if not line.startswith("HELLO")]


# Calls.


def test_a_small_call_is_one_frame_each_way(pair: Pair) -> None:
    here = pair.client.mux.open(b"head", b"request", end=True, ms=500)
    pair.pump()
    [(there, opened)] = pair.server.opened
    assert (opened.head, opened.body, opened.ms, opened.path) == (b"head", b"request", 500, b"")
    assert there.ended
    assert there.take() == b"request"
    there.send_head(b"reply head", b"answer", end=True)
    pair.pump()
    assert (here.head, here.head_is_final, here.ended, here.take()) == (b"reply head", True, True, b"answer")
    assert said(pair, "client") == ["OPEN 1 END"]
    assert said(pair, "server") == ["HEAD 1 END"]
    assert (pair.client.alive, pair.server.alive) == ([], [])


def test_a_streaming_call_has_a_head_data_both_ways_and_trailers(pair: Pair) -> None:
    here, there = pair.call()
    assert not there.ended
    there.send_head(b"reply head")
    here.write(b"one")
    there.write(b"eins")
    pair.pump()
    assert (here.head, here.head_is_final, here.take(), there.take()) == (b"reply head", False, b"eins", b"one")
    here.end()
    pair.pump()
    assert there.ended
    assert (pair.client.alive, pair.server.alive) == ([1], [1])
    there.end(b"trailers")
    pair.pump()
    assert (here.trailers, here.ended, here.cut) == (b"trailers", True, False)
    assert (pair.client.alive, pair.server.alive) == ([], [])


def test_both_ends_may_open_streams_and_their_numbers_never_meet(pair: Pair) -> None:
    here, there = pair.client.mux.open(b"a", end=False), pair.server.mux.open(b"b", end=False)
    pair.pump()
    assert (here.number, there.number) == (1, 2)
    assert [opened.head for _, opened in pair.server.opened + pair.client.opened] == [b"a", b"b"]


def test_a_first_body_that_does_not_fit_leaves_the_rest_to_the_caller(pair: Pair) -> None:
    body = bytes(range(256)) * 1000
    here = pair.client.mux.open(b"head" * 100, body, end=True)
    pair.pump()
    [(there, opened)] = pair.server.opened
    assert not there.ended
    assert opened.body + here.unsent == body
    assert len(opened.body) == frame.MAX_OPEN - 400
    received, rest = b"", here.unsent
    while rest or not there.ended:
        rest = rest[here.write(rest) :]
        if not rest:
            here.end()
        pair.pump()
        received += there.take()
        pair.pump()
    assert received == body


def test_a_first_body_that_just_fits_ends_the_request(pair: Pair) -> None:
    here = pair.client.mux.open(b"head", bytes(frame.MAX_OPEN - 4), end=True)
    pair.pump()
    assert (here.unsent, pair.server.opened[0][0].ended) == (b"", True)


@pytest.mark.parametrize("size", [frame.MAX_OPEN + 1, 70_000])
def test_a_head_that_no_open_can_hold_is_the_callers_fault_and_opens_nothing(pair: Pair, size: int) -> None:
    with pytest.raises(BadRequest, match="65280 are allowed"):
        pair.client.mux.open(bytes(size), end=True)
    assert not pair.client.alive
    assert pair.client.mux.open(bytes(frame.MAX_OPEN), end=True).number == 1
    pair.pump()
    assert pair.server.opened[0][0].ended


def test_an_answer_that_does_not_fit_its_frame_is_a_defect_told_before_it_is_sent(pair: Pair) -> None:
    _, there = pair.call(end=True)
    for head, body in ((bytes(70_000), b""), (b"head", bytes(65_531)), (b"", bytes(65_537))):
        with pytest.raises(LocalProtocolError, match="does not fit"):
            there.send_head(head, body)
    with pytest.raises(LocalProtocolError, match="do not fit"):
        there.end(bytes(65_535))
    there.send_head(b"head", bytes(65_530), end=True)
    pair.pump()
    assert (pair.client.alive, pair.server.alive) == ([], [])


def test_a_mux_that_offers_nothing_refuses_streams_as_not_reached() -> None:
    pair = Pair()
    pair.server.mux = Mux()
    pair.server.port.sink = pair.server.mux
    pair.server.mux.attach(pair.server.port)
    here = pair.client.mux.open(b"head", end=True)
    pair.pump()
    assert here.reset_by_peer == Reset(
        Status.UNIMPLEMENTED, Fate.NOT_REACHED, "nothing is offered on this connection", b""
    )
    assert (pair.client.alive, pair.server.alive) == ([], [])


# Credit.


def test_a_writer_gets_as_far_as_its_credit_and_the_reader_gives_more_when_half_is_used(pair: Pair) -> None:
    here, there = pair.call()
    assert here.write(bytes(100_000)) == INITIAL_CREDIT
    assert here.write(b"x") == 0
    pair.pump()
    assert there.buffered == INITIAL_CREDIT
    there.take(INITIAL_CREDIT // 2 - 1)
    pair.pump()
    assert here.may_send == 0
    there.take(1)
    pair.pump()
    assert here.may_send == INITIAL_CREDIT // 2
    there.take()
    pair.pump()
    assert here.may_send == INITIAL_CREDIT


@pytest.mark.parametrize("size", [1, 30_000, 40_000, frame.MAX_OPEN - 4])
def test_the_body_of_an_open_counts_at_both_ends(pair: Pair, size: int) -> None:
    here, there = pair.call(bytes(size))
    assert here.may_send == INITIAL_CREDIT - size
    assert here.write(bytes(100_000)) == INITIAL_CREDIT - size
    pair.pump()
    assert there.buffered == INITIAL_CREDIT
    there.take()
    pair.pump()
    assert here.may_send == INITIAL_CREDIT


def test_the_body_of_a_head_counts_at_both_ends(pair: Pair) -> None:
    here, there = pair.call()
    there.send_head(b"reply head", bytes(50_000))
    assert there.may_send == INITIAL_CREDIT - 50_000
    pair.pump()
    here.take()
    pair.pump()
    assert there.may_send == INITIAL_CREDIT


def test_long_writes_go_out_in_pieces_that_let_others_pass(pair: Pair) -> None:
    here, _ = pair.call()
    here.write(memoryview(bytes(40_000)))
    sizes = [len(payload) for _, _, _, payload in frames_of(pair.client.port.data_to_send(0.0))]
    assert sizes == [CHUNK, CHUNK, 40_000 - 2 * CHUNK]


def test_no_credit_is_given_to_a_writer_that_has_ended(pair: Pair) -> None:
    here, there = pair.call()
    here.write(bytes(50_000))
    here.end()
    pair.pump()
    there.take()
    pair.pump()
    assert said(pair, "server") == []


def server_receives(pair: Pair, *frames: tuple[int, int, bytes]) -> None:
    for kind, flags, payload in frames:
        pair.server.port.receive_data(pack_frame(kind, flags, 1, payload), 0.0)


def test_a_peer_that_overdraws_its_credit_is_cut_off(pair: Pair) -> None:
    pair.call(b"x")
    server_receives(pair, (frame.DATA, 0, bytes(INITIAL_CREDIT - 1)))
    with pytest.raises(RemoteProtocolError, match="more than its credit"):
        server_receives(pair, (frame.DATA, 0, b"x"))


def test_what_was_taken_but_not_granted_yet_does_not_count_as_credit(pair: Pair) -> None:
    _, there = pair.call(bytes(1000))
    there.take()
    server_receives(pair, (frame.DATA, 0, bytes(INITIAL_CREDIT - 1000)))
    with pytest.raises(RemoteProtocolError, match="more than its credit"):
        server_receives(pair, (frame.DATA, frame.TRAILERS, frame.pack_headed(b"", b"x")))


def test_a_peer_that_grants_too_much_is_cut_off(pair: Pair) -> None:
    pair.call()
    server_receives(pair, (frame.CREDIT, 0, frame.pack_u32(INITIAL_CREDIT)))
    with pytest.raises(RemoteProtocolError, match="credit"):
        server_receives(pair, (frame.CREDIT, 0, frame.pack_u32(frame.MAX_CREDIT + 1)))


def test_nothing_may_follow_the_end_of_a_direction(pair: Pair) -> None:
    pair.call(end=True)
    with pytest.raises(RemoteProtocolError, match="after the end"):
        server_receives(pair, (frame.DATA, 0, b"x"))


def test_an_answer_has_one_head(pair: Pair) -> None:
    pair.call()
    payload = frame.pack_headed(b"head", b"")
    with pytest.raises(RemoteProtocolError, match="second head"):
        server_receives(pair, (frame.HEAD, 0, payload), (frame.HEAD, 0, payload))


def test_a_frame_of_no_known_type_on_a_stream_is_skipped(pair: Pair) -> None:
    here, there = pair.call()
    server_receives(pair, (99, END, b"from the future"))
    here.write(b"x")
    pair.pump()
    assert there.take() == b"x"


# Taking.


def test_bytes_are_taken_in_any_sizes_and_stay_in_order(pair: Pair) -> None:
    here, there = pair.call(b"01")
    for piece in (b"234", b"5", b"6789"):
        here.write(piece)
    pair.pump()
    assert [there.take(1), there.take(3), there.take(0), there.take(2), there.take(100)] == [
        b"0", b"123", b"", b"45", b"6789"
    ]  # fmt: skip
    assert (there.take(), there.take(5), there.buffered) == (b"", b"", 0)


def test_what_a_window_has_grown_by_goes_back_when_the_end_comes_by_itself_and_all_was_read(pair: Pair) -> None:
    pool = pair.server.mux.pool = CreditPool(1 << 20)
    here, there = pair.call()
    here.write(bytes(INITIAL_CREDIT))
    pair.pump()
    there.take()
    assert there.window is not None
    assert pool.take(INITIAL_CREDIT)
    there.window.size += INITIAL_CREDIT
    here.end()
    assert pool.left == (1 << 20) - INITIAL_CREDIT
    pair.pump()
    assert pool.left == 1 << 20


def test_a_window_of_single_bytes_is_joined_once_and_not_for_every_byte(pair: Pair) -> None:
    """Half a second of copying, a peer could cause otherwise, with every 64 KiB."""
    _, there = pair.call()
    for _ in range(INITIAL_CREDIT // 1024):
        feed = pack_frame(frame.DATA, 0, 1, b"x") * 1024
        while pair.server.port.receive_data(feed, 0.0):
            feed = b""

    class Counted(bytes):
        """Counts what is copied by adding to it."""

        copied = 0

        def __add__(self, other: object) -> "Counted":
            Counted.copied += len(self)
            return Counted(bytes(self) + other)  # type: ignore[operator]

    there.received[0] = Counted(there.received[0])
    assert there.take(INITIAL_CREDIT - 1) == b"x" * (INITIAL_CREDIT - 1)
    assert Counted.copied == 0
    assert there.take() == b"x"


# Cutting short.


def test_a_stop_ends_the_peers_direction_and_breaks_its_writer(pair: Pair) -> None:
    here, there = pair.call(b"request")
    changes: list[None] = []
    here.on_change = lambda: changes.append(None)
    there.stop()
    there.stop()
    assert there.take() == b""
    pair.pump()
    assert said(pair, "server") == ["STOP 1"]
    assert (here.stopped, here.sent_end, here.write(b"more"), len(changes)) == (True, True, 0, 1)
    assert there.ended
    there.end()
    pair.pump()
    assert (pair.client.alive, pair.server.alive) == ([], [])


def test_a_close_of_both_directions_is_end_of_file_to_the_peers_reader(pair: Pair) -> None:
    here, there = pair.call(b"request")
    there.write(b"last")
    there.stop()
    there.end()
    pair.pump()
    assert (here.take(), here.ended, here.cut, here.stopped) == (b"last", True, False, True)
    assert (pair.client.alive, pair.server.alive) == ([], [])


def test_what_still_comes_after_a_stop_is_dropped(pair: Pair) -> None:
    here, there = pair.call()
    there.stop()
    here.write(bytes(INITIAL_CREDIT))
    pair.pump()
    assert (there.buffered, list(there.received), there.ended) == (0, [], True)


def test_stops_that_cross_end_the_stream_at_both_ends(pair: Pair) -> None:
    here, there = pair.call()
    here.stop()
    there.stop()
    pair.pump()
    assert (here.ended, there.ended) == (True, True)
    assert (pair.client.alive, pair.server.alive) == ([], [])


def test_a_stop_of_a_direction_that_is_over_says_nothing(pair: Pair) -> None:
    _, there = pair.call(end=True)
    there.stop()
    pair.pump()
    assert said(pair, "server") == []


def test_a_stop_that_meets_an_end_on_its_way_is_ignored(pair: Pair) -> None:
    here, there = pair.call(b"x")
    here.end()
    there.end()
    there.stop()
    pair.pump()
    assert (here.ended, there.ended) == (True, True)
    assert (pair.client.alive, pair.server.alive) == ([], [])


def test_a_reset_ends_both_directions_and_leaves_what_had_arrived(pair: Pair) -> None:
    here, there = pair.call()
    there.write(b"so far")
    there.reset(Status.INTERNAL, "it broke", Fate.MAY_HAVE_RUN)
    pair.pump()
    assert here.reset_by_peer == Reset(Status.INTERNAL, Fate.MAY_HAVE_RUN, "it broke")
    assert (here.cut, here.ended, here.take()) == (True, True, b"so far")
    assert (pair.client.alive, pair.server.alive) == ([], [])


def test_a_stream_that_was_reset_sends_nothing_more(pair: Pair) -> None:
    here, there = pair.call()
    there.reset(Status.INTERNAL, "it broke")
    pair.pump()
    before = said(pair, "client")
    for stream in (here, there):
        assert stream.write(b"x") == 0
        stream.send_head(b"head")
        stream.end(b"trailers")
        stream.stop()
        stream.reset(Status.CANCELLED, "again")
    pair.pump()
    assert said(pair, "client") == before
    assert said(pair, "server") == ["RESET 1"]


def test_an_answer_that_was_complete_before_the_reset_is_not_cut(pair: Pair) -> None:
    here, there = pair.call()
    there.send_head(b"reply head", b"answer", end=True)
    pair.pump()
    there.reset(Status.CANCELLED, "nothing more is wanted")
    pair.pump()
    assert (here.cut, here.ended, here.take()) == (False, True, b"answer")


def test_frames_that_cross_a_reset_are_ignored(pair: Pair) -> None:
    here, there = pair.call()
    here.write(b"x")
    here.end()
    there.reset(Status.INTERNAL, "it broke")
    pair.pump()
    assert (pair.client.alive, pair.server.alive) == ([], [])


@pytest.mark.parametrize("flushed", [True, False])
def test_a_connection_that_is_lost_breaks_its_streams_and_says_what_is_known_of_them(flushed: bool) -> None:
    pair = Pair()
    pair.pump()
    here = pair.client.mux.open(b"head", end=False)
    if flushed:
        pair.collect()
    pair.client.port.connection_lost("the cable is cut")
    fate = Fate.MAY_HAVE_RUN if flushed else Fate.NOT_REACHED
    assert here.reset_by_peer == Reset(Status.UNAVAILABLE, fate, "server: the cable is cut")
    assert (here.cut, here.write(b"x"), pair.client.alive, pair.client.lost) == (True, 0, [], ["the cable is cut"])
    with pytest.raises(Unavailable):
        pair.client.mux.open(b"head", end=True)


def test_a_mux_without_an_owner_bears_the_loss_of_its_port() -> None:
    mux = Mux()
    mux.attach(NativePort(mux, role="client", dialled=True, name="server"))
    mux.port.dead = True
    mux.on_dead(mux.port, "gone")
    assert not mux.port.streams


# Everything at once.


class Story:
    """What is known of one stream from above: what was written and read in each direction, and what ended it."""

    def __init__(self, writer: MuxStream) -> None:
        self.near = writer
        self.far: MuxStream | None = None
        self.written = {True: b"", False: b""}
        """By whether the opener wrote it."""
        self.read = {True: b"", False: b""}
        """By whether the opener wrote it."""
        self.answered = False
        self.reset = False
        self.stopped = {True: False, False: False}
        """By whether it was the opener's writing that was stopped."""

    def end(self, opener: bool) -> MuxStream | None:
        return self.near if opener else self.far


class TwoMuxes(RuleBasedStateMachine):
    """Two muxes on a connection that delivers when and as much as it likes."""

    stories: Bundle[Story] = Bundle("stories")
    sides = st.booleans()
    sizes = st.one_of(st.integers(0, 200), st.integers(0, 150_000))

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()
        self.all: list[Story] = []
        self.counter = 0

    def fresh(self, size: int) -> bytes:
        """Bytes that are different everywhere, so that none can be lost or change places unseen."""
        data = b"".join(n.to_bytes(4, "big") for n in range(self.counter, self.counter + size // 4 + 1))[:size]
        self.counter += size // 4 + 1
        return data

    @initialize(target=stories, at_client=sides, size=sizes)
    def begin(self, at_client: bool, size: int) -> Story:
        return self.new_story(at_client, size, end=False)

    @rule(target=stories, at_client=sides, size=sizes, end=st.booleans())
    def open_one(self, at_client: bool, size: int, end: bool) -> Story:
        return self.new_story(at_client, size, end)

    def new_story(self, at_client: bool, size: int, end: bool) -> Story:
        half = self.pair.client if at_client else self.pair.server
        body = self.fresh(size)
        story = Story(half.mux.open(b"head", body, end=end))
        story.written[True] = body[: len(body) - len(story.near.unsent)]
        assert story.near.sent_end == (end and not story.near.unsent)
        self.all.append(story)
        return story

    @rule(story=stories, opener=sides, size=sizes)
    def write(self, story: Story, opener: bool, size: int) -> None:
        if stream := story.end(opener):
            data, room = self.fresh(size), 0 if stream.sent_end else stream.may_send
            sent = stream.write(data)
            assert sent == min(size, room)
            story.written[opener] += data[:sent]

    @rule(story=stories, opener=sides, size=st.none() | sizes)
    def take_some(self, story: Story, opener: bool, size: int | None) -> None:
        if stream := story.end(opener):
            buffered = stream.buffered
            data = stream.take(size)
            assert len(data) == (buffered if size is None else min(size, buffered))
            story.read[not opener] += data

    @rule(story=stories, size=st.integers(0, 60_000), end=st.booleans())
    def answer(self, story: Story, size: int, end: bool) -> None:
        stream = story.far
        if stream and not stream.sent_end and not story.answered and not story.written[False]:
            body = self.fresh(min(size, stream.may_send))
            stream.send_head(b"reply", body, end=end)
            story.answered = True
            story.written[False] += body

    @rule(story=stories, opener=sides, trailers=st.none() | st.binary(max_size=10))
    def end_one(self, story: Story, opener: bool, trailers: bytes | None) -> None:
        if stream := story.end(opener):
            stream.end(trailers)

    @rule(story=stories, opener=sides)
    def stop(self, story: Story, opener: bool) -> None:
        if stream := story.end(opener):
            stream.stop()
            story.stopped[not opener] = True

    @rule(story=consumes(stories), opener=sides)
    def reset(self, story: Story, opener: bool) -> None:
        if stream := story.end(opener):
            stream.reset(Status.CANCELLED, "enough")
            story.reset = True

    @rule(at_client=sides, most=st.none() | st.integers(0, 40) | st.integers(0, 100_000))
    def deliver(self, at_client: bool, most: int | None) -> None:
        self.pair.collect()
        self.pair.deliver(self.pair.client if at_client else self.pair.server, most)
        self.match()

    @rule()
    def pump(self) -> None:
        self.pair.pump()
        self.match()

    @precondition(lambda self: self.all)
    @rule()
    def finish(self) -> None:
        """Both ends of every stream end; nothing may be left alive, and all that was written must have arrived."""
        self.settle()
        for story in self.all:
            for opener in (True, False):
                if stream := story.end(opener):
                    stream.end()
        self.settle()
        for story in self.all:
            for opener in (True, False):
                if not story.reset and not story.stopped[opener]:
                    assert story.read[opener] == story.written[opener]
        assert (self.pair.client.alive, self.pair.server.alive) == ([], [])
        self.all.clear()

    def settle(self) -> None:
        """Everything is delivered, and read at both ends."""
        self.pump()
        for story in self.all:
            for opener in (True, False):
                self.take_some(story, opener, None)
        self.pump()

    def match(self) -> None:
        """Finds the far ends of the streams whose OPEN has arrived."""
        for here, there in ((self.pair.client, self.pair.server), (self.pair.server, self.pair.client)):
            for story in self.all:
                if story.far is None and story.near.mux is here.mux:
                    story.far = next((s for s, _ in there.opened if s.number == story.near.number), None)

    @invariant()
    def bytes_arrive_in_order(self) -> None:
        for story in self.all:
            for opener in (True, False):
                assert story.written[opener].startswith(story.read[opener])

    @invariant()
    def no_more_is_under_way_than_was_granted(self) -> None:
        for story in self.all:
            for opener in (True, False):
                reader, writer = story.end(not opener), story.end(opener)
                if writer:
                    assert 0 <= writer.may_send <= INITIAL_CREDIT
                if reader:
                    assert reader.buffered == sum(map(len, reader.received)) <= reader.unread <= INITIAL_CREDIT
                    assert len(story.written[opener]) - len(story.read[opener]) <= INITIAL_CREDIT or reader.stopping

    @invariant()
    def a_stream_is_alive_until_both_its_directions_are_over(self) -> None:
        for half in (self.pair.client, self.pair.server):
            for stream in self.streams_of(half):
                assert (stream.number in half.port.streams) == (not (stream.ended and stream.sent_end))

    def streams_of(self, half: Half) -> list[MuxStream]:
        mine = [story.near for story in self.all if story.near.mux is half.mux]
        return mine + [story.far for story in self.all if story.far and story.far.mux is half.mux]

    def teardown(self) -> None:
        with self.pair.shown():
            self.settle()
            if self.all:
                self.finish()


TestTwoMuxes = TwoMuxes.TestCase
TestTwoMuxes.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
