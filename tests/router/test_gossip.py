"""Networks of gossip machines: what each comes to know, and how soon."""

from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.gossip import BATCH, Gossip
from router.linkstate import MAX_EDGES
from router.services import MAX_SERVICES, ServiceMap, root_of
from router.statement import Kind, Signed, Version, to_sign
from router.store import MAX_ORIGINS
from router.wire import (
    Digest,
    Statements,
    pack_digest,
    pack_pull,
    pack_service_map,
    pack_statements,
    parse_message_untrusted,
    parse_statement_untrusted,
)
from sdk.errors import BadRequest, RemoteProtocolError
from tests.router.network import DELAY, Key, Network, RealKey, entry, gossip, node_id, told_by


def everything(machine: Gossip) -> object:
    """All that a machine knows, for comparison."""
    return machine.origins, machine.edges, list(machine.reachable)


# What is learned.


def test_every_node_learns_the_whole_line_and_who_offers_what() -> None:
    network = Network("ab", "bc", "cd", "de")
    network.offer("e", "greeter")
    network.run(1)
    views = [everything(network[name].gossip)[:2] for name in "abcde"]  # type: ignore[index]
    assert all(view == views[0] for view in views)
    origins = network["a"].gossip.origins
    assert {view.name for view in origins.values()} == set("abcde")
    assert list(origins[network["e"].key.id].services) == ["greeter"]


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
    network.run(4.5 * DELAY)
    assert network["x"].sees("greeter")
    network.run(DELAY * 4)
    assert network["c"].gossip.reachable.keys() == network["x"].gossip.reachable.keys()


def test_a_ring_does_not_keep_talking_once_everything_is_said() -> None:
    network = Network("ab", "bc", "ca")
    network.offer("a", "greeter")
    network.run(5)
    sent = network.sent
    network.run(15)
    assert network.sent == sent


def test_the_cost_of_an_edge_is_the_larger_of_what_its_ends_say() -> None:
    network = Network("ab")
    network.run(1)
    a, b = network["a"], network["b"]
    a.gossip.set_cost(b.key.id, 13, network.now)
    b.gossip.set_cost(a.key.id, 7, network.now)
    network.run(1)
    assert a.gossip.edges == b.gossip.edges == {a.key.id: {b.key.id: 13}, b.key.id: {a.key.id: 13}}
    sent = network.sent
    a.gossip.set_cost(b.key.id, 13, network.now)
    network.run(1)
    assert network.sent == sent, "the same cost once more is no news"
    network.cut("ab")
    a.gossip.set_cost(b.key.id, 25, network.now)
    assert a.gossip.next_timeout() > network.now + 0.9, "a link that is gone has no cost to tell"


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


def test_a_broken_link_takes_its_routes_along_at_once() -> None:
    network = Network("ab", "bc", "cd")
    network.offer("d", "greeter")
    network.offer("b", "clock")
    network.run(1)
    network.cut("bc")
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


def test_a_withdrawal_that_was_lost_is_repaired_by_the_next_digest() -> None:
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
    first = everything(network["a"].gossip)[:2]  # type: ignore[index]
    assert len(network["a"].gossip.reachable) == 4
    for name in "bcd":
        assert everything(network[name].gossip)[:2] == first  # type: ignore[index]
    for name in "abcd":
        own = network[name].gossip.origins[network[name].key.id]
        assert first[0][network[name].key.id] == own


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
    machine.link_up(key.id, 1, 0.0)
    stranger = gossip(Key("x"))
    stranger.link_up(key.id, 1, 0.0)
    machine.receive(key.id, pack_statements(told_by(stranger)), 1.0)
    assert Key("x").id in machine.origins
    machine.handle_timeout(2.0)
    machine.handle_timeout(61.9)
    assert Key("x").id in machine.origins
    machine.handle_timeout(62.0)
    assert Key("x").id not in machine.origins


def test_services_of_somebody_whose_links_nobody_told_are_forgotten() -> None:
    machine, source = gossip(Key("a")), Key("b")
    machine.link_up(source.id, 1, 0.0)
    machine.messages_to_send(0.0)
    stranger = gossip(Key("x"))
    stranger.link_up(source.id, 1, 0.0)
    stranger.set_services([entry("greeter")], 0.0)
    [services] = [signed for signed in told_by(stranger) if signed.body]
    machine.handle_timeout(2.0)
    machine.receive(source.id, pack_statements([services]), 10.0)
    assert machine.next_timeout() == 11.0
    machine.handle_timeout(11.0)
    machine.handle_timeout(71.0)
    machine.receive(source.id, pack_pull([(Kind.SERVICES, Key("x").id)]), 71.0)
    assert Key("x").id not in [
        parse.origin for signed in told_by(machine, 71.0) if (parse := parse_statement_untrusted(signed))
    ]


def test_a_restarted_node_takes_over_at_once() -> None:
    network = Network("ab", "bc")
    network.offer("c", "old")
    network.run(50)
    network.stop("c")
    network.run(0.1)
    network.start("c", epoch=2)
    network.offer("c", "new")
    network.link("bc")
    network.run(4.5 * DELAY)
    assert network["a"].sees("new")
    assert not network["a"].sees("old")


def test_what_was_offered_in_an_earlier_life_ends_with_it() -> None:
    network = Network("ab")
    network.offer("b", "old")
    network.run(1)
    later = gossip(Key("b"), "b", epoch=2)
    later.link_up(Key("a").id, 1, 0.0)
    [links] = [signed for signed in told_by(later) if not signed.body]
    network["a"].gossip.receive(Key("b").id, pack_statements([links]), network.now)
    assert network["a"].gossip.edges[Key("a").id] == {Key("b").id: 1}
    assert not network["a"].sees("old")


def test_a_node_whose_clock_went_back_jumps_above_its_older_self() -> None:
    network = Network("ab", "bc")
    network.offer("c", "old")
    network.run(50)
    network.stop("c")
    network.run(0.1)
    network.start("c", epoch=0)
    network.offer("c", "new")
    network.link("bc")
    network.run(8 * DELAY)
    assert network["a"].sees("new")
    assert not network["a"].sees("old")
    assert network["c"].gossip.counters["jumps"] == 1
    network.offer("c")
    network.run(1)
    assert not network["a"].sees("new"), "what it says later counts as well"


def test_a_jump_goes_above_all_that_was_said_before() -> None:
    before = gossip(Key("a"))
    before.link_up(Key("b").id, 1, 0.0)
    for number in range(50):
        before.set_services([entry(f"service-{number}")], float(number))
    machine = gossip(Key("a"))
    machine.link_up(Key("b").id, 1, 0.0)
    told_by(machine)
    machine.receive(Key("b").id, pack_statements(told_by(before)), 0.0)
    [links, services] = [parse_statement_untrusted(signed) for signed in told_by(machine)]
    assert links is not None
    assert services is not None
    assert services.seq > 50
    assert links.seq > 2
    assert machine.counters["jumps"] == 1


def test_a_second_jump_waits_and_is_not_forgotten() -> None:
    machine, before = gossip(Key("a")), gossip(Key("a"))
    for each in (machine, before):
        each.link_up(Key("b").id, 1, 0.0)
    for now in (1.0, 2.0):
        for number in range(100):
            before.set_services([entry(f"{now}-{number}")], now)
        machine.receive(Key("b").id, pack_statements(told_by(before)), now)
    machine.handle_timeout(5.0)
    assert machine.counters["jumps"] == 1
    assert machine.next_timeout() == 11.0
    machine.handle_timeout(11.0)
    assert machine.counters["jumps"] == 2
    assert machine.next_timeout() > 11.0


def test_twins_with_one_key_chase_each_other_once_in_ten_seconds_only() -> None:
    class FamilyKey(Key):
        def __init__(self, name: str) -> None:
            super().__init__(name.lower())

    network = Network("ab", "bc", "aC", key=FamilyKey)
    network.offer("c", "one")
    network.offer("C", "other")
    network.run(100)
    for name in "cC":
        assert 3 <= network[name].gossip.counters["jumps"] <= 11
    assert network.sent < 500


def test_nobody_can_make_a_node_jump_by_a_claim_without_signature() -> None:
    machine, peer = gossip(Key("a")), Key("b")
    machine.link_up(peer.id, 1, 0.0)
    machine.messages_to_send(0.0)
    machine.receive(peer.id, pack_digest([(Kind.LINK_STATE, machine.me, Version(1 << 62, 1, bytes(8)))]), 0.0)
    [(_, pull)] = machine.messages_to_send(0.0)
    assert pull == pack_pull([(Kind.LINK_STATE, machine.me)]), "it asks to see that"
    assert machine.counters["jumps"] == 0


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


def test_who_keeps_changing_is_told_once_a_second_at_last() -> None:
    network = Network("ab")
    network.run(10)
    before = network.sent
    for number in range(1000):
        network["b"].gossip.set_services([entry("x", instances=number + 1)], network.now)
        network.run(0.01)
    assert network.sent - before < 25
    network.run(1.1)
    assert network["a"].table.origins_of("x")[0].instances == 1000


def test_the_same_services_once_more_are_no_news() -> None:
    network = Network("ab")
    network.offer("b", "x", "y")
    network.run(5)
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


def test_digests_are_spread_around_thirty_seconds() -> None:
    machine = gossip(Key("a"), "a")
    machine.link_up(Key("b").id, 1, 0.0)
    machine.messages_to_send(0.0)
    times = []
    now = 0.0
    while now < 3000:
        now = machine.next_timeout()
        machine.handle_timeout(now)
        if any(isinstance(parse_message_untrusted(message), Digest) for _, message in machine.messages_to_send(now)):
            times.append(now)
    gaps = [after - before for before, after in zip([0.0, *times], times, strict=False)]
    assert all(22.5 <= gap <= 37.5 for gap in gaps)
    assert max(gaps) - min(gaps) > 5


def test_a_slow_neighbour_gets_the_newest_once() -> None:
    machine, peer = gossip(Key("a")), Key("b")
    machine.link_up(peer.id, 1, 0.0)
    machine.messages_to_send(0.0)
    for number in range(100):
        machine.set_services([entry(f"service-{number}")], float(number))
    [signed] = told_by(machine, 100.0)
    assert b"service-99" in signed.body


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
TOLD = [message for message in MESSAGES if isinstance(parse_message_untrusted(message), Statements)]


def listener() -> Gossip:
    machine = gossip(Key("x"))
    machine.link_up(Key("b").id, 1, 0.0)
    machine.messages_to_send(0.0)
    return machine


def told_all(messages: list[bytes]) -> Gossip:
    machine = listener()
    for message in messages:
        machine.receive(Key("b").id, message, 0.0)
    return machine


@settings(deadline=None)
@given(st.lists(st.sampled_from(TOLD)), st.randoms(use_true_random=False))
def test_what_is_known_depends_on_what_was_told_not_on_order_or_repetition(
    repeated: list[bytes], random: Random
) -> None:
    straight = told_all(TOLD)
    assert len(straight.origins) == 4
    shuffled = [*TOLD, *repeated]
    random.shuffle(shuffled)
    assert everything(told_all(shuffled)) == everything(straight)


def test_two_statements_under_one_number_leave_all_nodes_with_the_same_one() -> None:
    said = []
    for service in ("one", "other"):
        machine = gossip(Key("t"))
        machine.link_up(Key("b").id, 1, 0.0)
        machine.set_services([entry(service)], 0.0)
        said.append(pack_statements(told_by(machine)))
    assert everything(told_all(said)) == everything(told_all(said[::-1]))


@given(st.sampled_from(TOLD), st.data())
def test_a_changed_message_changes_nothing(message: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(message) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != message[at]))
    machine = listener()
    # One that came whole before, so that an item in front of the changed one is known.
    machine.receive(Key("b").id, message, 0.0)
    known, revision = everything(machine), machine.revision
    try:
        machine.receive(Key("b").id, message[:at] + bytes([byte]) + message[at + 1 :], 0.0)
    except RemoteProtocolError:
        pass
    assert everything(machine) == known
    assert machine.revision == revision


@given(st.sampled_from(TOLD), st.data())
def test_a_changed_message_is_not_taken_by_who_knows_nothing(message: bytes, data: st.DataObject) -> None:
    content = parse_message_untrusted(message)
    assert isinstance(content, Statements)
    signed = data.draw(st.sampled_from(content.items))
    part = data.draw(st.sampled_from(range(2 if not signed.body else 3)))
    at = data.draw(st.integers(0, len(signed[part]) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != signed[part][at]))
    fields = list(signed)
    fields[part] = signed[part][:at] + bytes([byte]) + signed[part][at + 1 :]
    machine = listener()
    revision = machine.revision
    try:
        machine.receive(Key("b").id, pack_statements([Signed(*fields)]), 0.0)
    except RemoteProtocolError:
        pass
    else:
        assert sum(machine.counters.values()) == 1
    assert machine.revision == revision
    assert not machine.messages_to_send(0.0), "nor is it passed on"


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
    machine.receive(Key("b").id, pack_statements([Signed(b"\x91\x09", b"")]), 0.0)
    assert machine.counters == {"unknown_message": 1, "unknown_statement": 1}


def test_services_that_are_signed_and_cannot_be_read_end_the_link_and_change_nothing() -> None:
    machine, key = listener(), Key("y")
    statement = ServiceMap(
        network="test", origin=key.id, public=key.public, epoch=1, seq=1, count=1, root=root_of(b"\x91\xc0")
    )
    packed = pack_service_map(statement)
    revision = machine.revision
    signed = Signed(packed, key.sign(to_sign(packed)), b"\x91\xc0")
    with pytest.raises(RemoteProtocolError, match="service is no array"):
        machine.receive(Key("b").id, pack_statements([signed]), 0.0)
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
    a.receive(Key("b").id, told_by_b[0], network.now)
    a.receive(Key("b").id, told_by_b[-1], network.now)
    assert everything(a) == known
    assert (a.counters["old"], a.counters["duplicate"]) == (1, 1)


# Bounds.


def test_a_neighbour_cannot_make_a_node_ask_for_ever_more() -> None:
    machine, peer = gossip(Key("a")), Key("b")
    machine.link_up(peer.id, 1, 0.0)
    for block in range(5):
        claims = [
            (Kind.LINK_STATE, (block * 1000 + n).to_bytes(16, "big"), Version(1, 1, bytes(8))) for n in range(1000)
        ]
        machine.receive(peer.id, pack_digest(claims), 0.0)
    assert sum(len(message) for _, message in machine.messages_to_send(0.0)) < 2 * MAX_ORIGINS * 24


def test_a_node_tells_no_more_links_and_services_than_others_take() -> None:
    machine = gossip(Key("a"))
    for number in range(MAX_EDGES + 5):
        machine.link_up(number.to_bytes(16, "big"), MAX_EDGES + 5 - number, 0.0)
    machine.set_services([entry(f"s{number:06}") for number in range(MAX_SERVICES + 3)], 0.0)
    machine.handle_timeout(5.0)
    own = machine.origins[machine.me]
    assert len(own.edges) == MAX_EDGES
    assert max(cost for _, cost in own.edges) == MAX_EDGES, "the dearest ones are left out"
    assert len(own.services) == MAX_SERVICES
    assert machine.counters["services_not_told"] == 3
    assert machine.counters["links_not_told"] >= 5


def test_services_with_long_names_fill_the_room_before_the_number() -> None:
    machine = gossip(Key("a"))
    machine.link_up(Key("b").id, 1, 0.0)
    machine.set_services([entry("ß" * 240 + f"{number:06}") for number in range(10_000)], 0.0)
    assert 5_000 < len(machine.origins[machine.me].services) < 10_000
    other = listener()
    for _, message in machine.messages_to_send(0.0):
        other.receive(Key("b").id, message, 0.0)
    assert other.origins[machine.me].services == machine.origins[machine.me].services


def test_many_small_statements_go_in_messages_of_moderate_size() -> None:
    machine, peer = gossip(Key("a")), Key("b")
    machine.link_up(peer.id, 1, 0.0)
    for number in range(100):
        other = gossip(Key(str(number)))
        other.link_up(peer.id, 1, 0.0)
        other.set_services([entry(f"{number}-{each:04}" + "x" * 100) for each in range(100)], 0.0)
        machine.receive(peer.id, pack_statements(told_by(other)), 0.0)
    machine.messages_to_send(0.0)
    machine.receive(peer.id, pack_pull([(kind, Key(str(n)).id) for kind in Kind for n in range(100)]), 0.0)
    sizes = [len(message) for _, message in machine.messages_to_send(0.0)]
    assert len(sizes) > 3
    assert max(sizes) < BATCH + 10_000


@pytest.mark.parametrize("name", ["x" * 256, "bell\a", "\ud800"])
def test_a_name_that_others_would_not_take_is_refused_at_birth(name: str) -> None:
    with pytest.raises(BadRequest, match="cannot be told"):
        gossip(Key("a"), name)


def test_an_id_that_is_not_the_hash_of_the_key_is_not_believed() -> None:
    machine = listener()
    liar = Gossip(
        me=Key("victim").id, public=Key("liar").public, name="", network="test", addresses=[], epoch=9,
        sign=Key("liar").sign, verify=Key.verify, node_id=node_id, random=Random(1), wake=lambda: None,
    )  # fmt: skip
    liar.link_up(Key("b").id, 1, 0.0)
    machine.receive(Key("b").id, pack_statements(told_by(liar)), 0.0)
    assert machine.counters["wrong_id"] == 1
    assert Key("victim").id not in machine.origins


def test_another_networks_statements_are_not_taken() -> None:
    machine = listener()
    other = gossip(Key("y"), network="another")
    other.link_up(Key("b").id, 1, 0.0)
    machine.receive(Key("b").id, pack_statements(told_by(other)), 0.0)
    assert machine.counters["other_network"] == 1
