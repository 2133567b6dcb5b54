from math import inf

from router.database import Database
from router.linkstate import LinkState, LinkTerms
from router.neighbour import BURST_EVERY, Neighbour
from router.services import ServiceRoot
from router.statement import Kind, Version
from router.wire import (
    Compare,
    LinkStates,
    Message,
    Pull,
    Services,
    Versions,
    parse_message_untrusted,
    parse_statement_untrusted,
)
from tests.router.network import NETWORK, Key, entry, links_message, map_of, node_id, signed_root

A, B, C = Key("a"), Key("b"), Key("c")


def world() -> Database:
    """What a knows, with b beside it and c behind."""
    known = Database(me=A.id, network=NETWORK, verify=Key.verify)
    for key, others in ((A, [B, C]), (B, [A]), (C, [A])):
        message = parse_message_untrusted(links_message(key, *others))
        assert isinstance(message, LinkStates)
        state = parse_statement_untrusted(message.items[0], node_id)
        assert isinstance(state, LinkState)
        known.take_link_state(state, message.items[0])
    offer(known, ["x"], 1)
    return known


def offer(known: Database, names: list[str], seq: int) -> None:
    """c offers something else."""
    whole = map_of(*(entry(name) for name in names))
    signed = signed_root(C, whole, seq=seq)
    root = parse_statement_untrusted(signed, node_id)
    assert isinstance(root, ServiceRoot)
    before = known.map_of(C.id)
    if before is None:
        known.take_map(root, signed, whole)
    else:
        new = {name: entries for name, entries in whole.services.items() if name not in before.services}
        gone = {name: () for name in before.services if name not in whole.services}
        assert known.take_services(root, signed, new | gone) is not None


def said(neighbour: Neighbour, known: Database, now: float = 0.0) -> list[Message]:
    messages = [parse_message_untrusted(message) for message in neighbour.messages(known, B.id, now)]
    return [message for message in messages if message is not None]


def test_what_it_has_is_not_sent_again() -> None:
    known, neighbour = world(), Neighbour(LinkTerms(), inf)
    for _ in range(2):
        neighbour.link_states[C.id] = None
        neighbour.maps[C.id] = None
    states, services = said(neighbour, known)
    assert isinstance(states, LinkStates)
    assert isinstance(services, Services)
    assert services.base == (0, 0)
    neighbour.link_states[C.id] = None
    neighbour.maps[C.id] = None
    assert said(neighbour, known) == []


def test_it_gets_the_difference_to_what_it_has() -> None:
    known, neighbour = world(), Neighbour(LinkTerms(), inf)
    neighbour.maps[C.id] = None
    said(neighbour, known)
    offer(known, ["x", "y"], 2)
    offer(known, ["y", "z"], 3)
    neighbour.maps[C.id] = None
    [change] = said(neighbour, known)
    assert isinstance(change, Services)
    assert (change.base, change.gone, len(change.entries)) == ((1, 1), ("x",), 2)


def test_of_whom_nothing_is_known_is_thought_that_it_has_what_was_told_before_until_it_asks() -> None:
    known, neighbour = world(), Neighbour(LinkTerms(), inf)
    offer(known, ["x", "y"], 2)
    neighbour.maps[C.id] = None
    [change] = said(neighbour, known)
    assert isinstance(change, Services)
    assert change.base == (1, 1)
    neighbour.wants((Kind.SERVICES, C.id), (0, 0))
    [whole] = said(neighbour, known)
    assert isinstance(whole, Services)
    assert (whole.base, len(whole.entries)) == ((0, 0), 2)


def test_what_it_says_it_has_is_believed_and_what_it_leaves_out_it_has_not() -> None:
    known, neighbour = world(), Neighbour(LinkTerms(), inf)
    neighbour.link_states[C.id] = None
    said(neighbour, known)
    neighbour.said(Versions(frozenset({Kind.LINK_STATE}), False, ()))
    neighbour.link_states[C.id] = None
    assert len(said(neighbour, known)) == 1
    neighbour.said(Versions(frozenset(), False, ((Kind.SERVICES, C.id, Version(1, 1, b"\xff" * 8)),)))
    neighbour.maps[C.id] = None
    assert said(neighbour, known) == []
    neighbour.forgets(C.id)
    neighbour.maps[C.id] = None
    assert len(said(neighbour, known)) == 1


def test_offers_are_made_of_what_it_may_not_have() -> None:
    known, neighbour = world(), Neighbour(LinkTerms(), inf)
    neighbour.offers[C.id] = None
    [offered] = said(neighbour, known)
    assert isinstance(offered, Versions)
    assert (offered.complete, offered.ask, [origin for _, origin, _ in offered.versions]) == (
        frozenset(),
        False,
        [C.id],
    )
    neighbour.maps[C.id] = None
    said(neighbour, known)
    neighbour.offers[C.id] = None
    assert said(neighbour, known) == []


def test_questions_and_comparisons_come_last() -> None:
    known, neighbour = world(), Neighbour(LinkTerms(), inf)
    neighbour.compare = neighbour.ask = True
    neighbour.complete[Kind.LINK_STATE] = None
    neighbour.pulls[Kind.SERVICES, B.id] = (3, 4)
    neighbour.link_states[C.id] = None
    kinds = [type(message) for message in said(neighbour, known)]
    assert kinds == [LinkStates, Pull, Versions, Compare]
    assert said(neighbour, known) == []


def test_whole_maps_wait_their_turn_and_differences_do_not() -> None:
    known, neighbour = world(), Neighbour(LinkTerms(), inf)
    offer(known, [f"service-{number:05}" for number in range(3000)], 2)
    neighbour.wants((Kind.SERVICES, C.id), (0, 0))
    first = said(neighbour, known, 0.0)
    assert all(isinstance(part, Services) and part.more for part in first)
    assert neighbour.bulk_at == BURST_EVERY
    offer(known, [f"service-{number:05}" for number in range(1, 3000)], 3)
    neighbour.maps[C.id] = None
    assert said(neighbour, known, 0.01) == [], "the difference comes after what it is a difference to"
    parts = list(first)
    now = 0.0
    while C.id in neighbour.maps:
        now, neighbour.bulk_at = now + BURST_EVERY, inf
        parts += said(neighbour, known, now)
    last = parts[-1]
    assert isinstance(last, Services)
    assert (last.base, last.gone) == ((1, 2), ("service-00000",))
    assert len({part.signed for part in parts if isinstance(part, Services) and part.base == (0, 0)}) == 1
