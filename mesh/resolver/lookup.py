"""Asks one source for nodes, again and again. A failure changes nothing that is known: a node does not leave its
network because a name server did.
"""

import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Final, NamedTuple, Never, Protocol

import trio

from sdk.errors import MicroError, RemoteProtocolError, Unavailable

PERIOD: Final = 60.0
"""Seconds from one answer to the next question, a tenth more or less: nodes that start together shall not ask
together."""
FIRST_WAIT: Final = 1.0
"""Seconds before a source that failed is asked again, doubled each time up to `PERIOD`."""
LONGEST: Final = 10.0
"""Seconds that an answer may take."""
MAX_NODES: Final = 1000
"""Nodes that one source may name. Each is dialled, so a wrong answer must not make a flood."""

_log = logging.getLogger(__name__)


class Found(NamedTuple):
    """What a source answered."""

    nodes: tuple[str, ...]
    """Addresses, in the order they are to be dialled."""
    error: str = ""
    """Why a part of it may be out of date; empty where nothing failed."""


class Source(Protocol):
    """Something that knows nodes."""

    name: str
    """What people know it by. There is no secret in it."""

    async def find(self) -> Found:
        """Asks once; raises `Unavailable` where there is no answer, `RemoteProtocolError` where it is none."""


class LookupState(enum.Enum):
    """How it stands with a source."""

    LOOKING = "looking"
    """It has not answered yet."""
    CURRENT = "current"
    """It answered the last time."""
    FAILING = "failing"
    """It did not; what it said before, if anything, holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupStatus:
    """A source, as people see it in `status`."""

    name: str
    """Its name."""
    state: LookupState = LookupState.LOOKING
    """How it stands."""
    nodes: int = 0
    """How many nodes are known of it."""
    error: str = ""
    """Why it fails."""


class Lookup:
    """One source and what it says."""

    def __init__(self, source: Source, *, found: Callable[[str, tuple[str, ...]], None], random: Random) -> None:
        """`found` is called with the source's name and all its nodes after each answer; `random` spreads questions."""
        self.status = LookupStatus(name=source.name)
        self._source = source
        self._found = found
        self._random = random

    async def run(self) -> Never:
        """Asks until cancelled."""
        failures = 0
        while True:
            error = await self._ask()
            failures = failures + 1 if error else 0
            self._tell(error)
            await trio.sleep(self._pause(failures))

    async def _ask(self) -> str:
        """Asks once; returns what failed, or nothing."""
        try:
            with trio.fail_after(LONGEST):
                nodes, error = await self._source.find()
            if len(nodes) > MAX_NODES:
                raise RemoteProtocolError(f"it names {len(nodes)} nodes, and {MAX_NODES} is the most")
        except trio.TooSlowError:
            return f"there was no answer within {LONGEST:.0f} s"
        except MicroError as failure:
            return str(failure)
        except Exception as failure:
            # A library met what it did not expect. The other sources, and the node, go on.
            _log.exception("asking %s for nodes failed by an error of this node", self._source.name)
            return f"an error of this node: {type(failure).__name__}"
        self.status = replace(self.status, nodes=len(nodes))
        self._found(self._source.name, nodes)
        return error

    def _tell(self, error: str) -> None:
        before, state = self.status, LookupState.FAILING if error else LookupState.CURRENT
        self.status = replace(before, state=state, error=error)
        # By the state and not by the text: there may be seconds in it, which differ each time.
        if error and before.state is not LookupState.FAILING:
            _log.warning(
                "%s does not say where nodes are (%s): going on with the %d nodes known of it",
                before.name, error, self.status.nodes,
            )  # fmt: skip
        elif before.state is LookupState.FAILING and not error:
            _log.info("%s says again where nodes are: %d", before.name, self.status.nodes)

    def _pause(self, failures: int) -> float:
        if not failures:
            return PERIOD * self._random.uniform(0.9, 1.1)
        longest = min(PERIOD, FIRST_WAIT * 2.0 ** min(failures - 1, 10))
        return longest * self._random.uniform(0.5, 1.0)


def no_answer(error: Exception) -> Unavailable:
    """A failure of a library as one that `Source.find` raises; where it has no words, with those of its cause."""
    cause: BaseException | None = error
    while cause is not None and not str(cause):
        # httpcore raises some of its errors again `from None`, which leaves only the context.
        cause = cause.__cause__ or cause.__context__
    return Unavailable(str(cause) if cause is not None else type(error).__name__)
