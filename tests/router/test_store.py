from dataclasses import replace

from router.linkstate import MAX_EDGES, LinkState, LinkTerms
from router.services import MAX_SERVICES, ServiceRoot
from router.statement import Signed, Version, to_sign
from router.store import MAX_ORIGINS, Refusal, Store
from router.wire import mark_of, pack_link_state, pack_service_root
from tests.router.network import NETWORK, Key

KEY = Key("a")


def state(*, key: Key = KEY, origin: bytes = KEY.id, epoch: int = 1, seq: int = 1, edges: int = 0) -> LinkState:
    return LinkState(
        network=NETWORK, origin=origin, public=key.public, epoch=epoch, seq=seq, born=1, name="", addresses=(),
        links=tuple((number.to_bytes(16, "big"), LinkTerms()) for number in range(edges)), transit=True, radius=3,
    )  # fmt: skip


def signed(statement: LinkState | ServiceRoot, *, key: Key = KEY) -> Signed:
    packed = pack_link_state(statement) if isinstance(statement, LinkState) else pack_service_root(statement)
    return Signed(packed, key.sign(to_sign(packed)))


def verdict(store: Store[LinkState], statement: LinkState, *, key: Key = KEY) -> Refusal | None:
    return store.refusal(statement, signed(statement, key=key))


def link_states() -> Store[LinkState]:
    return Store(network=NETWORK, verify=Key.verify)


def kept(*statements: LinkState) -> Store[LinkState]:
    store = link_states()
    for statement in statements:
        store.keep(statement, signed(statement))
    return store


def test_what_is_newer_is_taken_and_what_is_not_is_named() -> None:
    store = kept(state(epoch=2, seq=2))
    verdicts = {
        (epoch, seq): verdict(store, state(epoch=epoch, seq=seq))
        for epoch, seq in ((1, 9), (2, 1), (2, 2), (2, 3), (3, 1))
    }
    assert verdicts == {
        (1, 9): Refusal.OLD,
        (2, 1): Refusal.OLD,
        (2, 2): Refusal.DUPLICATE,
        (2, 3): None,
        (3, 1): None,
    }


def test_the_same_number_with_another_mark_is_decided_by_the_mark() -> None:
    statement = state()
    smaller, greater = sorted([mark_of(b"one"), mark_of(b"other")])
    store = kept(replace(statement, mark=greater))
    assert store.refusal(replace(statement, mark=smaller), signed(statement)) is Refusal.OLD
    assert not store.lacks(KEY.id, Version(1, 1, smaller))
    store = kept(replace(statement, mark=smaller))
    assert store.lacks(KEY.id, Version(1, 1, greater))
    assert store.refusal(replace(statement, mark=greater), signed(statement)) is None


def test_a_signature_counts_only_from_the_origins_key() -> None:
    assert verdict(link_states(), state(), key=Key("thief")) is Refusal.BAD_SIGNATURE


def test_a_signature_made_for_something_else_does_not_count() -> None:
    packed = pack_link_state(state())
    assert link_states().refusal(state(), Signed(packed, KEY.sign(packed))) is Refusal.BAD_SIGNATURE


def test_a_statement_for_another_network_is_refused() -> None:
    other = replace(state(), network="another")
    assert verdict(link_states(), other) is Refusal.OTHER_NETWORK


def test_a_full_store_takes_no_new_origin_and_still_what_known_ones_say() -> None:
    store = kept(*(state(origin=number.to_bytes(16, "big")) for number in range(MAX_ORIGINS - 1)), state())
    newcomer = Key("newcomer")
    one_more = state(key=newcomer, origin=newcomer.id)
    assert verdict(store, one_more, key=newcomer) is Refusal.TOO_MANY_ORIGINS
    assert not store.lacks(newcomer.id, Version(1, 1, b""))
    assert verdict(store, state(seq=2)) is None
    assert store.lacks(KEY.id, Version(1, 2, b""))
    store.forget((5).to_bytes(16, "big"))
    assert verdict(store, one_more, key=newcomer) is None


def test_more_links_than_the_bound_are_refused() -> None:
    store = link_states()
    assert verdict(store, state(edges=MAX_EDGES)) is None
    assert verdict(store, state(edges=MAX_EDGES + 1)) is Refusal.TOO_MANY_EDGES


def test_more_services_than_the_bound_are_refused() -> None:
    store: Store[ServiceRoot] = Store(network=NETWORK, verify=Key.verify)
    whole = ServiceRoot(
        network=NETWORK, origin=KEY.id, public=KEY.public, epoch=1, seq=1, count=MAX_SERVICES, root=bytes(32)
    )
    assert store.refusal(whole, signed(whole)) is None
    many = replace(whole, count=MAX_SERVICES + 1)
    assert store.refusal(many, signed(many)) is Refusal.TOO_MANY_SERVICES


def test_it_holds_one_statement_for_each_origin_until_it_is_forgotten() -> None:
    store = kept(state(seq=1), state(seq=2))
    assert list(store) == [KEY.id]
    assert [each.seq for each in store.statements()] == [2]
    found = store.get(KEY.id)
    assert found is not None
    assert found.signed == signed(state(seq=2))
    store.forget(KEY.id)
    store.forget(KEY.id)
    assert store.get(KEY.id) is None
