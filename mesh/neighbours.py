"""Joins gossip to the links: what a neighbour says goes in, what there is to tell goes out in the same turn.

Gossip is a machine that knows ids and times; links know bytes. Each call into gossip, from here or by its timer, ends
with handing its messages to the links, so that nothing waits for a tick. What a link costs is worked out here as well,
from what its ends measure and what its price is, and told when it has changed for good.
"""

import logging
import math
from collections.abc import Iterable, Mapping

import trio

from proxy.switch import Switch
from router.gossip import Gossip
from router.metric import PERIOD, LinkMetric
from router.services import ServiceEntry
from router.twins import Twin
from sdk.timers import Timers
from tunnel.identity import format_id
from tunnel.link import Link

from .config import EVERY_LINK
from .steps import Steps

_log = logging.getLogger(__name__)


class Neighbours:
    """The links that are up, as gossip's way out and in: `LinkEvents`, and a machine with gossip's deadlines."""

    gossip: Gossip
    """Set once the node knows where it listens, which gossip tells, and before the first handshake can be done."""

    def __init__(self, switch: Switch, timers: Timers, prices: Iterable[tuple[str, int]] = ()) -> None:
        """`prices` are what links cost beside their delay and loss, as in `NodeConfig.link_prices`."""
        self._switch = switch
        self._timers = timers
        self._prices = dict(prices)
        self._links: dict[bytes, Link] = {}
        self._metrics: dict[bytes, LinkMetric] = {}
        self._measure_at = math.inf
        self._named: int | None = None

    def attach(self, gossip: Gossip, steps: Steps) -> None:
        """Gives the links their gossip, and gossip its place among the timers. `steps` are those of the routing table,
        which has something to do whenever gossip has news."""
        self.gossip = gossip
        self._steps = steps
        self._timers.watch(self)

    def set_services(self, entries: Iterable[ServiceEntry]) -> None:
        """Tells the network what this node offers from now on."""
        self.gossip.set_services(entries, trio.current_time())
        self._tell()

    def end_transit(self) -> None:
        """Tells the network to send no more calls by this node to others."""
        self.gossip.end_transit(trio.current_time())
        self._tell()

    # What the tunnel calls.

    def link_up(self, link: Link) -> None:
        """A link is up; of two links to one peer the tunnel keeps one, and the later call counts."""
        now = trio.current_time()
        metric = LinkMetric(delay=link.round_trip.srtt or 0.0, price=price_of(link, self._prices))
        self._links[link.peer], self._metrics[link.peer] = link, metric
        self._measure_at = min(self._measure_at, now + PERIOD)
        self._switch.link_up(link.peer, link.port)
        self.gossip.link_up(link.peer, metric.terms, now)
        self._tell()

    def link_down(self, link: Link, reason: str) -> None:
        """A link is gone; it takes the edge with it unless another link to the same peer has taken its place."""
        if self._links.get(link.peer) is not link:
            return
        del self._links[link.peer], self._metrics[link.peer]
        self._switch.link_down(link.peer, link.port)
        self.gossip.link_down(link.peer, trio.current_time())
        self._steps.hurry()  # calls that were on this link are tried again in this very turn
        self._tell()

    def control(self, link: Link, message: bytes) -> None:
        """A neighbour says something. Raises `RemoteProtocolError` when it makes no sense, which ends the link."""
        try:
            self.gossip.receive(link.peer, message, trio.current_time())
        finally:
            self._tell()

    # The machine's verbs, for the timers.

    def next_timeout(self) -> float:
        """When gossip wants to be called, or the links to be measured."""
        return min(self.gossip.next_timeout(), self._measure_at)

    def handle_timeout(self, now: float) -> None:
        """Does what is due, and tells what comes of it."""
        if now >= self._measure_at:
            self._measure(now)
        self.gossip.handle_timeout(now)
        self._tell()

    def _measure(self, now: float) -> None:
        for peer, link in self._links.items():
            metric = self._metrics[peer]
            if metric.observe(link.round_trip.srtt or 0.0, link.loss):
                self.gossip.set_terms(peer, metric.terms, now)
        self._measure_at = now + PERIOD if self._links else math.inf

    def _tell(self) -> None:
        for peer, message in self.gossip.messages_to_send(trio.current_time()):
            if link := self._links.get(peer):
                link.send_control(message)
        self._timers.poke(self)
        self._steps.poke()
        if self.gossip.twin is not None:
            self._name_twin(self.gossip.twin)

    def _name_twin(self, twin: Twin) -> None:
        """Says once that another node runs with this one's key, and which of the two gives way: the older."""
        if self._named == twin.born:
            return
        self._named = twin.born
        older = self.gossip.origins[self.gossip.me].born < twin.born
        _log.error(
            "another node runs with the key of this one: %s at %s; %s",
            twin.name or "without a name",
            ", ".join(twin.addresses) or "no address",
            "this node, which is older, gives way and serves its own environment only"
            if older
            else "that one is older and has to give way",
        )


def price_of(link: Link, prices: Mapping[str, int]) -> int:
    """What a link costs beside delay and loss: as said of the peer's id, else of its name, else of the address it was
    dialled at (with or without scheme), else of every link; 0 where nothing is said."""
    said_of = [format_id(link.peer), link.certificate.name]
    if link.dialled:
        said_of += (link.address, link.address.rpartition("://")[2])
    return next((prices[key] for key in (*said_of, EVERY_LINK) if key in prices), 0)
