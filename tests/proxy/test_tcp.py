"""The raw TCP port: a switch or a mux on one side, bytes on the other; no sockets, no event loop."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.tcp import PIECE, STREAM, TcpPort
from sdk.errors import RemoteProtocolError, Status, Unavailable
from sdk.head import CallHead, pack_call_head
from sdk.port import Port
from sdk.types import Instance
from sdk.wire import frame
from sdk.wire.credit import CreditPool
from sdk.wire.frame import INITIAL_CREDIT, Fate, Open, Reset
from sdk.wire.mux import Mux, MuxStream

from .chain import A, Clock, Node

HEAD = pack_call_head(CallHead("db", "", protocol="tcp"))


class Callee:
    """Whoever answers a program's connection, as a mux sees it."""

    def __init__(self, pool: CreditPool | None = None) -> None:
        self.clock = Clock()
        self.dead: list[str] = []
        self.streams: list[MuxStream] = []
        self.heads: list[bytes] = []
        mux = Mux(on_open=self._on_open, on_dead=self.dead.append)
        self.port = TcpPort(mux, name="program", clock=self.clock, pool=pool or CreditPool())
        mux.attach(self.port)
        self.woken = 0
        self.port.wake = self._wake
        self.port.open(HEAD)
        [self.stream] = self.streams

    def _on_open(self, stream: MuxStream, opened: Open) -> None:
        self.streams.append(stream)
        self.heads.append(opened.head)

    def _wake(self) -> None:
        self.woken += 1

    def far_away(self) -> None:
        """It sends for a while from 100 ms away, as fast as its credit allows, and the connection takes everything."""
        for _ in range(10):
            allowed = self.stream.may_send
            self.clock.now += 0.1
            while allowed:
                allowed -= self.stream.write(bytes(min(allowed, 16384)))
                self.written()

    def written(self) -> bytes:
        """What the driver would write to the connection; it has written it."""
        out = b"".join(self.port.data_to_send())
        self.port.data_to_send()
        return out


def test_a_connection_is_one_call_and_its_bytes_go_both_ways() -> None:
    callee = Callee()
    assert callee.heads == [HEAD]
    callee.port.receive_data(b"request")
    assert callee.stream.take() == b"request"
    callee.stream.send_head(b"head", b"answer")
    callee.stream.write(b" and more")
    assert callee.written() == b"answer and more"
    assert callee.woken


def test_each_direction_ends_by_itself() -> None:
    callee = Callee()
    callee.port.receive_data(b"all of it")
    callee.port.receive_data(b"")
    assert callee.stream.ended
    assert callee.stream.take() == b"all of it"
    assert callee.port.wants_nothing
    assert not callee.port.finished_writing
    callee.stream.send_head(b"head", b"later")
    callee.stream.end(b"trailers are no part of it")
    assert not callee.port.finished_writing
    assert callee.written() == b"later"
    assert callee.port.finished_writing
    assert not callee.port.streams


def test_a_request_and_its_answer_may_each_come_whole_in_one_frame() -> None:
    mux = Mux()
    port = TcpPort(mux, name="instance", clock=Clock())
    mux.attach(port)
    stream = mux.open(b"head", b"request", end=True)
    assert port.data_to_send() == [b"request"]
    assert port.finished_writing
    port.connected()
    port.receive_data(b"answer")
    port.receive_data(b"")
    assert stream.take() == b"answer"
    assert stream.ended
    assert not stream.cut


def test_a_connection_is_read_as_far_as_its_credit_and_on_when_that_is_granted() -> None:
    callee = Callee()
    while callee.port.may_send:
        callee.port.receive_data(bytes(min(PIECE, callee.port.may_send)))
    assert callee.stream.buffered == INITIAL_CREDIT
    callee.stream.take(1000)
    assert (callee.port.may_send, callee.woken) == (0, 0)
    callee.stream.take()
    assert (callee.port.may_send, callee.woken) == (INITIAL_CREDIT, 1)


def test_the_far_end_is_granted_credit_for_what_the_connection_took_and_for_nothing_else() -> None:
    callee = Callee()
    assert callee.stream.write(bytes(100_000)) == INITIAL_CREDIT
    assert callee.stream.may_send == 0
    assert len(b"".join(callee.port.data_to_send())) == INITIAL_CREDIT
    assert callee.stream.may_send == 0, "it is on its way to a socket that may be full"
    assert callee.port.data_to_send() == []
    assert callee.stream.may_send == INITIAL_CREDIT


def test_a_window_grows_while_it_holds_the_sender_up_and_is_given_back_when_all_is_written() -> None:
    pool = CreditPool()
    size = pool.left
    callee = Callee(pool)
    callee.far_away()
    assert pool.left < size
    callee.stream.write(bytes(1000))
    callee.stream.end()
    assert pool.left < size, "bytes are still held here"
    assert callee.written() == bytes(1000)
    assert pool.left == size


def test_a_window_of_a_connection_that_breaks_is_given_back() -> None:
    pool = CreditPool()
    size = pool.left
    callee = Callee(pool)
    callee.far_away()
    assert pool.left < size
    callee.port.connection_lost("it broke")
    assert pool.left == size


def test_a_call_that_is_reset_breaks_the_connection_and_nothing_more_is_passed_on() -> None:
    callee = Callee()
    callee.stream.reset(Status.UNAVAILABLE, "the database went away")
    assert callee.port.reset == Reset(Status.UNAVAILABLE, Fate.MAY_HAVE_RUN, "the database went away", b"")
    assert callee.woken
    callee.port.receive_data(b"too late")
    callee.port.receive_data(b"")
    assert not callee.stream.received


def test_a_callee_that_wants_no_more_ends_what_is_read_from_the_connection() -> None:
    callee = Callee()
    callee.stream.stop()
    assert callee.port.wants_nothing
    assert callee.woken
    assert callee.stream.ended
    callee.stream.write(b"but it goes on to answer")
    assert callee.written() == b"but it goes on to answer"


def test_a_lost_connection_is_told_once_and_takes_nothing_more() -> None:
    callee = Callee()
    callee.port.connection_lost("connection reset by peer")
    callee.port.connection_lost("again")
    assert callee.dead == ["connection reset by peer"]
    callee.port.send(frame.DATA, 0, STREAM, b"into the void")
    assert callee.port.data_to_send() == []
    with pytest.raises(Unavailable, match="is gone"):
        callee.port.next_stream()


def test_closing_the_port_breaks_the_connection_off_with_the_reason() -> None:
    callee = Callee()
    callee.port.close("enough")
    assert callee.port.reset == Reset(Status.UNAVAILABLE, Fate.MAY_HAVE_RUN, "enough", b"")
    assert callee.woken


def test_it_takes_one_call_only_which_was_not_reached_until_the_connection_stands() -> None:
    mux = Mux()
    port = TcpPort(mux, name="instance", clock=Clock())
    mux.attach(port)
    stream = mux.open(b"head", end=False)
    assert not port.was_sent(STREAM)
    with pytest.raises(Unavailable, match="taken"):
        port.next_stream()
    port.connected()
    assert port.was_sent(STREAM)
    port.connection_lost("it broke")
    assert stream.reset_by_peer is not None
    assert stream.reset_by_peer.fate == Fate.MAY_HAVE_RUN


def test_a_caller_that_wants_no_answer_before_the_connection_stands_is_told_nothing_of_it() -> None:
    joined = Joined()
    joined.node.switch.on_frame(joined.near, frame.STOP, 0, STREAM, b"")
    assert joined.far.wants_nothing
    joined.far.connected()
    assert joined.far.was_sent(STREAM)
    joined.write(1)


def test_a_call_to_an_address_that_does_not_answer_was_not_reached() -> None:
    mux = Mux()
    port = TcpPort(mux, name="instance", clock=Clock())
    mux.attach(port)
    stream = mux.open(b"head", b"body", end=False)
    port.connection_lost("connection refused")
    assert stream.reset_by_peer is not None
    assert stream.reset_by_peer.fate == Fate.NOT_REACHED


class Joined:
    """A program's connection and an instance's, joined by a real switch, which sees to credit and ends."""

    def __init__(self) -> None:
        def dial(node: Node, address: str) -> Port:
            self.far = TcpPort(node.switch, name="instance", clock=self.clock, pool=self.pool)
            return self.far

        self.clock = Clock()
        self.pool = CreditPool(4 << 20)
        self.node = Node(A, "a", dial)
        self.node.routes.instances["db"] = (Instance(id="db-1", address="db:1", metadata={"protocol": "tcp"}),)
        self.near = TcpPort(self.node.switch, name="program", clock=self.clock, pool=self.pool)
        self.near.open(HEAD)
        self.sent = (bytearray(), bytearray())
        self.got = (bytearray(), bytearray())

    def read(self, side: int, size: int) -> None:
        """Some bytes come from a connection, as far as they are read."""
        port = (self.near, self.far)[side]
        size = min(size, port.may_send, PIECE)
        if size > 0 and not port.wants_nothing:
            data = (len(self.sent[side]) % 251).to_bytes(1, "big") * size
            self.sent[side].extend(data)
            port.receive_data(data)

    def write(self, side: int) -> None:
        """A connection takes what waits for it."""
        self.got[side].extend(b"".join((self.near, self.far)[side].data_to_send()))


@given(data=st.data())
@settings(max_examples=150)
def test_whatever_comes_when_all_bytes_arrive_in_order_and_no_credit_is_overdrawn(data: Any) -> None:
    joined = Joined()
    joined.far.connected()
    for _ in range(data.draw(st.integers(1, 60), label="steps")):
        side = data.draw(st.integers(0, 1), label="side")
        match data.draw(st.sampled_from(("read", "read", "write", "write", "time", "end")), label="what"):
            case "read":
                joined.read(side, data.draw(st.integers(1, 100_000)))
            case "write":
                joined.write(side)
            case "time":
                joined.clock.now += data.draw(st.floats(0, 0.2))
            case "end":
                if data.draw(st.integers(0, 9)) == 0:
                    (joined.near, joined.far)[side].receive_data(b"")
        assert joined.sent[0].startswith(joined.got[1])
        assert joined.sent[1].startswith(joined.got[0])
        for port, far in ((joined.near, 1), (joined.far, 0)):
            assert port.queued <= 8 << 20
            assert len(joined.sent[far]) - len(joined.got[1 - far]) >= 0
    for side in (0, 1):
        (joined.near, joined.far)[side].receive_data(b"")
    for side in (0, 1, 0, 1):
        joined.write(side)
    assert (joined.sent[0], joined.sent[1]) == (joined.got[1], joined.got[0])
    assert joined.near.finished_writing
    assert joined.far.finished_writing
    assert not joined.node.open_calls
    assert joined.pool.left == 4 << 20


def test_an_overdrawn_credit_would_be_noticed() -> None:
    joined = Joined()
    joined.far.connected()
    joined.near.receive_data(bytes(INITIAL_CREDIT))
    with pytest.raises(RemoteProtocolError, match="than its credit"):
        joined.near.receive_data(b"x")
