"""The switch: by example, and by breaking its rules. `test_chain.py` runs it in a chain of nodes.

Long, because each rule of a call is a test of its own, and they all stand on one bench.
"""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.legs import MAX_QUEUED, SWEEP, Target
from sdk.errors import NotFound, RemoteProtocolError, Status, Unavailable
from sdk.head import DEFAULT, CallHead, pack_call_head
from sdk.selector import Load
from sdk.wire import frame
from sdk.wire.frame import (
    BLAMELESS,
    CREDIT,
    DATA,
    END,
    HEAD,
    INTERIM,
    MAX_INTERIM,
    MAX_INTERIM_SIZE,
    NO_DEADLINE,
    OPEN,
    RESET,
    STOP,
    TRAILERS,
    Fate,
    Reset,
)

from .bench import CALL_HEAD, ME, NEXT, PREVIOUS, SENT_TO_GATEWAY, Bench, FakePort
from .chain import GOOD_HEAD, GOOD_TRAILERS, B, C


@pytest.fixture
def bench() -> Bench:
    return Bench()


# Where a call goes.


def test_a_call_of_a_program_gets_the_path_and_one_hop_less(bench: Bench) -> None:
    bench.open(bench.program, body=b"body", flags=END, ms=1234, hops=0)
    [(kind, flags, stream, payload)] = bench.next.sent
    assert (kind, flags, stream) == (OPEN, END, 1)
    assert frame.split_open_untrusted(payload) == (2, NEXT, 1234, CALL_HEAD, b"body")


def test_a_transit_node_passes_a_call_on_without_reading_its_head(bench: Bench) -> None:
    bench.open(bench.previous, path=ME + NEXT + C, hops=2, head=b"unreadable")
    [(_, _, _, payload)] = bench.next.sent
    assert frame.split_open_untrusted(payload) == (1, NEXT + C, NO_DEADLINE, b"unreadable", b"")


def test_a_call_that_has_arrived_goes_to_an_instance(bench: Bench) -> None:
    bench.open(bench.previous, path=ME, hops=0)
    [(_, _, _, payload)] = bench.instance.sent
    assert frame.split_open_untrusted(payload).path == b""
    assert bench.load.pending == 1


def test_the_delay_of_a_link_is_taken_off_the_deadline(bench: Bench) -> None:
    bench.previous.delay_ms = 40
    bench.open(bench.previous, path=ME + NEXT, hops=2, ms=100)
    assert frame.split_open_untrusted(bench.next.sent[0][3]).ms == 60
    bench.open(bench.previous, path=ME + NEXT, hops=2, stream=3)
    assert frame.split_open_untrusted(bench.next.sent[1][3]).ms == NO_DEADLINE


def test_a_program_that_gives_a_path_breaks_the_rules(bench: Bench) -> None:
    with pytest.raises(RemoteProtocolError, match="only a node may"):
        bench.open(bench.program, path=ME + NEXT)


def test_a_call_without_a_path_from_a_node_breaks_the_rules(bench: Bench) -> None:
    with pytest.raises(RemoteProtocolError, match="without a path"):
        bench.open(bench.previous)


def test_a_path_that_does_not_lead_here_breaks_the_rules(bench: Bench) -> None:
    with pytest.raises(RemoteProtocolError, match="does not lead here"):
        bench.open(bench.previous, path=NEXT + ME)


def test_each_rule_of_opening_leaves_nothing_behind(bench: Bench) -> None:
    for port, path in ((bench.program, ME), (bench.previous, b""), (bench.previous, NEXT)):
        with pytest.raises(RemoteProtocolError):
            bench.open(port, path=path)
    assert not bench.legs
    assert not bench.switch.calls


def test_a_call_with_no_hops_left_is_refused_as_not_reached(bench: Bench) -> None:
    bench.open(bench.previous, path=ME + NEXT, hops=0)
    reset = bench.only_reset(bench.previous)
    assert (reset.status, reset.fate, reset.edge) == (Status.UNAVAILABLE, Fate.NOT_REACHED, b"")
    assert "hops" in reset.detail


def test_a_link_of_the_path_that_is_down_is_named_as_the_edge(bench: Bench) -> None:
    bench.switch.link_down(NEXT, bench.next)
    bench.open(bench.previous, path=ME + NEXT, hops=1)
    reset = bench.only_reset(bench.previous)
    assert (reset.status, reset.fate, reset.edge) == (Status.UNAVAILABLE, Fate.NOT_REACHED, ME + NEXT)


def test_a_link_that_was_replaced_takes_nothing_down_with_it(bench: Bench) -> None:
    newer = FakePort("newer")
    bench.switch.link_up(NEXT, newer)
    bench.switch.link_down(NEXT, bench.next)
    bench.open(bench.previous, path=ME + NEXT, hops=1)
    assert newer.sent
    assert newer.peer == NEXT


def test_an_expired_call_is_refused_where_it_is_found(bench: Bench) -> None:
    bench.previous.delay_ms = 30
    bench.open(bench.previous, path=ME, ms=20)
    reset = bench.only_reset(bench.previous)
    assert (reset.status, reset.fate) == (Status.DEADLINE_EXCEEDED, Fate.NOT_REACHED)
    assert reset.detail.startswith("me: ")


def test_a_queue_of_more_than_4_mib_takes_no_new_calls_but_lets_others_go_on(bench: Bench) -> None:
    bench.open(bench.program)
    bench.next.queued = MAX_QUEUED + 1
    bench.open(bench.program, stream=3)
    [reset] = bench.program.resets
    assert (reset.status, reset.fate) == (Status.UNAVAILABLE, Fate.NOT_REACHED)
    assert "4 MiB" in reset.detail
    bench.next.bulk = 2
    bench.open(bench.program, stream=5)
    assert bench.next.sent[-1][0] == OPEN  # it overtakes bulk
    bench.answer(bench.program, DATA, b"more")
    assert bench.next.sent[-1] == (DATA, 0, 1, b"more")
    assert bench.load.pending == 2


def test_a_port_without_a_free_stream_refuses_as_not_reached(bench: Bench) -> None:
    bench.next.full = True
    bench.open(bench.program)
    assert bench.only_reset(bench.program).fate == Fate.NOT_REACHED
    assert bench.switch.statistics() == {"calls": 0, "refused": 1, "retried": 0, "open": 0}


def test_a_target_that_refuses_is_no_longer_the_cheapest(bench: Bench) -> None:
    bench.next.full = True
    bench.open(bench.program)
    assert bench.load.cost(100.0) > Load().cost(100.0)


def test_an_unknown_service_is_told_in_the_words_of_who_chose(bench: Bench) -> None:
    bench.ingress.answer = NotFound("me: no service called 'x' is known here")
    bench.open(bench.program)
    reset = bench.only_reset(bench.program)
    assert (reset.status, reset.fate) == (Status.NOT_FOUND, Fate.NOT_REACHED)
    assert reset.detail == "me: no service called 'x' is known here"


def test_a_head_that_cannot_be_read_is_its_programs_fault(bench: Bench) -> None:
    with pytest.raises(RemoteProtocolError, match="call head"):
        bench.open(bench.program, head=b"\xc1")
    assert not bench.legs


def test_a_head_that_cannot_be_read_is_not_the_fault_of_the_link_it_came_over(bench: Bench) -> None:
    bench.open(bench.previous, path=ME, head=b"\xc1")
    reset = bench.only_reset(bench.previous)
    assert (reset.status, reset.fate) == (Status.INVALID_ARGUMENT, Fate.NOT_REACHED)


def test_no_call_of_a_program_grows_beyond_a_frame_by_its_path(bench: Bench) -> None:
    bench.ingress.answer = Target(bench.next, NEXT + B + C, None)
    room = frame.MAX_OPEN - len(CALL_HEAD)
    bench.open(bench.program, body=bytes(room))
    assert len(bench.next.sent[0][3]) <= frame.MAX_PAYLOAD
    bench.open(bench.program, body=bytes(room + 1), stream=3)
    [reset] = bench.program.resets
    assert (reset.status, reset.fate) == (Status.INVALID_ARGUMENT, Fate.NOT_REACHED)


# Nodes without transit.


def test_a_node_without_transit_passes_no_call_on_and_names_the_link() -> None:
    bench = Bench(transit=False)
    bench.open(bench.previous, path=ME + NEXT + C, hops=2)
    reset = bench.only_reset(bench.previous)
    assert (reset.status, reset.fate, reset.edge) == (Status.UNAVAILABLE, Fate.NOT_REACHED, ME + NEXT)
    assert reset.detail == "me: this node carries no calls of others"
    assert not bench.next.sent


def test_a_node_without_transit_calls_and_is_called() -> None:
    bench = Bench(transit=False)
    bench.open(bench.program)
    bench.open(bench.previous, path=ME, hops=0)
    assert [len(port.sent) for port in (bench.next, bench.instance)] == [1, 1]


def test_a_node_without_transit_is_a_gateway_to_its_own_instances_only() -> None:
    bench = Bench(transit=False)
    bench.open(bench.previous, path=ME, hops=2, head=SENT_TO_GATEWAY)
    assert len(bench.instance.sent) == 1
    bench.egress.answer = NotFound("me: no instance")
    bench.open(bench.previous, path=ME, hops=2, head=SENT_TO_GATEWAY, stream=3)
    [reset] = bench.previous.resets
    assert (reset.status, reset.fate, reset.edge) == (Status.UNAVAILABLE, Fate.NOT_REACHED, b"")
    assert "as a gateway" in reset.detail
    assert not bench.ingress.extended
    assert not bench.next.sent


# Default gateways.


def test_a_call_to_the_gateway_leaves_with_the_flag_and_is_otherwise_as_it_came(bench: Bench) -> None:
    bench.ingress.answer = Target(bench.next, NEXT, bench.load, DEFAULT)
    bench.open(bench.program, body=b"body", flags=END, ms=1234)
    [(kind, flags, _, payload)] = bench.next.sent
    assert (kind, flags) == (OPEN, END)
    assert frame.split_open_untrusted(payload) == (2, NEXT, 1234, SENT_TO_GATEWAY, b"body")
    assert next(iter(bench.program.streams.values())).window == frame.INITIAL_CREDIT - 4


def test_an_instance_of_the_gateway_comes_first(bench: Bench) -> None:
    bench.open(bench.previous, path=ME, hops=2, head=SENT_TO_GATEWAY)
    assert len(bench.instance.sent) == 1
    assert not bench.ingress.extended


@pytest.mark.parametrize("error", [NotFound("me: no instance"), Unavailable("mucp only")])
def test_a_gateway_without_an_instance_passes_the_call_on_within_the_hops_left(bench: Bench, error: Exception) -> None:
    bench.egress.answer = error
    bench.ingress.answer = Target(bench.next, NEXT + C, bench.load, 0)
    bench.open(bench.previous, path=ME, hops=2, head=SENT_TO_GATEWAY, body=b"body")
    [(_, _, _, payload)] = bench.next.sent
    assert frame.split_open_untrusted(payload) == (1, NEXT + C, NO_DEADLINE, CALL_HEAD, b"body")
    assert bench.ingress.extended == [2]
    assert bench.load.pending == 1


def test_a_gateway_that_finds_nobody_says_so(bench: Bench) -> None:
    bench.egress.answer = NotFound("me: no instance")
    bench.ingress.answer = NotFound("me: no service called 'greeter'")
    bench.open(bench.previous, path=ME, hops=2, head=SENT_TO_GATEWAY)
    reset = bench.only_reset(bench.previous)
    assert (reset.status, reset.fate) == (Status.NOT_FOUND, Fate.NOT_REACHED)
    assert reset.detail == "me: no service called 'greeter'"


def test_a_call_that_was_not_sent_to_a_gateway_ends_with_its_path(bench: Bench) -> None:
    bench.egress.answer = NotFound("me: no instance")
    bench.open(bench.previous, path=ME, hops=2)
    assert bench.only_reset(bench.previous).detail == "me: no instance"
    assert not bench.ingress.extended


def test_no_call_of_a_careless_node_grows_beyond_a_frame_at_the_gateway(bench: Bench) -> None:
    bench.egress.answer = NotFound("me: no instance")
    bench.ingress.answer = Target(bench.next, NEXT + C, None, 0)
    room = frame.MAX_PAYLOAD - len(frame.pack_open(2, NEXT + C, 0, SENT_TO_GATEWAY, b""))
    bench.open(bench.previous, path=ME, hops=2, head=SENT_TO_GATEWAY, body=bytes(room))
    assert len(bench.next.sent[0][3]) == frame.MAX_PAYLOAD
    bench.open(bench.previous, path=ME, hops=2, head=SENT_TO_GATEWAY, body=bytes(room + 1), stream=3)
    [reset] = bench.previous.resets
    assert (reset.status, reset.fate) == (Status.INVALID_ARGUMENT, Fate.NOT_REACHED)
    assert len(bench.next.sent) == 1


# Links that fail elsewhere.


@pytest.mark.parametrize("fate", Fate)
def test_a_link_of_its_path_that_failed_is_told_to_whoever_chose_the_path(bench: Bench, fate: Fate) -> None:
    bench.ingress.answer = Target(bench.next, NEXT + B + C, bench.load)
    for stream, edge in ((1, NEXT + B), (3, B + C)):
        bench.open(bench.program, stream=stream)
        bench.next.now = 100.0 + stream
        reset = frame.pack_reset(Reset(Status.UNAVAILABLE, fate, "b: no", edge))
        bench.answer(bench.next, RESET, reset, stream=stream)
        assert bench.program.sent[-1] == (RESET, 0, stream, reset)
    assert bench.ingress.failed == [(NEXT + B, 101.0), (B + C, 103.0)]
    assert not bench.load.failures
    assert not bench.load.pending
    assert not bench.legs


@pytest.mark.parametrize(
    "edge",
    [ME + NEXT, B + NEXT, NEXT + C, C + B, PREVIOUS + B, (NEXT + B + C)[1:33], b""],
    ids=["the first", "the other way", "not in a row", "the last back", "elsewhere", "no ids", "none"],
)
def test_no_peer_can_name_a_link_that_its_calls_path_does_not_lead_over(bench: Bench, edge: bytes) -> None:
    bench.ingress.answer = Target(bench.next, NEXT + B + C, bench.load)
    bench.open(bench.program)
    bench.answer(bench.next, RESET, frame.pack_reset(Reset(Status.UNAVAILABLE, Fate.NOT_REACHED, "?", edge)))
    assert not bench.ingress.failed
    assert bench.load.failures == 1


def test_an_instance_a_program_and_a_call_of_others_name_no_links(bench: Bench) -> None:
    payload = frame.pack_reset(Reset(Status.UNAVAILABLE, Fate.NOT_REACHED, "?", NEXT + C))
    bench.open(bench.previous, path=ME, stream=1)
    bench.answer(bench.instance, RESET, payload)
    bench.open(bench.previous, path=ME + NEXT + C, stream=3, hops=2)
    bench.answer(bench.next, RESET, payload)
    bench.ingress.answer = Target(bench.next, NEXT + C, bench.load)
    bench.open(bench.program)
    bench.answer(bench.program, RESET, payload)
    assert not bench.ingress.failed


def test_a_gateway_hears_of_links_of_the_path_it_chose(bench: Bench) -> None:
    bench.egress.answer = NotFound("me: no instance")
    bench.ingress.answer = Target(bench.next, NEXT + C, bench.load, 0)
    bench.open(bench.previous, path=ME, hops=2, head=SENT_TO_GATEWAY)
    bench.answer(bench.next, RESET, frame.pack_reset(Reset(Status.UNAVAILABLE, Fate.NOT_REACHED, "n: no", NEXT + C)))
    assert bench.ingress.failed == [(NEXT + C, 100.0)]


# Frames of a call.


def test_frames_go_both_ways_under_their_own_numbers(bench: Bench) -> None:
    bench.open(bench.program, stream=41)
    bench.answer(bench.program, DATA, b"up", stream=41)
    bench.answer(bench.next, HEAD, frame.pack_headed(GOOD_HEAD, b"down"))
    bench.answer(bench.next, CREDIT, frame.pack_u32(7))
    bench.answer(bench.program, STOP, stream=41)
    assert bench.next.sent[1:] == [(DATA, 0, 1, b"up"), (STOP, 0, 1, b"")]
    assert bench.program.sent == [
        (HEAD, 0, 41, frame.pack_headed(GOOD_HEAD, b"down")),
        (CREDIT, 0, 41, frame.pack_u32(7)),
    ]


def test_a_pair_is_forgotten_when_both_directions_have_ended(bench: Bench) -> None:
    bench.open(bench.program, flags=END)
    assert bench.legs == 2
    bench.answer(bench.next, HEAD, frame.pack_headed(GOOD_HEAD, b""), END)
    assert not bench.legs
    assert not bench.load.pending


def test_the_answer_may_end_before_the_request(bench: Bench) -> None:
    bench.open(bench.program)
    bench.answer(bench.next, HEAD, frame.pack_headed(GOOD_HEAD, b""), END)
    assert bench.load.pending == 1
    bench.answer(bench.program, DATA, b"rest", END)
    assert not bench.legs
    assert not bench.load.pending
    assert bench.next.sent[-1] == (DATA, END, 1, b"rest")


def test_frames_of_a_call_that_is_over_are_nothing(bench: Bench) -> None:
    bench.open(bench.program, flags=END)
    bench.answer(bench.program, RESET, frame.pack_reset(Reset(Status.CANCELLED, Fate.MAY_HAVE_RUN, "gone")))
    sent = len(bench.program.sent)
    for kind, payload in ((HEAD, frame.pack_headed(GOOD_HEAD, b"late")), (CREDIT, b"\x00\x00\x00\x01"), (STOP, b"")):
        bench.answer(bench.next, kind, payload)
    bench.answer(bench.next, RESET, frame.pack_reset(Reset(13, 1, "late")))
    assert len(bench.program.sent) == sent
    assert not bench.load.pending


def test_a_reset_ends_both_directions_and_is_passed_on_as_it_is(bench: Bench) -> None:
    payload = frame.pack_reset(Reset(Status.UNAVAILABLE, Fate.NOT_REACHED, "c: no", B + C))
    bench.open(bench.program)
    bench.answer(bench.next, RESET, payload)
    assert bench.program.sent == [(RESET, 0, 1, payload)]
    assert not bench.legs
    assert bench.load.failures == 1


def test_a_connection_that_takes_no_more_calls_is_no_failure_of_the_instance(bench: Bench) -> None:
    payload = frame.pack_reset(Reset(Status.UNAVAILABLE, Fate.NOT_REACHED, "so many were enough"))
    for stream in (1, 3):
        bench.open(bench.previous, path=ME, hops=0, stream=stream)
        bench.answer(bench.instance, RESET, payload, BLAMELESS if stream == 1 else 0, stream)
        assert bench.previous.sent[-1] == (RESET, 0, stream, payload), "the flag is this node's own"
        assert bench.load.failures == (stream == 3)
    assert not bench.load.pending


def test_another_node_does_not_say_whether_it_is_at_fault(bench: Bench) -> None:
    bench.open(bench.program)
    bench.answer(bench.next, RESET, frame.pack_reset(Reset(Status.UNAVAILABLE, Fate.NOT_REACHED, "?")), BLAMELESS)
    assert bench.load.failures == 1


def test_an_error_of_the_handler_is_no_failure_of_the_instance(bench: Bench) -> None:
    bench.open(bench.program)
    bench.answer(bench.next, RESET, frame.pack_reset(Reset(Status.INTERNAL, Fate.MAY_HAVE_RUN, "raised")))
    assert bench.load.failures == 0


def test_frames_of_unknown_types_are_skipped(bench: Bench) -> None:
    bench.open(bench.program)
    bench.answer(bench.program, 99, b"?")
    bench.answer(bench.program, 99, b"?", stream=77)
    assert len(bench.next.sent) == 1


@pytest.mark.parametrize(
    ("kind", "flags", "payload", "complaint"),
    [
        (DATA, 0, bytes(frame.MAX_PAYLOAD), "more on stream 1 than its credit"),
        (HEAD, 0, frame.pack_headed(GOOD_HEAD, b""), "head on stream 1"),
        (HEAD, 0, b"\xff\xff", "shorter than its head"),
        (DATA, TRAILERS, frame.pack_headed(GOOD_TRAILERS, b""), "trailers on stream 1"),
        (DATA, TRAILERS | END, b"\x00", "shorter than its head"),
        (CREDIT, 0, frame.pack_u32(frame.MAX_CREDIT), "granted more than"),
        (CREDIT, 0, b"\x00", "too short"),
        (RESET, 0, b"\xc1", "RESET cannot be read"),
    ],
)
def test_a_caller_that_breaks_a_rule_is_stopped_before_the_callee_hears_of_it(
    bench: Bench, kind: int, flags: int, payload: bytes, complaint: str
) -> None:
    bench.open(bench.program, body=b"x")
    with pytest.raises(RemoteProtocolError, match=complaint):
        bench.answer(bench.program, kind, payload, flags)
    assert len(bench.next.sent) == 1


@pytest.mark.parametrize(
    ("kind", "flags", "payload", "complaint"),
    [
        (HEAD, 0, frame.pack_headed(GOOD_HEAD, b""), "head on stream 1"),
        (DATA, 0, bytes(frame.INITIAL_CREDIT), "than its credit"),
        (DATA, TRAILERS, frame.pack_headed(GOOD_TRAILERS, b"x"), "trailers on stream 1"),
        (CREDIT, 0, frame.pack_u32(frame.MAX_CREDIT), "granted more than"),
    ],
)
def test_a_callee_that_breaks_a_rule_is_stopped_before_the_caller_hears_of_it(
    bench: Bench, kind: int, flags: int, payload: bytes, complaint: str
) -> None:
    bench.open(bench.program)
    bench.answer(bench.next, HEAD, frame.pack_headed(GOOD_HEAD, b"x"))
    with pytest.raises(RemoteProtocolError, match=complaint):
        bench.answer(bench.next, kind, payload, flags)
    assert len(bench.program.sent) == 1


def test_nothing_comes_after_the_end(bench: Bench) -> None:
    bench.open(bench.program, flags=END)
    with pytest.raises(RemoteProtocolError, match="after the end"):
        bench.answer(bench.program, DATA, b"more")


def test_credit_counts_every_body_byte_and_what_the_other_end_grants(bench: Bench) -> None:
    bench.open(bench.program, body=bytes(10_000))
    bench.answer(bench.program, DATA, bytes(frame.INITIAL_CREDIT - 10_000))
    bench.answer(bench.next, CREDIT, frame.pack_u32(5))
    bench.answer(bench.program, DATA, bytes(5))
    with pytest.raises(RemoteProtocolError, match="than its credit"):
        bench.answer(bench.program, DATA, b"x")


def test_frames_that_say_nothing_fill_no_queue(bench: Bench) -> None:
    bench.open(bench.program)
    for _ in range(3):
        bench.answer(bench.program, DATA)
        bench.answer(bench.program, CREDIT, frame.pack_u32(0))
        bench.answer(bench.program, STOP)
    assert bench.next.sent[1:] == [(STOP, 0, 1, b"")]


# Ports that die.


def test_a_call_whose_open_never_left_is_told_to_be_not_reached(bench: Bench) -> None:
    bench.open(bench.program, stream=1)
    bench.open(bench.program, stream=3)
    bench.next.unsent = {3}
    bench.switch.on_dead(bench.next, "reset by peer")
    left, waited = bench.program.resets
    assert (left.status, left.fate, left.edge) == (Status.UNAVAILABLE, Fate.MAY_HAVE_RUN, ME + NEXT)
    assert (waited.status, waited.fate, waited.edge) == (Status.UNAVAILABLE, Fate.NOT_REACHED, ME + NEXT)
    assert left.detail == "me: lost next: reset by peer"
    assert not bench.legs
    assert not bench.load.pending


def test_a_link_that_dies_is_no_fault_of_whoever_it_led_to(bench: Bench) -> None:
    failures = []
    for port, path, lost in ((bench.program, b"", bench.next), (bench.previous, ME, bench.instance)):
        bench.open(port, path=path)
        bench.switch.on_dead(lost, "reset by peer")
        failures.append(bench.load.failures)
    assert failures == [0, 1]


def test_an_instance_that_dies_is_no_edge(bench: Bench) -> None:
    bench.open(bench.previous, path=ME)
    bench.switch.on_dead(bench.instance, "refused")
    assert bench.only_reset(bench.previous).edge == b""


def test_a_caller_that_is_gone_cancels_its_calls(bench: Bench) -> None:
    bench.open(bench.program)
    bench.switch.on_dead(bench.program, "bye")
    assert [(reset.status, reset.detail) for reset in bench.next.resets] == [
        (Status.CANCELLED, "me: the caller is gone: bye")
    ]
    assert not bench.program.sent
    assert not bench.legs
    assert bench.load.failures == 0


def test_a_port_that_carries_both_legs_of_a_call_may_die(bench: Bench) -> None:
    bench.open(bench.next, path=ME + NEXT, stream=2)
    assert len(bench.next.streams) == 2
    bench.switch.on_dead(bench.next, "bye")
    assert not bench.legs


def test_an_instance_that_was_never_there_is_not_the_cheapest(bench: Bench) -> None:
    bench.load.observe(100.0, ok=True, began=98.0)
    bench.instance.now = -math.inf  # no frame ever came
    bench.open(bench.previous, path=ME)
    bench.switch.on_dead(bench.instance, "connection refused")
    cost = bench.load.cost(100.0)
    assert cost > 0.5
    assert not math.isnan(cost)


def test_seven_refused_dials_eject_an_instance(bench: Bench) -> None:
    bench.instance.now = -math.inf
    for stream in range(1, 15, 2):
        bench.open(bench.previous, path=ME, stream=stream)
        bench.switch.on_dead(bench.instance, "connection refused")
    assert bench.load.ejected(100.0)


def test_a_connection_that_is_lost_counts_once_however_many_calls_it_had(bench: Bench) -> None:
    for stream in range(1, 201, 2):
        bench.open(bench.previous, path=ME, stream=stream)
    bench.switch.on_dead(bench.instance, "reset by peer")
    assert bench.load.ejected(100.0)
    assert not bench.load.ejected(101.1)


# Deadlines.


def test_a_call_whose_time_is_up_is_ended_both_ways(bench: Bench) -> None:
    bench.open(bench.program, ms=100)
    bench.open(bench.program, ms=10_000, stream=3)
    bench.open(bench.program, stream=5)
    bench.switch.handle_timeout(100.1)
    assert not bench.program.resets
    bench.switch.handle_timeout(100.1 + SWEEP)
    for port in (bench.program, bench.next):
        [reset] = port.resets
        assert (reset.status, reset.fate) == (Status.DEADLINE_EXCEEDED, Fate.MAY_HAVE_RUN)
        assert list(port.streams) == [3, 5]
    assert bench.load.pending == 2
    assert bench.switch.statistics()["open"] == 2


def test_a_call_that_brings_no_deadline_gets_one_where_that_is_wanted() -> None:
    bench = Bench(call_time=2.5)
    bench.open(bench.program)
    bench.open(bench.program, ms=100, stream=3)
    times = [frame.split_open_untrusted(payload).ms for kind, _, _, payload in bench.next.sent if kind == OPEN]
    assert times == [2500, 100]
    bench.switch.handle_timeout(102.5 + SWEEP)
    assert [reset.status for reset in bench.program.resets] == [Status.DEADLINE_EXCEEDED] * 2


@pytest.mark.parametrize(
    "call", [CallHead("db", "", "tcp"), CallHead("chat", "/", "http", metadata=(":upgrade", "websocket"))]
)
def test_what_lasts_as_long_as_it_does_gets_no_deadline(call: CallHead) -> None:
    bench = Bench(call_time=2.5)
    bench.open(bench.program, head=pack_call_head(call))
    bench.switch.handle_timeout(10_000.0)
    assert not bench.program.resets


def test_what_the_node_itself_answers_and_what_other_nodes_send_gets_no_deadline_here() -> None:
    bench = Bench(call_time=2.5)
    bench.ingress.answer = Target(bench.instance, b"", None)
    bench.open(bench.program)
    bench.open(bench.previous, path=ME)
    bench.switch.handle_timeout(10_000.0)
    assert not bench.program.resets
    assert not bench.previous.resets


def test_the_switch_looks_again_and_again(bench: Bench) -> None:
    assert bench.switch.next_timeout() < 100
    bench.switch.handle_timeout(100.0)
    assert bench.switch.next_timeout() == 100.0 + SWEEP


@pytest.mark.parametrize("how", ["deadline", "reset", "death"])
def test_who_never_answers_is_as_slow_as_its_callers_were_patient(bench: Bench, how: str) -> None:
    bench.open(bench.program, ms=3000)
    bench.program.now = 104.0
    if how == "deadline":
        bench.switch.handle_timeout(104.0)
    elif how == "reset":
        bench.answer(bench.program, RESET, frame.pack_reset(Reset(Status.CANCELLED, Fate.MAY_HAVE_RUN, "")))
    else:
        bench.switch.on_dead(bench.program, "bye")
    assert bench.load.cost(104.0) == 4.0
    assert bench.load.failures == 0


def test_a_stream_that_was_answered_is_not_slow_because_it_is_long(bench: Bench) -> None:
    bench.open(bench.program)
    bench.next.now = 100.01
    bench.answer(bench.next, HEAD, frame.pack_headed(GOOD_HEAD, b""))
    bench.program.now = 200.0
    bench.answer(bench.program, RESET, frame.pack_reset(Reset(Status.CANCELLED, Fate.MAY_HAVE_RUN, "")))
    assert bench.load.cost(200.0) < 0.011


def test_an_answer_of_trailers_alone_is_an_answer(bench: Bench) -> None:
    bench.open(bench.program, flags=END)
    bench.next.now = 100.01
    bench.answer(bench.next, DATA, frame.pack_headed(GOOD_TRAILERS, b""), TRAILERS | END)
    assert 0 < bench.load.cost(100.01) < 0.011


# Ports that answer within `send`.


@pytest.mark.parametrize("ended", [END, 0])
def test_a_port_that_answers_within_send_makes_nothing_happen_twice(bench: Bench, ended: int) -> None:
    def answer(kind: int, stream: int) -> None:
        if kind in (DATA, RESET):
            bench.answer(bench.next, HEAD, frame.pack_headed(GOOD_HEAD, b""), END, stream)
            bench.answer(bench.next, RESET, frame.pack_reset(Reset(13, 1, "twice")), stream=stream)

    bench.next.on_send = answer
    bench.open(bench.program)
    bench.answer(bench.program, DATA, b"x", ended)
    bench.open(bench.program, stream=3)
    bench.answer(bench.program, RESET, frame.pack_reset(Reset(1, 1, "")), stream=3)
    bench.open(bench.program, stream=5, ms=1)
    bench.switch.handle_timeout(200.0)
    bench.open(bench.program, stream=7)
    bench.open(bench.program, stream=9)
    bench.switch.on_dead(bench.program, "bye")
    assert bench.load.pending == 0
    assert not bench.legs


def test_a_call_that_ends_while_the_late_ones_are_ended_ends_once(bench: Bench) -> None:
    def end_the_other(kind: int, stream: int) -> None:
        if kind == RESET and stream == 1:
            bench.answer(bench.next, RESET, frame.pack_reset(Reset(13, 1, "me too")), stream=3)

    bench.next.on_send = end_the_other
    bench.open(bench.program, ms=1)
    bench.open(bench.program, ms=1, stream=3)
    bench.open(bench.program, stream=5)
    bench.switch.handle_timeout(200.0)
    assert bench.load.pending == 1
    assert bench.legs == 2


# Whatever comes.

frames = st.tuples(
    st.sampled_from([OPEN, HEAD, DATA, RESET, STOP, CREDIT, 42]),
    st.integers(0, 7),
    st.integers(1, 6),
    st.one_of(
        st.binary(max_size=40),
        st.builds(
            frame.pack_open,
            st.integers(0, 3),
            st.sampled_from([b"", ME, ME + NEXT, ME + PREVIOUS, NEXT]),
            st.sampled_from([0, 5, NO_DEADLINE]),
            st.sampled_from([CALL_HEAD, SENT_TO_GATEWAY, b"", b"\xc1"]),
            st.binary(max_size=5),
        ),
        st.builds(frame.pack_headed, st.just(GOOD_HEAD), st.binary(max_size=5)),
        st.builds(
            frame.pack_reset,
            st.builds(
                Reset,
                st.integers(0, 99) | st.just(Status.UNAVAILABLE),
                st.integers(0, 9),
                st.text(max_size=3),
                st.sampled_from([b"", ME + NEXT, NEXT + C, C + NEXT]),
            ),
        ),
    ),
)


@given(
    st.lists(st.tuples(st.sampled_from(["program", "previous", "next", "instance"]), frames), max_size=40),
    st.booleans(),
    st.booleans(),
)
def test_whatever_comes_the_only_error_is_the_peers_and_no_half_pair_is_left(
    conversation: list[tuple[str, tuple[int, int, int, bytes]]], transit: bool, gateway: bool
) -> None:
    bench = Bench(transit=transit)
    bench.ingress.answer = Target(bench.next, NEXT + C, bench.load, DEFAULT if gateway else 0)
    if gateway:
        bench.egress.answer = NotFound("me: no instance")
    for name, (kind, flags, stream, payload) in conversation:
        port: FakePort = getattr(bench, name)
        if kind == OPEN and (stream in port.streams or name == "instance" or (port.peer and stream % 2)):
            continue  # the native port sees to that; the numbers of a link that are odd are given by this side
        try:
            bench.switch.on_frame(port, kind, flags, stream, payload)
        except RemoteProtocolError as error:
            bench.switch.on_dead(port, str(error))
        assert 0 <= bench.load.pending <= bench.legs // 2
    for port in (bench.program, bench.previous, bench.next, bench.instance):
        bench.switch.on_dead(port, "the end")
    assert not bench.legs
    assert not bench.load.pending


# What comes before an answer.


def test_what_comes_before_an_answer_passes_and_settles_nothing(bench: Bench) -> None:
    bench.open(bench.program, flags=END)
    bench.answer(bench.next, INTERIM, b"hints")
    assert bench.program.sent == [(INTERIM, 0, 1, b"hints")]
    assert next(iter(bench.next.streams.values())).back.kept is not None, "it could not be tried again"
    bench.answer(bench.next, HEAD, frame.pack_headed(GOOD_HEAD, b""), END)
    assert bench.program.sent[1][:3] == (HEAD, END, 1)
    assert not bench.legs


def test_no_more_comes_before_an_answer_than_may(bench: Bench) -> None:
    bench.open(bench.program)
    for _ in range(MAX_INTERIM + 1):
        bench.answer(bench.next, INTERIM, b"")
    assert len(bench.program.sent) == MAX_INTERIM


@pytest.mark.parametrize("case", ["too long", "behind the head", "of a caller"])
def test_what_comes_before_an_answer_breaks_the_rules(bench: Bench, case: str) -> None:
    bench.open(bench.program)
    with pytest.raises(RemoteProtocolError, match="interim"):  # noqa: PT012 - which one of many is the question
        if case == "too long":
            bench.answer(bench.next, INTERIM, bytes(MAX_INTERIM_SIZE + 1))
        elif case == "behind the head":
            bench.answer(bench.next, HEAD, frame.pack_headed(GOOD_HEAD, b""))
            bench.answer(bench.next, INTERIM, b"")
        else:
            bench.answer(bench.program, INTERIM, b"")
    assert len(bench.program.sent) == (case == "behind the head")
