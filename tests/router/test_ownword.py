import collections
from math import inf

from router.linkstate import MAX_EDGES, LinkState, LinkTerms
from router.ownword import OwnWord
from router.pace import SHORTEST
from router.servicemap import ServiceMap
from router.services import ServiceRoot
from router.statement import Signed, to_sign
from router.wire import parse_statement_untrusted
from tests.router.network import NETWORK, Key, entry, node_id

A = Key("a")


def own(counters: "collections.Counter[str] | None" = None, *, transit: bool = False) -> OwnWord:
    state = LinkState(
        network=NETWORK, origin=A.id, public=A.public, epoch=5, seq=0, born=5, name="a", addresses=("a:1",), links=(),
        transit=transit, radius=1,
    )  # fmt: skip
    return OwnWord(state, A.sign, collections.Counter() if counters is None else counters)


def read(signed: Signed) -> LinkState | ServiceRoot:
    assert Key.verify(A.public, signed.signature, to_sign(signed.statement))
    statement = parse_statement_untrusted(signed, node_id)
    assert statement is not None
    return statement


def test_each_word_about_links_is_newer_than_the_one_before_and_says_all_of_the_node() -> None:
    word = own()
    first, second = read(word.links({})), read(word.links({b"b" * 16: LinkTerms(price=3)}))
    assert isinstance(second, LinkState)
    assert first.version < second.version
    assert (second.born, second.name, second.addresses, second.transit, second.radius) == (5, "a", ("a:1",), False, 1)
    assert second.links == ((b"b" * 16, LinkTerms(price=3)),)
    word.jump(9)
    third = read(word.links({}))
    assert isinstance(third, LinkState)
    assert (third.epoch, third.born) == (9, 5)


def test_of_too_many_links_the_cheapest_are_told() -> None:
    counters: collections.Counter[str] = collections.Counter()
    links = {number.to_bytes(16, "big"): LinkTerms(price=number) for number in range(MAX_EDGES + 2)}
    state = read(own(counters).links(links))
    assert isinstance(state, LinkState)
    assert [neighbour for neighbour, _ in state.links] == list(links)[:MAX_EDGES]
    assert counters["links_not_told"] == 2


def test_a_change_of_services_is_what_differs_from_what_was_told() -> None:
    word, services = own(), ServiceMap()
    word.offer([entry("x"), entry("y")], 0.0)
    change, at = word.change()
    assert sorted(change) == ["x", "y"]
    services.update(change, at)
    root = read(word.services(services))
    assert isinstance(root, ServiceRoot)
    assert ((root.epoch, root.seq), root.count, root.root) == (at, 2, services.root)
    word.offer([entry("y"), entry("z"), entry("y", "2")], 0.0)
    change, later = word.change()
    assert later > at
    assert {name: len(entries) for name, entries in change.items()} == {"x": 0, "y": 2, "z": 1}


def test_what_is_new_waits_a_little_and_what_is_lost_does_not() -> None:
    word = own()
    assert word.due == inf
    word.offer([entry("x")], 1.0)
    assert word.services_due(1.0)
    assert not word.services_due(1.0), "it has been told"
    word.offer([entry("x"), entry("y")], 1.001)
    assert not word.services_due(1.002)
    assert word.due == 1.0 + SHORTEST
    word.offer([entry("y")], 1.003)
    assert word.services_due(1.003)
    word.offer([entry("y")], 1.004)
    assert word.due == inf, "the same is nothing new"
    word.links_changed(2.0)
    assert word.links_due(2.0)
    word.links_changed(2.001)
    assert not word.links_due(2.002)
    word.links_changed(2.003, urgent=True)
    assert word.links_due(2.003)


def test_the_end_of_transit_is_told_at_once_and_only_where_there_was_transit() -> None:
    word = own(transit=True)
    word.links_changed(1.0)
    assert word.links_due(1.0)
    word.end_transit(1.001)
    assert word.links_due(1.001)
    state = read(word.links({}))
    assert isinstance(state, LinkState)
    assert not state.transit
    word.end_transit(2.0)
    assert word.due == inf
