"""Networks of gossip machines: what each comes to know, and how soon."""

import itertools
from contextlib import nullcontext
from dataclasses import replace
from math import inf
from random import Random

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.database import FORGET_AFTER
from router.gossip import COMPARE_AFTER, COMPARE_EVERY, Gossip
from router.linkstate import MAX_EDGES, LinkTerms
from router.neighbour import BURST, PART
from router.services import MAX_BODY, MAX_LABELS, MAX_SERVICES
from router.statement import Kind, Signed, Version, to_sign
from router.store import MAX_ORIGINS
from router.wire import (
    MAX_MESSAGE,
    MAX_STATEMENT,
    Compare,
    LinkStates,
    Pull,
    Services,
    Versions,
    pack_link_states,
    pack_services,
    pack_versions,
    parse_message_untrusted,
)
from sdk.errors import BadRequest, RemoteProtocolError
from sdk.types import MAX_NAME
from tests.router.network import (
    DELAY,
    FamilyKey,
    Key,
    Network,
    RealKey,
    entry,
    gossip,
    links_message,
    map_of,
    said_by,
    services_message,
    signed_root,
)

UP = LinkTerms()


def everything(machine: Gossip) -> object:
    """All that a machine knows, for comparison."""
    origins = {origin: replace(view, services=dict(view.services)) for origin, view in sorted(machine.origins.items())}
    return origins, machine.edges, sorted(machine.reachable)


# What is learned.


def test_every_node_learns_the_whole_line_and_who_offers_what() -> None:
    network = Network("ab", "bc", "cd", "de")
    network.offer("e", "greeter")
    network.run(1)
    assert len({network[name].gossip.link_state_root for name in "abcde"}) == 1
    origins = network["b"].gossip.origins
    assert {view.name for view in origins.values()} == set("abcde")
    assert list(origins[network["e"].key.id].services) == ["greeter"]
    assert not network["a"].gossip.origins[network["e"].key.id].services, "it is four links away"


def test_a_service_is_seen_over_three_links_and_not_over_four() -> None:
    network = Network("ab", "bc", "cd", "de")
    network.offer("e", "greeter")
    network.run(1)
    assert [name for name in "abcde" if network[name].sees("greeter")] == ["b", "c", "d"]


def test_it_works_with_real_signatures() -> None:
    network = Network("ab", "bc", key=RealKey)
    network.offer("c", "greeter")
    network.run(1)
    assert network["a"].sees("greeter")
    assert network["a"].gossip.counters["bad_signature"] == 0


def test_a_late_joiner_learns_all_from_its_first_neighbour() -> None:
    network = Network("ab", "bc")
    network.offer("c", "greeter")
    network.run(100)
    network.start("x")
    network.link("xa")
    network.run(10.5 * DELAY)
    assert network["x"].sees("greeter")
    assert network["c"].gossip.reachable.keys() == network["x"].gossip.reachable.keys()


def test_a_ring_does_not_keep_talking_once_everything_is_said() -> None:
    network = Network("ab", "bc", "ca")
    network.offer("a", "greeter")
    network.run(12)
    sent = network.sent
    network.run(10)
    assert network.sent == sent
    network.run(290)
    assert network.sent - sent <= 6 * 14, "a comparison each way on each link in half a minute, and nothing else"


def test_the_cost_of_an_edge_is_the_larger_of_what_its_ends_say() -> None:
    network = Network("ab")
    network.run(1)
    a, b = network["a"], network["b"]
    a.gossip.set_terms(b.key.id, LinkTerms(delay=12), network.now)
    b.gossip.set_terms(a.key.id, LinkTerms(price=6), network.now)
    network.run(1)
    assert a.gossip.edges == b.gossip.edges == {a.key.id: {b.key.id: 13}, b.key.id: {a.key.id: 13}}
    assert a.gossip.terms(b.key.id, a.key.id) == LinkTerms(delay=12)
    seq = a.gossip._own._state.seq
    a.gossip.set_terms(b.key.id, LinkTerms(delay=12), network.now)
    network.run(1)
    assert a.gossip._own._state.seq == seq, "the same cost once more is no news"
    network.cut("ab")
    a.gossip.set_terms(b.key.id, LinkTerms(delay=24), network.now)
    assert a.gossip.next_timeout() > network.now + 0.9, "a link that is gone has no cost to tell"


# How far it is told.


def test_services_go_as_far_as_their_radius_and_not_a_link_farther() -> None:
    network = Network("bc", "cd", "de", "ef")
    for name, radius in (("a", 3), ("x", 1), ("y", 0)):
        network.start(name, radius=radius)
        network.link(name + "b")
        network.offer(name, f"of-{name}")
    network.run(40)
    for name, at in (("a", "bcd"), ("x", "b"), ("y", "")):
        origin = network[name].key.id
        holders = [other for other in "bcdef" if network[other].gossip.services_root(origin) is not None]
        assert "".join(holders) == at
        assert all(network[other].gossip.origins[origin].radius is not None for other in "bcdef"), "links go to all"


def test_services_follow_when_the_way_grows_shorter_and_are_forgotten_when_it_grows_longer() -> None:
    network = Network("ab", "bc", "cd", "de", "ef")
    network.offer("f", "x")
    network.run(5)
    assert not network["a"].sees("x")
    network.link("ad")
    network.run(8 * DELAY)
    assert network["a"].sees("x")
    assert not network["b"].sees("x"), "it is four links away still"
    network.link("be")
    network.run(8 * DELAY)
    assert network["b"].sees("x")
    network.cut("ad")
    network.cut("be")
    network.run(0.5)
    assert not network["a"].sees("x")
    f = network["f"].key.id
    assert network["a"].gossip.services_root(f) is not None
    network.run(FORGET_AFTER + 2)
    assert network["a"].gossip.services_root(f) is None
    assert network["d"].gossip.services_root(f) == network["f"].gossip.services_root(f)


# What is withdrawn.


def test_a_withdrawn_service_disappears_at_once() -> None:
    network = Network("ab", "bc")
    network.offer("c", "greeter", "clock")
    network.run(1)
    for _ in range(20):  # however restless it was before
        network.offer("c", "greeter", "clock", "other")
        network.offer("c", "greeter", "clock")
    network.offer("c", "clock")
    network.run(2.1 * DELAY)
    assert not network["a"].sees("greeter")
    assert network["a"].sees("clock")


def test_who_carries_nothing_for_others_any_more_is_passed_by_at_once() -> None:
    network = Network("ab", "bc", "ad")
    network.link("cd", 9)
    network.offer("c", "greeter")
    network.run(1)
    a, b, c, d = (network[name] for name in "abcd")
    assert [way.path for way in a.table.origins_of("greeter")] == [(b.key.id, c.key.id)]
    network["b"].gossip.end_transit(network.now)
    network.run(2.1 * DELAY)
    assert [way.path for way in a.table.origins_of("greeter")] == [(d.key.id, c.key.id)]


def test_a_broken_link_takes_its_routes_along_at_once() -> None:
    network = Network("ab", "bc", "cd")
    network.offer("d", "greeter")
    network.offer("b", "clock")
    network.run(1)
    network.cut("bc")
    network.run(0)
    assert not network["b"].sees("greeter"), "the node at the break knows without any message"
    network.run(1.1 * DELAY)
    assert not network["a"].sees("greeter")
    assert network["a"].sees("clock")
    assert network["a"].table.unreachable_origins("greeter") == ("d",)


def test_a_link_that_breaks_while_others_come_and_go_is_told_at_once() -> None:
    network = Network("ab", "bc", "cd")
    network.offer("d", "greeter")
    network.run(1)
    network.start("x")
    for _ in range(10):
        network.link("cx")
        network.run(0.01)
        network.cut("cx")
    network.cut("cd")
    network.run(2.1 * DELAY)
    assert not network["a"].sees("greeter")


def test_a_withdrawal_that_was_lost_is_repaired_by_the_next_comparison() -> None:
    network = Network("ab", "bc")
    network.offer("c", "greeter")
    network.run(1)
    network.loses = lambda source, to, message: True
    network.offer("c")
    network.run(1)
    network.loses = lambda source, to, message: False
    assert network["a"].sees("greeter")
    network.run(30 * 1.25 + 1)
    assert not network["b"].sees("greeter")
    assert not network["a"].sees("greeter")


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32), share=st.floats(0, 0.9))
def test_whatever_is_lost_for_a_while_all_agree_in_the_end(seed: int, share: float) -> None:
    random = Random(seed)
    network = Network("ab", "bc", "cd", "da")
    network.loses = lambda source, to, message: random.random() < share
    for _ in range(10):
        name = random.choice("abcd")
        network.offer(name, *(service for service in ("x", "y", "z") if random.random() < 0.5))
        network.run(random.choice((0.0, 0.01, 1.0)))
        if random.random() < 0.3:
            network.cut("da")
            network.run(random.choice((0.0, 1.0)))
            network.link("da")
    network.loses = lambda source, to, message: False
    network.run(120)
    assert len(network["a"].gossip.reachable) == 4
    assert len({network[name].gossip.link_state_root for name in "abcd"}) == 1
    for name in "abcd":
        own = network[name].gossip.origins[network[name].key.id]
        assert set(own.services) == {service for service in own.services if service in ("x", "y", "z")}
        for other in "abcd":
            seen = network[other].gossip.origins[network[name].key.id]
            assert (seen.edges, dict(seen.services)) == (own.edges, dict(own.services))
            assert network[other].gossip.services_root(network[name].key.id) == network[name].gossip.services_root(
                network[name].key.id
            )


def test_a_change_that_follows_one_that_was_lost_is_asked_for_and_comes_whole() -> None:
    network = Network("ab")
    network.offer("b", "x")
    network.run(1)
    network.loses = lambda source, to, message: True
    network.offer("b", "x", "y")
    network.run(1)
    network.loses = lambda source, to, message: False
    network.offer("b", "x", "y", "z")
    network.run(4 * DELAY)
    a = network["a"].gossip
    assert sorted(a.origins[network["b"].key.id].services) == ["x", "y", "z"]
    assert a.counters["gap"] == 1


def test_who_never_had_a_map_asks_once_and_gets_all_of_it() -> None:
    network = Network("ab", "bc")
    network.offer("c", "x")
    network.run(1)
    network.offer("c", "x", "y")
    network.run(1)
    for name in "defgh":
        network.start(name)
        network.link("c" + name)
        sent = network.sent
        network.run(1)
        assert network[name].sees("y")
        assert network.sent - sent < 50


# Partition, death, return.


def test_a_network_that_was_parted_comes_together_again() -> None:
    network = Network("ab", "bc", "cd")
    network.offer("a", "left")
    network.offer("d", "right")
    network.run(1)
    network.cut("bc")
    network.run(10)
    network.offer("a", "left", "new")
    network.offer("d")
    network.run(10)
    assert not network["a"].sees("right")
    assert not network["d"].sees("left")
    network.link("bc")
    network.run(1)
    assert network["d"].sees("left")
    assert network["d"].sees("new")
    assert not network["a"].sees("right")


def test_who_is_out_of_reach_for_a_minute_is_forgotten_and_stays_so_until_it_is_back() -> None:
    network = Network("ab", "bc", "cd")
    network.offer("d", "greeter")
    network.run(1)
    network.cut("cd")
    d = network["d"].key.id
    network.run(59)
    assert d in network["a"].gossip.origins
    network.run(3)
    assert d not in network["a"].gossip.origins
    assert network["a"].table.unreachable_origins("greeter") == ()
    network.run(600)
    assert d not in network["a"].gossip.origins
    assert network["a"].key.id not in network["d"].gossip.origins
    network.link("cd")
    network.run(1)
    assert network["a"].sees("greeter"), "although it has said nothing new of its services"


def test_the_last_neighbour_is_forgotten_without_any_message() -> None:
    network = Network("ab")
    network.run(10)
    network.cut("ab")
    network.run(62)
    assert list(network["a"].gossip.origins) == [network["a"].key.id]
    assert network["a"].gossip.next_timeout() == inf


def test_neighbours_that_forget_at_different_times_do_not_hand_the_dead_to_and_fro() -> None:
    network = Network("ab", "bc", "cd")
    network.run(1)
    d = network["d"].key.id
    network.stop("d")
    # a learns only by a digest, up to 37 s later, that d is gone: it forgets d that much later than the others.
    network.loses = lambda source, to, message: True
    network.run(0.1)
    network.loses = lambda source, to, message: False
    network.run(60 + 1 + 40 + 1)
    assert all(d not in node.gossip.origins for node in network.nodes.values())


def test_somebody_heard_of_but_never_met_is_forgotten_too() -> None:
    machine, key = gossip(Key("a")), Key("b")
    machine.link_up(key.id, UP, 0.0)
    machine.receive(key.id, links_message(Key("x"), key), 1.0)
    assert Key("x").id in machine.origins
    machine.handle_timeout(2.0)
    machine.handle_timeout(61.9)
    assert Key("x").id in machine.origins
    machine.handle_timeout(62.0)
    assert Key("x").id not in machine.origins


def test_services_of_somebody_whose_links_nobody_told_are_forgotten() -> None:
    machine, source, stranger = gossip(Key("a")), Key("b"), Key("x")
    machine.link_up(source.id, UP, 0.0)
    machine.handle_timeout(2.0)
    machine.receive(source.id, services_message(stranger, "greeter"), 10.0)
    assert machine.services_root(stranger.id) is not None
    machine.handle_timeout(11.0)
    machine.handle_timeout(11.0 + FORGET_AFTER)
    assert machine.services_root(stranger.id) is None


def test_a_restarted_node_takes_over_at_once() -> None:
    network = Network("ab", "bc")
    network.offer("c", "old")
    network.run(50)
    network.stop("c")
    network.run(0.1)
    network.start("c", epoch=2)
    network.offer("c", "new")
    network.link("bc")
    network.run(8 * DELAY)
    assert network["a"].sees("new")
    assert not network["a"].sees("old")


def test_what_was_offered_in_an_earlier_life_ends_with_it() -> None:
    network = Network("ab")
    network.offer("b", "old")
    network.run(1)
    a = network["a"]
    a.gossip.receive(Key("b").id, links_message(Key("b"), Key("a"), epoch=2), network.now)
    assert a.gossip.edges[Key("a").id] == {Key("b").id: 1}
    network.run(0)
    assert not a.sees("old")


def test_a_node_whose_clock_went_back_jumps_above_its_older_self() -> None:
    network = Network("ab", "bc")
    network.offer("c", "old")
    network.run(50)
    network.stop("c")
    network.run(0.1)
    network.start("c", epoch=0)
    network.offer("c", "new")
    network.link("bc")
    network.run(16 * DELAY)
    assert network["a"].sees("new")
    assert not network["a"].sees("old")
    assert network["c"].gossip.counters["jumps"] == 1
    assert network["c"].gossip.twin is None
    network.offer("c")
    network.run(1)
    assert not network["a"].sees("new"), "what it says later counts as well"


def test_one_jump_goes_above_all_that_was_said_before() -> None:
    machine, peer = gossip(Key("a")), Key("b")
    machine.link_up(peer.id, UP, 0.0)
    machine.receive(peer.id, links_message(Key("a"), epoch=7, seq=3, born=7), 1.0)
    machine.receive(peer.id, services_message(Key("a"), "old", epoch=7, seq=99), 1.0)
    machine.handle_timeout(1.0)
    assert machine.counters["jumps"] == 1
    machine.receive(peer.id, services_message(Key("a"), "old", epoch=7, seq=100), 1.5)
    assert machine.counters["old"] == 1
    assert machine.next_timeout() > 1.5
    assert machine.origins[machine.me].epoch == 8


def test_a_second_jump_waits_and_is_not_forgotten() -> None:
    machine, peer = gossip(Key("a")), Key("b")
    machine.link_up(peer.id, UP, 0.0)
    for epoch in (5, 50):
        machine.receive(peer.id, links_message(Key("a"), epoch=epoch, born=epoch), float(epoch) / 50)
        machine.handle_timeout(1.0)
    assert machine.counters["jumps"] == 1
    machine.handle_timeout(5.0)
    assert machine.counters["jumps"] == 1
    while machine.next_timeout() < 12:
        machine.handle_timeout(machine.next_timeout())
    assert machine.counters["jumps"] == 2
    assert machine.twin is None, "two earlier lives are no twin"


def test_of_two_twins_the_older_gives_way_and_both_say_so() -> None:
    network = Network("ab", "bd", "de", key=FamilyKey)
    network.start("c", epoch=1)
    network.start("C", epoch=2)
    network.offer("c", "one")
    network.offer("C", "other")
    network.link("ac")
    network.link("eC")
    network.run(40)
    older, younger = network["c"].gossip, network["C"].gossip
    assert older.twin is not None
    assert older.twin.withdrawn
    assert older.twin.name == "C"
    assert younger.twin is not None
    assert not younger.twin.withdrawn
    assert younger.twin.addresses == ("tcp://c:8085",)
    assert list(older.reachable) == [older.me]
    sent = network.sent
    network.offer("c", "one", "more")
    network.run(20)
    assert not network["b"].sees("more")
    assert network["b"].sees("other")
    assert network.sent - sent < 50
    assert older.counters["jumps"] + younger.counters["jumps"] <= 5


def test_nobody_can_make_a_node_jump_by_a_claim_without_signature() -> None:
    machine, peer = gossip(Key("a")), Key("b")
    machine.link_up(peer.id, UP, 0.0)
    machine.messages_to_send(0.0)
    claim = Versions(frozenset(), False, ((Kind.LINK_STATE, machine.me, Version(1 << 62, 1, bytes(8))),))
    machine.receive(peer.id, pack_versions(claim), 0.0)
    [message] = said_by(machine)
    assert parse_message_untrusted(message) == Pull(((Kind.LINK_STATE, machine.me, (0, 0)),)), "it asks to see that"
    thief = links_message(Key("a"), epoch=9, born=9, signer=peer)
    machine.receive(peer.id, thief, 0.0)
    assert (machine.counters["jumps"], machine.counters["bad_signature"]) == (0, 1)


# Pace and timers.


def test_the_first_change_is_told_at_once_and_further_ones_together() -> None:
    network = Network("ab")
    network.run(10)
    before = network.sent
    for number in range(50):
        network.offer("b", *(f"service-{each}" for each in range(number + 1)))
        if number == 0:
            network.run(1.1 * DELAY)
            assert network["a"].sees("service-0")
    network.run(0.1)
    assert network["a"].sees("service-49")
    assert network.sent == before + 2
    network.run(COMPARE_AFTER * 1.3)
    assert network.sent <= before + 2 + 2, "and a comparison each way"


def test_who_keeps_changing_is_told_once_a_second_at_last() -> None:
    network = Network("ab")
    network.run(10)
    before = network.sent
    for number in range(1000):
        network["b"].gossip.set_services([entry("x", instances=number + 1)], network.now)
        network.run(0.01)
    assert network.sent - before < 35
    network.run(1.1)
    assert network["a"].table.origins_of("x")[0].instances == 1000


def test_the_same_services_once_more_are_no_news() -> None:
    network = Network("ab")
    network.offer("b", "x", "y")
    network.run(8)
    before, revision = network.sent, network["b"].gossip.revision
    network.offer("b", "y", "x")
    network.run(2)
    assert (network.sent, network["b"].gossip.revision) == (before, revision)


def test_alone_it_wants_nothing_and_never_wakes_anybody() -> None:
    woken: list[None] = []
    machine = gossip(Key("a"), wake=lambda: woken.append(None))
    machine.set_services([entry("greeter")], 0.0)
    assert machine.next_timeout() == inf
    assert machine.messages_to_send(0.0) == []
    assert not woken


def test_comparisons_are_spread_around_thirty_seconds() -> None:
    machine = gossip(Key("a"), "a")
    machine.link_up(Key("b").id, UP, 0.0)
    machine.messages_to_send(0.0)
    times = []
    now = 0.0
    while now < 3000:
        now = machine.next_timeout()
        machine.handle_timeout(now)
        if any(isinstance(parse_message_untrusted(message), Compare) for message in said_by(machine, now)):
            times.append(now)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert all(0.75 * COMPARE_EVERY <= gap <= 1.25 * COMPARE_EVERY for gap in gaps)
    assert max(gaps) - min(gaps) > 5
    assert times[0] <= 1.25 * COMPARE_AFTER, "the link that came up is a change"


def test_a_slow_neighbour_gets_the_newest_once() -> None:
    network = Network("ab")
    network.offer("b", "service")
    network.run(1)
    b = network["b"].gossip
    for number in range(100):
        b.set_services([entry(f"service-{number}")], network.now + number)
    b.handle_timeout(network.now + 200)
    told = [content for message in said_by(b) if isinstance(content := parse_message_untrusted(message), Services)]
    assert len(told) == 1
    assert [b"service-99" in packed for packed in told[0].entries] == [True]


def test_one_service_more_costs_less_than_400_bytes_on_a_link() -> None:
    network = Network("ab", "bc", "cd", "da")
    network.offer("a", *(f"service-{number}" for number in range(1000)))
    network.run(10)
    told: list[int] = []

    def listen(source: str, to: str, message: bytes) -> bool:
        told.append(len(message))
        return False

    network.loses = listen
    network.offer("a", *(f"service-{number}" for number in range(1001)))
    network.run(1)
    assert max(told) < 250
    assert sum(told) < 400 * 4, "four links, one of which may be crossed both ways"


def test_a_large_map_comes_in_parts_that_hold_nobody_up() -> None:
    network = Network("ab")
    network.run(10)
    network.offer("b", *(f"service-{number:05}" for number in range(10_000)))
    told: list[tuple[float, int]] = []

    def listen(source: str, to: str, message: bytes) -> bool:
        told.append((network.now, len(message)))
        return False

    network.loses = listen
    network.run(0.5)
    assert len(network["a"].gossip.origins[network["b"].key.id].services) == 10_000
    assert max(size for _, size in told) < PART + 5000
    for at in {at for at, _ in told}:
        assert sum(size for when, size in told if at <= when < at + 0.019) <= BURST + PART + 5000


def test_a_map_that_was_cut_short_by_the_end_of_a_link_comes_over_the_next() -> None:
    network = Network("ab")
    network.offer("b", *(f"service-{number:05}" for number in range(5_000)))
    network.run(0.04)
    assert network["a"].gossip._gathering.under_way
    network.cut("ab")
    assert not network["a"].gossip._gathering.under_way
    network.link("ab")
    network.run(1)
    assert len(network["a"].gossip.origins[network["b"].key.id].services) == 5_000


# What is not believed.


def told_in_a_network() -> list[bytes]:
    """Every message of a small network's life."""
    messages: list[bytes] = []
    network = Network("ab", "bc")

    def listen(source: str, to: str, message: bytes) -> bool:
        messages.append(message)
        return False

    network.loses = listen
    for name in "abcab":
        network.offer(name, f"service-of-{name}", str(len(messages)))
        network.run(0.5)
    return messages


MESSAGES = told_in_a_network()
TOLD = [message for message in MESSAGES if isinstance(parse_message_untrusted(message), LinkStates | Services)]


def listener() -> Gossip:
    machine = gossip(Key("x"))
    machine.link_up(Key("b").id, UP, 0.0)
    machine.messages_to_send(0.0)
    return machine


def told_all(messages: list[bytes]) -> Gossip:
    machine = listener()
    for message in messages:
        machine.receive(Key("b").id, message, 0.0)
    return machine


def converged(messages: list[bytes]) -> Gossip:
    """A machine that heard these, and then the newest map of each origin, as it would ask for what it lacks."""
    machine = told_all(messages)
    for message in WHOLE:
        machine.receive(Key("b").id, message, 0.0)
    return machine


WHOLE = [
    services_message(Key(name), *names, epoch=5, seq=seq)
    for name, names, seq in (("a", ("x", "y"), 9), ("b", ("z",), 8), ("c", (), 7))
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(TOLD)), st.randoms(use_true_random=False))
def test_what_is_known_depends_on_what_was_told_not_on_order_or_repetition(
    repeated: list[bytes], random: Random
) -> None:
    straight = converged(TOLD)
    assert len(straight.origins) == 4
    shuffled = [*TOLD, *repeated]
    random.shuffle(shuffled)
    assert everything(converged(shuffled)) == everything(straight)


def test_two_statements_under_one_number_leave_all_nodes_with_the_same_one() -> None:
    said = [services_message(Key("t"), service) for service in ("one", "other")]
    said.insert(0, links_message(Key("t"), Key("b")))
    assert everything(told_all(said)) == everything(told_all([said[0], said[2], said[1]]))
    assert told_all(said).services_root(Key("t").id) is not None


@given(st.sampled_from(TOLD), st.data())
def test_a_changed_message_changes_nothing(message: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(message) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != message[at]))
    machine = told_all(TOLD)
    known, revision = everything(machine), machine.revision
    try:
        machine.receive(Key("b").id, message[:at] + bytes([byte]) + message[at + 1 :], 0.0)
    except RemoteProtocolError:
        pass
    assert everything(machine) == known
    assert machine.revision == revision


@given(st.sampled_from(TOLD), st.data())
def test_a_changed_statement_is_not_taken_by_who_knows_nothing(message: bytes, data: st.DataObject) -> None:
    content = parse_message_untrusted(message)
    assert isinstance(content, LinkStates | Services)
    signed = content.signed if isinstance(content, Services) else data.draw(st.sampled_from(content.items))
    part = data.draw(st.sampled_from(range(2)))
    at = data.draw(st.integers(0, len(signed[part]) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != signed[part][at]))
    fields = list(signed)
    fields[part] = signed[part][:at] + bytes([byte]) + signed[part][at + 1 :]
    forged = Signed(*fields)
    packed = (
        pack_services(content._replace(signed=forged)) if isinstance(content, Services) else pack_link_states([forged])
    )
    machine = listener()
    revision = machine.revision
    try:
        machine.receive(Key("b").id, packed, 0.0)
    except RemoteProtocolError:
        pass
    else:
        assert sum(machine.counters.values()) == 1
    assert machine.revision == revision
    assert not machine.messages_to_send(0.0), "nor is it passed on"


def test_entries_that_are_not_those_that_were_signed_are_not_taken() -> None:
    whole = map_of(entry("x"), entry("y"))
    packed = [each.packed for each in whole]
    signed = signed_root(Key("c"), whole)
    other = map_of(entry("z"))
    for entries in (packed[:1], packed[1:], [*packed, *(each.packed for each in other)], [packed[0]] * 2, []):
        machine = listener()
        machine.receive(Key("b").id, links_message(Key("c"), Key("b")), 0.0)
        revision = machine.revision
        machine.receive(Key("b").id, pack_services(Services(signed, (0, 0), False, (), tuple(entries))), 0.0)
        assert machine.revision == revision
        assert machine.counters["bad_root"] + machine.counters["too_many_services"] == 1
        assert machine.services_root(Key("c").id) is None


def test_a_change_to_what_nobody_has_is_counted_and_asked_for() -> None:
    machine = listener()
    machine.receive(Key("b").id, links_message(Key("c"), Key("b")), 0.0)
    machine.messages_to_send(0.0)
    whole = map_of(entry("x"), entry("y"))
    [some] = [each.packed for each in whole if each.service == "y"]
    change = Services(signed_root(Key("c"), whole, seq=5), (1, 4), False, (), (some,))
    machine.receive(Key("b").id, pack_services(change), 0.0)
    assert machine.counters == {"gap": 1}
    [pull] = [parse_message_untrusted(message) for message in said_by(machine)]
    assert pull == Pull(((Kind.SERVICES, Key("c").id, (0, 0)),))


def test_more_parts_than_were_signed_are_not_gathered() -> None:
    machine = listener()
    machine.receive(Key("b").id, links_message(Key("c"), Key("b")), 0.0)
    signed = signed_root(Key("c"), map_of(entry("x")))
    for number in range(3):
        [packed] = [each.packed for each in map_of(entry(f"y{number}"))]
        machine.receive(Key("b").id, pack_services(Services(signed, (0, 0), True, (), (packed,))), 0.0)
    assert machine.counters["too_many_services"] == 1
    assert machine._gathering.under_way <= 1


@given(st.one_of(st.binary(max_size=200), st.sampled_from(MESSAGES)), st.binary(max_size=4), st.integers(0, 400))
def test_whatever_comes_only_the_documented_error_comes_out(message: bytes, inserted: bytes, at: int) -> None:
    machine = listener()
    try:
        machine.receive(Key("b").id, message[:at] + inserted + message[at + len(inserted) :], 0.0)
    except RemoteProtocolError:
        pass
    machine.messages_to_send(0.0)
    machine.handle_timeout(100.0)


def test_what_cannot_be_read_is_said_and_what_is_newer_than_this_version_is_counted() -> None:
    machine = listener()
    with pytest.raises(RemoteProtocolError):
        machine.receive(Key("b").id, b"\xc1", 0.0)
    machine.receive(Key("b").id, b"\x92\x09\x90", 0.0)
    machine.receive(Key("b").id, pack_link_states([Signed(b"\x91\x09", b"")]), 0.0)
    assert machine.counters == {"unknown_message": 1, "unknown_statement": 1}


def test_services_that_are_signed_and_cannot_be_read_end_the_link_and_change_nothing() -> None:
    machine = listener()
    revision = machine.revision
    bad = Services(signed_root(Key("y"), map_of(entry("x"))), (0, 0), False, (), (b"\xc0",))
    with pytest.raises(RemoteProtocolError, match="service is no array"):
        machine.receive(Key("b").id, pack_services(bad), 0.0)
    assert machine.revision == revision
    assert not machine.messages_to_send(0.0)


def test_messages_of_a_link_that_is_gone_are_not_read() -> None:
    machine = gossip(Key("a"))
    machine.receive(Key("b").id, b"\xc1", 0.0)
    machine.link_down(Key("b").id, 0.0)
    assert machine.next_timeout() == inf


def test_a_replay_changes_nothing_and_is_counted() -> None:
    network = Network("ab")
    network.offer("b", "x")
    network.run(1)
    told_by_b: list[bytes] = []

    def listen(source: str, to: str, message: bytes) -> bool:
        if source == "b":
            told_by_b.append(message)
        return False

    network.loses = listen
    network.offer("b", "x", "y")
    network.run(1)
    network.offer("b", "z")
    network.run(1)
    a = network["a"].gossip
    known = everything(a)
    before = a.counters.copy()
    replayed = [message for message in told_by_b if isinstance(parse_message_untrusted(message), Services)]
    a.receive(Key("b").id, replayed[0], network.now)
    a.receive(Key("b").id, replayed[-1], network.now)
    assert everything(a) == known
    assert a.counters - before == {"old": 1, "duplicate": 1}


# Bounds.


def test_a_neighbour_cannot_make_a_node_ask_for_ever_more() -> None:
    machine, peer = gossip(Key("a")), Key("b")
    machine.link_up(peer.id, UP, 0.0)
    for block in range(5):
        claims = tuple(
            (Kind.LINK_STATE, (block * 1000 + n).to_bytes(16, "big"), Version(1, 1, bytes(8))) for n in range(1000)
        )
        machine.receive(peer.id, pack_versions(Versions(frozenset(), False, claims)), 0.0)
    assert sum(map(len, said_by(machine))) < 2 * MAX_ORIGINS * 30
    assert len(machine._asked) <= 2 * MAX_ORIGINS + 1


def test_a_node_tells_no_more_links_and_services_than_others_take() -> None:
    machine = gossip(Key("a"))
    for number in range(MAX_EDGES + 5):
        machine.link_up(number.to_bytes(16, "big"), LinkTerms(price=MAX_EDGES + 4 - number), 0.0)
    machine.set_services([entry(f"s{number:06}") for number in range(MAX_SERVICES + 3)], 0.0)
    machine.handle_timeout(5.0)
    own = machine.origins[machine.me]
    assert len(own.edges) == MAX_EDGES
    assert max(terms.cost for _, terms in own.edges) == MAX_EDGES, "the dearest ones are left out"
    assert len(own.services) == MAX_SERVICES
    assert machine.counters["services_not_told"] == 3
    assert machine.counters["links_not_told"] >= 5


def test_services_with_long_names_fill_the_room_before_the_number() -> None:
    network = Network("ab")
    network["b"].gossip.set_services([entry("ß" * 240 + f"{number:06}") for number in range(10_000)], 0.0)
    network.run(5)
    own = network["b"].gossip.origins[Key("b").id].services
    assert 5_000 < len(own) < 10_000
    assert network["a"].gossip.origins[Key("b").id].services == own


@pytest.mark.parametrize("name", ["x" * 256, "bell\a", "\ud800"])
def test_a_name_that_others_would_not_take_is_refused_at_birth(name: str) -> None:
    with pytest.raises(BadRequest, match="cannot be told"):
        gossip(Key("a"), name)


def test_another_networks_statements_are_not_taken() -> None:
    machine = listener()
    machine.receive(Key("b").id, links_message(Key("y"), Key("b"), network="another"), 0.0)
    machine.receive(Key("b").id, services_message(Key("y"), "x", network="another"), 0.0)
    assert machine.counters["other_network"] == 2
    assert Key("y").id not in machine.origins


def test_changes_after_changes_make_no_map_that_is_longer_than_one_may_be() -> None:
    b, c = Key("b").id, Key("c")
    machine = listener()
    machine.receive(b, links_message(c, Key("b")), 0.0)
    text = "x" * MAX_NAME
    long = [
        replace(entry(f"s{number}"), labels=tuple((f"{key}{text}"[:MAX_NAME], text) for key in range(MAX_LABELS)))
        for number in range(MAX_BODY // (2 * MAX_LABELS * MAX_NAME) + 1)
    ]
    whole = map_of()
    for seq, each in enumerate(long, start=1):
        [packed] = [new.packed for new in map_of(each)]
        whole.update(map_of(each).services, (1, seq))
        change = Services(signed_root(c, whole, seq=seq), (1, seq - 1) if seq > 1 else (0, 0), False, (), (packed,))
        machine.receive(b, pack_services(change), 0.0)
    assert whole.size > MAX_BODY
    assert set(machine.counters) == {"too_many_services"}
    taken = machine.origins[c.id].services
    assert len(taken) == len(long) - machine.counters["too_many_services"]
    assert MAX_BODY * 0.9 < map_of(*(entries[0] for entries in taken.values())).size <= MAX_BODY


@pytest.mark.parametrize("size", [MAX_STATEMENT - 100, MAX_STATEMENT + 100, MAX_MESSAGE - 2000])
def test_no_statement_is_so_long_that_who_passes_it_on_sends_too_long_a_message(size: int) -> None:
    b, c, d, x = map(Key, "bcdx")
    machine = listener()
    machine.link_up(d.id, UP, 0.0)
    for message in (links_message(b, x, c), links_message(c, b), links_message(d, x)):
        machine.receive(b.id, message, 0.0)
    machine.handle_timeout(2.0)
    machine.messages_to_send(2.0)
    whole = map_of(*(entry(f"s{number}") for number in range(PART // 20)))
    root = signed_root(c, whole)
    statement = msgpack.packb([*msgpack.unpackb(root.statement), bytes(size - len(root.statement))])
    signed = Signed(statement, c.sign(to_sign(statement)))
    packed = [each.packed for each in whole]
    messages = [
        pack_services(Services(signed, (0, 0), at + 20 < len(packed), (), tuple(packed[at : at + 20])))
        for at in range(0, len(packed), 20)
    ]
    assert max(map(len, messages)) <= MAX_MESSAGE
    taken = size <= MAX_STATEMENT
    with nullcontext() if taken else pytest.raises(RemoteProtocolError, match="statement is longer"):
        for message in messages:
            machine.receive(b.id, message, 2.0)
    assert (machine.services_root(c.id) is not None) == taken
    told = [message for peer, message in machine.messages_to_send(2.0) if peer == d.id]
    assert any(isinstance(parse_message_untrusted(message), Services) for message in told) == taken
