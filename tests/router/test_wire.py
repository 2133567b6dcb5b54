"""What is packed is read again as it was; of what is made up, nothing but the documented error comes out."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.linkstate import MAX_COST, LinkState
from router.services import MAX_INSTANCES, MAX_LABELS, MAX_PROTOCOLS, ServiceEntry, ServiceMap
from router.statement import Kind, Signed, Version
from router.wire import (
    MAX_ADDRESSES,
    MAX_MESSAGE,
    Digest,
    Pull,
    Statements,
    mark_of,
    pack_body,
    pack_digest,
    pack_entry,
    pack_link_state,
    pack_pull,
    pack_service_map,
    pack_statements,
    parse_entries_untrusted,
    parse_message_untrusted,
    parse_statement_untrusted,
)
from sdk.errors import RemoteProtocolError
from sdk.types import MAX_NAME

ids = st.binary(min_size=16, max_size=16)
numbers = st.integers(0, 1 << 63)
printable = st.characters(exclude_categories=["C", "Z"])
words = st.one_of(st.text(printable, max_size=8), st.just("ß" * MAX_NAME))
names = st.text(printable, min_size=1, max_size=8)

signed_things = st.builds(Signed, st.binary(), st.binary(max_size=64), st.binary())
versions = st.tuples(
    st.sampled_from(Kind), ids, st.builds(Version, numbers, numbers, st.binary(min_size=8, max_size=8))
)
link_states = st.builds(
    LinkState,
    network=words, origin=ids, public=st.binary(min_size=32, max_size=32), epoch=numbers, seq=numbers,
    name=words, addresses=st.lists(words, max_size=MAX_ADDRESSES).map(tuple), transit=st.booleans(),
    links=st.dictionaries(ids, st.integers(1, MAX_COST), max_size=5).map(lambda links: tuple(links.items())),
).filter(lambda state: state.origin not in dict(state.links))  # fmt: skip
service_maps = st.builds(
    ServiceMap,
    network=words, origin=ids, public=st.binary(min_size=32, max_size=32), epoch=numbers, seq=numbers,
    count=numbers, root=st.binary(min_size=32, max_size=32),
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
entry_lists = st.lists(entries, max_size=4, unique_by=lambda entry: entry.key)

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


@given(st.lists(signed_things, max_size=5))
def test_statements_survive_the_way(items: list[Signed]) -> None:
    assert parse_message_untrusted(pack_statements(items)) == Statements(tuple(items))


@given(st.lists(versions, max_size=5))
def test_a_digest_survives_the_way(known: list[tuple[Kind, bytes, Version]]) -> None:
    assert parse_message_untrusted(pack_digest(known)) == Digest(tuple(known))


@given(st.lists(st.tuples(st.sampled_from(Kind), ids), max_size=5))
def test_a_pull_survives_the_way(keys: list[tuple[Kind, bytes]]) -> None:
    assert parse_message_untrusted(pack_pull(keys)) == Pull(tuple(keys))


@given(link_states)
def test_a_link_state_survives_the_way(state: LinkState) -> None:
    packed = pack_link_state(state)
    parsed = parse_statement_untrusted(Signed(packed, b""))
    assert isinstance(parsed, LinkState)
    assert parsed.mark == mark_of(packed)
    assert pack_link_state(parsed) == packed


@given(service_maps)
def test_a_service_map_survives_the_way(services: ServiceMap) -> None:
    packed = pack_service_map(services)
    parsed = parse_statement_untrusted(Signed(packed, b"", b"body"))
    assert isinstance(parsed, ServiceMap)
    assert parsed.mark == mark_of(packed)
    assert pack_service_map(parsed) == packed


@given(entry_lists)
def test_entries_survive_the_way(told: list[ServiceEntry]) -> None:
    assert parse_entries_untrusted(pack_body([pack_entry(entry) for entry in told]), len(told)) == tuple(told)


def test_what_a_newer_node_appends_is_skipped() -> None:
    message = msgpack.packb([3, [[int(Kind.SERVICES), bytes(16), "new"], [99, bytes(16)]], "new"])
    assert parse_message_untrusted(message) == Pull(((Kind.SERVICES, bytes(16)),))
    digest = msgpack.packb([2, [[99, bytes(16), 1, 1, bytes(8)], [1, bytes(16), 1, 1, bytes(8), "new"]]])
    assert parse_message_untrusted(digest) == Digest(((Kind.LINK_STATE, bytes(16), Version(1, 1, bytes(8))),))
    statement = msgpack.packb([2, "n", bytes(16), bytes(32), 1, 1, 0, bytes(32), "new"])
    assert isinstance(parse_statement_untrusted(Signed(statement, b"")), ServiceMap)
    assert parse_entries_untrusted(msgpack.packb([["x", "", [], 1, 1, [], "new"]]), 1)[0].service == "x"
    assert parse_message_untrusted(msgpack.packb([9, "anything"])) is None
    assert parse_statement_untrusted(Signed(msgpack.packb([9]), b"")) is None


# Made up.


@given(st.one_of(st.binary(max_size=100), plain.map(msgpack.packb)))
def test_of_any_bytes_nothing_but_the_documented_error_comes_out(data: bytes) -> None:
    for parse in (
        lambda: parse_message_untrusted(data),
        lambda: parse_statement_untrusted(Signed(data, b"")),
        lambda: parse_entries_untrusted(data, 1),
    ):
        try:
            parse()
        except RemoteProtocolError:
            pass


@given(st.one_of(
    st.lists(signed_things, max_size=2).map(pack_statements),
    st.lists(versions, max_size=2).map(pack_digest),
    st.lists(st.tuples(st.sampled_from(Kind), ids), max_size=2).map(pack_pull),
), st.data())  # fmt: skip
def test_a_changed_message_is_read_or_refused(message: bytes, data: st.DataObject) -> None:
    try:
        parse_message_untrusted(changed(data, message))
    except RemoteProtocolError:
        pass


@given(st.one_of(link_states.map(pack_link_state), service_maps.map(pack_service_map)), st.data())
def test_a_changed_statement_is_read_or_refused(statement: bytes, data: st.DataObject) -> None:
    try:
        parsed = parse_statement_untrusted(Signed(changed(data, statement), b""))
    except RemoteProtocolError:
        return
    if isinstance(parsed, LinkState):
        assert len(pack_link_state(parsed)) < 10_000


@given(entry_lists, st.data())
def test_changed_entries_are_read_or_refused(told: list[ServiceEntry], data: st.DataObject) -> None:
    try:
        parsed = parse_entries_untrusted(changed(data, pack_body([pack_entry(entry) for entry in told])), len(told))
    except RemoteProtocolError:
        return
    assert len({entry.key for entry in parsed}) == len(told)


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
        (msgpack.packb([1, [[b"", b""]]]), "too short"),
        (msgpack.packb([1, [["", b"", b""]]]), "not made of bytes"),
        (msgpack.packb([1, [[b"", bytes(65), b""]]]), "signature is too long"),
        (msgpack.packb([2, [[1, bytes(15), 1, 1, bytes(8)]]]), "origin is not 16"),
        (msgpack.packb([2, [[1, bytes(16), -1, 1, bytes(8)]]]), "epoch is no number"),
        (msgpack.packb([2, [[1, bytes(16), 1, (1 << 63) + 1, bytes(8)]]]), "seq is no number"),
        (msgpack.packb([2, [[1, bytes(16), 1, 1, b""]]]), "mark is not 8"),
        (msgpack.packb([3, [[1]]]), "too short"),
        (msgpack.packb([3, [[1.5, bytes(16)]]]), "kind is no number"),
        (msgpack.packb([3, [[1, bytes(16)]] * 4097]), "cannot be read"),
        (msgpack.packb([3, [{}]]), "no array"),
        (b"\x91" * 2000 + b"\x90", "cannot be read"),
    ],
)
def test_a_message_that_makes_no_sense_says_what_is_wrong(message: bytes, says: str) -> None:
    with pytest.raises(RemoteProtocolError, match=says):
        parse_message_untrusted(message)


LINK_STATE: list[Any] = [1, "n", bytes(16), bytes(32), 1, 1, "name", ["addr"], [[b"x" * 16, 1]], True]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        (1, b"n", "network is no text"),
        (2, bytes(17), "origin is not 16"),
        (3, bytes(31), "public key is not 32"),
        (4, True, "epoch is no number"),
        (5, 1.0, "seq is no number"),
        (6, "x" * (MAX_NAME + 1), "name is no text"),
        (6, "\x1b[2J", "not printable"),
        (7, ["x"] * (MAX_ADDRESSES + 1), "addresses are more than"),
        (7, [None], "addresses is no text"),
        (8, [[b"x" * 16, 0]], "cost is no number"),
        (8, [[b"x" * 16, MAX_COST + 1]], "cost is no number"),
        (8, [[bytes(16), 1]], "name a node twice"),
        (8, [[b"x" * 16, 1], [b"x" * 16, 2]], "name a node twice"),
        (8, [b"x" * 16], "link is no array"),
        (9, 1, "transit"),
    ],
)
def test_a_link_state_that_makes_no_sense_says_what_is_wrong(field: int, value: object, says: str) -> None:
    assert parse_statement_untrusted(Signed(msgpack.packb(LINK_STATE), b"")) is not None
    broken = [*LINK_STATE[:field], value, *LINK_STATE[field + 1 :]]
    with pytest.raises(RemoteProtocolError, match=says):
        parse_statement_untrusted(Signed(msgpack.packb(broken), b""))


def test_nothing_unsigned_travels_along_with_a_link_state() -> None:
    with pytest.raises(RemoteProtocolError, match="has a body"):
        parse_statement_untrusted(Signed(msgpack.packb(LINK_STATE), b"", b"ballast"))


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (["", "", [], 1, 1, []], "has no name"),
        (["x", 2, [], 1, 1, []], "version is no text"),
        (["x", "", ["p"] * (MAX_PROTOCOLS + 1), 1, 1, []], "protocols are more than"),
        (["x", "", [], MAX_INSTANCES + 1, 1, []], "instances is no number"),
        (["x", "", [], 1, -1, []], "weight is no number"),
        (["x", "", [], 1, 1, [["k", "v"]] * (MAX_LABELS + 1)], "labels are more than"),
        (["x", "", [], 1, 1, [["k"]]], "label is too short"),
        (["x", "", [], 1, 1, [["k", 1]]], "label is no text"),
        (["x", "", [], 1, 1, {}], "labels is no array"),
        (["x", "", [], 1, 1], "too short"),
    ],
)
def test_an_entry_that_makes_no_sense_says_what_is_wrong(entry: object, says: str) -> None:
    with pytest.raises(RemoteProtocolError, match=says):
        parse_entries_untrusted(msgpack.packb([entry]), 1)


def test_entries_must_be_as_many_as_was_said_and_all_different() -> None:
    entry = ["x", "", [], 1, 1, []]
    with pytest.raises(RemoteProtocolError, match="speaks of 2 services and brings 1"):
        parse_entries_untrusted(msgpack.packb([entry]), 2)
    with pytest.raises(RemoteProtocolError, match="one service twice"):
        parse_entries_untrusted(msgpack.packb([entry, entry]), 2)
