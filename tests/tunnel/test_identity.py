import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.errors import BadRequest, RemoteProtocolError
from tunnel import identity
from tunnel.identity import (
    MAX_CERTIFICATE,
    MOST_KEYS,
    Certificate,
    NodeKey,
    format_id,
    known_network_keys,
    network_key,
    network_keys,
    node_id,
    pack_certificate,
    parse_certificate_untrusted,
    parse_id_untrusted,
    verify,
)

KEY = NodeKey(bytes(range(32)))
STATIC = b"s" * 32


def certificate(**changes: object) -> Certificate:
    fields = {"public": KEY.public, "epoch": 7, "name": "anna", "addresses": ("a:1", "b:2"), "network": "go.micro"}
    return Certificate(**(fields | changes))  # type: ignore[arg-type]


def test_an_id_is_the_beginning_of_the_hash_of_the_public_key() -> None:
    # SHA-256 of the public key that RFC 8032 (7.1, test 1) gives for this private key.
    key = NodeKey(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert key.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.id == node_id(key.public) == bytes.fromhex("21fe31dfa154a261626bf854046fd227")


def test_a_key_does_not_show_itself() -> None:
    assert repr(KEY) == f"<NodeKey of {format_id(KEY.id)}>"


@given(st.binary(min_size=16, max_size=16))
def test_an_id_reads_as_it_was_written(id: bytes) -> None:
    text = format_id(id)
    assert len(text) == 26
    assert text == text.lower()
    assert parse_id_untrusted(text) == parse_id_untrusted(text.upper()) == id


@given(st.text() | st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=26, max_size=26))
def test_whatever_is_read_as_an_id_only_the_documented_error_comes_out(text: str) -> None:
    try:
        id = parse_id_untrusted(text)
    except RemoteProtocolError:
        return
    assert format_id(id) == text.lower()


def test_a_signature_holds_for_its_key_and_its_data_only() -> None:
    signature = KEY.sign(b"data")
    assert verify(KEY.public, signature, b"data")
    assert not verify(KEY.public, signature, b"other")
    assert not verify(NodeKey(b"x" * 32).public, signature, b"data")
    assert not verify(b"short", signature, b"data")
    assert not verify(KEY.public, b"short", b"data")


def test_the_network_key_depends_on_token_and_network_and_on_where_one_ends() -> None:
    keys = {
        network_key("token", "net"),
        network_key("tokenn", "et"),
        network_key("token", "other"),
        network_key("", ""),
    }
    keys.add(network_key("\udcff", "\udcff"))  # what an environment variable may hold
    assert len(keys) == 5
    assert {len(key) for key in keys} == {32}


def test_a_certificate_reads_as_it_was_signed() -> None:
    packed = pack_certificate(KEY, certificate(), STATIC)
    assert parse_certificate_untrusted(packed, STATIC) == certificate()
    assert certificate().id == KEY.id


def test_a_certificate_holds_for_its_static_key_only() -> None:
    packed = pack_certificate(KEY, certificate(), STATIC)
    with pytest.raises(RemoteProtocolError, match="signature"):
        parse_certificate_untrusted(packed, b"t" * 32)


@given(st.data())
def test_no_byte_of_a_certificate_can_be_changed(data: st.DataObject) -> None:
    packed = bytearray(pack_certificate(KEY, certificate(), STATIC))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RemoteProtocolError):
        parse_certificate_untrusted(bytes(packed), STATIC)


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=80) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(
    st.binary(max_size=200)
    | JSON_LIKE.map(msgpack.packb)
    | st.lists(JSON_LIKE, min_size=5, max_size=6).map(lambda body: msgpack.packb((msgpack.packb(body), bytes(64))))
)
def test_whatever_is_read_as_a_certificate_only_the_documented_error_comes_out(junk: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_certificate_untrusted(junk, STATIC)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "n" * 256},
        {"name": "two\nlines"},
        {"network": "\x1b[31m"},
        {"name": "\udcff"},
        {"epoch": 1 << 70},
        {"addresses": ("a" * 256,)},
        {"addresses": ("a:1",) * 17},
        {"addresses": tuple("ä" * 250 for _ in range(16))},
        {"epoch": -1},
        {"epoch": 1 << 63},
    ],
)
def test_what_no_peer_would_take_is_not_signed(changes: dict[str, object]) -> None:
    with pytest.raises(BadRequest, match="cannot be told"):
        pack_certificate(KEY, certificate(**changes), STATIC)


def test_a_certificate_that_is_too_long_is_not_even_read() -> None:
    with pytest.raises(RemoteProtocolError, match="too long"):
        parse_certificate_untrusted(bytes(MAX_CERTIFICATE + 1), STATIC)


def test_the_keys_of_several_tokens_are_found_in_their_order_and_kept() -> None:
    tokens = ("one of several", "another")
    assert known_network_keys(tokens, "net") is None
    network_key("another", "net")
    assert known_network_keys(tokens, "net") is None
    keys = network_keys(tokens, "net")
    assert keys == (network_key("one of several", "net"), network_key("another", "net"))
    assert known_network_keys(tokens, "net") == keys


def test_a_token_that_was_withdrawn_long_ago_is_forgotten_and_those_in_use_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(identity, "_network_keys", {(f"old {n}", "net"): bytes(32) for n in range(MOST_KEYS)})
    used = known_network_keys(["old 0"], "net")
    assert used == (bytes(32),)
    network_key("new", "net")
    assert known_network_keys(["old 1"], "net") is None
    assert known_network_keys(["old 0", "old 2", "new"], "net") is not None
