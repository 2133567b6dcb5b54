"""Noise_XXpsk3_25519_AESGCM_SHA256: the handshake between two nodes, and the ciphers it leaves behind.

Written from the Noise Protocol Framework, revision 34; section numbers below are its own. Only this one protocol is
here. Keys come in as arguments, ephemeral ones too, because published vectors need them fixed.

    -> e
    <- e, ee, s, es
    -> s, se, psk
"""

import copy
import hashlib
import hmac
import struct
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sdk.errors import LocalProtocolError, RemoteProtocolError

PROTOCOL: Final = b"Noise_XXpsk3_25519_AESGCM_SHA256"
KEY_SIZE: Final = 32
TAG_SIZE: Final = 16
MAX_MESSAGE: Final = 65535
"""Longest Noise message, in bytes (section 3)."""

REKEY_RECORDS: Final = 1 << 20
REKEY_BYTES: Final = 1 << 30
"""A key seals this many records, or plaintext bytes, and is then replaced: far within AES-GCM's bounds (RFC 8446,
5.5)."""

_PATTERN: Final = (("e",), ("e", "ee", "s", "es"), ("s", "se", "psk"))
# 96 bits: 32 zeros and a counter, most significant byte first (section 12.4).
_nonce: Final = struct.Struct("!IQ").pack
_LAST_NONCE: Final = (1 << 64) - 1


class Damaged(RemoteProtocolError):
    """A message or record does not open as the next one: it was changed, forged, lost, doubled or moved on the way."""


class Cipher:
    """One direction after the handshake: a key, and a counter that is the nonce. Both ends renew the key at the same
    record.

    Sealing or opening 4 KiB costs about a microsecond: one call of AES-GCM and little else.
    """

    __slots__ = ("_bytes_left", "_decrypt", "_encrypt", "_key", "_next", "_renew_at")

    def __init__(self, key: bytes) -> None:
        self._next = 0
        self._set_key(key)

    def seal(self, data: bytes) -> bytes:
        """The next record's ciphertext, 16 bytes longer than the data."""
        number = self._next
        sealed = self._encrypt(_nonce(0, number), data, None)
        self._next = number = number + 1
        self._bytes_left -= len(data)
        if number == self._renew_at or self._bytes_left <= 0:
            self._rekey()
        return sealed

    def open_untrusted(self, sealed: bytes | memoryview) -> bytes:
        """The plaintext of the next record; raises `Damaged` when it was not sealed as the next one."""
        number = self._next
        try:
            data = self._decrypt(_nonce(0, number), sealed, None)
        except (InvalidTag, ValueError):
            raise Damaged("a record was damaged or forged on the way") from None
        self._next = number = number + 1
        self._bytes_left -= len(data)
        if number == self._renew_at or self._bytes_left <= 0:
            self._rekey()
        return data

    def _set_key(self, key: bytes) -> None:
        aead = AESGCM(key)
        self._key = key
        self._encrypt = aead.encrypt
        self._decrypt = aead.decrypt
        self._renew_at = self._next + REKEY_RECORDS
        self._bytes_left = REKEY_BYTES

    def _rekey(self) -> None:
        # REKEY of section 4.2; the counter goes on.
        self._set_key(self._encrypt(_nonce(0, _LAST_NONCE), bytes(KEY_SIZE), None)[:KEY_SIZE])


class Handshake:
    """The handshake state of section 5.3. `write_message` and `read_message_untrusted` alternate, the initiator writes
    first."""

    def __init__(self, *, initiator: bool, prologue: bytes, static: bytes, ephemeral: bytes, psk: bytes) -> None:
        self._initiator = initiator
        self._static = X25519PrivateKey.from_private_bytes(static)
        self._ephemeral = X25519PrivateKey.from_private_bytes(ephemeral)
        self._psk = psk
        self._remote_ephemeral: X25519PublicKey | None = None
        self._remote_static: X25519PublicKey | None = None
        self._done = 0
        """Messages written and read so far."""
        self._symmetric = _Symmetric()
        self._symmetric.mix_hash(prologue)

    @property
    def finished(self) -> bool:
        """Whether all three messages have passed, and `split` may be called."""
        return self._done == len(_PATTERN)

    @property
    def remote_static(self) -> bytes:
        """The peer's static public key, once it has come."""
        if self._remote_static is None:
            raise LocalProtocolError("the peer's static key has not come yet")
        return self._remote_static.public_bytes_raw()

    def write_message(self, payload: bytes = b"") -> bytes:
        """The next handshake message."""
        out = []
        for word in self._turn(writing=True):
            if word == "e":
                public = self._ephemeral.public_key().public_bytes_raw()
                out.append(public)
                self._mix_ephemeral(public)
            elif word == "s":
                out.append(self._symmetric.seal(self._static.public_key().public_bytes_raw()))
            else:
                self._mix_key(word)
        out.append(self._symmetric.seal(payload))
        self._done += 1
        return b"".join(out)

    def read_message_untrusted(self, message: bytes) -> bytes:
        """The payload of the peer's next message; raises `RemoteProtocolError` when it is not what it must be.

        After that the handshake is of no more use.
        """
        for word in self._turn(writing=False):
            if word == "e":
                public, message = _take(message, KEY_SIZE)
                self._remote_ephemeral = X25519PublicKey.from_public_bytes(public)
                self._mix_ephemeral(public)
            elif word == "s":
                sealed, message = _take(message, KEY_SIZE + TAG_SIZE)
                self._remote_static = X25519PublicKey.from_public_bytes(self._symmetric.open_untrusted(sealed))
            else:
                self._mix_key(word)
        payload = self._symmetric.open_untrusted(message)
        self._done += 1
        return payload

    def with_psk(self, psk: bytes) -> Self:
        """Another handshake at the same point, with another psk. It may go on however this one does: where a message
        could have been made with any of several keys, each is tried on a handshake of its own."""
        other = copy.copy(self)
        other._symmetric = copy.copy(self._symmetric)
        other._psk = psk
        return other

    def split(self) -> tuple[Cipher, Cipher]:
        """The ciphers to send and to receive with."""
        if not self.finished:
            raise LocalProtocolError("the handshake has not ended")
        first, second = _hkdf(self._symmetric.chaining_key, b"", 2)
        return (Cipher(first), Cipher(second)) if self._initiator else (Cipher(second), Cipher(first))

    def _turn(self, *, writing: bool) -> tuple[str, ...]:
        if self.finished or writing != (self._initiator == (self._done % 2 == 0)):
            raise LocalProtocolError("a handshake message out of turn")
        return _PATTERN[self._done]

    def _mix_ephemeral(self, public: bytes) -> None:
        # Section 9.2: where a psk is used, ephemeral keys are mixed into the key as well.
        self._symmetric.mix_hash(public)
        self._symmetric.mix_key(public)

    def _mix_key(self, word: str) -> None:
        if word == "psk":
            self._symmetric.mix_key_and_hash(self._psk)
            return
        # Two letters: the initiator's key, then the responder's.
        mine, theirs = (word[0], word[1]) if self._initiator else (word[1], word[0])
        private = self._ephemeral if mine == "e" else self._static
        public = self._remote_ephemeral if theirs == "e" else self._remote_static
        assert public is not None
        try:
            secret = private.exchange(public)
        except ValueError:
            raise RemoteProtocolError("the peer's key is a point of small order") from None
        self._symmetric.mix_key(secret)


class _Symmetric:
    """The symmetric state of section 5.2."""

    def __init__(self) -> None:
        self.hash = PROTOCOL  # 32 bytes, as long as the hash: used as it is
        self.chaining_key = self.hash
        self._aead: AESGCM | None = None
        self._next = 0

    def mix_hash(self, data: bytes) -> None:
        self.hash = hashlib.sha256(self.hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        self.chaining_key, key = _hkdf(self.chaining_key, material, 2)
        self._set_key(key)

    def mix_key_and_hash(self, material: bytes) -> None:
        self.chaining_key, hashed, key = _hkdf(self.chaining_key, material, 3)
        self.mix_hash(hashed)
        self._set_key(key)

    def seal(self, data: bytes) -> bytes:
        # The first token of the first message sets a key: nothing is ever sealed without one.
        assert self._aead is not None
        sealed = self._aead.encrypt(_nonce(0, self._next), data, self.hash)
        self._next += 1
        self.mix_hash(sealed)
        return sealed

    def open_untrusted(self, sealed: bytes) -> bytes:
        assert self._aead is not None
        try:
            data = self._aead.decrypt(_nonce(0, self._next), sealed, self.hash)
        except (InvalidTag, ValueError):
            raise Damaged("a handshake message does not open") from None
        self._next += 1
        self.mix_hash(sealed)
        return data

    def _set_key(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self._next = 0


def public_key(private: bytes) -> bytes:
    """The X25519 public key of a private one; 32 bytes each."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def _take(message: bytes, size: int) -> tuple[bytes, bytes]:
    if len(message) < size:
        raise RemoteProtocolError("a handshake message is too short")
    return message[:size], message[size:]


def _hkdf(chaining_key: bytes, material: bytes, outputs: int) -> list[bytes]:
    """HKDF of section 4.3."""
    key = hmac.digest(chaining_key, material, "sha256")
    result: list[bytes] = []
    last = b""
    for number in range(1, outputs + 1):
        last = hmac.digest(key, last + bytes((number,)), "sha256")
        result.append(last)
    return result
