import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.meter import Loss, Rate, Segments


def test_a_steady_rate_is_known_after_a_few_looks_and_forgotten_as_soon() -> None:
    rate = Rate()
    for second in range(1, 21):
        assert rate.look(1000 * second, 1.0) == 1000
    assert rate.value == pytest.approx(1000, rel=0.01)
    for _ in range(20):
        assert rate.look(20_000, 1.0) == 0
    assert rate.value < 10


def test_a_rate_is_per_second_however_long_it_was_between_two_looks() -> None:
    rate = Rate()
    for look in range(1, 41):
        rate.look(2500 * look, 2.5)
    assert rate.value == pytest.approx(1000, rel=0.01)


def test_a_link_without_segments_loses_nothing() -> None:
    loss = Loss()
    loss.look(Segments(sent=0, again=0))
    assert loss.share == 0


@pytest.mark.parametrize("a_second", [2, 50, 100_000])
def test_loss_is_the_share_that_was_sent_again(a_second: int) -> None:
    loss = Loss()
    for second in range(1, 201):
        loss.look(Segments(sent=a_second * second, again=a_second * second // 10))
    assert loss.share == pytest.approx(0.1, rel=0.1)


def test_one_lost_segment_of_the_first_three_is_no_third() -> None:
    loss = Loss()
    loss.look(Segments(sent=3, again=1))
    assert loss.share == 1 / 64


def test_a_busy_link_learns_of_loss_within_seconds_and_forgets_it_within_seconds() -> None:
    loss, sent, again = Loss(), 0, 0
    for lost in (0, 100):
        for _ in range(30):
            sent, again = sent + 1000, again + lost
            loss.look(Segments(sent=sent, again=again))
        assert loss.share == pytest.approx(lost / 1000, abs=0.001)
        for _ in range(3):
            sent += 1000
            again += 100 - lost
            loss.look(Segments(sent=sent, again=again))
        assert (loss.share > 0.05) == (lost == 0)


@given(st.lists(st.tuples(st.integers(0, 2**32), st.integers(0, 2**32))))
def test_the_share_stays_between_none_and_all(looks: list[tuple[int, int]]) -> None:
    loss, sent, again = Loss(), 0, 0
    for more, lost in looks:
        sent, again = sent + more, again + lost
        loss.look(Segments(sent=sent, again=again))
        assert 0 <= loss.share <= 1
