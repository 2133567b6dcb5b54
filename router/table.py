"""The routing table: what this environment offers, what can be reached beyond it, and which way.

It keeps an index of who offers what (`offers`), the ways to all nodes (`choice`) and routes put in by hand (`applied`).
What calls are routed by is worked out when first asked for after a change that touches it; routes as people see them
are made on demand. A machine: its steps are those of the choice of ways.

The file is longer than others: what changes the table and what is read from it share its indexes.
"""

import functools
import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from sdk.errors import BadRequest
from sdk.types import Instance, Service

from .applied import Applied
from .candidates import Candidate, Standing, remote_candidates, summary
from .choice import Choice, Way
from .gossip import Gossip
from .offers import Offer, Offers, OriginRoute, origin_route
from .policy import Policy
from .route import Query, Route
from .rows import SAMPLE, Rows, best
from .services import ServiceEntry, entry_of, is_callable
from .spellings import Spellings
from .store import MAX_ORIGINS
from .watch import Watch, Watches

NODE_SERVICES: Final = frozenset(
    {"go.micro.network", "go.micro.tunnel", "go.micro.proxy", "go.micro.router", "go.micro.registry"}
)
"""What every node has of its own: never told to others, and not believed of them."""


Labels = Sequence[tuple[str, str]]
"""Names and values."""

AT_ONCE: Final = 1000
"""Services that are taken into the index in one step; some 5 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphNode:
    """A node that can be reached over any number of links."""

    id: str
    """Its id as text."""
    name: str
    """What people call it."""
    addresses: tuple[str, ...]
    """Where it can be dialled."""
    network: str
    """Name of its network."""
    links: tuple[tuple[str, int], ...]
    """Ids of its neighbours and the costs, sorted by id."""


class RoutingTable:
    """Local services as they are set, remote ones as gossip tells of them, and routes put in by hand."""

    def __init__(
        self,
        *,
        gossip: Gossip,
        format_id: Callable[[bytes], str],
        policy: Policy = Policy(),  # noqa: B008 - frozen
    ) -> None:
        """`format_id` turns a node id into the text that people see; `policy` says what is exported and imported."""
        self.local_entries: tuple[ServiceEntry, ...] = ()
        """What others may be told of the local services."""
        self._gossip = gossip
        self._format_id = functools.lru_cache(maxsize=2 * MAX_ORIGINS)(format_id)
        self._rows = Rows(me=gossip.me, network=gossip.network, format_id=self._format_id)
        self._policy = policy
        self._local: tuple[Service, ...] = ()
        self._local_instances: dict[str, tuple[Instance, ...]] = {}
        self._local_services: dict[str, list[Service]] = {}
        self._local_told: dict[str, tuple[ServiceEntry, ...]] = {}
        self._local_spellings = Spellings()
        self._local_changed = 0.0
        self._offers = Offers()
        self._choice = Choice(gossip.me)
        self._ways_changed = 0
        self._seen: dict[bytes, Way] = {}
        self._nodes: tuple[tuple[int, int], dict[str, list[bytes] | OriginRoute]] = ((-1, -1), {})
        self._applied = Applied()
        self._waiting: deque[tuple[bytes, Iterator[str]]] = deque()
        self._watches = Watches()
        gossip.listen(self)
        for origin, view in gossip.origins.items():
            self.services_changed(origin, view.services, 0.0)
        self.topology_changed(0.0)

    @property
    def revision(self) -> int:
        """Rises with every change of what the table answers."""
        return self._watches.revision

    @property
    def ways(self) -> Mapping[bytes, Way]:
        """The paths in use and the spare ones, by the node they lead to."""
        return self._choice.ways

    @property
    def settled(self) -> bool:
        """Whether all paths are chosen for the newest topology, and all services are found by their names."""
        return self._choice.settled and not self._waiting

    def set_local(self, services: Iterable[Service], now: float) -> None:
        """These are all the services of this environment from now on. `local_entries` follows, for gossip to tell.

        A registry tells one change at a time: what is as before is taken over and not made anew, and compared fast
        where it is the same object.
        """
        before = list(self._rows.local(self._local)) if self._watches.listening else []
        self._local = tuple(sorted(services, key=lambda service: (service.name, service.version)))
        services_by_name: dict[str, list[Service]] = {}
        for service in self._local:
            services_by_name.setdefault(service.name, []).append(service)
        instances: dict[str, tuple[Instance, ...]] = {}
        told: dict[str, tuple[ServiceEntry, ...]] = {}
        for name, of in services_by_name.items():
            if self._local_services.get(name) == of:
                callable_, told[name] = self._local_instances.get(name, ()), self._local_told[name]
            else:
                callable_ = tuple(each for service in of for each in service.instances if is_callable(each))
                told[name] = self._entries(of)
            if callable_:
                instances[name] = callable_
        self._local_services, self._local_instances, self._local_told = services_by_name, instances, told
        self._local_spellings = Spellings(self._local_instances)
        self.local_entries = tuple(itertools.chain.from_iterable(told.values()))
        self._local_changed = now
        self._watches.revision += 1
        if self._watches.listening:
            self._tell(before, self._rows.local(self._local))

    def apply(self, route: Route, now: float, *, ttl: float | None = None) -> None:
        """Puts a route in by hand, for `ttl` seconds or until it is taken out. It is listed and watched; calls are not
        routed by it. Raises `TooManyRequests` when there are too many."""
        self._expire(now)
        before = self._applied.put(route, inf if ttl is None else now + ttl)
        self._tell_applied(before, [route], route)

    def withdraw(self, route: Route, now: float) -> bool:
        """Takes out a route that was put in by hand, the same in all but metric and hops. Whether there was one."""
        self._expire(now)
        before = self._applied.remove(route)
        self._tell_applied(before, [], route)
        return bool(before)

    def _entries(self, versions: Sequence[Service]) -> tuple[ServiceEntry, ...]:
        """What others are told of one service."""
        if versions[0].name in NODE_SERVICES or not self._policy.exported(versions[0].name):
            return ()
        return tuple(filter(None, map(entry_of, versions)))

    # What gossip tells.

    def services_changed(self, origin: bytes, names: Collection[str], now: float) -> None:
        """See `router.gossip.Listener`."""
        if origin == self._gossip.me:
            return
        self._watches.revision += 1
        if len(names) > AT_ONCE:
            self._waiting.append((origin, iter(tuple(names))))
        else:
            self._index(origin, names, now)

    def topology_changed(self, now: float) -> None:
        """See `router.gossip.Listener`."""
        self._watches.revision += 1
        closed = frozenset(origin for origin, view in self._gossip.origins.items() if not view.transit)
        self._choice.topology_changed(self._gossip.edges, closed, now)

    # The machine's verbs.

    def next_timeout(self) -> float:
        """When the next step is due; `-inf` for at once."""
        return -inf if self._waiting else min(self._choice.next_timeout(), self._applied.due)

    def handle_timeout(self, now: float) -> None:
        """Does one step."""
        self._take_in(now)
        self._expire(now)
        self._choose(now)

    def settle(self, now: float) -> None:
        """Does all steps that the newest topology and the newest services take."""
        while self._waiting:
            self._take_in(now)
        while not self._choice.settled:
            self._choose(max(now, self._choice.next_timeout()))

    def _take_in(self, now: float) -> None:
        """Indexes some of the services that wait for it."""
        if self._waiting:
            origin, names = self._waiting[0]
            some = list(itertools.islice(names, AT_ONCE))
            self._index(origin, some, now)
            if len(some) < AT_ONCE:
                self._waiting.popleft()

    def _expire(self, now: float) -> None:
        for route in self._applied.expire(now):
            self._tell_applied([route], [], route)

    def _choose(self, now: float) -> None:
        """Does one step of the choice of ways."""
        changed = self._choice.handle_timeout(now)
        if changed:
            self._ways_changed += 1
            self._watches.revision += 1
        for origin in changed:
            self._way_changed(origin)

    # For calls.

    def origins_of(self, service: str) -> tuple[OriginRoute, ...]:
        """Other nodes within three links that offer this service, cheapest first, then by id. Empty when there is none.

        Called once per call: after the first time since a change it is one look-up.
        """
        offer = self._offers.get(service)
        if offer is None:
            return ()
        if offer.found_at != self._ways_changed:
            offer.found_at, offer.found = self._ways_changed, self._find(offer)
        return offer.found

    def origins_matching(self, service: str, version: str, labels: Labels) -> tuple[OriginRoute, ...]:
        """Those of them that offer this version, or any where it is empty, with these labels: names, in whatever case,
        and values that must be among the service's metadata."""
        offer = self._offers.get(service)
        if offer is None:
            return ()
        return self._find(offer, lambda entry: _matches(entry.version, dict(entry.labels), version, labels))

    def way_to(self, node: str) -> OriginRoute | None:
        """The way to another node, by its id as text or by its name; of several with one name the cheapest."""
        at = (self._gossip.revision, self._ways_changed)
        if self._nodes[0] != at:
            self._nodes = (at, self._by_name())
        found = self._nodes[1].get(node)
        if isinstance(found, list):
            ways = self._choice.ways
            routes = [origin_route(origin, ways[origin], ()) for origin in found]
            found = self._nodes[1][node] = min(routes, key=lambda way: (way.cost, way.origin))
        return found

    def local_instances(self, service: str) -> tuple[Instance, ...]:
        """The instances of this environment that can be called."""
        return self._local_instances.get(service, ())

    def local_matching(self, service: str, version: str, labels: Labels) -> tuple[Instance, ...]:
        """Those of them that are of this version, or any where it is empty, with these labels, as `origins_matching`
        has it."""
        return tuple(
            instance
            for each in self._local_services.get(service, ())
            if _matches(each.version, each.metadata, version, labels)
            for instance in filter(is_callable, each.instances)
        )

    def spellings(self, name: str) -> list[str]:
        """Names of services, here and elsewhere, that have capitals and are this name in lower case."""
        return [*self._local_spellings.of(name), *self._offers.spellings.of(name)]

    def unreachable_origins(self, service: str) -> tuple[str, ...]:
        """Names of the nodes that offer this service but are out of reach, or more than three links away."""
        offer = self._offers.get(service)
        if offer is None:
            return ()
        origins = self._gossip.origins
        return tuple(
            (origins[origin].name if origin in origins else "") or self._format_id(origin)
            for origin in offer.origins
            if origin not in self._choice.ways
        )

    # For people, and programs that route by themselves.

    def services(self, *, here: bool = True) -> list[str]:
        """Names of all services, of this environment (or, without `here`, not) and within three links, sorted."""
        names = {service.name for service in self._local if service.instances and here}
        names.update(route.service for route in self._applied)
        ways = self._choice.ways
        names.update(name for name, offer in self._offers.items() if any(origin in ways for origin in offer.origins))
        return sorted(names)

    def routes(self, query: Query) -> list[Route]:
        """The routes asked for, sorted by service, version, metric and address."""
        rows = sorted(
            filter(query.matches, self._all_routes(query)),
            key=lambda row: (row.service, row.version, row.metric, row.router, row.address, row.protocol),
        )
        return best(rows) if query.strategy == "best" else rows

    def watch(self, query: Query, wake: Callable[[], None]) -> Watch:
        """Follows the routes asked for, from the present revision on; `wake` is called when there is something to take.

        Raises `BadRequest` for the strategy `best`: which route is the best of its service is no property of the route.
        """
        if query.strategy == "best":
            raise BadRequest("the best routes cannot be watched: a route does not say whether it is the best")
        return self._watches.add(query, wake)

    def candidates(self, service: str) -> list[Candidate]:
        """Everybody who offers a service, this node first, then others by cost, then those that cannot be called."""
        offer = self._offers.get(service)
        changed = offer.changed if offer else 0.0
        others: list[Candidate] = []
        if service not in NODE_SERVICES:
            ways = self._choice.ways
            others = remote_candidates(service, self._gossip, self._policy, ways.get, changed, self._format_id)
        entries = [entry for each in self._local if each.name == service and (entry := entry_of(each)) is not None]
        if not entries:
            return others
        me = self._gossip.me
        here = Candidate(
            router=self._format_id(me),
            name=self._gossip.origins[me].name,
            standing=Standing.LOCAL if any(entry.weight for entry in entries) else Standing.NOT_CALLABLE,
            **summary(entries),
            changed=self._local_changed,
        )
        return [here, *others]

    def graph(self) -> dict[str, GraphNode]:
        """All nodes that can be reached, by id: this one first, then from near to far."""
        edges = self._gossip.edges
        text = self._format_id
        nodes: dict[str, GraphNode] = {}
        for origin in self._gossip.reachable:
            view = self._gossip.origins[origin]
            nodes[text(origin)] = GraphNode(
                id=text(origin),
                name=view.name,
                addresses=view.addresses,
                network=view.network,
                links=tuple(sorted((text(neighbour), cost) for neighbour, cost in edges[origin].items())),
            )
        return nodes

    def _index(self, origin: bytes, names: Collection[str], now: float) -> None:
        """Takes what an origin offers under these names now into the index. What has not changed changes nothing."""
        view = self._gossip.origins.get(origin)
        way = self._choice.ways.get(origin) if self._watches.listening else None
        wanted = self._watches.wanted(self._rows.remote(origin, way, SAMPLE))
        for name in names:
            if name in NODE_SERVICES or not self._policy.imported(name):
                continue
            entries = view.services.get(name, ()) if view else ()
            before = self._offers.put(name, origin, entries, now)
            if wanted.everything or name in wanted.services:
                self._tell(self._rows.remote(origin, way, before), self._rows.remote(origin, way, entries))

    def _way_changed(self, origin: bytes) -> None:
        """Tells who watches, unless nobody can take more."""
        before, way = self._seen.pop(origin, None), self._choice.ways.get(origin)
        if way is not None:
            self._seen[origin] = way
        if not self._watches.listening or (before and way and before.path == way.path):
            return
        samples = [*self._rows.remote(origin, before, SAMPLE), *self._rows.remote(origin, way, SAMPLE)]
        named = self._watches.wanted(samples).services
        for name in named:
            self._tell_way(name, origin, before, way)
        view = self._gossip.origins.get(origin)
        names: Iterable[str] = view.services if view else ()
        if any(waiting == origin for waiting, _ in self._waiting):
            # What is indexed may be of before, and that is what watchers know.
            names = [name for name, offer in self._offers.items() if origin in offer.origins]
        for name in names:
            if not self._watches.wanted(samples).everything:
                break
            if name not in named:
                self._tell_way(name, origin, before, way)

    def _tell_way(self, name: str, origin: bytes, before: Way | None, way: Way | None) -> None:
        offer = self._offers.get(name)
        entries = offer.origins.get(origin, ()) if offer else ()
        self._tell(self._rows.remote(origin, before, entries), self._rows.remote(origin, way, entries))

    def _find(self, offer: Offer, matches: Callable[[ServiceEntry], bool] = lambda _: True) -> tuple[OriginRoute, ...]:
        ways = self._choice.ways
        found = [
            origin_route(origin, ways[origin], callable_entries)
            for origin, entries in offer.origins.items()
            if origin in ways
            and (callable_entries := tuple(entry for entry in entries if entry.weight and matches(entry)))
        ]
        found.sort(key=lambda route: (route.cost, route.origin))
        return tuple(found)

    def _by_name(self) -> dict[str, list[bytes] | OriginRoute]:
        """The nodes that there are ways to, by their ids as text and by their names. Callers may ask for any name, so
        nothing is kept of those that nobody has."""
        named: dict[str, list[bytes]] = {}
        for origin, view in self._gossip.origins.items():
            if origin in self._choice.ways:
                for name in {self._format_id(origin), view.name}:
                    named.setdefault(name, []).append(origin)
        return {**named}

    def _all_routes(self, query: Query) -> Iterable[Route]:
        """At least those that are asked for."""
        learned = self._learned(query)
        if not self._applied:
            return learned
        rows = {row.key: row for row in self._applied if query.matches(row)}
        rows.update((row.key, row) for row in learned)
        return rows.values()

    def _learned(self, query: Query) -> Iterator[Route]:
        """The same without those put in by hand. No rows are made for origins that are not asked for."""
        yield from self._rows.local(each for each in self._local if query.service in (None, each.name))
        any_service = replace(query, service=None)
        ways = {
            origin: way
            for origin, way in self._choice.ways.items()
            if any(map(any_service.matches, self._rows.remote(origin, way, SAMPLE)))
        }
        one = None if query.service is None else self._offers.get(query.service)
        offers: Iterable[Offer] = self._offers.values() if query.service is None else [one] if one else []
        for offer in offers if ways else ():
            for origin, entries in offer.origins.items():
                yield from self._rows.remote(origin, ways.get(origin), entries)

    def _tell(self, before: Iterable[Route], after: Iterable[Route]) -> None:
        """Tells who watches that these routes, which the table learned, have taken the place of those."""
        if self._applied:
            before, after = self._applied.beneath(before, after)
        self._watches.replace(before, after)

    def _tell_applied(self, before: Iterable[Route], after: Iterable[Route], like: Route) -> None:
        """The same for routes put in by hand with the key of this one, unless a learned one hides them."""
        if not self._watches.listening or all(
            row.key != like.key for row in self._learned(Query(service=like.service))
        ):
            self._watches.replace(before, after)


def _matches(version: str, metadata: Mapping[str, str], wanted: str, labels: Labels) -> bool:
    """Whether this version of a service, with this metadata, is what is wanted."""
    if wanted not in ("", version):
        return False
    said = {(key.lower(), value) for key, value in metadata.items()} if labels else ()
    return all((name.lower(), value) in said for name, value in labels)
