"""Who a node is, and what lets it in.

A node is its Ed25519 key: its id is the start of the hash of the public key, so nobody can take another's id. What
lets it into a network is a token that all its nodes share; the token itself never leaves the process, only a slow hash
of it enters the handshake. In the handshake a node shows a *certificate*: its key's signature over the Noise key it
uses now.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgpack
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from sdk.errors import BadRequest, RemoteProtocolError
from sdk.wire.frame import ID_SIZE

NodeId = bytes
"""The first 16 bytes of SHA-256 of a node's public key."""

KEY_SIZE: Final = 32

DEFAULT_TOKEN: Final = "go.micro.tunnel"  # noqa: S105 - everybody knows it: nodes that use it admit private peers only
"""The token of a network whose owner set none, as in micro v2."""
MAX_TOKENS: Final = 4
"""Tokens that a node takes at a time: the old one and the new one while they are changed, and as many again. Each costs
an acceptor some hundred microseconds of every stranger's handshake."""

TUNNEL_TOKEN: Final = "micro"  # noqa: S105 - likewise
"""The token of a tunnel whose owner set none."""

PUBLISHED: Final = frozenset((DEFAULT_TOKEN, TUNNEL_TOKEN))
"""Tokens that stand in the manual."""

MAX_CERTIFICATE: Final = 3072
"""Longest certificate, in bytes: all of a handshake has to fit 4 KiB."""
MAX_ADDRESSES: Final = 16
MAX_TEXT: Final = 255
"""Longest name, network name or address in a certificate, in characters; a DNS name is no longer."""

_ID_TEXT: Final = 26
_CONTEXT: Final = b"micro/1 certificate\x00"
_pack = msgpack.Packer(autoreset=True).pack

MOST_KEYS: Final = 64
"""Tokens whose keys a process remembers, for all of its networks: those that were used last. Tokens are changed every
hour by some, and what was withdrawn is a secret still."""

_network_keys: dict[tuple[str, str], bytes] = {}


class NotSigned(RemoteProtocolError):
    """A certificate that the node it names did not sign for the key it comes with."""

    def __init__(self) -> None:
        super().__init__("certificate has a signature that does not match")


class NodeKey:
    """A node's Ed25519 key pair. Its `repr` shows the id, never the key."""

    __slots__ = ("_key", "id", "public")

    def __init__(self, private: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(private)
        self.public: bytes = self._key.public_key().public_bytes_raw()
        """32 bytes."""
        self.id: NodeId = node_id(self.public)

    def sign(self, data: bytes) -> bytes:
        """64 bytes of Ed25519 signature."""
        return self._key.sign(data)

    def __repr__(self) -> str:
        return f"<NodeKey of {format_id(self.id)}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a node says of itself in a handshake, signed."""

    public: bytes
    """Its Ed25519 public key, 32 bytes."""
    epoch: int
    """A number that rises with each start of the node."""
    name: str
    """What people call it."""
    addresses: tuple[str, ...]
    """Where others may dial it."""
    network: str
    """The network it wants to join."""

    @property
    def id(self) -> NodeId:
        """The id that follows from the public key."""
        return node_id(self.public)


def node_id(public: bytes) -> NodeId:
    """The id of the node with this public key."""
    return hashlib.sha256(public).digest()[:ID_SIZE]


def format_id(id: NodeId) -> str:
    """An id for people: 26 characters of lower-case base32 (RFC 4648) without padding."""
    return base64.b32encode(id).decode("ascii").rstrip("=").lower()


def parse_id_untrusted(text: str) -> NodeId:
    """Reads what `format_id` wrote, in either case; raises `RemoteProtocolError`."""
    if len(text) == _ID_TEXT and text.isascii():
        try:
            id = base64.b32decode(f"{text.upper()}======")
        except ValueError:
            pass
        else:
            if format_id(id) == text.lower():  # the last character has bits to spare
                return id
    raise RemoteProtocolError(f"{text[:40]!r} is no node id")


def verify(public: bytes, signature: bytes, data: bytes) -> bool:
    """Whether the owner of this public key signed the data; False for malformed keys and signatures as well."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def network_key(token: str, network: str) -> bytes:
    """The 32 bytes that nodes of one network share: scrypt (RFC 7914) of the token, salted with the network's name.

    It takes some 60 ms and 32 MiB, so that guessing tokens is slow; a second call with the same arguments, but
    for few others in between, takes nothing.
    """
    key = _network_keys.pop((token, network), None)
    if key is None:
        # An environment variable may hold any bytes; Python gives them as text in this way.
        salt = b"micro/1" + network.encode(errors="surrogateescape")
        key = Scrypt(salt=salt, length=KEY_SIZE, n=2**15, r=8, p=1).derive(token.encode(errors="surrogateescape"))
    _network_keys[token, network] = key
    for old in list(_network_keys)[:-MOST_KEYS]:
        _network_keys.pop(old, None)  # another thread may have done it
    return key


def network_keys(tokens: Sequence[str], network: str) -> tuple[bytes, ...]:
    """The same for several tokens, in their order: slow, for a thread."""
    return tuple(network_key(token, network) for token in tokens)


def known_network_keys(tokens: Sequence[str], network: str) -> tuple[bytes, ...] | None:
    """What was found earlier, so that nobody waits for a thread twice; None where one is missing."""
    known = all((token, network) in _network_keys for token in tokens)
    return network_keys(tokens, network) if known else None


def pack_certificate(key: NodeKey, certificate: Certificate, static: bytes) -> bytes:
    """Signs a certificate for the Noise static public key in use; raises `BadRequest` when no peer would take it."""
    fields = (certificate.public, certificate.epoch, certificate.name, certificate.addresses, certificate.network)
    try:
        body = _pack(fields)
        packed: bytes = _pack((body, key.sign(_CONTEXT + static + body)))
        parse_certificate_untrusted(packed, static)
    except (RemoteProtocolError, UnicodeError, OverflowError) as error:
        raise BadRequest(
            f"the node's name, network name and addresses cannot be told to others: {error}; at most {MAX_ADDRESSES} "
            f"addresses, {MAX_TEXT} printable characters each and {MAX_CERTIFICATE} bytes together"
        ) from None
    return packed


def parse_certificate_untrusted(data: bytes, static: bytes) -> Certificate:
    """Reads a certificate and checks its signature over the peer's Noise static key; raises `RemoteProtocolError`,
    more precisely `NotSigned` where that is why."""
    if len(data) > MAX_CERTIFICATE:
        raise RemoteProtocolError("certificate is too long")
    try:
        body, signature, *_ = msgpack.unpackb(data, use_list=False)
        public, epoch, name, addresses, network, *_ = msgpack.unpackb(body, use_list=False)
    except Exception as error:
        raise RemoteProtocolError(f"certificate cannot be read: {type(error).__name__}") from None
    if type(body) is not bytes or type(signature) is not bytes or type(public) is not bytes or type(epoch) is not int:
        raise RemoteProtocolError("certificate has a field of the wrong type")
    if type(addresses) is not tuple or not all(type(text) is str for text in (name, network, *addresses)):
        raise RemoteProtocolError("certificate has a field of the wrong type")
    texts = (name, network, *addresses)
    if len(addresses) > MAX_ADDRESSES or max(map(len, texts)) > MAX_TEXT:
        raise RemoteProtocolError("certificate has a field that is too long")
    if not all(map(str.isprintable, texts)):  # they are shown in logs and tables
        raise RemoteProtocolError("certificate has a field that cannot be printed")
    if not 0 <= epoch < 1 << 63:
        raise RemoteProtocolError("certificate has an epoch out of range")
    if not verify(public, signature, _CONTEXT + static + body):
        raise NotSigned
    return Certificate(public=public, epoch=epoch, name=name, addresses=addresses, network=network)
