"""A route as people see it: who offers what, and which way a call goes there.

The routing table makes routes on demand, for `micro network routes`. Calls are not routed by them but by `OriginRoute`,
which is made once per change (see table.py).
"""

import enum
from dataclasses import dataclass
from typing import Final

from sdk.errors import BadRequest
from sdk.wire.frame import MAX_HOPS

from .linkstate import MAX_COST
from .policy import Strategy

MAX_METRIC: Final = MAX_HOPS * MAX_COST
"""Highest metric of a route."""


class Link(enum.StrEnum):
    """What lies between this node and the service."""

    LOCAL = "local"
    """Nothing: the instance is in this node's own registry."""
    NETWORK = "network"
    """One to three links between nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One way to one service. The key is all of it but `metric` and `hops`."""

    service: str
    """What callers call it by."""
    version: str
    """The version offered there."""
    protocol: str
    """What is spoken there: grpc, http, tcp; `mucp` is listed but cannot be called."""
    labels: tuple[tuple[str, str], ...]
    """The service's metadata, sorted."""
    address: str
    """`host:port` of the instance for a local route, the origin's node id for a network route."""
    gateway: str
    """Node id of the next node on the way; empty for a local route."""
    network: str
    """Name of the network that the origin belongs to."""
    router: str
    """Node id of the origin, the node that offers the service."""
    link: Link
    """Whether links between nodes are passed."""
    metric: int
    """Sum of the costs of the links on the way (see metric.py); 0 for a local route."""
    hops: int
    """Number of links on the way; 0 for a local route."""

    @property
    def key(self) -> tuple[object, ...]:
        """What there is one of: all but `metric` and `hops`."""
        return (
            self.service, self.version, self.protocol, self.labels, self.address, self.gateway, self.network,
            self.router, self.link,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which routes are asked for: each field that is not None must be equal. Raises `BadRequest` for a strategy that is
    none."""

    service: str | None = None
    """Name of the service."""
    address: str | None = None
    """Address of an instance, or node id of an origin."""
    gateway: str | None = None
    """Node id of the next node."""
    router: str | None = None
    """Node id of the origin."""
    network: str | None = None
    """Name of the network."""
    link: str | None = None
    """`local` or `network`."""
    strategy: str | None = None
    """Which of them: `all`, which is the same as None; `best`, the cheapest of each service; `local`, those of this
    environment; `none`, none at all."""

    def __post_init__(self) -> None:
        if self.strategy not in (None, *Strategy):
            raise BadRequest(f"{self.strategy!r} is no strategy; there are {', '.join(Strategy)}")

    def matches(self, route: Route) -> bool:
        """Whether the route is one of those asked for; of `best` whether it may be."""
        return (
            (self.service is None or self.service == route.service)
            and (self.address is None or self.address == route.address)
            and (self.gateway is None or self.gateway == route.gateway)
            and (self.router is None or self.router == route.router)
            and (self.network is None or self.network == route.network)
            and (self.link is None or self.link == route.link)
            and (self.strategy != Strategy.LOCAL or route.link is Link.LOCAL)
            and self.strategy != Strategy.NONE
        )
