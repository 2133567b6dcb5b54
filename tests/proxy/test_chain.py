"""A chain of nodes: by example, and by a state machine that lets anything happen to it."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sdk.errors import Status
from sdk.head import IDEMPOTENT
from sdk.wire.frame import NO_DEADLINE, Fate

from .chain import A, B, C, Chain, Wire


def test_a_call_crosses_three_nodes_and_leaves_nothing_behind() -> None:
    chain = Chain()
    call = chain.call(chain.programs[0], "far", b"hello", end=True)
    chain.pump()
    assert [node.open_calls for node in (chain.a, chain.b, chain.c)] == [1, 1, 1]
    call.answer(b"world", end=True)
    chain.finish()
    assert call.up[1] == b"hello"
    assert call.down[1] == b"world"
    assert call.client.trailers is not None or call.client.head_is_final


def test_the_node_next_to_a_dead_link_names_it_to_the_caller() -> None:
    chain = Chain()
    call = chain.call(chain.programs[0], "far", b"hello")
    chain.pump()
    chain.lose(chain.links[B, C], 0)
    chain.pump()
    assert call.reset is not None
    assert (call.reset.fate, call.reset.edge) == (Fate.MAY_HAVE_RUN, B + C)
    again = chain.call(chain.programs[0], "far", b"hello")
    chain.pump()
    assert again.reset is not None
    assert (again.reset.fate, again.reset.edge) == (Fate.NOT_REACHED, B + C)
    chain.finish()


def test_an_instance_that_is_not_there_is_not_reached_two_links_away() -> None:
    chain = Chain()
    chain.absent = {"far-0:1", "far-1:1"}
    call = chain.call(chain.programs[0], "far", b"hello", end=True)
    chain.pump()
    assert call.reset is not None
    assert call.reset.fate == Fate.NOT_REACHED
    assert "c: lost instance far-" in call.reset.detail
    chain.absent.clear()
    chain.finish()


def test_where_one_instance_is_not_there_another_answers() -> None:
    for gone in ("far-0:1", "far-1:1"):
        chain = Chain()
        chain.absent = {gone}
        calls = [chain.call(chain.programs[0], "far", b"hello") for _ in range(4)]
        chain.pump()
        for call in calls:
            call.ask(b" world")
            call.client.end()
        chain.pump()
        for call in calls:
            call.take()
            assert call.up[1] == b"hello world"
            call.answer(b"good", end=True)
        chain.finish()
        assert [node.switch.statistics()["retried"] for node in (chain.a, chain.b, chain.c)][:2] == [0, 0]


def test_a_call_for_a_service_nobody_knows_crosses_the_default_gateway_and_no_second_one() -> None:
    chain = Chain()
    call = chain.call(chain.programs[0], "hidden", b"hello", end=True)
    lost = chain.call(chain.programs[0], "lost", b"hello", end=True)
    chain.pump()
    assert [node.open_calls for node in (chain.a, chain.b, chain.c)] == [1, 1, 1]
    call.answer(b"world", end=True)
    chain.finish()
    assert (bytes(call.up[1]), bytes(call.down[1])) == (b"hello", b"world")
    assert lost.reset is not None
    assert (lost.reset.status, lost.reset.fate) == (Status.NOT_FOUND, Fate.NOT_REACHED)
    assert lost.reset.detail.startswith("b: no service called 'lost'")


class Life(RuleBasedStateMachine):
    """Calls from both ends of a chain, in any order, while anything breaks at any moment."""

    @initialize()
    def begin(self) -> None:
        self.chain = Chain()

    def pick(self, data: st.DataObject, *, answered: bool) -> Any:
        calls = [call for call in self.chain.calls if not call.over or (answered and call.server)]
        calls = [call for call in calls if not answered or call.server is not None]
        return data.draw(st.sampled_from(calls)) if calls else None

    @rule(
        program=st.integers(0, 2),
        service=st.sampled_from(["far", "near", "own", "hidden"]),
        size=st.sampled_from([0, 1, 100, 40_000, 100_000]),
        end=st.booleans(),
        ms=st.sampled_from([NO_DEADLINE, NO_DEADLINE, 0, 30, 1000]),
        manner=st.sampled_from(["", "", "", "answers at once", "resets at once", "answers the end"]),
        flags=st.sampled_from([0, IDEMPOTENT]),
    )
    def open(self, program: int, service: str, size: int, end: bool, ms: int, manner: str, flags: int) -> None:
        body = bytes(range(256)) * (size // 256) + bytes(size % 256)
        self.chain.call(self.chain.programs[program], service, body, end=end, ms=ms, manner=manner, flags=flags)

    @rule(data=st.data(), size=st.sampled_from([1, 1000, 30_000, 200_000]), end=st.booleans())
    def ask(self, data: st.DataObject, size: int, end: bool) -> None:
        if (call := self.pick(data, answered=False)) is not None:
            call.ask(data.draw(st.binary(min_size=1, max_size=4)) * size)
            if end:
                call.client.end()

    @rule(data=st.data(), size=st.sampled_from([0, 1, 1000, 30_000, 200_000]), end=st.booleans())
    def answer(self, data: st.DataObject, size: int, end: bool) -> None:
        if (call := self.pick(data, answered=True)) is not None:
            call.answer(data.draw(st.binary(min_size=1, max_size=4)) * size, end=end)

    @rule()
    def take(self) -> None:
        for call in self.chain.calls:
            call.take()

    @rule(data=st.data(), what=st.sampled_from(["stop", "reset"]))
    def caller_has_enough(self, data: st.DataObject, what: str) -> None:
        if (call := self.pick(data, answered=False)) is not None:
            if what == "stop":
                call.client.stop()
            else:
                call.gave_up = True
                call.client.reset(Status.CANCELLED, "enough")

    @rule(data=st.data(), what=st.sampled_from(["stop", "reset"]))
    def instance_has_enough(self, data: st.DataObject, what: str) -> None:
        if (call := self.pick(data, answered=True)) is not None:
            if what == "stop":
                call.server.stop()
            else:
                call.server.reset(Status.INTERNAL, "enough")

    @rule()
    def everything_arrives(self) -> None:
        self.chain.pump()

    def wire(self, data: st.DataObject) -> Wire:
        wires = [wire for wire in self.chain.wires if not all(end.dead for end in wire.ends)]
        return data.draw(st.sampled_from(wires)) if wires else self.chain.wires[0]

    @rule(data=st.data(), side=st.integers(0, 1), most=st.sampled_from([1, 15, 100, 5000, 1 << 20]))
    def something_arrives(self, data: st.DataObject, side: int, most: int) -> None:
        wire = self.wire(data)
        wire.collect(side)
        wire.deliver(1 - side, most)

    @rule(data=st.data())
    def a_dialled_port_connects(self, data: st.DataObject) -> None:
        waiting = [wire for wire in self.chain.wires if not wire.connected]
        if waiting:
            data.draw(st.sampled_from(waiting)).connected = True

    @precondition(lambda self: self.chain.calls)
    @rule(data=st.data(), side=st.integers(0, 1))
    def an_end_is_lost(self, data: st.DataObject, side: int) -> None:
        self.chain.lose(self.wire(data), side)

    @precondition(lambda self: self.chain.calls)
    @rule(data=st.data(), side=st.integers(0, 1))
    def an_end_goes_away(self, data: st.DataObject, side: int) -> None:
        self.wire(data).ends[side].go_away()

    @rule(pair=st.sampled_from([(A, B), (B, C)]))
    def a_link_comes_back(self, pair: tuple[bytes, bytes]) -> None:
        if not self.chain.links[pair].usable:
            self.chain.link(*pair)

    @rule(seconds=st.sampled_from([0.01, 0.2, 2.0]))
    def time_passes(self, seconds: float) -> None:
        self.chain.sweep(seconds)

    @invariant()
    def pairs_are_whole(self) -> None:
        if hasattr(self, "chain"):
            self.chain.check()

    def teardown(self) -> None:
        if hasattr(self, "chain"):
            self.chain.finish()


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
