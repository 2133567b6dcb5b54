"""The links of a node: one for each peer, and which of two stays."""

import logging
from typing import Final, Protocol

import trio

from .duplicates import Verdict, judge
from .identity import Certificate, NodeId
from .link import Link

logger = logging.getLogger(__name__)

DRAIN: Final = 5.0
"""Seconds that streams on a link that was replaced have to end."""
FAREWELL: Final = 0.2
"""Seconds for the last frames of such a link where no stream is alive."""
PROBE: Final = 1.0
"""Seconds, beside four round trips, for an old link to prove that it lives while the peer opens another."""


class LinkEvents(Protocol):
    """Whoever wants to know of links. Nothing here blocks."""

    def link_up(self, link: Link) -> None:
        """Both ends know each other; frames may be sent. It may take the place of a link to the same peer, whose
        `link_down` follows: between the two there is no moment without a link."""

    def link_down(self, link: Link, reason: str) -> None:
        """The link is gone; called once for each that was up, before the sink hears that its port is dead."""

    def control(self, link: Link, message: bytes) -> None:
        """A control message came. What it raises as `RemoteProtocolError` ends the link with that reason."""


class Links:
    """Which links are up. Every change goes through here, and each is told once."""

    def __init__(self, me: NodeId, events: LinkEvents) -> None:
        self.up: dict[NodeId, Link] = {}
        """By peer."""
        self._me = me
        self._events = events
        self._fewer = trio.Event()
        self._scopes: dict[Link, trio.CancelScope] = {}

    async def prevails(self, peer: Certificate, *, dialled: bool) -> bool:
        """Whether a new link to a peer, proven but not up yet, is to be kept. If not, the old one lives."""
        while (old := self.up.get(peer.id)) is not None:
            verdict = judge(
                me=self._me,
                peer=peer.id,
                old_epoch=old.epoch,
                new_epoch=peer.epoch,
                old_dialled=old.dialled,
                new_dialled=dialled,
            )
            if verdict is Verdict.REPLACE:
                break
            if verdict is Verdict.REFUSE or await _answers(old):
                return False
            _end(old, "it did not answer while the peer opened another link")
        return True

    def add(self, link: Link, scope: trio.CancelScope) -> None:
        """A link is up; `scope` is around all that runs it. An older one to the peer goes when its streams have."""
        old = self.up.get(link.peer)
        if old is not None and old.epoch != link.epoch:
            _end(old, f"{link.name} has restarted")
            old = None
        self.up[link.peer] = link
        self._scopes[link] = scope
        logger.info("link with %s at %s is up", link.name, link.address)
        self._events.link_up(link)
        if old is not None:
            reason = f"replaced by another link with {link.name}"
            logger.info("link with %s at %s is down: %s", old.name, old.address, reason)
            self._events.link_down(old, reason)
            old.port.go_away()
            self._scopes[old].deadline = trio.current_time() + (DRAIN if old.port.streams else FAREWELL)

    def remove(self, link: Link, reason: str) -> None:
        """A link is of no more use; told again it does nothing."""
        if self.up.get(link.peer) is link:
            del self.up[link.peer]
            logger.info("link with %s at %s is down: %s", link.name, link.address, reason)
            self._events.link_down(link, reason)
            self._fewer.set()
            self._fewer = trio.Event()

    def over(self, link: Link) -> None:
        """Nothing runs a link any more."""
        self._scopes.pop(link, None)

    async def gone(self, peer: NodeId) -> None:
        """Waits until there is no link with a peer; returns at once when there is none."""
        while peer in self.up:
            await self._fewer.wait()


async def _answers(link: Link) -> bool:
    answered = trio.Event()
    link.port.probe(trio.current_time(), answered.set)
    with trio.move_on_after(PROBE + 4 * (link.round_trip.srtt or 0.0)):
        await answered.wait()
    return answered.is_set() and not link.port.dead


def _end(link: Link, reason: str) -> None:
    """Ends a link here and now."""
    link.port.connection_lost(reason)
    link.port.close(reason)
