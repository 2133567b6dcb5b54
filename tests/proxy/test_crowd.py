"""How many connections a port bears."""

from proxy.crowd import Crowd


def test_one_too_many_is_refused_and_room_is_made_by_whoever_leaves() -> None:
    crowd = Crowd(most=2, most_of_one=2, of_this_host=0)
    assert [crowd.enter(host) for host in ("10.0.0.1", "10.0.0.2")] == ["", ""]
    assert crowd.enter("10.0.0.3") == "2 connections are open already"
    crowd.leave("10.0.0.3")
    assert crowd.enter("10.0.0.3").startswith("2 connections")
    crowd.leave("10.0.0.3")
    crowd.leave("10.0.0.1")
    assert crowd.enter("10.0.0.3") == ""
    assert crowd.size == 2


def test_one_address_does_not_take_the_room_of_others() -> None:
    crowd = Crowd(most=10, most_of_one=2, of_this_host=0)
    assert [crowd.enter("10.0.0.1") for _ in range(3)] == ["", "", "2 connections of its address are open already"]
    assert crowd.enter("10.0.0.2") == ""
    crowd.leave("10.0.0.1")
    crowd.leave("10.0.0.1")
    assert crowd.enter("10.0.0.1") == ""


def test_programs_of_this_host_are_counted_together_only() -> None:
    crowd = Crowd(most=10, most_of_one=1)
    assert [crowd.enter("127.0.0.1") for _ in range(10)] == [""] * 10
    assert crowd.enter("127.0.0.1") == "10 connections are open already"


def test_others_never_keep_out_programs_of_this_host() -> None:
    crowd = Crowd(most=10, most_of_one=4, of_this_host=2)
    hosts = [f"10.0.0.{number}" for number in range(1, 4)]
    assert [crowd.enter(host) for host in hosts for _ in range(3)][7:] == ["", "8 connections are open already"]
    crowd.leave(hosts[-1])
    assert [crowd.enter("127.0.0.1") for _ in range(2)] == ["", ""]
    assert crowd.enter("127.0.0.1") == "10 connections are open already"
