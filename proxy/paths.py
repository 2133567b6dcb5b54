"""Which of an origin's paths can be passed now: not over links that are down, nor, while there are others, over links
that have just failed elsewhere or that take no calls."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from sdk.port import Port
from sdk.selector import Load
from sdk.wire.frame import ID_SIZE

from .legs import Failed, Target

AVOID = 1.0
"""Seconds a link that failed is avoided. Word of it is everywhere in a third of that; and a link that is back, or never
was down, is not missed for long."""

MAX_AVOIDED = 256
"""Links that are avoided at a time: as many as a hundred nodes have between them."""


class Origin(Protocol):
    """A node that offers a service, and the ways to it."""

    @property
    def origin(self) -> bytes:
        """Its id."""

    @property
    def path(self) -> tuple[bytes, ...]:
        """Ids of the nodes to pass, the next one first, the origin last."""

    @property
    def path_bytes(self) -> bytes:
        """The same, joined."""

    @property
    def protocols(self) -> tuple[str, ...]:
        """What its instances speak."""

    @property
    def cost(self) -> int:
        """What the path costs."""

    @property
    def spare_bytes(self) -> bytes:
        """Another path, joined; empty where there is none."""

    @property
    def weight(self) -> int:
        """Share of calls it is good for: its instances."""


class Paths:
    """The links of this node, and those elsewhere that are avoided."""

    def __init__(self, links: Mapping[bytes, Port]) -> None:
        """`links` are the ports of links by the node they lead to."""
        self.avoided: dict[bytes, float] = {}
        """Links elsewhere, as two node ids, and until when they are avoided; those that end first come first."""
        self._links = links

    def failed_edge(self, edge: bytes, now: float) -> None:
        """Avoids a link for a while: the ids of its two nodes, in the order a path names them.

        In this direction only: a node without transit refuses calls that go on from it, not those that end there. And
        only where there is another way, so that a node that says so wrongly delays nothing and cuts nobody off.
        """
        self.avoided.pop(edge, None)
        if len(self.avoided) >= MAX_AVOIDED:
            del self.avoided[next(iter(self.avoided))]
        self.avoided[edge] = now + AVOID

    def target(
        self,
        chosen: Origin,
        load: Load,
        hops: int,
        now: float,
        others: Sequence[Origin],
        choose: Callable[[Sequence[Origin]], tuple[Origin, Load]],
        failed: Failed = (),
    ) -> Target | None:
        """The best path of the origin that was chosen, or else of another, of those that `choose` is to take one of;
        over so many links at most, and not by the ports that failed while there are others. None where no path is
        left."""
        while self.avoided and next(iter(self.avoided.values())) <= now:
            del self.avoided[next(iter(self.avoided))]
        for avoided, full in ((self.avoided, failed), ((), failed), ((), ())):
            way = self._way(chosen, avoided, full, hops)
            if way is None:
                usable = [each for each in others if self._way(each, avoided, full, hops)]
                if not usable:
                    continue
                chosen, load = choose(usable)
                way = self._way(chosen, avoided, full, hops)
            if way is not None:
                return Target(self._links[way[:ID_SIZE]], way, load)
        return None

    def _way(self, origin: Origin, avoided: Collection[bytes], full: Failed, hops: int) -> bytes | None:
        """The first of an origin's paths that can be passed, with at most so many links, and not by these ports."""
        for path in (origin.path_bytes, origin.spare_bytes):
            # The table learns of a link's end a moment later than the switch.
            if path and len(path) <= hops * ID_SIZE and (port := self._links.get(path[:ID_SIZE])) is not None:
                pairs = (path[at : at + 2 * ID_SIZE] for at in range(0, len(path) - ID_SIZE, ID_SIZE))
                if port not in full and not any(pair in avoided for pair in pairs):
                    return path
        return None
