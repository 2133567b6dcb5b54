"""Joins gossip to the links: what a neighbour says goes in, what there is to tell goes out in the same turn.

Gossip is a machine that knows ids and times; links know bytes. Each call into gossip, from here or by its timer, ends
with handing its messages to the links, so that nothing waits for a tick.
"""

from collections.abc import Iterable

import trio

from proxy.switch import Switch
from router.gossip import Gossip
from router.linkstate import LinkTerms
from router.metric import delay_cost
from router.services import ServiceEntry
from sdk.timers import Timers
from tunnel.link import Link


class Neighbours:
    """The links that are up, as gossip's way out and in: `LinkEvents`, and a machine with gossip's deadlines."""

    gossip: Gossip
    """Set once the node knows where it listens, which gossip tells, and before the first handshake can be done."""

    def __init__(self, switch: Switch, timers: Timers) -> None:
        self._switch = switch
        self._timers = timers
        self._links: dict[bytes, Link] = {}

    def attach(self, gossip: Gossip) -> None:
        """Gives the links their gossip, and gossip its place among the timers."""
        self.gossip = gossip
        self._timers.watch(self)

    def set_services(self, entries: Iterable[ServiceEntry]) -> None:
        """Tells the network what this node offers from now on."""
        self.gossip.set_services(entries, trio.current_time())
        self._tell()

    # What the tunnel calls.

    def link_up(self, link: Link) -> None:
        """A link is up; of two links to one peer the tunnel keeps one, and the later call counts."""
        self._links[link.peer] = link
        self._switch.link_up(link.peer, link.port)
        terms = LinkTerms(delay=delay_cost(link.round_trip.srtt or 0.0))
        self.gossip.link_up(link.peer, terms, trio.current_time())
        self._tell()

    def link_down(self, link: Link, reason: str) -> None:
        """A link is gone; it takes the edge with it unless another link to the same peer has taken its place."""
        if self._links.get(link.peer) is not link:
            return
        del self._links[link.peer]
        self._switch.link_down(link.peer, link.port)
        self.gossip.link_down(link.peer, trio.current_time())
        self._tell()

    def control(self, link: Link, message: bytes) -> None:
        """A neighbour says something. Raises `RemoteProtocolError` when it makes no sense, which ends the link."""
        try:
            self.gossip.receive(link.peer, message, trio.current_time())
        finally:
            self._tell()

    # The machine's verbs, for the timers.

    def next_timeout(self) -> float:
        """When gossip wants to be called."""
        return self.gossip.next_timeout()

    def handle_timeout(self, now: float) -> None:
        """Does what is due, and tells what comes of it."""
        self.gossip.handle_timeout(now)
        self._tell()

    def _tell(self) -> None:
        for peer, message in self.gossip.messages_to_send(trio.current_time()):
            if link := self._links.get(peer):
                link.send_control(message)
        self._timers.poke(self)
