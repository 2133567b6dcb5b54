from math import inf

from router.database import FORGET_AFTER, Database
from router.linkstate import LinkState, LinkTerms
from router.services import MAX_ALL_BODY, MAX_ALL_SERVICES, MAX_BODY, ServiceRoot
from router.statement import Kind, Version
from router.store import Refusal
from router.wire import LinkStates, parse_message_untrusted, parse_statement_untrusted
from tests.router.network import NETWORK, Key, entry, links_message, map_of, node_id, signed_root

A, B, C = Key("a"), Key("b"), Key("c")


def database() -> Database:
    return Database(me=A.id, network=NETWORK, verify=Key.verify)


def links(
    known: Database, key: Key, *others: Key, seq: int = 1, epoch: int = 1, transit: bool = True, radius: int = 3
) -> list[str]:
    message = parse_message_untrusted(links_message(key, *others, epoch=epoch, seq=seq, transit=transit, radius=radius))
    assert isinstance(message, LinkStates)
    [signed] = message.items
    state = parse_statement_untrusted(signed, node_id)
    assert isinstance(state, LinkState)
    assert known.refusal(state, signed) is None
    return list(known.take_link_state(state, signed))


def services(known: Database, key: Key, *names: str, seq: int = 1, epoch: int = 1) -> list[str]:
    """All services of a node."""
    whole = map_of(*(entry(name) for name in names))
    signed = signed_root(key, whole, epoch=epoch, seq=seq)
    root = parse_statement_untrusted(signed, node_id)
    assert isinstance(root, ServiceRoot)
    assert known.refusal(root, signed) is None
    return list(known.take_map(root, signed, whole))


def test_services_are_seen_whichever_statement_comes_first() -> None:
    for first in (links, services):
        known = database()
        if first is links:
            links(known, B)
            services(known, B, "x")
        else:
            services(known, B, "x")
            assert B.id not in known.origins
            links(known, B)
        assert known.origins[B.id].services == {"x": (entry("x"),)}


def test_services_of_an_earlier_life_do_not_count() -> None:
    known = database()
    links(known, B, epoch=2)
    services(known, B, "x", epoch=1)
    assert known.origins[B.id].services == {}
    services(known, B, "x", epoch=3)
    assert known.origins[B.id].services, "those of a later one do: its link state is on the way"


def test_each_change_raises_the_revision_and_only_links_the_topology() -> None:
    known = database()
    links(known, B, A)
    before = (known.revision, known.topology)
    services(known, B, "x")
    links(known, B, A, seq=2)
    assert (known.revision, known.topology) == (before[0] + 2, before[1])
    links(known, B, A, seq=3, transit=False)
    links(known, B, C, seq=4)
    assert (known.revision, known.topology) == (before[0] + 4, before[1] + 2)


def test_the_graph_follows_what_is_told() -> None:
    known = database()
    links(known, A, B)
    links(known, B, A, C)
    links(known, C, B)
    assert list(known.reachable) == [A.id, B.id, C.id]
    links(known, B, C, seq=2)
    assert list(known.reachable) == [A.id]
    assert known.edges[B.id] == {C.id: 1}


def test_versions_are_of_those_within_reach_and_of_services_that_both_are_told() -> None:
    known = database()
    links(known, A, B)
    links(known, B, A)
    services(known, B)
    links(known, C, B)
    services(known, C)
    assert [origin for _, origin, _ in known.versions(Kind.LINK_STATE, B.id)] == sorted([A.id, B.id])
    assert [origin for _, origin, _ in known.versions(Kind.SERVICES, B.id)] == [B.id]
    before = known.root(Kind.SERVICES, B.id)
    services(known, B, "x", seq=2)
    assert known.root(Kind.SERVICES, B.id) != before
    links(known, B, A, seq=2, radius=0)
    assert known.versions(Kind.SERVICES, B.id) == []


def test_services_are_for_those_within_the_radius_by_the_graph() -> None:
    known = database()
    links(known, A, B)
    links(known, B, A, C)
    links(known, C, B, radius=1)
    services(known, C, "x")
    assert known.is_for(C.id, B.id)
    assert not known.is_for(C.id, A.id)
    assert not known.is_for(Key("nobody").id, A.id)
    links(known, C, B, A, seq=2, radius=1)
    links(known, A, B, C, seq=2)
    assert known.is_for(C.id, A.id)
    assert list(known.in_scope(A.id)) == [C.id]


def test_a_change_is_taken_only_where_it_leads_to_what_was_signed() -> None:
    known = database()
    links(known, B)
    services(known, B, "x")
    after = map_of(entry("x"), entry("y"))
    signed = signed_root(B, after, seq=2)
    root = parse_statement_untrusted(signed, node_id)
    assert isinstance(root, ServiceRoot)
    assert known.take_services(root, signed, {}) is None
    assert known.take_services(root, signed, {"z": after.services["y"]}) is None
    assert list(known.origins[B.id].services) == ["x"]
    assert known.services == 1
    assert known.take_services(root, signed, {"y": after.services["y"]}) == {"y": after.services["y"]}
    assert sorted(known.origins[B.id].services) == ["x", "y"]
    assert known.services == 2


def test_what_comes_and_goes_is_named() -> None:
    known = database()
    assert services(known, B, "x", "y") == [], "nobody knows yet whose they are"
    assert links(known, B) == ["x", "y"]
    assert services(known, B, "y", "z", seq=2) == ["x", "z"]
    assert sorted(links(known, B, epoch=2)) == ["y", "z"], "an earlier life's services go with it"
    assert services(known, B, "y", epoch=2, seq=1) == ["y"]


def test_there_is_room_for_so_many_services_of_all_nodes_together() -> None:
    known = database()
    known.services = MAX_ALL_SERVICES - 1
    for names, refusal in ((("x",), None), (("x", "y"), Refusal.TOO_MANY_SERVICES)):
        signed = signed_root(B, map_of(*(entry(name) for name in names)))
        root = parse_statement_untrusted(signed, node_id)
        assert isinstance(root, ServiceRoot)
        assert known.refusal(root, signed) is refusal
    assert known.lacks(Kind.SERVICES, B.id, Version(1, 1, b""))
    known.services = MAX_ALL_SERVICES
    assert not known.lacks(Kind.SERVICES, B.id, Version(1, 1, b"")), "it would be asked for again and again"
    assert known.lacks(Kind.LINK_STATE, B.id, Version(1, 1, b""))


def test_there_is_room_for_so_many_bytes_of_services_of_one_node_and_of_all() -> None:
    known = database()
    links(known, B)
    services(known, B, "x", "y")
    one, two = map_of(entry("x")), map_of(entry("x"), entry("y"))
    assert known.body == two.size
    services(known, B, "x", seq=2)
    assert known.body == one.size
    known._maps[B.id].size = MAX_BODY
    assert known.has_room(B.id, two)
    assert known.has_room(B.id, None, {"x": ()})
    assert not known.has_room(B.id, None, {"y": two.services["y"]})
    known._maps[B.id].size = one.size
    known.body = MAX_ALL_BODY
    assert known.has_room(B.id, one)
    assert not known.has_room(B.id, None, {"y": two.services["y"]})
    assert not known.has_room(C.id, one)
    assert known.lacks(Kind.SERVICES, B.id, Version(2, 1, b""))
    assert not known.lacks(Kind.SERVICES, C.id, Version(1, 1, b""))


def test_the_terms_of_a_link_are_those_of_its_dearer_end() -> None:
    known = database()
    links(known, A, B)
    assert known.terms(A.id, B.id) is None
    links(known, B, A)
    assert known.terms(A.id, B.id) == known.terms(B.id, A.id) == LinkTerms()


def test_who_stays_out_of_reach_is_forgotten_and_who_returns_in_time_is_not() -> None:
    known = database()
    links(known, A, B)
    links(known, B, A)
    assert known.sweep(5.0) == (inf, [])
    links(known, C, B)
    services(known, C, "x")
    assert known.sweep(10.0) == (10.0 + FORGET_AFTER, [])
    links(known, B, A, C, seq=2)
    assert known.sweep(40.0) == (inf, [])
    links(known, B, A, seq=3)
    assert known.sweep(50.0) == (50.0 + FORGET_AFTER, [])
    assert known.sweep(10.0 + FORGET_AFTER) == (50.0 + FORGET_AFTER, [])
    assert C.id in known.origins
    revision = known.revision
    again, gone = known.sweep(50.0 + FORGET_AFTER)
    assert again == inf
    assert (C.id, ["x"]) in [(origin, list(names)) for origin, names in gone]
    assert C.id not in known.origins
    assert known.map_of(C.id) is None
    assert known.kept(Kind.SERVICES, C.id) is None
    assert known.services == known.body == 0
    assert known.revision > revision


def test_services_that_are_not_for_this_node_are_forgotten_and_their_node_is_not() -> None:
    known = database()
    links(known, A, B)
    links(known, B, A, C)
    links(known, C, B, radius=1)
    services(known, C, "x")
    known.sweep(0.0)
    again, gone = known.sweep(FORGET_AFTER)
    assert (again, [(origin, list(names)) for origin, names in gone]) == (inf, [(C.id, ["x"])])
    assert C.id in known.origins
    assert known.origins[C.id].services == {}
