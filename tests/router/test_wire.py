"""What is packed is read again as it was; of what is made up, nothing but the documented error comes out."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.linkstate import MAX_COST, LinkState, LinkTerms
from router.services import MAX_INSTANCES, MAX_LABELS, MAX_PROTOCOLS, ServiceEntry, ServiceRoot
from router.statement import Kind, Signed, Version
from router.wire import (
    MAX_ADDRESSES,
    MAX_ENTRY,
    MAX_MESSAGE,
    Compare,
    LinkStates,
    Pull,
    Services,
    Versions,
    mark_of,
    pack_compare,
    pack_entry,
    pack_link_state,
    pack_link_states,
    pack_pull,
    pack_service_root,
    pack_services,
    pack_versions,
    parse_entry_untrusted,
    parse_message_untrusted,
    parse_statement_untrusted,
)
from sdk.errors import RemoteProtocolError
from sdk.types import MAX_NAME
from tests.router.network import node_id

ids = st.binary(min_size=16, max_size=16)
numbers = st.integers(0, 1 << 63)
printable = st.characters(exclude_categories=["C", "Z"])
words = st.one_of(st.text(printable, max_size=8), st.just("ß" * MAX_NAME))
names = st.text(printable, min_size=1, max_size=8)

signed_things = st.builds(Signed, st.binary(), st.binary(max_size=64))
version_lists = st.lists(
    st.tuples(st.sampled_from(Kind), ids, st.builds(Version, numbers, numbers, st.binary(min_size=8, max_size=8))),
    max_size=5,
).map(tuple)
messages = st.one_of(
    st.lists(signed_things, max_size=5).map(lambda items: LinkStates(tuple(items))),
    st.builds(
        Services, signed_things, st.tuples(numbers, numbers), st.booleans(), st.lists(words, max_size=3).map(tuple),
        st.lists(st.binary(max_size=40), max_size=3).map(tuple),
    ),
    st.builds(Compare, st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32)),
    st.builds(Versions, st.frozensets(st.sampled_from(Kind)), st.booleans(), version_lists),
    st.lists(st.tuples(st.sampled_from(Kind), ids, st.tuples(numbers, numbers)), max_size=5).map(
        lambda wanted: Pull(tuple(wanted))
    ),
)  # fmt: skip
terms = st.builds(LinkTerms, st.integers(0, MAX_COST), st.integers(0, MAX_COST), st.integers(0, MAX_COST))
publics = st.binary(min_size=32, max_size=32)
link_states = st.builds(
    LinkState,
    network=words, origin=st.just(b""), public=publics, epoch=numbers, seq=numbers, born=numbers,
    name=words, addresses=st.lists(words, max_size=MAX_ADDRESSES).map(tuple), transit=st.booleans(),
    links=st.dictionaries(ids, terms, max_size=5).map(lambda links: tuple(links.items())), radius=st.integers(0, 3),
)  # fmt: skip
service_roots = st.builds(
    ServiceRoot,
    network=words, origin=st.just(b""), public=publics, epoch=numbers, seq=numbers, count=numbers,
    root=st.binary(min_size=32, max_size=32),
)  # fmt: skip
entries = st.builds(
    ServiceEntry,
    service=names,
    version=words,
    protocols=st.lists(names, max_size=MAX_PROTOCOLS).map(tuple),
    instances=st.integers(0, MAX_INSTANCES),
    weight=st.integers(0, MAX_INSTANCES),
    labels=st.lists(st.tuples(names, words), max_size=4).map(tuple),
)


def pack(message: object) -> bytes:
    if isinstance(message, LinkStates):
        return pack_link_states(message.items)
    if isinstance(message, Services):
        return pack_services(message)
    if isinstance(message, Compare):
        return pack_compare(message)
    if isinstance(message, Versions):
        return pack_versions(message)
    assert isinstance(message, Pull)
    return pack_pull(message.wanted)


plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=3), st.binary(max_size=40)),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=20,
)


def changed(data: st.DataObject, packed: bytes) -> bytes:
    """The same bytes with a piece replaced."""
    at = data.draw(st.integers(0, len(packed)))
    return packed[:at] + data.draw(st.binary(max_size=3)) + packed[at + data.draw(st.integers(0, 3)) :]


# Round trips.


@given(messages)
def test_a_message_survives_the_way(message: object) -> None:
    assert parse_message_untrusted(pack(message)) == message


@given(link_states)
def test_a_link_state_survives_the_way(state: LinkState) -> None:
    packed = pack_link_state(state)
    parsed = parse_statement_untrusted(Signed(packed, b""), node_id)
    assert isinstance(parsed, LinkState)
    assert (parsed.mark, parsed.origin) == (mark_of(packed), node_id(state.public))
    assert pack_link_state(parsed) == packed


@given(service_roots)
def test_a_root_of_services_survives_the_way(root: ServiceRoot) -> None:
    packed = pack_service_root(root)
    parsed = parse_statement_untrusted(Signed(packed, b""), node_id)
    assert isinstance(parsed, ServiceRoot)
    assert (parsed.mark, parsed.origin) == (mark_of(packed), node_id(root.public))
    assert pack_service_root(parsed) == packed


@given(entries)
def test_an_entry_survives_the_way_with_what_came(told: ServiceEntry) -> None:
    packed = pack_entry(told)
    parsed = parse_entry_untrusted(packed)
    assert parsed == told
    assert parsed.packed == packed


def test_what_a_newer_node_appends_is_skipped_and_kept() -> None:
    pull = msgpack.packb([5, [[int(Kind.SERVICES), bytes(16), 1, 2, "new"], [99, bytes(16), 0, 0]], "new"])
    assert parse_message_untrusted(pull) == Pull(((Kind.SERVICES, bytes(16), (1, 2)),))
    versions = msgpack.packb([4, 128, [[99, bytes(16), 1, 1, bytes(8)], [1, bytes(16), 1, 1, bytes(8), "new"]]])
    assert parse_message_untrusted(versions) == Versions(
        frozenset(), False, ((Kind.LINK_STATE, bytes(16), Version(1, 1, bytes(8))),)
    )
    statement = msgpack.packb([2, "n", bytes(32), 1, 1, 0, bytes(32), "new"])
    assert isinstance(parse_statement_untrusted(Signed(statement, b""), node_id), ServiceRoot)
    entry = msgpack.packb(["x", "", [], 1, 1, [], "new"])
    assert parse_entry_untrusted(entry).packed == entry
    assert parse_message_untrusted(msgpack.packb([9, "anything"])) is None
    assert parse_statement_untrusted(Signed(msgpack.packb([9]), b""), node_id) is None


# Made up.


@given(st.one_of(st.binary(max_size=100), plain.map(msgpack.packb)))
def test_of_any_bytes_nothing_but_the_documented_error_comes_out(data: bytes) -> None:
    for parse in (
        lambda: parse_message_untrusted(data),
        lambda: parse_statement_untrusted(Signed(data, b""), node_id),
        lambda: parse_entry_untrusted(data),
    ):
        try:
            parse()
        except RemoteProtocolError:
            pass


@given(messages, st.data())
def test_a_changed_message_is_read_or_refused(message: object, data: st.DataObject) -> None:
    try:
        parse_message_untrusted(changed(data, pack(message)))
    except RemoteProtocolError:
        pass


@given(st.one_of(link_states.map(pack_link_state), service_roots.map(pack_service_root)), st.data())
def test_a_changed_statement_is_read_or_refused(statement: bytes, data: st.DataObject) -> None:
    try:
        parsed = parse_statement_untrusted(Signed(changed(data, statement), b""), node_id)
    except RemoteProtocolError:
        return
    if isinstance(parsed, LinkState):
        assert len(pack_link_state(parsed)) < 20_000


@given(entries, st.data())
def test_a_changed_entry_is_read_or_refused(told: ServiceEntry, data: st.DataObject) -> None:
    try:
        assert parse_entry_untrusted(changed(data, pack_entry(told))).service
    except RemoteProtocolError:
        pass


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (b"", "cannot be read"),
        (bytes(MAX_MESSAGE + 1), "longer than"),
        (b"\x01\x02", "cannot be read"),
        (msgpack.packb({}), "no array"),
        (msgpack.packb([1]), "too short"),
        (msgpack.packb(["x", []]), "no kind"),
        (msgpack.packb([True, []]), "no kind"),
        (msgpack.packb([1, 5]), "no array"),
        (msgpack.packb([1, [[b""]]]), "too short"),
        (msgpack.packb([1, [["", b""]]]), "not made of bytes"),
        (msgpack.packb([1, [[b"", bytes(65)]]]), "signature is too long"),
        (msgpack.packb([2, b"", b"", 0, 0, False, []]), "too short"),
        (msgpack.packb([2, b"", b"", -1, 0, False, [], []]), "epoch is no number"),
        (msgpack.packb([2, b"", b"", 0, 0, 1, [], []]), "more is neither"),
        (msgpack.packb([2, b"", b"", 0, 0, False, [b"x"], []]), "names is no text"),
        (msgpack.packb([2, b"", b"", 0, 0, False, [], [bytes(MAX_ENTRY + 1)]]), "too long"),
        (msgpack.packb([3, bytes(32), bytes(31)]), "root is not 32"),
        (msgpack.packb([4, -1, []]), "flags is no number"),
        (msgpack.packb([4, 0, [[1, bytes(15), 1, 1, bytes(8)]]]), "origin is not 16"),
        (msgpack.packb([4, 0, [[1, bytes(16), -1, 1, bytes(8)]]]), "epoch is no number"),
        (msgpack.packb([4, 0, [[1, bytes(16), 1, (1 << 63) + 1, bytes(8)]]]), "seq is no number"),
        (msgpack.packb([4, 0, [[1, bytes(16), 1, 1, b""]]]), "mark is not 8"),
        (msgpack.packb([5, [[1]]]), "too short"),
        (msgpack.packb([5, [[1.5, bytes(16), 0, 0]]]), "kind is no number"),
        (msgpack.packb([5, [[1, bytes(16), 0, 0]] * 4097]), "cannot be read"),
        (msgpack.packb([5, [{}]]), "no array"),
        (b"\x91" * 2000 + b"\x90", "cannot be read"),
    ],
)
def test_a_message_that_makes_no_sense_says_what_is_wrong(message: bytes, says: str) -> None:
    with pytest.raises(RemoteProtocolError, match=says):
        parse_message_untrusted(message)


LINK_STATE: list[Any] = [1, "n", bytes(32), 1, 1, 1, "name", ["addr"], [[b"x" * 16, 0, 0, 0]], True, 3]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        (1, b"n", "network is no text"),
        (2, bytes(31), "public key is not 32"),
        (3, True, "epoch is no number"),
        (4, 1.0, "seq is no number"),
        (5, -1, "born is no number"),
        (6, "x" * (MAX_NAME + 1), "name is no text"),
        (6, "\x1b[2J", "not printable"),
        (7, ["x"] * (MAX_ADDRESSES + 1), "addresses are more than"),
        (7, [None], "addresses is no text"),
        (8, [[b"x" * 16, -1, 0, 0]], "cost is no number"),
        (8, [[b"x" * 16, 0, MAX_COST + 1, 0]], "cost is no number"),
        (8, [[node_id(bytes(32)), 0, 0, 0]], "name a node twice"),
        (8, [[b"x" * 16, 0, 0, 0], [b"x" * 16, 1, 0, 0]], "name a node twice"),
        (8, [b"x" * 16], "link is no array"),
        (9, 1, "transit"),
        (10, 4, "radius is no number"),
    ],
)
def test_a_link_state_that_makes_no_sense_says_what_is_wrong(field: int, value: object, says: str) -> None:
    assert parse_statement_untrusted(Signed(msgpack.packb(LINK_STATE), b""), node_id) is not None
    broken = [*LINK_STATE[:field], value, *LINK_STATE[field + 1 :]]
    with pytest.raises(RemoteProtocolError, match=says):
        parse_statement_untrusted(Signed(msgpack.packb(broken), b""), node_id)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (["", "", [], 1, 1, []], "has no name"),
        (["x", 2, [], 1, 1, []], "version is no text"),
        (["x", "", ["p"] * (MAX_PROTOCOLS + 1), 1, 1, []], "protocols are more than"),
        (["x", "", [], MAX_INSTANCES + 1, 1, []], "instances is no number"),
        (["x", "", [], 1, -1, []], "weight is no number"),
        (["x", "", [], 1, 1, ["k", "v"] * (MAX_LABELS + 1)], "labels are more than"),
        (["x", "", [], 1, 1, ["k"]], "label has no value"),
        (["x", "", [], 1, 1, ["k", 1]], "labels is no text"),
        (["x", "", [], 1, 1, {}], "labels is no array"),
        (["x", "", [], 1, 1], "too short"),
    ],
)
def test_an_entry_that_makes_no_sense_says_what_is_wrong(entry: object, says: str) -> None:
    with pytest.raises(RemoteProtocolError, match=says):
        parse_entry_untrusted(msgpack.packb(entry))


def test_the_longest_entry_that_is_told_is_taken() -> None:
    text = "\U0001f600" * MAX_NAME
    longest = ServiceEntry(
        service=text, version=text, protocols=(text,) * MAX_PROTOCOLS, instances=1, weight=1,
        labels=tuple((text, text) for _ in range(MAX_LABELS)),
    )  # fmt: skip
    assert len(pack_entry(longest)) <= MAX_ENTRY
    assert parse_entry_untrusted(pack_entry(longest)) == longest
