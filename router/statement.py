"""What an origin says about itself and signs: the unit that is stored, compared and flooded.

The signature is over the very bytes that travel, which are passed on as they came. So nothing has to be encoded the
same way twice, and fields that a newer node adds reach the newer nodes beyond an older one.
"""

import enum
from dataclasses import dataclass
from typing import Final, NamedTuple

PUBLIC_SIZE: Final = 32
"""Bytes of a public key (Ed25519)."""
MARK_SIZE: Final = 8
"""Bytes of a mark."""

_CONTEXT: Final = b"micro/1 gossip\0"


class Kind(enum.IntEnum):
    """What a statement is about."""

    LINK_STATE = 1
    SERVICES = 2


class Version(NamedTuple):
    """Which of two statements of one origin is newer: the greater. Clocks of different nodes are never compared."""

    epoch: int
    """Rises with each start of the origin."""
    seq: int
    """Rises with each statement of that kind."""
    mark: bytes
    """Hash of the statement. If one key says two things under one number, all nodes keep the same one by it."""


class Signed(NamedTuple):
    """A statement as it travels."""

    statement: bytes
    """Packed; what was signed."""
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What every statement says."""

    network: str
    """Name of the network it was made for."""
    origin: bytes
    """Node id of who says it: the hash of the public key, and not sent beside it."""
    public: bytes
    """The origin's public key."""
    epoch: int
    """See `Version`."""
    seq: int
    """See `Version`."""
    mark: bytes = b""
    """See `Version`; empty while the statement is being made."""

    @property
    def version(self) -> Version:
        """By which it is compared with others of the same origin and kind."""
        return Version(self.epoch, self.seq, self.mark)


def to_sign(statement: bytes) -> bytes:
    """The bytes that the signature is over: what a node key signs elsewhere can not be passed off as one of these."""
    return _CONTEXT + statement
