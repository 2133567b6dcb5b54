"""The service `go.micro.network`, by which every node shows itself: who is there, and what can be called.

Requests and answers are plain records, so any client reads them. Who may ask is settled before a call gets here: the
proxy port admits this host and private networks only.
"""

from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import version
from typing import Any, Final

import trio

from router.route import MAX_HOPS, Query, Route
from router.table import GraphNode, RoutingTable
from sdk.errors import BadRequest
from sdk.server import Server
from tunnel.identity import NodeId, format_id
from tunnel.link import Link
from tunnel.tunnel import Tunnel

from .config import NodeConfig, check_address
from .local import LocalServices
from .observe import LoopLag
from .seeds import NODE_SERVICE

DISTRIBUTION: Final = "micro-network"

Record = dict[str, Any]


class Admin:
    """Answers for one node. Its endpoints are on `server`."""

    def __init__(
        self,
        *,
        me: NodeId,
        config: NodeConfig,
        table: RoutingTable,
        tunnel: Tunnel,
        local: LocalServices,
        lag: LoopLag,
        proxy: tuple[str, ...],
    ) -> None:
        """The parts of the node that are asked; `proxy` are the addresses its proxy port is bound to."""
        self._me = format_id(me)
        self._config = config
        self._table = table
        self._tunnel = tunnel
        self._local = local
        self._lag = lag
        self._proxy = proxy
        self._started = trio.current_time()
        self.server = Server(NODE_SERVICE)
        self.server.add("Network.Nodes", self.nodes)
        self.server.add("Network.Routes", self.routes)
        self.server.add("Network.Services", self.services)
        self.server.add("Network.Graph", self.graph)
        self.server.add("Network.Connections", self.connections)
        self.server.add("Network.Connect", self.connect)
        self.server.add("Network.Status", self.status)

    async def nodes(self, request: Any) -> Record:
        """All nodes that can be reached, this one first: `{"nodes": [{id, address, name}]}`."""
        return {"nodes": [_node(node) for node in self._table.graph().values()]}

    async def routes(self, request: Any) -> Record:
        """The routes this node knows: `{"routes": [...]}`; the request's keys (service, address, gateway, router,
        network, link) narrow it."""
        return {"routes": [_route(route) for route in self._table.routes(_query(request))]}

    async def services(self, request: Any) -> Record:
        """The names of all services that can be called from here: `{"services": [name]}`."""
        return {"services": self._table.services()}

    async def graph(self, request: Any) -> Record:
        """Who is linked to whom, from this node as far as calls go: `{"root": {"node": {...}, "peers": [...]}}`."""
        return {"root": tree(self._table.graph(), self._me)}

    async def connections(self, request: Any) -> Record:
        """The links of this node: `{"connections": [{node, address, name, transport, delay_ms, state}]}`."""
        return {"connections": [_connection(link) for link in self._tunnel.links.values()]}

    async def connect(self, request: Any) -> Record:
        """Dials the node at `address` from now on, as if it had been named at the start."""
        address = _record(request).get("address")
        if not isinstance(address, str):
            raise BadRequest('Network.Connect takes {"address": "host:port"}')
        check_address(address, "address")
        self._tunnel.connect(address)
        return {}

    async def status(self, request: Any) -> Record:
        """How this node is."""
        registry = self._local.status
        return {
            "id": self._me,
            "name": self._config.name,
            "network": self._config.network,
            "version": version(DISTRIBUTION),
            "addresses": list(self._tunnel.bound),
            "proxy": list(self._proxy),
            "links": [_connection(link) for link in self._tunnel.links.values()],
            "seeds": [
                {
                    "address": seed.address,
                    "state": seed.state.value,
                    "error": seed.last_error,
                    "attempts": seed.attempts,
                }
                for seed in self._tunnel.seeds()
            ],
            "services": len(self._table.services()),
            "routes": len(self._table.routes(Query())),
            "registry": {"state": registry.state.value, "error": registry.error},
            "uptime_s": round(trio.current_time() - self._started, 1),
            "loop_lag_ms": round(self._lag.worst * 1000, 1),
        }


def tree(nodes: Mapping[str, GraphNode], root: str) -> Record:
    """The graph as a tree of at most three links' depth, each link once, each node's peers where it is first met.

    So the tree grows with the number of links, and not with that of ways through them.
    """
    top: Record = {"node": _node(nodes[root]), "peers": []}
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
                branch: Record = {"node": _node(nodes[peer]), "peers": []}
                record["peers"].append(branch)
                if peer not in opened:
                    opened.add(peer)
                    following.append((peer, branch))
        layer = following
    return top


def _node(node: GraphNode) -> Record:
    return {"id": node.id, "address": node.addresses[0] if node.addresses else "", "name": node.name}


def _route(route: Route) -> Record:
    return {
        "service": route.service,
        "version": route.version,
        "protocol": route.protocol,
        "address": route.address,
        "gateway": route.gateway,
        "router": route.router,
        "network": route.network,
        "metric": route.metric,
        "link": route.link.value,
        "hops": route.hops,
        "labels": dict(route.labels),
    }


def _connection(link: Link) -> Record:
    statistics = link.statistics()
    return {
        "node": format_id(link.peer),
        "address": link.address,
        "name": link.certificate.name,
        "transport": link.transport,
        "delay_ms": None if statistics.srtt is None else round(statistics.srtt * 1000, 3),
        "state": statistics.state,
    }


def _query(request: Any) -> Query:
    record = _record(request)
    known = [field.name for field in fields(Query)]
    for key, value in record.items():
        if key not in known:
            raise BadRequest(f"Network.Routes has no {key!r} to choose by; it has {', '.join(known)}")
        if value is not None and not isinstance(value, str):
            raise BadRequest(f"Network.Routes takes text for {key!r}")
    return Query(**record)


def _record(request: Any) -> Mapping[str, Any]:
    """The request as a record; nothing at all is an empty one."""
    if request is None:
        return {}
    if not isinstance(request, Mapping):
        raise BadRequest(f"{NODE_SERVICE} takes records, such as {{}}")
    return request
