"""The newest statement of each origin, of one kind, and the reasons for which a statement is not taken.

What the store holds depends on the statements it was offered only, never on their order or number (as long as no bound
is reached).
"""

import enum
from collections.abc import Callable, Iterator
from typing import Final, Generic, NamedTuple, TypeVar

from .linkstate import MAX_EDGES, LinkState
from .services import MAX_SERVICES, ServiceRoot
from .statement import Signed, Statement, Version, to_sign

MAX_ORIGINS: Final = 1000
"""Most origins known. Who has the token can make any number of identities."""

S = TypeVar("S", bound=Statement)

Verify = Callable[[bytes, bytes, bytes], bool]
"""(public key, signature, data) -> whether the signature holds."""


class Refusal(enum.StrEnum):
    """Why a statement was not taken; the name it is counted under."""

    DUPLICATE = "duplicate"
    """The one that is known already: what flooding brings over a second link."""
    OLD = "old"
    """Older than what is known: late, or replayed."""
    OTHER_NETWORK = "other_network"
    """Made for a network of another name."""
    BAD_SIGNATURE = "bad_signature"
    """Not signed by its origin, or changed since."""
    BAD_ROOT = "bad_root"
    """The entries that came with it are not those it speaks of."""
    GAP = "gap"
    """A change to a state that is not known here: what lies between is asked for."""
    TOO_MANY_ORIGINS = "too_many_origins"
    TOO_MANY_EDGES = "too_many_edges"
    TOO_MANY_SERVICES = "too_many_services"


class Kept(NamedTuple, Generic[S]):
    """A statement that was taken."""

    statement: S
    signed: Signed
    """The same as it came, to be passed on."""


class Store(Generic[S]):
    """The newest statement of each origin."""

    def __init__(self, *, network: str, verify: Verify) -> None:
        self._network = network
        self._verify = verify
        self._kept: dict[bytes, Kept[S]] = {}

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, origin: bytes) -> Kept[S] | None:
        """What is known of this origin."""
        return self._kept.get(origin)

    def statements(self) -> list[S]:
        """All that is known."""
        return [kept.statement for kept in self._kept.values()]

    def lacks(self, origin: bytes, version: Version) -> bool:
        """Whether a statement of this version would be news and there is room for it."""
        kept = self._kept.get(origin)
        if kept is None:
            return len(self._kept) < MAX_ORIGINS
        return version > kept.statement.version

    def refusal(self, statement: S, signed: Signed) -> Refusal | None:
        """Why this statement is not taken; None when it may be. What costs little is checked first."""
        kept = self._kept.get(statement.origin)
        if kept is not None and statement.version <= kept.statement.version:
            return Refusal.DUPLICATE if statement.version == kept.statement.version else Refusal.OLD
        if statement.network != self._network:
            return Refusal.OTHER_NETWORK
        if kept is None and len(self._kept) >= MAX_ORIGINS:
            return Refusal.TOO_MANY_ORIGINS
        if isinstance(statement, LinkState) and len(statement.links) > MAX_EDGES:
            return Refusal.TOO_MANY_EDGES
        if isinstance(statement, ServiceRoot) and statement.count > MAX_SERVICES:
            return Refusal.TOO_MANY_SERVICES
        if not self._verify(statement.public, signed.signature, to_sign(signed.statement)):
            return Refusal.BAD_SIGNATURE
        return None

    def keep(self, statement: S, signed: Signed) -> None:
        """Take a statement, in the place of an older one."""
        self._kept[statement.origin] = Kept(statement, signed)

    def forget(self, origin: bytes) -> None:
        """Drop what is known of this origin, if anything."""
        self._kept.pop(origin, None)
