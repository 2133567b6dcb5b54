"""The service `go.micro.network`, by which every node shows itself: who is there, and what can be called.

Requests and answers are plain records, so any client reads them. Who may ask is settled before a call gets here: the
proxy port admits this host and private networks only.
"""

from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, Final

import trio

from proxy.balance import origin_key
from proxy.speaks import speaks_known
from router.candidates import Candidate, Standing
from router.gossip import Gossip
from router.linkstate import distances
from router.route import Query
from router.table import NODE_SERVICES, GraphNode, RoutingTable
from sdk.errors import BadRequest, NotFound
from sdk.selector import Load
from sdk.server import Server
from sdk.wire.frame import MAX_HOPS
from tunnel.admission import Refusal
from tunnel.dialling import SeedState
from tunnel.identity import NodeId, format_id, parse_id_untrusted
from tunnel.tunnel import Tunnel

from .addresses import check_address
from .calls import KEPT, Calls
from .config import NODE_SERVICE, NodeConfig
from .local import LocalServices
from .observe import LoopLag
from .records import Record, connection_record, link_record, node_record, query_of, record_of, route_record
from .reload import Reloaded
from .resolver.lookup import Lookup
from .seeds import Seeds
from .watching import Reply, Watching
from .why import explain, goes_to_gateway

DISTRIBUTION: Final = "micro-network"

CHANGES: Final = ("Network.Connect", "Network.Reload")
"""Endpoints that change the node. Those who call them must be on its host, or show the proxy token."""


class Admin:
    """Answers for one node. Its endpoints are on `server`."""

    def __init__(
        self,
        *,
        me: NodeId,
        config: NodeConfig,
        gossip: Gossip,
        table: RoutingTable,
        tunnel: Tunnel,
        local: LocalServices,
        lag: LoopLag,
        seeds: Seeds,
        lookups: Sequence[Lookup],
        proxy: tuple[str, ...],
        reload: Callable[[], Awaitable[Reloaded]],
        own: Container[str],
        load: Callable[[bytes | str], Load],
        traffic: Callable[[], Record],
        calls: Calls,
    ) -> None:
        """The parts of the node that are asked; `lookups` find other nodes, `proxy` are the addresses its proxy port is
        bound to, `reload` reads its files again, `own` are the services it answers itself, `load` is what its
        balancer knows of another node, `traffic` counts calls and connections for `status`, and `calls` are those
        that were opened lately."""
        self._id = me
        self._me = format_id(me)
        self._config = config
        self._gossip = gossip
        self._own = own
        self._load = load
        self._traffic = traffic
        self._calls = calls
        self._table = table
        self._tunnel = tunnel
        self._local = local
        self._lag = lag
        self._seeds = seeds
        self._lookups = lookups
        self._proxy = proxy
        self._reload = reload
        self._started = trio.current_time()
        self.watching = Watching(table)
        """Those who follow the routes."""
        self.server = Server(NODE_SERVICE, also=config.service)
        self.server.add("Network.Nodes", self.nodes)
        self.server.add("Network.Routes", self.routes)
        self.server.add("Network.Services", self.services)
        self.server.add("Network.Graph", self.graph)
        self.server.add("Network.Connections", self.connections)
        self.server.add("Network.Links", self.links)
        self.server.add("Network.Why", self.why)
        self.server.add("Network.Watch", self.watch)
        self.server.add("Network.Calls", self.calls)
        self.server.add("Network.Connect", self.connect)
        self.server.add("Network.Reload", self.reload)
        self.server.add("Network.Status", self.status)

    async def nodes(self, request: Any) -> Record:
        """All nodes that can be reached, this one first: `{"nodes": [{id, address, name}]}`."""
        return {"nodes": [node_record(node) for node in self._table.graph().values()]}

    async def routes(self, request: Any) -> Record:
        """The routes this node knows: `{"routes": [...]}`; the request's keys (service, address, gateway, router,
        network, link, strategy) narrow it."""
        return {"routes": [route_record(route) for route in self._table.routes(query_of(request, "Network.Routes"))]}

    async def watch(self, request: Any, stream: Reply) -> None:
        """The routes, and then their changes: `{"change", "revision", "route"}`; the request's keys narrow it."""
        await self.watching.tell(query_of(request, "Network.Watch"), stream)

    async def why(self, request: Any) -> Record:
        """Who offers `service`, and why calls go there or not: `{"service", "candidates": [...], "gateway"}`.

        `gateway` is `{"node", "reachable"}` where calls go to the default gateway, else None. Raises `NotFound` where
        nobody offers the service and no gateway takes such calls.
        """
        service = record_of(request, NODE_SERVICE).get("service")
        if not isinstance(service, str) or not service:
            raise BadRequest('Network.Why takes {"service": "name"}')
        own = service in self._own
        candidates = [self._myself()] if own else self._table.candidates(service)
        gateway = self._gateway(service) if goes_to_gateway(candidates) else None
        if not candidates and gateway is None:
            raise NotFound(f"nobody offers {service!r} here or within three links; see `micro network services`")
        now = trio.current_time()
        near = self._table.local_instances(service) if self._config.point_to_point is None else ()
        here = [instance for instance in near if speaks_known(instance)]
        found = explain(
            candidates,
            now=now,
            own=own,
            here=bool(here),
            failed_here=all(self._load(instance.id).ejected(now) for instance in here),
            linked={format_id(peer) for peer in self._tunnel.links},
            near={format_id(node) for node in distances(self._id, self._gossip.edges, MAX_HOPS)},
            settled=self._table.settled,
            load=lambda candidate: self._load(origin_key(service, parse_id_untrusted(candidate.router))),
        )
        return {"service": service, "candidates": found, "gateway": gateway}

    async def services(self, request: Any) -> Record:
        """The names of all services that can be called from here: `{"services": [name]}`."""
        return {"services": self._table.services(here=self._config.point_to_point is None)}

    async def graph(self, request: Any) -> Record:
        """Who is linked to whom, from this node as far as calls go: `{"root": {"node": {...}, "peers": [...]}}`."""
        return {"root": tree(self._table.graph(), self._me)}

    async def connections(self, request: Any) -> Record:
        """The links of this node: `{"connections": [{node, address, name, transport, delay_ms, state}]}`."""
        return {"connections": [connection_record(link) for link in self._tunnel.links.values()]}

    async def links(self, request: Any) -> Record:
        """The same links with all that is known of them: `{"links": [...]}`, see `records.link_record`."""
        now = trio.current_time()
        links = self._tunnel.links.items()
        return {"links": [link_record(link, self._gossip.terms(self._id, peer), now) for peer, link in links]}

    async def calls(self, request: Any) -> Record:
        """The last calls that programs opened here, newest first: `{"calls": [{service, endpoint, protocol, origin,
        path, tries, status, ms, ago_s}]}`; the request's keys `service` and `count` narrow it."""
        record = record_of(request, NODE_SERVICE)
        service, count = record.get("service", ""), record.get("count", 100)
        if not isinstance(service, str) or not isinstance(count, int) or not 0 < count <= KEPT:
            raise BadRequest(
                f'Network.Calls takes {{"service": "name", "count": a number up to {KEPT}}}, both optional'
            )
        return {"calls": self._calls.latest(count, service)}

    async def connect(self, request: Any) -> Record:
        """Dials the node at `address` from now on, as if it had been named at the start."""
        address = record_of(request, NODE_SERVICE).get("address")
        if not isinstance(address, str):
            raise BadRequest('Network.Connect takes {"address": "host:port"}')
        check_address(address, "address")
        if self._config.alone is not None:
            raise BadRequest("this is a proxy alone (`micro proxy`), which links with nobody")
        self._tunnel.connect(address)
        self._seeds.name(address)
        return {}

    async def reload(self, request: Any) -> Record:
        """Reads the files again that the node was started with, and takes what stands in them.

        Of `{"tokens": 2, "proxy_tokens": 1, "tls": [path, ...]}` the answer has what was read: how many tokens those
        are, and the files of certificates and keys. Raises `BadRequest` when one of them cannot be used; then all
        stays as it was.
        """
        return {name: value for name, value in asdict(await self._reload()).items() if value}

    async def status(self, request: Any) -> Record:
        """How this node is."""
        now, twin = trio.current_time(), self._gossip.twin
        tunnel = self._tunnel.statistics()
        return {
            "id": self._me,
            "name": self._config.name,
            "network": self._config.network,
            "version": version(DISTRIBUTION),
            "addresses": list(self._tunnel.bound),
            "proxy": list(self._proxy),
            "links": [connection_record(link) for link in self._tunnel.links.values()],
            "seeds": [
                {
                    "address": seed.address,
                    "state": seed.state.value,
                    "error": "" if seed.state is SeedState.LINKED else seed.last_error,
                    "attempts": seed.attempts,
                }
                for seed in self._tunnel.seeds()
            ],
            "lookups": [
                {
                    "name": lookup.status.name,
                    "state": lookup.status.state.value,
                    "nodes": lookup.status.nodes,
                    "error": lookup.status.error,
                }
                for lookup in self._lookups
            ],
            "strategy": self._config.advertise_strategy,
            "gateway": self._config.gateway,
            "twin": None
            if twin is None
            else {
                "name": twin.name,
                "addresses": list(twin.addresses),
                "this_node_gave_way": twin.withdrawn,
            },
            "services": len(self._table.services()),
            "routes": len(self._table.routes(Query())),
            "revision": self._table.revision,
            "nodes": len(self._gossip.reachable),
            "link_state_root": self._gossip.link_state_root.hex()[:16],
            "gossip": dict(sorted(self._gossip.counters.items())),
            **self._traffic(),
            "refused": _by_reason(tunnel.refused),
            "cut_off": _by_reason(tunnel.cut_off),
            "registry": self._local.record(now),
            "checks": self._local.checks.records(now),
            "uptime_s": round(now - self._started, 1),
            "loop_lag_ms": round(self._lag.worst * 1000, 1),
        }

    def _myself(self) -> Candidate:
        """This node, as what answers for one of its own services."""
        return Candidate(
            router=self._me,
            name=self._config.name,
            standing=Standing.LOCAL,
            versions=("latest",),
            protocols=("grpc",),
            instances=1,
            weight=1,
            changed=self._started,
        )

    def _gateway(self, service: str) -> Record | None:
        """Where calls for a service go that nobody offers: not those for what every node has of its own."""
        gateway = self._config.gateway
        if not gateway or gateway == (self._config.name or self._me) or service in NODE_SERVICES:
            return None
        return {"node": gateway, "reachable": self._table.way_to(gateway) is not None}


def _by_reason(counts: Mapping[Refusal, int]) -> dict[str, int]:
    return {refusal.value: count for refusal, count in counts.items()}


def tree(nodes: Mapping[str, GraphNode], root: str) -> Record:
    """The graph as a tree of at most three links' depth, each link once, each node's peers where it is first met.

    So the tree grows with the number of links, and not with that of ways through them.
    """
    top: Record = {"node": node_record(nodes[root]), "peers": []}
    shown: set[frozenset[str]] = set()
    opened = {root}
    layer = [(root, top)]
    for _ in range(MAX_HOPS):
        following = []
        for id, record in layer:
            for peer, _ in nodes[id].links:
                if peer not in nodes or frozenset((id, peer)) in shown:
                    continue
                shown.add(frozenset((id, peer)))
                branch: Record = {"node": node_record(nodes[peer]), "peers": []}
                record["peers"].append(branch)
                if peer not in opened:
                    opened.add(peer)
                    following.append((peer, branch))
        layer = following
    return top
