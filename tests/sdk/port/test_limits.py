"""What holds where nobody says anything else."""

from sdk.port.limits import HEAD_WITHIN, LOOK, Limits


def test_calls_and_bodies_have_no_limit_of_their_own_but_silence_on_a_connection_and_standing_still_have() -> None:
    assert Limits() == Limits(idle=300.0, stall=300.0, call=0.0, max_body=0)


def test_a_look_is_taken_often_enough_for_the_shortest_of_the_times() -> None:
    assert LOOK <= HEAD_WITHIN / 4
