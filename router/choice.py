"""Which path is used to each node, and which is ready should it fail.

A path is left only for one that is better by a tenth, both by what links cost now and by what they have cost lately, or
because it died: what swings would otherwise take all traffic along. (Babel's hysteresis, RFC 8966, A.3, with babeld's
smoothing.) It is computed when the topology changes, the first time at once and then less and less often while changes
go on (as OSPF implementations throttle SPF), the loss of a path in use never waiting. One call does one step of it, so
that an event loop that asks after each turn is never held up for long.
"""

import math
from collections.abc import Container, Generator, Mapping
from math import inf
from typing import Final, NamedTuple

from .linkstate import Edges
from .pace import Pace
from .paths import Path, Spares, shortest_paths

GAIN: Final = 1.1
"""How many times dearer than the best path one must be to be left."""
HALF_LIFE: Final = 4.0
"""Seconds after which half of a change of cost has arrived in the smoothed one; babeld's default."""
LOOK_AGAIN: Final = 1.0
"""Seconds until a better path is looked at again that is not better by the smoothed costs yet."""
STEP: Final = 128
"""Paths that are chosen in one step; about 2 ms."""

Edge = tuple[bytes, bytes]


class Way(NamedTuple):
    """How a node is reached."""

    path: Path
    """The path that is used."""
    spare: Path | None
    """The one that is ready, with no node in common but the last; None where there is none."""
    changed: float
    """When the path or its cost last changed."""


class Choice:
    """The ways to all nodes within three links. A machine."""

    def __init__(self, me: bytes) -> None:
        self._ways: dict[bytes, Way] = {}
        self._me = me
        self._edges: Edges = {}
        self._closed: Container[bytes] = ()
        self._costs = Costs()
        self._pace = Pace(longest=0.25)
        self._work: Generator[list[bytes], None, None] | None = None
        self._again_at = inf

    @property
    def ways(self) -> Mapping[bytes, Way]:
        """The ways, by the node they lead to. It is the same mapping always, and changes step by step."""
        return self._ways

    @property
    def settled(self) -> bool:
        """Whether nothing is left to compute for the newest topology."""
        return self._work is None and self._pace.due == inf

    def topology_changed(self, edges: Edges, closed: Container[bytes], now: float) -> None:
        """Links, their costs, or the nodes that pass nothing on (`closed`) are others now. Neither is changed later."""
        self._edges, self._closed = edges, closed
        dead = any(self._cost(way.path) is None for way in self._ways.values())
        # What was under way would bring back what has just died: it begins anew.
        self._pace.changed(now, urgent=dead or self._work is not None)
        self._work = None

    def next_timeout(self) -> float:
        """When the next step is due; `inf` for never."""
        return -inf if self._work is not None else min(self._pace.due, self._again_at)

    def handle_timeout(self, now: float) -> list[bytes]:
        """Does one step, if one is due. Answers with the nodes whose way is another now, or gone."""
        if now >= min(self._pace.due, self._again_at) and self._work is None:
            self._pace.told(now)
            self._again_at = inf
            self._work = self._compute(now)
        if self._work is None:
            return []
        changed = next(self._work, None)
        if changed is None:
            self._work = None
        return changed or []

    def _compute(self, now: float) -> Generator[list[bytes], None, None]:
        edges, closed = self._edges, self._closed
        self._costs.observe(edges, now)
        yield self._leave_the_dead(now)
        best = shortest_paths(self._me, edges, closed)
        spares = Spares(self._me, edges, closed)
        changed: list[bytes] = []
        for number, (node, path) in enumerate(best.items(), start=1):
            if self._choose(node, path, spares, now):
                changed.append(node)
            if number % STEP == 0:
                yield changed
                changed = []
        yield changed

    def _leave_the_dead(self, now: float) -> list[bytes]:
        """What died gives way to its spare, or goes; what lives costs what it costs now."""
        changed = []
        for node, way in list(self._ways.items()):
            path, spare = self._alive(way.path), way.spare and self._alive(way.spare)
            if path is None:
                path, spare = spare, None
            if path is None:
                del self._ways[node]
                changed.append(node)
            elif (path, spare) != way[:2]:
                self._ways[node] = Way(path, spare, way.changed if path == way.path else now)
                changed.append(node)
        return changed

    def _choose(self, node: bytes, best: Path, spares: Spares, now: float) -> bool:
        before = self._ways.get(node)
        path = best
        if before is not None and before.path.nodes != best.nodes:
            # It is alive, and costs what it cost in the first step: both look at the same topology.
            if not self._is_better(best, before.path, now):
                path = before.path
        spare = spares.beside(path)
        if before is not None and (path, spare) == before[:2]:
            return False
        changed = before.changed if before is not None and path == before.path else now
        self._ways[node] = Way(path, spare, changed)
        return True

    def _is_better(self, path: Path, than: Path, now: float) -> bool:
        if than.cost <= GAIN * path.cost:
            return False
        if self._costs.smoothed(self._me, than, now) > GAIN * self._costs.smoothed(self._me, path, now):
            return True
        self._again_at = now + LOOK_AGAIN
        return False

    def _alive(self, path: Path) -> Path | None:
        """The path with its present cost; None when it cannot be passed any more."""
        cost = self._cost(path)
        return None if cost is None else path if cost == path.cost else Path(path.nodes, cost)

    def _cost(self, path: Path) -> int | None:
        cost, at = 0, self._me
        for node in path.nodes:
            link = self._edges.get(at, {}).get(node)
            if link is None or (at != self._me and at in self._closed):
                return None
            cost += link
            at = node
        return cost


class Costs:
    """What links cost, and what they have cost lately."""

    def __init__(self) -> None:
        self._edges: Edges = {}
        self._lately: dict[Edge, tuple[float, float]] = {}

    def observe(self, edges: Edges, now: float) -> None:
        """Links cost so much from now on. One that is new has always cost that."""
        before, self._edges = self._edges, edges
        if before is edges:
            return
        lately: dict[Edge, tuple[float, float]] = {}
        for node, links in edges.items():
            old = before.get(node, {})
            for other, cost in links.items():
                edge = (node, other)
                was = old.get(other, cost)
                if was != cost:
                    lately[edge] = (self._smooth(edge, was, now), now)
                elif edge in self._lately and now - self._lately[edge][1] < 30 * HALF_LIFE:
                    lately[edge] = self._lately[edge]
        self._lately = lately

    def smoothed(self, start: bytes, path: Path, now: float) -> float:
        """What a path has cost lately."""
        total, at = 0.0, start
        for node in path.nodes:
            total += self._smooth((at, node), self._edges[at][node], now)
            at = node
        return total

    def _smooth(self, edge: Edge, cost: int, now: float) -> float:
        value, since = self._lately.get(edge, (cost, now))
        return cost + (value - cost) * math.exp2((since - now) / HALF_LIFE)
