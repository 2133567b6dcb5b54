"""What this node says of itself: its links and its services, when to say it, and in which words.

The first change is told at once and later ones together; what is lost never waits (see pace.py).
"""

import collections
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from .linkstate import MAX_EDGES, LinkState, LinkTerms
from .pace import Pace
from .servicemap import Offers, Point, ServiceMap
from .services import MAX_BODY, MAX_SERVICES, ServiceEntry, ServiceRoot, by_name
from .statement import Signed, to_sign
from .wire import pack_entry, pack_link_state, pack_service_root


class OwnWord:
    """The statements of one node about itself."""

    def __init__(self, state: LinkState, sign: Callable[[bytes], bytes], counters: "collections.Counter[str]") -> None:
        """`state` is the node without links, `counters` where what cannot be told is counted."""
        self._state = state
        self._sign = sign
        self._counters = counters
        self._seq = 0
        self._given: dict[tuple[str, str], ServiceEntry] = {}
        self._offered: dict[tuple[str, str], ServiceEntry] = {}
        """The same, those that were told already as they travel."""
        self._told: dict[str, tuple[ServiceEntry, ...]] = {}
        self._link_pace = Pace()
        self._service_pace = Pace()

    # When.

    @property
    def due(self) -> float:
        """When there is something to say; `inf` for never."""
        return min(self._link_pace.due, self._service_pace.due)

    def links_changed(self, now: float, *, urgent: bool = False) -> None:
        """Links are others, or cost something else. The end of one is urgent."""
        self._link_pace.changed(now, urgent=urgent)

    def end_transit(self, now: float) -> None:
        """Says from now on that calls of others are not passed on, and says it at once."""
        if self._state.transit:
            self._state = replace(self._state, transit=False)
            self._link_pace.changed(now, urgent=True)

    def offer(self, entries: Iterable[ServiceEntry], now: float) -> None:
        """This is all that is offered from now on. Where something is gone by that, it is urgent."""
        wanted = {entry.key: entry for entry in entries}
        if wanted != self._given:
            self._service_pace.changed(now, urgent=any(key not in wanted for key in self._given))
            self._offered = {
                key: self._offered[key] if self._given.get(key) is entry else entry for key, entry in wanted.items()
            }
            self._given = wanted

    def links_due(self, now: float) -> bool:
        """Whether to tell the links now. Whoever asks tells them."""
        return _is_due(self._link_pace, now)

    def services_due(self, now: float) -> bool:
        """Whether to tell the services now. Whoever asks tells them."""
        return _is_due(self._service_pace, now)

    # What.

    def links(self, links: Mapping[bytes, LinkTerms]) -> Signed:
        """The next word about these links; of more than others would take, the cheapest."""
        if len(links) > MAX_EDGES:
            self._counters["links_not_told"] += len(links) - MAX_EDGES
        told = sorted(sorted(links, key=lambda neighbour: (links[neighbour].cost, neighbour))[:MAX_EDGES])
        self._state = replace(
            self._state, seq=self._state.seq + 1, links=tuple((neighbour, links[neighbour]) for neighbour in told)
        )
        return self._signed(pack_link_state(self._state))

    def change(self) -> tuple[Offers, Point]:
        """What is to be changed in the map that was told last, and which state that makes it."""
        wanted = by_name(self._tellable())
        names = [name for name in (*self._told, *wanted) if self._told.get(name) != wanted.get(name)]
        self._told = wanted
        self._seq += 1
        return {name: wanted.get(name, ()) for name in names}, (self._state.epoch, self._seq)

    def services(self, services: ServiceMap) -> Signed:
        """The word about the map that came of the change."""
        root = ServiceRoot(
            network=self._state.network,
            origin=self._state.origin,
            public=self._state.public,
            epoch=self._state.epoch,
            seq=self._seq,
            count=services.count,
            root=services.root,
        )
        return self._signed(pack_service_root(root))

    def jump(self, epoch: int) -> None:
        """Goes on in another epoch, which is later."""
        self._state = replace(self._state, epoch=max(self._state.epoch, epoch))

    def _tellable(self) -> list[ServiceEntry]:
        told: list[ServiceEntry] = []
        room = MAX_BODY
        for key in sorted(self._offered):
            entry = self._offered[key]
            if not entry.packed:
                entry = self._offered[key] = replace(entry, packed=pack_entry(entry))
            room -= len(entry.packed)
            if room < 0 or len(told) == MAX_SERVICES:
                self._counters["services_not_told"] += len(self._offered) - len(told)
                break
            told.append(entry)
        return told

    def _signed(self, packed: bytes) -> Signed:
        return Signed(packed, self._sign(to_sign(packed)))


def _is_due(pace: Pace, now: float) -> bool:
    due = pace.due <= now
    if due:
        pace.told(now)
    return due
