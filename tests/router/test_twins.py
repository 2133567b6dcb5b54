from math import inf

from router.linkstate import LinkState
from router.twins import JUMP_EVERY, TELLING, Twins


def state(born: int) -> LinkState:
    return LinkState(
        network="n", origin=b"", public=b"", epoch=born, seq=1, born=born, name="other", addresses=("o:1",), links=(),
        transit=True, radius=3,
    )  # fmt: skip


def test_the_first_jump_is_at_once_and_the_next_waits() -> None:
    twins = Twins(born=5)
    assert twins.due == inf
    twins.met(7, 100.0, state(7))
    assert twins.due == 100.0
    assert twins.jump(100.0) == 8
    assert twins.due == inf
    twins.met(9, 101.0)
    assert twins.due == 100.0 + JUMP_EVERY
    assert twins.jump(twins.due) == 10


def test_two_jumps_over_one_life_within_a_minute_tell_of_a_twin_and_the_younger_stays() -> None:
    twins = Twins(born=9)
    for now in (100.0, 100.0 + JUMP_EVERY):
        assert twins.twin is None
        twins.met(20, now, state(7))
        twins.jump(now)
    assert twins.twin is not None
    assert (twins.twin.name, twins.twin.born, twins.twin.withdrawn) == ("other", 7, False)
    twins.met(30, 130.0, state(7))
    assert not twins.withdrawn
    assert twins.due < inf


def test_the_older_gives_way_when_its_twin_goes_on() -> None:
    twins = Twins(born=5)
    for now in (100.0, 100.0 + JUMP_EVERY):
        twins.met(20, now, state(7))
        twins.jump(now)
    assert twins.twin is not None
    assert not twins.withdrawn
    twins.met(21, 112.0, state(7))
    assert twins.withdrawn
    assert twins.due == inf
    assert twins.twin.since <= 112.0


def test_two_earlier_lives_or_one_met_long_ago_are_no_twin() -> None:
    twins = Twins(born=5)
    for now, born in ((100.0, 3), (120.0, 4), (120.0 + TELLING + 1, 4)):
        twins.met(20, now, state(born))
        twins.jump(now)
    assert twins.twin is None


def test_services_alone_make_it_jump_and_say_nothing_of_a_twin() -> None:
    twins = Twins(born=5)
    for now in (100.0, 120.0, 140.0):
        twins.met(20, now)
        assert twins.due == now
        twins.jump(now)
    assert twins.twin is None


def test_its_own_words_of_this_life_are_no_other_life() -> None:
    twins = Twins(born=5)
    for now in (100.0, 120.0):
        twins.met(20, now, state(5))
        twins.jump(now)
    assert twins.twin is None
