"""The port between a switch and the services of its own node."""

import pytest

from sdk.errors import Status, Unavailable
from sdk.wire.frame import Fate
from tests.proxy.chain import Chain


def test_a_service_of_the_node_is_called_like_any_other() -> None:
    chain = Chain()
    call = chain.call(chain.programs[0], "own", b"hello", end=True)
    chain.pump()
    call.answer(b"x" * 60_000, end=True)
    chain.finish()
    assert call.up[1] == b"hello"
    assert call.down[1] == b"x" * 60_000


@pytest.mark.parametrize("end", [True, False])
def test_a_service_may_answer_before_the_frame_that_asked_it_has_returned(end: bool) -> None:
    chain = Chain()
    for manner in ("answers at once", "resets at once", "answers the end"):
        chain.call(chain.programs[0], "own", b"hello", end=end, manner=manner)
    chain.pump()
    answered, refused, last = chain.calls
    assert answered.client.head_is_final
    assert refused.reset is not None
    assert last.over == end
    last.client.end()
    chain.pump()
    assert last.client.head_is_final
    chain.finish()


def test_frames_bear_the_time_at_which_they_are_sent() -> None:
    chain = Chain()
    chain.clock.now = 1234.5
    assert chain.inner.now == 1234.5


def test_numbers_of_streams_rise() -> None:
    chain = Chain()
    assert [chain.inner.next_stream() for _ in range(3)] == [1, 3, 5]


def test_what_is_sent_has_arrived() -> None:
    assert Chain().inner.was_sent(1)


def test_services_that_end_take_their_calls_with_them_and_no_new_ones() -> None:
    chain = Chain()
    call = chain.call(chain.programs[0], "own", b"hello")
    chain.pump()
    chain.inner.close("the node is stopping")
    chain.inner.close("again")
    assert chain.inner.dead
    assert chain.inner.other.dead
    late = chain.call(chain.programs[0], "own")
    chain.finish()
    assert call.reset is not None
    assert (call.reset.status, call.reset.fate) == (Status.UNAVAILABLE, Fate.MAY_HAVE_RUN)
    assert "the node is stopping" in call.reset.detail
    assert call.server is not None
    assert call.server.reset_by_peer is not None
    assert late.reset is not None
    assert late.reset.fate == Fate.NOT_REACHED
    with pytest.raises(Unavailable, match="services of a is stopping"):
        chain.inner.next_stream()
