from collections.abc import Iterable
from math import inf

from router.database import FORGET_AFTER, Database
from router.linkstate import LinkState
from router.services import ServiceEntry, ServiceMap, root_of
from router.statement import Kind, Signed, to_sign
from router.wire import pack_body, pack_entry, pack_link_state, pack_service_map, parse_statement_untrusted
from tests.router.network import NETWORK, Key, entry, node_id

A, B, C = Key("a"), Key("b"), Key("c")


def database() -> Database:
    return Database(me=A.id, network=NETWORK, node_id=node_id, verify=Key.verify)


def links(known: Database, key: Key, *others: Key, seq: int = 1, epoch: int = 1, transit: bool = True) -> None:
    take(
        known,
        LinkState(
            network=NETWORK, origin=key.id, public=key.public, epoch=epoch, seq=seq, name="", addresses=(),
            links=tuple((other.id, 1) for other in others), transit=transit,
        ),
    )  # fmt: skip


def services(known: Database, key: Key, *names: str, seq: int = 1, epoch: int = 1) -> None:
    entries = [entry(name) for name in names]
    body = pack_body([pack_entry(each) for each in entries])
    take(
        known,
        ServiceMap(
            network=NETWORK, origin=key.id, public=key.public, epoch=epoch, seq=seq, count=len(names),
            root=root_of(body),
        ),
        body,
        entries,
    )  # fmt: skip


def take(
    known: Database, statement: LinkState | ServiceMap, body: bytes = b"", entries: Iterable[ServiceEntry] = ()
) -> None:
    packed = pack_link_state(statement) if isinstance(statement, LinkState) else pack_service_map(statement)
    [key] = [key for key in (A, B, C) if key.id == statement.origin]
    signed = Signed(packed, key.sign(to_sign(packed)), body)
    parsed = parse_statement_untrusted(signed)
    assert parsed is not None
    assert known.refusal(parsed, signed) is None
    known.take(parsed, signed, entries)


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


def test_a_digest_speaks_of_those_within_reach_only() -> None:
    known = database()
    links(known, A, B)
    links(known, B, A)
    services(known, B)
    links(known, C, B)
    assert [(kind, origin) for kind, origin, _ in known.reachable_versions()] == [
        (Kind.LINK_STATE, A.id), (Kind.LINK_STATE, B.id), (Kind.SERVICES, B.id),
    ]  # fmt: skip


def test_who_stays_out_of_reach_is_forgotten_and_who_returns_in_time_is_not() -> None:
    known = database()
    links(known, A, B)
    links(known, B, A)
    assert known.sweep(5.0) == inf
    links(known, C, B)
    services(known, C, "x")
    assert known.sweep(10.0) == 10.0 + FORGET_AFTER
    links(known, B, A, C, seq=2)
    assert known.sweep(40.0) == inf
    links(known, B, A, seq=3)
    assert known.sweep(50.0) == 50.0 + FORGET_AFTER
    assert known.sweep(10.0 + FORGET_AFTER) == 50.0 + FORGET_AFTER
    assert C.id in known.origins
    revision = known.revision
    assert known.sweep(50.0 + FORGET_AFTER) == inf
    assert C.id not in known.origins
    assert known.get(Kind.SERVICES, C.id) is None
    assert known.revision > revision
