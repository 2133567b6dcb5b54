"""The routing table: what this environment offers, what can be reached beyond it, and which way.

It keeps nothing that gossip knows. Its answers are worked out when first asked for after a change, so that a burst of
changes costs one computation: paths once per change of topology, the origins of a service once per change of anything.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from sdk.types import Instance, Service

from .gossip import Gossip
from .paths import Path, shortest_paths
from .route import Link, Query, Route
from .services import ServiceEntry, entry_of, is_callable

NODE_SERVICES: Final = frozenset(
    {"go.micro.network", "go.micro.tunnel", "go.micro.proxy", "go.micro.router", "go.micro.registry"}
)
"""What every node has of its own: never told to others, and not believed of them."""


class OriginRoute(NamedTuple):
    """A node that offers a service, and the way to it: what a call is routed by."""

    origin: bytes
    """Its id."""
    path: tuple[bytes, ...]
    """Ids of the nodes to pass, the next one first, the origin last."""
    path_bytes: bytes
    """The same, joined."""
    cost: int
    """Sum of the costs of the links on the path."""
    weight: int
    """Share of calls it is good for, at least 1: its instances that can be called."""
    instances: int
    """Its instances."""
    protocols: tuple[str, ...]
    """What they speak, sorted."""


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
    """Local services as they are set, and remote ones as gossip knows them."""

    def __init__(self, *, gossip: Gossip, format_id: Callable[[bytes], str]) -> None:
        """`format_id` turns a node id into the text that people see."""
        self.local_entries: tuple[ServiceEntry, ...] = ()
        """What others may be told of the local services."""
        self._gossip = gossip
        self._format_id = format_id
        self._local: tuple[Service, ...] = ()
        self._local_instances: dict[str, tuple[Instance, ...]] = {}
        self._local_revision = 0
        self._origins: dict[str, tuple[OriginRoute, ...]] = {}
        self._origins_revision = -1
        self._paths: Mapping[bytes, Path] = {}
        self._paths_topology = -1

    @property
    def revision(self) -> int:
        """Rises with every change of what the table answers."""
        return self._local_revision + self._gossip.revision

    def set_local(self, services: Iterable[Service]) -> None:
        """These are all the services of this environment from now on. `local_entries` follows, for gossip to tell."""
        self._local = tuple(sorted(services, key=lambda service: (service.name, service.version)))
        found: dict[str, list[Instance]] = {}
        for service in self._local:
            found.setdefault(service.name, []).extend(filter(is_callable, service.instances))
        self._local_instances = {name: tuple(instances) for name, instances in found.items() if instances}
        told = (entry_of(service) for service in self._local if service.name not in NODE_SERVICES)
        self.local_entries = tuple(entry for entry in told if entry is not None)
        self._local_revision += 1

    # For calls.

    def origins_of(self, service: str) -> tuple[OriginRoute, ...]:
        """Other nodes within three links that offer this service, cheapest first, then by id. Empty when there is none.

        Called once per call: after the first time since a change it is one look-up.
        """
        if self._origins_revision != self._gossip.revision:
            self._origins_revision = self._gossip.revision
            self._origins = {}
        # Only what is found is kept, so callers who make up names do not fill the memory.
        return self._origins.get(service) or self._find(service)

    def local_instances(self, service: str) -> tuple[Instance, ...]:
        """The instances of this environment that can be called."""
        return self._local_instances.get(service, ())

    def unreachable_origins(self, service: str) -> tuple[str, ...]:
        """Names of the nodes that offer this service but are out of reach, or more than three links away."""
        if service in NODE_SERVICES:
            return ()
        paths = self._current_paths()
        return tuple(
            view.name or self._format_id(origin)
            for origin, view in self._gossip.origins.items()
            if origin != self._gossip.me and origin not in paths and service in view.services
        )

    # For people.

    def services(self) -> list[str]:
        """Names of all services, of this environment and within three links, sorted."""
        names = {service.name for service in self._local if service.instances}
        names.update(entry.service for _, _, entry in self._remote())
        return sorted(names)

    def routes(self, query: Query) -> list[Route]:
        """The routes asked for, sorted by service, version, metric and address."""
        rows = (
            route
            for routes in (self._local_routes(), self._remote_routes())
            for route in routes
            if query.matches(route)
        )
        return sorted(
            rows, key=lambda row: (row.service, row.version, row.metric, row.router, row.address, row.protocol)
        )

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

    def _current_paths(self) -> Mapping[bytes, Path]:
        if self._paths_topology != self._gossip.topology:
            self._paths_topology = self._gossip.topology
            closed = {origin for origin, view in self._gossip.origins.items() if not view.transit}
            self._paths = shortest_paths(self._gossip.me, self._gossip.edges, closed)
        return self._paths

    def _find(self, service: str) -> tuple[OriginRoute, ...]:
        if service in NODE_SERVICES:
            return ()
        found: list[OriginRoute] = []
        for origin, path in self._current_paths().items():
            entries = [entry for entry in self._gossip.origins[origin].services.get(service, ()) if entry.weight]
            if entries:
                found.append(
                    OriginRoute(
                        origin=origin,
                        path=path.nodes,
                        path_bytes=b"".join(path.nodes),
                        cost=path.cost,
                        weight=sum(entry.weight for entry in entries),
                        instances=sum(entry.instances for entry in entries),
                        protocols=tuple(sorted({protocol for entry in entries for protocol in entry.protocols})),
                    )
                )
        if not found:
            return ()
        found.sort(key=lambda route: (route.cost, route.origin))
        self._origins[service] = tuple(found)
        return self._origins[service]

    def _remote(self) -> Iterator[tuple[bytes, Path, ServiceEntry]]:
        for origin, path in self._current_paths().items():
            for name, entries in self._gossip.origins[origin].services.items():
                if name not in NODE_SERVICES:
                    for entry in entries:
                        yield origin, path, entry

    def _local_routes(self) -> Iterator[Route]:
        router = self._format_id(self._gossip.me)
        for service in self._local:
            for instance in service.instances:
                yield Route(
                    service=service.name,
                    version=service.version,
                    protocol=instance.protocol,
                    labels=tuple(sorted(service.metadata.items())),
                    address=instance.address,
                    gateway="",
                    network=self._gossip.network,
                    router=router,
                    link=Link.LOCAL,
                    metric=0,
                    hops=0,
                )

    def _remote_routes(self) -> Iterator[Route]:
        text = self._format_id
        for origin, path, entry in self._remote():
            for protocol in entry.protocols:
                yield Route(
                    service=entry.service,
                    version=entry.version,
                    protocol=protocol,
                    labels=entry.labels,
                    address=text(origin),
                    gateway=text(path.nodes[0]),
                    network=self._gossip.origins[origin].network,
                    router=text(origin),
                    link=Link.NETWORK,
                    metric=path.cost,
                    hops=len(path.nodes),
                )
