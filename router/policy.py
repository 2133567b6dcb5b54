"""What a node tells others, believes of them, and carries for them."""

import enum
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from sdk.errors import BadRequest

from .linkstate import MAX_RADIUS
from .services import is_tellable


class Strategy(enum.StrEnum):
    """How far a node takes part."""

    ALL = "all"
    """It tells its services to the network and carries the calls of others."""
    BEST = "best"
    """The same as `all` at present; micro's word for telling the best routes only."""
    LOCAL = "local"
    """It tells its services to its direct neighbours, who do not carry them on, and carries no calls."""
    NONE = "none"
    """It tells nothing and carries nothing; it only calls."""


_RADIUS: Final = {Strategy.LOCAL: 1, Strategy.NONE: 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules of one node. Raises `BadRequest` for a pattern that cannot be used.

    Patterns are those of the shell (`*`, `?`, `[ab]`) over names of services; a leading `!` excludes, and of several
    that fit the last one decides. Patterns that begin with one that excludes start from everything, others from
    nothing; no pattern at all means everything.
    """

    strategy: Strategy = Strategy.ALL
    """How far it takes part."""
    exports: tuple[str, ...] = ()
    """Patterns of the services that others are told of."""
    imports: tuple[str, ...] = ()
    """Patterns of the services of others that can be called here."""

    def __post_init__(self) -> None:
        for pattern in (*self.exports, *self.imports):
            if not pattern.removeprefix("!") or not is_tellable(pattern):
                raise BadRequest(f"{pattern[:40]!r} is no pattern of service names: it is empty, long or unprintable")

    @property
    def transit(self) -> bool:
        """Whether it carries calls of others."""
        return self.strategy in (Strategy.ALL, Strategy.BEST)

    @property
    def radius(self) -> int:
        """How many links far its services are told."""
        return _RADIUS.get(self.strategy, MAX_RADIUS)

    def exported(self, service: str) -> bool:
        """Whether others are told of this service."""
        return self.strategy is not Strategy.NONE and _fits(service, self.exports)

    def imported(self, service: str) -> bool:
        """Whether this service can be called here when others offer it."""
        return _fits(service, self.imports)


def _fits(service: str, patterns: tuple[str, ...]) -> bool:
    fits = not patterns or patterns[0].startswith("!")
    for pattern in patterns:
        excludes = pattern.startswith("!")
        if fits is excludes and fnmatchcase(service, pattern.removeprefix("!")):
            fits = not excludes
    return fits
