"""Calls that fail and go on elsewhere: by example on one bench, and in a chain of nodes."""

from typing import Any

import pytest

from proxy.calls import CallRecord
from proxy.legs import MAX_QUEUED, SWEEP, Target
from proxy.retry import MAX_KEPT_TOGETHER, MAX_TRIES, MEMORY, PER_SECOND
from sdk.errors import RemoteProtocolError, Status
from sdk.head import IDEMPOTENT, CallHead, ReplyHead, pack_call_head, pack_reply_head
from sdk.selector import Load
from sdk.wire import frame
from sdk.wire.frame import (
    CREDIT,
    DATA,
    END,
    HEAD,
    INITIAL_CREDIT,
    INTERIM,
    MAX_INTERIM,
    NO_DEADLINE,
    OPEN,
    RESET,
    STOP,
    TRAILERS,
    Fate,
    Reset,
)
from sdk.wire.mux import CHUNK

from .bench import CALL_HEAD, ME, NEXT, Bench, FakePort
from .chain import A, B, C, Chain, far_origin

IDEMPOTENT_HEAD = pack_call_head(CallHead("greeter", "Greeter.Hello", flags=IDEMPOTENT))
GET_HEAD = pack_call_head(CallHead("shop", "/", "http", metadata=(":method", "GET")))
OTHER = b"o" * 16
ANSWER = frame.pack_headed(b"", b"")


class Stage(Bench):
    """A bench with another link, to which calls go that have failed."""

    def __init__(self) -> None:
        super().__init__()
        self.other = FakePort("other", OTHER)
        self.other_load = Load()
        self.switch.link_up(OTHER, self.other)
        self.ingress.others = [Target(self.other, OTHER + C, self.other_load)]

    def reset(
        self, port: FakePort, status: int = Status.UNAVAILABLE, fate: Fate = Fate.NOT_REACHED, edge: bytes = b""
    ) -> bytes:
        """A callee resets its first stream."""
        payload = frame.pack_reset(Reset(status, fate, f"{port.name}: no", edge))
        self.answer(port, RESET, payload)
        return payload

    @property
    def legs(self) -> int:
        return super().legs + len(self.other.streams)

    def over(self) -> None:
        """Nothing is left of anything."""
        assert not self.legs
        assert not self.load.pending
        assert not self.other_load.pending
        assert not self.switch._budget.held


@pytest.fixture
def stage() -> Stage:
    return Stage()


def opened(port: FakePort) -> frame.Open:
    """The OPEN that went to a port."""
    [payload] = [payload for kind, _, _, payload in port.sent if kind == OPEN]
    return frame.split_open_untrusted(payload)


# When, and where to.


@pytest.mark.parametrize("end", [0, END])
def test_a_call_that_was_not_reached_goes_another_way_as_it_came(stage: Stage, end: int) -> None:
    stage.open(stage.program, body=b"body", flags=end, ms=2000)
    stage.next.now = 101.0
    stage.reset(stage.next)
    assert not stage.program.sent
    [(kind, flags, _, _)] = stage.other.sent
    assert (kind, flags) == (OPEN, end)
    assert opened(stage.other) == (2, OTHER + C, 1000, CALL_HEAD, b"body")
    assert (stage.load.pending, stage.load.failures, stage.other_load.pending) == (0, 1, 1)
    assert stage.ingress.asked_again == [[stage.load]]
    stage.answer(stage.program, DATA, b"more", END) if not end else None
    stage.answer(stage.other, HEAD, ANSWER, END)
    assert stage.program.sent == [(HEAD, END, 1, ANSWER)]
    stage.over()
    assert stage.switch.statistics() == {"calls": 1, "refused": 0, "retried": 1, "open": 0}


def test_a_call_without_a_deadline_has_none_on_its_other_way(stage: Stage) -> None:
    stage.open(stage.program)
    stage.reset(stage.next)
    assert opened(stage.other).ms == NO_DEADLINE


def test_a_call_that_may_have_run_is_not_tried_again(stage: Stage) -> None:
    stage.open(stage.program)
    payload = stage.reset(stage.next, fate=Fate.MAY_HAVE_RUN)
    assert stage.program.sent == [(RESET, 0, 1, payload)]
    assert not stage.other.sent
    stage.over()


@pytest.mark.parametrize("head", [IDEMPOTENT_HEAD, GET_HEAD])
def test_a_call_that_may_run_twice_is_tried_again_though_it_may_have_run(stage: Stage, head: bytes) -> None:
    stage.open(stage.program, head=head)
    stage.reset(stage.next, fate=Fate.MAY_HAVE_RUN)
    assert opened(stage.other).head == head


def test_no_callee_is_blamed_for_what_came_before_the_answer_of_another(stage: Stage) -> None:
    stage.open(stage.program, head=GET_HEAD)
    for port in (stage.next, stage.other):
        for _ in range(MAX_INTERIM):
            stage.answer(port, INTERIM, b"still at it")
        if port is stage.next:
            stage.reset(stage.next, fate=Fate.MAY_HAVE_RUN)
    stage.answer(stage.other, HEAD, ANSWER, END)
    assert [kind for kind, *_ in stage.program.sent] == [*[INTERIM] * MAX_INTERIM, HEAD]


@pytest.mark.parametrize("fate", Fate)
@pytest.mark.parametrize("status", [Status.INTERNAL, Status.DEADLINE_EXCEEDED, Status.CANCELLED, Status.UNKNOWN])
def test_what_a_handler_says_is_final_even_of_a_call_that_may_run_twice(
    stage: Stage, status: Status, fate: Fate
) -> None:
    stage.open(stage.program, head=IDEMPOTENT_HEAD)
    payload = stage.reset(stage.next, status, fate)
    assert stage.program.sent == [(RESET, 0, 1, payload)]
    stage.over()


@pytest.mark.parametrize("kind", [HEAD, DATA])
def test_a_call_whose_answer_has_begun_is_not_tried_again(stage: Stage, kind: int) -> None:
    stage.open(stage.program, head=IDEMPOTENT_HEAD)
    stage.answer(stage.next, kind, ANSWER)
    payload = stage.reset(stage.next)
    assert stage.program.sent[-1] == (RESET, 0, 1, payload)
    assert not stage.other.sent
    stage.over()


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("head", [CALL_HEAD, IDEMPOTENT_HEAD])
def test_a_link_that_dies_gives_its_calls_to_others_where_that_is_safe(stage: Stage, sent: bool, head: bytes) -> None:
    stage.open(stage.program, head=head)
    stage.next.unsent = set() if sent else {1}
    stage.switch.on_dead(stage.next, "bye")
    if sent and head == CALL_HEAD:
        assert [reset.fate for reset in stage.program.resets] == [Fate.MAY_HAVE_RUN]
        stage.over()
    else:
        assert opened(stage.other).head == head
        assert stage.ingress.asked_again == [[stage.next]]
        assert not stage.load.failures


def test_a_link_that_failed_elsewhere_is_not_held_against_the_origin_behind_it(stage: Stage) -> None:
    stage.ingress.answer = Target(stage.next, NEXT + B, stage.load)
    stage.open(stage.program)
    stage.reset(stage.next, edge=NEXT + B)
    assert stage.ingress.failed == [(NEXT + B, 100.0)]
    assert stage.ingress.asked_again == [[]]
    assert stage.other.sent


def test_a_port_that_takes_no_call_is_passed_by(stage: Stage) -> None:
    stage.next.full = True
    stage.open(stage.program, body=b"body", flags=END)
    assert opened(stage.other).body == b"body"
    assert not stage.program.sent
    assert stage.ingress.asked_again == [[stage.next]]
    stage.answer(stage.other, HEAD, ANSWER, END)
    stage.over()


def test_a_port_with_too_much_waiting_is_passed_by_at_the_second_try_as_well(stage: Stage) -> None:
    third = FakePort("third")
    stage.next.queued = stage.other.queued = MAX_QUEUED + 1
    stage.ingress.others.append(Target(third, b"", Load()))
    stage.open(stage.program)
    assert len(third.sent) == 1
    assert stage.other_load.failures == 1
    assert stage.ingress.asked_again[-1] == [stage.next, stage.other]


@pytest.mark.parametrize("status", [Status.NOT_FOUND, Status.RESOURCE_EXHAUSTED])
def test_an_origin_that_has_no_instance_or_no_room_any_more_is_not_the_last_word(stage: Stage, status: Status) -> None:
    stage.open(stage.program)
    stage.reset(stage.next, status)
    assert stage.other.sent
    assert not stage.load.failures


def test_what_an_instance_of_this_node_does_not_find_nobody_finds(stage: Stage) -> None:
    stage.ingress.answer = Target(stage.instance, b"", stage.load)
    stage.open(stage.program)
    payload = stage.reset(stage.instance, Status.NOT_FOUND)
    assert stage.program.sent == [(RESET, 0, 1, payload)]


def test_a_call_is_sent_three_times_and_the_last_error_is_told(stage: Stage) -> None:
    stage.ingress.others.append(Target(stage.instance, b"", None))
    stage.ingress.others.append(Target(FakePort("never"), b"", None))
    stage.open(stage.program)
    stage.reset(stage.next)
    stage.reset(stage.other)
    payload = stage.reset(stage.instance)
    assert stage.program.sent == [(RESET, 0, 1, payload)]
    assert stage.switch.statistics()["retried"] == MAX_TRIES - 1
    stage.over()


def test_when_one_of_the_tries_may_have_run_the_caller_is_told_so(stage: Stage) -> None:
    stage.open(stage.program, head=IDEMPOTENT_HEAD)
    stage.reset(stage.next, fate=Fate.MAY_HAVE_RUN)
    stage.reset(stage.other)
    [reset] = stage.program.resets
    assert (reset.fate, reset.detail) == (Fate.MAY_HAVE_RUN, "other: no")


def test_a_call_whose_time_is_up_is_not_tried_again(stage: Stage) -> None:
    stage.open(stage.program, ms=500)
    stage.next.now = 100.5
    stage.reset(stage.next)
    assert stage.program.resets
    assert not stage.other.sent


def test_a_call_that_was_tried_again_ends_at_its_own_deadline(stage: Stage) -> None:
    stage.open(stage.program, ms=500)
    stage.next.now = 100.4
    stage.reset(stage.next)
    stage.switch.handle_timeout(100.5 + SWEEP)
    for port in (stage.program, stage.other):
        assert [reset.status for reset in port.resets] == [Status.DEADLINE_EXCEEDED]
    stage.over()


def test_when_the_budget_is_used_up_calls_fail_as_they_did(stage: Stage) -> None:
    budget = int(PER_SECOND * MEMORY)
    stage.ingress.others = [Target(stage.instance, b"", None) for _ in range(2 * budget)]
    for stream in range(1, 4 * budget, 2):
        stage.open(stage.program, stream=stream)
    stage.next.unsent = set(stage.next.streams)
    stage.next.now = 100.0
    stage.switch.on_dead(stage.next, "bye")
    assert len(stage.instance.sent) == budget
    assert len(stage.program.resets) == budget
    assert {reset.fate for reset in stage.program.resets} == {Fate.NOT_REACHED}


def test_calls_that_went_well_pay_for_those_that_do_not(stage: Stage) -> None:
    stage.switch.handle_timeout(99.0)
    for stream in range(1, 2001, 2):
        stage.open(stage.program, stream=stream, flags=END)
        stage.answer(stage.next, HEAD, ANSWER, END, stream)
    stage.switch.handle_timeout(100.0)
    stage.ingress.others = [Target(stage.instance, b"", None) for _ in range(400)]
    for stream in range(2001, 3001, 2):
        stage.open(stage.program, stream=stream)
    stage.next.unsent = set(stage.next.streams)
    stage.switch.on_dead(stage.next, "bye")
    assert len(stage.instance.sent) == pytest.approx(100 + 0.2 * 1000, abs=15)


def test_a_caller_that_is_gone_is_not_served(stage: Stage) -> None:
    stage.open(stage.program)
    stage.program.dead = True
    stage.reset(stage.next)
    assert not stage.other.sent
    stage.over()


def test_of_a_call_that_was_tried_again_one_record_tells(stage: Stage) -> None:
    records: list[CallRecord] = []
    stage.switch.on_call = records.append
    stage.open(stage.program, flags=END)
    stage.next.now = stage.other.now = 103.0
    stage.reset(stage.next)
    stage.answer(stage.other, HEAD, ANSWER, END)
    stage.ingress.others = [Target(stage.other, OTHER, None)]
    stage.next.full = True
    stage.open(stage.program, flags=END, stream=3)
    stage.answer(stage.other, HEAD, ANSWER, END, 3)
    assert [(each.path, each.tries, each.opened, each.ended) for each in records] == [
        (OTHER + C, 2, 100.0, 103.0), (OTHER, 2, 100.0, 103.0)
    ]  # fmt: skip


@pytest.mark.parametrize("apart", [False, True])
def test_a_record_tells_the_status_of_http_of_the_answer_that_counts(stage: Stage, apart: bool) -> None:
    records: list[CallRecord] = []
    stage.switch.on_call = records.append
    for stream, said, status in ((1, "500", 500), (3, "200", 0)):
        stage.ingress.others = [Target(stage.other, OTHER, None)]
        stage.open(stage.program, flags=END, stream=stream, head=GET_HEAD)
        stage.answer(stage.next, RESET, frame.pack_reset(Reset(Status.UNAVAILABLE, Fate.NOT_REACHED, "no")), 0, stream)
        answer = frame.pack_headed(pack_reply_head(ReplyHead("text", (":status", said))), b"")
        stage.answer(stage.other, HEAD, answer, 0 if apart else END, stream)
        if apart:
            stage.answer(stage.other, DATA, b"body", END, stream)
        assert [each.status for each in records][-1:] == [status]


# Nodes that are not the first.


def test_a_transit_node_tries_nothing_again_and_keeps_nothing(stage: Stage) -> None:
    stage.open(stage.previous, path=ME + NEXT, head=IDEMPOTENT_HEAD)
    assert not stage.switch._budget.held
    payload = stage.reset(stage.next)
    assert stage.previous.sent == [(RESET, 0, 1, payload)]
    stage.over()


def test_a_link_that_takes_no_calls_is_named_by_a_transit_node(stage: Stage) -> None:
    stage.next.full = True
    stage.open(stage.previous, path=ME + NEXT)
    assert [(reset.fate, reset.edge) for reset in stage.previous.resets] == [(Fate.NOT_REACHED, ME + NEXT)]


def test_the_last_node_goes_to_another_of_its_instances_when_one_was_not_reached(stage: Stage) -> None:
    second, load = FakePort("second"), Load()
    stage.egress.others = [Target(second, b"", load)]
    stage.open(stage.previous, path=ME, body=b"body", flags=END, hops=0)
    stage.instance.unsent = {1}
    stage.switch.on_dead(stage.instance, "connection refused")
    assert opened(second) == (0, b"", NO_DEADLINE, CALL_HEAD, b"body")
    assert stage.egress.asked_again == [[stage.load]]
    stage.answer(second, HEAD, ANSWER, END)
    assert stage.previous.sent == [(HEAD, END, 1, ANSWER)]
    stage.over()


def test_the_last_node_leaves_a_call_that_may_have_run_to_the_first(stage: Stage) -> None:
    stage.egress.others = [Target(FakePort("second"), b"", Load())]
    stage.open(stage.previous, path=ME, head=IDEMPOTENT_HEAD)
    stage.switch.on_dead(stage.instance, "reset by peer")
    assert [reset.fate for reset in stage.previous.resets] == [Fate.MAY_HAVE_RUN]


def test_the_last_node_without_another_instance_says_what_happened(stage: Stage) -> None:
    stage.open(stage.previous, path=ME)
    payload = stage.reset(stage.instance)
    assert stage.previous.sent == [(RESET, 0, 1, payload)]
    assert not stage.switch.statistics()["retried"]
    stage.over()


def test_the_last_node_passes_credit_on_at_once(stage: Stage) -> None:
    stage.egress.others = [Target(FakePort("second"), b"", Load())]
    stage.open(stage.previous, path=ME)
    stage.answer(stage.instance, CREDIT, frame.pack_u32(7))
    assert stage.previous.sent == [(CREDIT, 0, 1, frame.pack_u32(7))]
    assert not stage.switch._budget.held


# The request that is sent again, and its credit.


def frames(port: FakePort) -> list[tuple[int, int, Any]]:
    return [(kind, flags, payload if kind != OPEN else b"") for kind, flags, _, payload in port.sent]


def test_body_bytes_are_sent_again_in_order_and_the_request_goes_on(stage: Stage) -> None:
    body = bytes(range(256)) * 100
    stage.open(stage.program, body=b"first ")
    for at in range(0, len(body), 1000):
        stage.answer(stage.program, DATA, body[at : at + 1000])
    stage.reset(stage.next)
    assert opened(stage.other).body == b"first "
    assert [len(payload) for _, _, payload in frames(stage.other)[1:]] == [CHUNK, len(body) - CHUNK]
    assert b"".join(payload for _, _, payload in frames(stage.other)[1:]) == body
    stage.answer(stage.program, DATA, b"the last", END)
    assert frames(stage.other)[-1] == (DATA, END, b"the last")
    stage.answer(stage.other, HEAD, ANSWER, END)
    stage.over()


@pytest.mark.parametrize(
    ("last", "again"),
    [
        ((DATA, END, b"end"), [(OPEN, 0, b""), (DATA, END, b"end")]),
        ((DATA, END, b""), [(OPEN, END, b"")]),
        ((DATA, END | TRAILERS, ANSWER), [(OPEN, 0, b""), (DATA, END | TRAILERS, ANSWER)]),
        ((DATA, END | TRAILERS, ANSWER + b"x"), [(OPEN, 0, b""), (DATA, END | TRAILERS, ANSWER + b"x")]),
        ((STOP, 0, b""), [(OPEN, 0, b""), (STOP, 0, b"")]),
        ((CREDIT, 0, frame.pack_u32(9)), [(OPEN, 0, b""), (CREDIT, 0, frame.pack_u32(9))]),
    ],
    ids=["body", "nothing", "trailers", "body and trailers", "stop", "credit"],
)
def test_what_the_caller_has_said_is_said_again(
    stage: Stage, last: tuple[int, int, bytes], again: list[tuple[int, int, bytes]]
) -> None:
    kind, flags, payload = last
    stage.open(stage.program)
    stage.answer(stage.program, kind, payload, flags)
    stage.reset(stage.next)
    assert frames(stage.other) == again


def test_credit_that_the_caller_gave_before_counts_for_the_next_answer(stage: Stage) -> None:
    stage.open(stage.program)
    stage.answer(stage.program, CREDIT, frame.pack_u32(9))
    stage.reset(stage.next)
    stage.answer(stage.other, HEAD, frame.pack_headed(b"", bytes(60_000)))
    stage.answer(stage.other, DATA, bytes(INITIAL_CREDIT + 9 - 60_000))
    with pytest.raises(RemoteProtocolError, match="more on stream 1 than its credit"):
        stage.answer(stage.other, DATA, b"x")


def test_credit_of_a_callee_that_failed_does_not_count_with_the_next(stage: Stage) -> None:
    stage.open(stage.program, body=bytes(40_000), head=IDEMPOTENT_HEAD)
    stage.answer(stage.next, CREDIT, frame.pack_u32(40_000))
    assert not stage.program.sent, "the caller may send more than the next callee takes"
    stage.answer(stage.program, DATA, bytes(10_000))
    stage.reset(stage.next, fate=Fate.MAY_HAVE_RUN)
    stage.answer(stage.program, DATA, bytes(INITIAL_CREDIT - 50_000))
    assert sum(len(payload) for kind, _, payload in frames(stage.other) if kind == DATA) == INITIAL_CREDIT - 40_000
    stage.answer(stage.other, CREDIT, frame.pack_u32(33_000))
    assert stage.program.sent == [(CREDIT, 0, 1, frame.pack_u32(33_000))]
    stage.answer(stage.program, DATA, bytes(33_000))
    with pytest.raises(RemoteProtocolError, match="than its credit"):
        stage.answer(stage.program, DATA, b"x")


def test_a_caller_gets_the_credit_it_is_owed_when_it_has_used_the_first_and_then_the_call_is_not_kept(
    stage: Stage,
) -> None:
    stage.open(stage.program, body=bytes(40_000))
    stage.answer(stage.next, CREDIT, frame.pack_u32(40_000))
    stage.answer(stage.program, DATA, bytes(INITIAL_CREDIT - 40_001))
    assert not stage.program.sent
    stage.answer(stage.program, DATA, b"x")
    assert stage.program.sent == [(CREDIT, 0, 1, frame.pack_u32(40_000))]
    assert stage.next.sent[-1] == (DATA, 0, 1, b"x")
    stage.answer(stage.program, DATA, bytes(40_000))
    assert not stage.switch._budget.held
    stage.reset(stage.next)
    assert not stage.other.sent
    stage.over()


def test_a_caller_gets_the_credit_it_is_owed_with_the_answer(stage: Stage) -> None:
    stage.open(stage.program, body=bytes(40_000))
    stage.answer(stage.next, CREDIT, frame.pack_u32(40_000))
    stage.answer(stage.next, HEAD, ANSWER)
    assert stage.program.sent == [(CREDIT, 0, 1, frame.pack_u32(40_000)), (HEAD, 0, 1, ANSWER)]


def test_a_request_of_exactly_the_first_credit_is_kept_to_its_end(stage: Stage) -> None:
    stage.open(stage.program, body=bytes(40_000), head=IDEMPOTENT_HEAD)
    stage.answer(stage.next, CREDIT, frame.pack_u32(40_000))
    stage.answer(stage.program, DATA, bytes(INITIAL_CREDIT - 40_000), END)
    stage.reset(stage.next, fate=Fate.MAY_HAVE_RUN)
    assert frames(stage.other)[-1][:2] == (DATA, END)
    stage.answer(stage.other, CREDIT, frame.pack_u32(40_000))
    stage.answer(stage.other, HEAD, ANSWER)
    assert stage.program.sent == [(HEAD, 0, 1, ANSWER)], "who has ended needs no credit"


def test_a_callee_grants_no_more_than_there_is_while_it_is_withheld(stage: Stage) -> None:
    stage.open(stage.program)
    stage.answer(stage.next, CREDIT, frame.pack_u32(frame.MAX_CREDIT - INITIAL_CREDIT))
    with pytest.raises(RemoteProtocolError, match="granted more than"):
        stage.answer(stage.next, CREDIT, frame.pack_u32(1))


def test_a_request_that_a_callee_has_stopped_is_not_complete_and_not_sent_again(stage: Stage) -> None:
    stage.open(stage.program)
    stage.answer(stage.next, STOP)
    stage.reset(stage.next)
    assert [kind for kind, *_ in stage.program.sent] == [STOP, RESET]
    stage.over()


def test_no_more_is_kept_of_all_requests_than_there_is_room_for(stage: Stage) -> None:
    size = len(frame.pack_open(3, b"", NO_DEADLINE, CALL_HEAD, bytes(60_000)))
    fits = MAX_KEPT_TOGETHER // size
    for number in range(fits + 1):
        stage.open(stage.program, body=bytes(60_000), stream=2 * number + 1)
    assert stage.switch._budget.held == fits * size
    for number in range((MAX_KEPT_TOGETHER - fits * size) // 5000 + 1):
        stage.answer(stage.program, DATA, bytes(5000), stream=2 * number + 1)
    assert stage.switch._budget.held < fits * size, "what does not fit ends the keeping of its call"
    for stream in list(stage.program.streams):
        stage.answer(stage.program, RESET, frame.pack_reset(Reset(Status.CANCELLED, Fate.MAY_HAVE_RUN, "")), 0, stream)
    stage.over()


def test_a_call_that_is_not_kept_is_not_tried_again(stage: Stage) -> None:
    stage.switch._budget.held = MAX_KEPT_TOGETHER
    stage.open(stage.program)
    stage.reset(stage.next)
    assert stage.program.resets
    assert not stage.other.sent


# Ports that answer within `send`.


def test_who_answers_at_once_is_heard_and_still_gets_all_of_the_request(stage: Stage) -> None:
    def answer(kind: int, stream: int) -> None:
        if kind == OPEN:
            stage.answer(stage.other, CREDIT, frame.pack_u32(5))
            stage.answer(stage.other, HEAD, ANSWER, END)

    stage.other.on_send = answer
    stage.open(stage.program)
    stage.answer(stage.program, DATA, b"body", END)
    stage.reset(stage.next)
    assert frames(stage.other) == [(OPEN, 0, b""), (DATA, END, b"body")]
    assert stage.program.sent == [(HEAD, END, 1, ANSWER)]
    stage.over()


def test_what_a_caller_sends_while_its_request_is_sent_again_comes_last(stage: Stage) -> None:
    def go_on(kind: int, stream: int) -> None:
        if kind == OPEN:
            stage.answer(stage.program, DATA, b"second", END)

    stage.other.on_send = go_on
    stage.open(stage.program)
    stage.answer(stage.program, DATA, b"first ")
    stage.reset(stage.next)
    assert frames(stage.other) == [(OPEN, 0, b""), (DATA, END, b"first second")]
    stage.answer(stage.other, HEAD, ANSWER, END)
    stage.over()


def test_both_ends_may_be_done_before_the_request_was_sent_again(stage: Stage) -> None:
    def all_at_once(kind: int, stream: int) -> None:
        if kind == OPEN:
            stage.answer(stage.other, HEAD, ANSWER, END)
            stage.answer(stage.program, DATA, b"second", END)

    stage.other.on_send = all_at_once
    stage.open(stage.program)
    stage.answer(stage.program, DATA, b"first ")
    stage.reset(stage.next)
    assert frames(stage.other) == [(OPEN, 0, b""), (DATA, END, b"first second")]
    stage.over()


def test_a_caller_that_breaks_the_rules_while_its_request_is_sent_again_is_not_heard(stage: Stage) -> None:
    def trailers_that_end_nothing(kind: int, stream: int) -> None:
        if kind == OPEN:
            with pytest.raises(RemoteProtocolError, match="trailers on stream 1"):
                stage.answer(stage.program, DATA, ANSWER, TRAILERS)

    stage.other.on_send = trailers_that_end_nothing
    stage.open(stage.program)
    stage.reset(stage.next)
    assert frames(stage.other) == [(OPEN, 0, b"")]


@pytest.mark.parametrize("when", [OPEN, DATA])
def test_who_refuses_at_once_is_followed_by_the_next(stage: Stage, when: int) -> None:
    def refuse(kind: int, stream: int) -> None:
        if kind == when:
            stage.reset(stage.other)

    stage.other.on_send = refuse
    stage.ingress.others.append(Target(stage.instance, b"", None))
    stage.open(stage.program)
    stage.answer(stage.program, DATA, bytes(40_000), END)
    stage.reset(stage.next)
    assert [kind for kind, *_ in stage.other.sent] == [OPEN, DATA][: 1 if when == OPEN else 2]
    assert [(kind, flags) for kind, flags, _ in frames(stage.instance)] == [
        (OPEN, 0), (DATA, 0), (DATA, 0), (DATA, END)
    ]  # fmt: skip
    stage.answer(stage.instance, HEAD, ANSWER, END)
    stage.over()


def test_a_caller_may_give_up_while_its_request_is_sent_again(stage: Stage) -> None:
    def give_up(kind: int, stream: int) -> None:
        if kind == OPEN:
            stage.answer(stage.program, RESET, frame.pack_reset(Reset(Status.CANCELLED, Fate.MAY_HAVE_RUN, "")))

    stage.other.on_send = give_up
    stage.open(stage.program)
    stage.answer(stage.program, DATA, b"body")
    stage.reset(stage.next)
    assert RESET in [kind for kind, *_ in stage.other.sent]
    stage.over()


# In a chain of nodes.


def test_a_call_goes_round_a_link_that_is_down_elsewhere() -> None:
    chain = Chain()
    chain.link(A, C)
    chain.a.routes.origins["far"] = (far_origin(B, C, spare=(C,)),)
    chain.lose(chain.links[B, C], 0)
    calls = [chain.call(chain.programs[0], "far", b"hello", end=True) for _ in range(3)]
    chain.pump()
    for call in calls:
        call.answer(b"world", end=True)
    chain.finish()
    assert [bytes(call.down[1]) for call in calls] == [b"world"] * 3
    assert chain.a.switch.statistics()["retried"] == 3


def test_of_the_calls_on_a_link_that_dies_those_go_on_that_may_run_twice() -> None:
    chain = Chain()
    chain.link(A, C)
    chain.a.routes.origins["far"] = (far_origin(B, C, spare=(C,)),)
    twice = chain.call(chain.programs[0], "far", b"hello", flags=IDEMPOTENT)
    once = chain.call(chain.programs[0], "far", b"hello")
    chain.pump()
    twice.ask(b" world")
    chain.pump()
    chain.lose(chain.links[A, B], 0)
    chain.pump()
    assert once.reset is not None
    assert (once.reset.fate, once.reset.edge) == (Fate.MAY_HAVE_RUN, A + B)
    twice.take()
    assert (twice.runs, bytes(twice.up[1])) == (2, b"hello world")
    twice.client.end()
    twice.answer(b"good", end=True)
    chain.finish()
    assert bytes(twice.down[1]) == b"good"
