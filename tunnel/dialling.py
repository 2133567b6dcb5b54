"""Dials addresses, for ever: one task each, with a pause between tries that grows and is never the same twice."""

import enum
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple, Never

import trio

from .identity import NodeId

logger = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 30.0
"""Seconds between two tries."""
GROWTH: Final = 1.5
"""From one pause to the next. Doubling would soon sleep through the return of a node that was away for ten seconds."""
STEADY: Final = 5.0
"""Seconds a link has to last before the next pause is the first one again."""
CALLS_BACK: Final = 3
"""Times that a node is dialled whose own link here has broken."""
ADDRESSES_BACK: Final = 2
"""Addresses of it that are tried: the first ones, in the order it tells them."""
LOOK_AGAIN: Final = 60.0
"""Seconds after which an address that led to this node itself is tried again: it may belong to another by then."""


class SeedState(enum.Enum):
    """What is going on with an address that is to be linked with."""

    DIALLING = "dialling"
    LINKED = "linked"
    """There is a link with the node at this address, whoever dialled it."""
    WAITING = "waiting"
    """The last try failed; the next one comes."""
    ITSELF = "itself"
    """The address leads to this node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedStatus:
    """One address, as people see it in `status`."""

    address: str
    """As it was given."""
    state: SeedState
    """What is going on."""
    last_error: str
    """Why the last try failed, or why the last link ended; empty while there was neither."""
    attempts: int
    """Tries so far."""


class Outcome(NamedTuple):
    """How one try ended: at once, or after the link it brought."""

    error: str
    """Why there is no link, or none any more."""
    peer: NodeId | None = None
    """Who was found at the address, if that was proven."""
    lasted: float = 0.0
    """Seconds the link was up."""
    itself: bool = False
    """It was this node itself that was found."""


class Seed:
    """An address, and the task that keeps a link with it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.state = SeedState.DIALLING
        self.error = ""
        self.attempts = 0
        self.forgotten = False
        """It is not dialled again once its link is over."""
        self.scope = trio.CancelScope()


class Dialler:
    """Keeps a link with each address it was given."""

    def __init__(
        self,
        attempt: Callable[[Seed], Awaitable[Outcome]],
        peer_gone: Callable[[NodeId], Awaitable[None]],
        random: Random,
    ) -> None:
        """`attempt` dials once and returns when that has failed or the link is over. `peer_gone` waits until there is
        no link with a peer, which is at once when there is none."""
        self._attempt = attempt
        self._peer_gone = peer_gone
        self._random = random
        self._seeds: dict[str, Seed] = {}
        self._calling_back: dict[NodeId, None] = {}
        self._nursery: trio.Nursery | None = None

    def add(self, address: str) -> None:
        """Begins to dial an address, now or when `run` does; one that is dialled already goes on as it is."""
        if address not in self._seeds:
            seed = self._seeds[address] = Seed(address)
            if self._nursery is not None:
                self._nursery.start_soon(self._keep_linked, seed)

    def remove(self, address: str) -> None:
        """Stops dialling an address and ends the link that came of it; one that is not known is nothing."""
        seed = self._seeds.pop(address, None)
        if seed is not None:
            seed.scope.cancel()

    def forget(self, address: str) -> None:
        """Stops dialling an address; a link that came of it lasts as long as it lasts."""
        seed = self._seeds.pop(address, None)
        if seed is not None:
            seed.forgotten = True
            if seed.state is not SeedState.LINKED:
                seed.scope.cancel()

    def call_back(self, peer: NodeId, addresses: Sequence[str], linked: Callable[[], bool]) -> None:
        """Dials a few times a node that had dialled this one, until `linked` says that there is a link again.

        After a long outage it may be half a minute from its own next try: whoever wakes up first need not wait for
        that. Nothing comes of it where the node cannot be dialled, behind NAT for instance.
        """
        addresses = [address for address in addresses[:ADDRESSES_BACK] if address not in self._seeds]
        if addresses and self._nursery is not None and peer not in self._calling_back:
            self._calling_back[peer] = None
            self._nursery.start_soon(self._call_back, peer, addresses, linked)

    def seeds(self) -> list[SeedStatus]:
        """All addresses, in the order they were added."""
        return [
            SeedStatus(address=seed.address, state=seed.state, last_error=seed.error, attempts=seed.attempts)
            for seed in self._seeds.values()
        ]

    async def run(self) -> Never:
        """Dials until cancelled."""
        async with trio.open_nursery() as nursery:
            for seed in self._seeds.values():
                nursery.start_soon(self._keep_linked, seed)
            self._nursery = nursery
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None  # a link that ends meanwhile calls nobody back
        raise AssertionError("sleep_forever returned")

    async def _keep_linked(self, seed: Seed) -> None:
        failures = 0
        with seed.scope:
            while not seed.forgotten:
                seed.state = SeedState.DIALLING
                seed.attempts += 1
                outcome = await self._attempt(seed)
                if outcome.error != seed.error:
                    seed.error = outcome.error
                    if outcome.error and not outcome.lasted:
                        logger.warning("no link with %s: %s; it is tried for ever", seed.address, outcome.error)
                if outcome.itself:
                    seed.state = SeedState.ITSELF
                    await trio.sleep(LOOK_AGAIN * self._random.uniform(0.8, 1.2))
                    continue
                if outcome.peer is not None:
                    seed.state = SeedState.LINKED
                    await self._peer_gone(outcome.peer)
                seed.state = SeedState.WAITING
                if outcome.lasted >= STEADY:
                    failures = 0
                await trio.sleep(self._pause(failures))
                failures += 1

    async def _call_back(self, peer: NodeId, addresses: Sequence[str], linked: Callable[[], bool]) -> None:
        try:
            for failures in range(CALLS_BACK):
                await trio.sleep(self._pause(failures))
                for address in addresses:
                    if linked():
                        return
                    await self._attempt(Seed(address))
        finally:
            del self._calling_back[peer]

    def _pause(self, failures: int) -> float:
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * GROWTH ** min(failures, 20))
        return longest * self._random.uniform(0.5, 1.0)
