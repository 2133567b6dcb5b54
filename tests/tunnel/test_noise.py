from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from sdk.errors import LocalProtocolError, RemoteProtocolError
from tunnel import noise
from tunnel.noise import Cipher, Handshake, public_key

# Noise_XXpsk3_25519_AESGCM_SHA256 of the cacophony vectors, as snow keeps them in tests/vectors/cacophony.txt.
# Their `handshake_hash` is left out: for psk3 patterns it is the hash before psk and the last payload are mixed in.
PROLOGUE = "4a6f686e2047616c74"
PSK = "54686973206973206d7920417573747269616e20706572737065637469766521"
INITIATOR_STATIC = "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1"
INITIATOR_EPHEMERAL = "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a"
RESPONDER_STATIC = "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893"
RESPONDER_EPHEMERAL = "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b"
MESSAGES = (
    (
        "4c756477696720766f6e204d69736573",
        (
            "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944ad6766e442bec99c94ff573cd5316da0"
            "08cbcc1ebcf47fbe43991ed633bcbb75"
        ),
    ),
    (
        "4d757272617920526f746862617264",
        (
            "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f14480884336a2439b0bafb5e97fee2c19b6f9f741"
            "125f810ad98e7e9659c48ca3e19652d316d1121073a281e0402b7bc1acb476caa1e7308faad7f75337b30f12435c9830"
            "3cac63cac1d69ac11f2e1971e138ac"
        ),
    ),
    (
        "462e20412e20486179656b",
        (
            "2504a7905dbd6a56820581eb314085df196fda55aa5e77745d61c0b526355733d5ee67b9a4f345be7dc7c6583d380762"
            "6eb0f42c69388955ff0c9f35b03951129db18848a76f6a4d270022"
        ),
    ),
    ("4361726c204d656e676572", "b20ca762013411bc55d65fc7137a2e719d432cd549cb037f5e9c84"),
    ("4a65616e2d426170746973746520536179", "6b10e774950e93bc7cc50f225a105e656eb418310c00c374a81c1452b48cb12000"),
    (
        "457567656e2042f6686d20766f6e2042617765726b",
        "6d617e8fd817a630755b8dffdee52ad3c39964bdca895a56847fd5f1edb49d14f555cc314b",
    ),
)


def pair(**changes: Any) -> tuple[Handshake, Handshake]:
    common: dict[str, Any] = {"prologue": bytes.fromhex(PROLOGUE), "psk": bytes.fromhex(PSK)}
    initiator = Handshake(
        initiator=True, static=bytes.fromhex(INITIATOR_STATIC), ephemeral=bytes.fromhex(INITIATOR_EPHEMERAL), **common
    )
    responder = Handshake(
        initiator=False,
        static=bytes.fromhex(RESPONDER_STATIC),
        ephemeral=bytes.fromhex(RESPONDER_EPHEMERAL),
        **(common | changes),
    )
    return initiator, responder


def test_the_published_vectors_pass() -> None:
    writer, reader = initiator, responder = pair()
    for payload, ciphertext in MESSAGES[:3]:
        message = writer.write_message(bytes.fromhex(payload))
        assert message.hex() == ciphertext
        assert reader.read_message_untrusted(message).hex() == payload
        writer, reader = reader, writer
    assert initiator.finished
    assert responder.finished
    assert initiator.remote_static == public_key(bytes.fromhex(RESPONDER_STATIC))
    assert responder.remote_static == public_key(bytes.fromhex(INITIATOR_STATIC))
    (initiator_sends, initiator_receives), (responder_sends, responder_receives) = initiator.split(), responder.split()
    ways = [(responder_sends, initiator_receives), (initiator_sends, responder_receives)]
    for number, (payload, ciphertext) in enumerate(MESSAGES[3:]):
        sender, receiver = ways[number % 2]
        sealed = sender.seal(bytes.fromhex(payload))
        assert sealed.hex() == ciphertext
        assert receiver.open_untrusted(sealed).hex() == payload


def test_another_psk_is_found_out_by_the_third_message_and_not_before() -> None:
    initiator, responder = pair(psk=bytes(32))
    responder.read_message_untrusted(initiator.write_message())
    initiator.read_message_untrusted(responder.write_message())
    with pytest.raises(RemoteProtocolError):
        responder.read_message_untrusted(initiator.write_message())


def test_another_prologue_is_found_out() -> None:
    initiator, responder = pair(prologue=b"another")
    with pytest.raises(RemoteProtocolError):
        responder.read_message_untrusted(initiator.write_message())


@pytest.mark.parametrize("ephemeral", [bytes(32), b"\x01" + bytes(31)], ids=["zero", "one"])
def test_a_point_of_small_order_is_refused(ephemeral: bytes) -> None:
    # An attacker who sends one would know the shared secret: it is zero whatever our key.
    symmetric = noise._Symmetric()
    symmetric.mix_hash(bytes.fromhex(PROLOGUE))
    symmetric.mix_hash(ephemeral)
    symmetric.mix_key(ephemeral)
    _, responder = pair()
    responder.read_message_untrusted(ephemeral + symmetric.seal(b""))
    with pytest.raises(RemoteProtocolError, match="small order"):
        responder.write_message()


def test_messages_come_in_turn() -> None:
    initiator, responder = pair()
    with pytest.raises(LocalProtocolError):
        responder.write_message()
    with pytest.raises(LocalProtocolError):
        initiator.read_message_untrusted(b"")
    with pytest.raises(LocalProtocolError):
        initiator.split()
    with pytest.raises(LocalProtocolError):
        _ = initiator.remote_static


@given(st.binary(max_size=200), st.integers(0, 2))
def test_whatever_comes_in_a_handshake_only_the_documented_error_comes_out(junk: bytes, turn: int) -> None:
    writer, reader = pair()
    for _ in range(turn):
        reader.read_message_untrusted(writer.write_message())
        writer, reader = reader, writer
    with pytest.raises(RemoteProtocolError):
        reader.read_message_untrusted(junk)


@given(st.data())
def test_one_flipped_bit_is_found_in_each_message(data: st.DataObject) -> None:
    writer, reader = pair()
    for _ in range(data.draw(st.integers(0, 2))):
        reader.read_message_untrusted(writer.write_message())
        writer, reader = reader, writer
    message = bytearray(writer.write_message(b"payload"))
    bit = data.draw(st.integers(0, len(message) * 8 - 1))
    message[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RemoteProtocolError):
        reader.read_message_untrusted(bytes(message))


def test_a_record_out_of_order_does_not_open() -> None:
    sender, receiver = Cipher(bytes(32)), Cipher(bytes(32))
    first, second = sender.seal(b"first"), sender.seal(b"second")
    with pytest.raises(RemoteProtocolError):
        receiver.open_untrusted(second)
    assert receiver.open_untrusted(first) == b"first"
    with pytest.raises(RemoteProtocolError):  # the same again: no replay
        receiver.open_untrusted(first)


@pytest.mark.parametrize(("name", "limit"), [("REKEY_RECORDS", 3), ("REKEY_BYTES", 12)])
def test_the_key_is_renewed_on_both_ends_at_the_same_record(
    monkeypatch: pytest.MonkeyPatch, name: str, limit: int
) -> None:
    monkeypatch.setattr(noise, name, limit)
    key = bytes(range(32))
    sender, receiver = Cipher(key), Cipher(key)
    sealed = [sender.seal(b"four") for _ in range(7)]
    assert [receiver.open_untrusted(record) for record in sealed] == [b"four"] * 7
    # The third record is the last under the first key; REKEY encrypts zeros under the largest nonce.
    nonces = [bytes(4) + number.to_bytes(8, "big") for number in range(7)]
    assert AESGCM(key).decrypt(nonces[2], sealed[2], None) == b"four"
    renewed = AESGCM(key).encrypt(bytes(4) + b"\xff" * 8, bytes(32), None)[:32]
    assert AESGCM(renewed).decrypt(nonces[3], sealed[3], None) == b"four"


def test_a_message_made_with_one_of_several_psks_opens_on_a_handshake_of_its_own() -> None:
    psks = [bytes([number]) * 32 for number in range(4)]
    ours = Handshake(initiator=True, prologue=b"", static=b"a" * 32, ephemeral=b"b" * 32, psk=psks[2])
    theirs = Handshake(initiator=False, prologue=b"", static=b"c" * 32, ephemeral=b"d" * 32, psk=psks[0])
    theirs.read_message_untrusted(ours.write_message())
    ours.read_message_untrusted(theirs.write_message())
    third = ours.write_message(b"who I am")
    opened = []
    for psk in psks:
        trial = theirs.with_psk(psk)
        try:
            assert trial.read_message_untrusted(third) == b"who I am"
        except RemoteProtocolError:
            continue
        assert trial.split()[1].open_untrusted(ours.split()[0].seal(b"over")) == b"over"
        opened.append(psk)
    assert opened == [psks[2]]
