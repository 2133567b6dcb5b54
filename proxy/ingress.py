"""The first node's part in a call: where it is answered, and the path that leads there.

Services of the node itself come first, then instances of this environment that can be called, then the origins that
offer the service, from the cheapest tier that can be reached. The choice is made anew for each call.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from sdk.errors import NotFound, Unavailable
from sdk.head import CallHead
from sdk.port import Port

from .balance import Balancer, Groups, cheapest_tier
from .egress import Egress
from .switch import Target


class Origin(Protocol):
    """A node that offers a service, and the way to it."""

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
    def cost(self) -> int:
        """What the path costs."""


class Routes(Protocol):
    """What is asked of the routing table for each call: look-ups, nothing is computed."""

    def origins_of(self, service: str) -> Sequence[Origin]:
        """Nodes that offer a service and can be reached, cheapest first."""

    def unreachable_origins(self, service: str) -> Sequence[str]:
        """Names of nodes that offer a service but cannot be reached at the moment."""


class Ingress:
    """Chooses for calls of programs."""

    def __init__(
        self, *, name: str, routes: Routes, links: Mapping[bytes, Port], egress: Egress, balancer: Balancer
    ) -> None:
        """`name` is this node's in errors; `links` are the ports of links by the node they lead to."""
        self.own: dict[str, Port] = {}
        """Services that this node itself answers, such as `go.micro.network`."""
        self._name = name
        self._routes = routes
        self._links = links
        self._egress = egress
        self._balancer = balancer
        self._groups = Groups(balancer, among=cheapest_tier, key=_id)

    def choose(self, head: CallHead, now: float) -> Target:
        """Where the call goes. Raises `NotFound` for a service nobody offers, `Unavailable` for one out of reach."""
        own = self.own.get(head.service)
        if own is not None:
            return Target(own, b"", None)
        service = head.service
        here = self._egress.find(service)
        if here is not None:
            return self._egress.choose_in(here, now)
        origins = self._routes.origins_of(service)
        if not origins:
            raise self._nowhere(service)
        target = self._towards(service, origins, now)
        if target is None:
            # The table learns of a link's end a moment later than the switch.
            origins = [each for each in origins if each.path[0] in self._links]
            target = self._towards(service, origins, now) if origins else None
        if target is None:
            raise Unavailable(f"the links towards the nodes that offer {service!r} have just gone down")
        return target

    def _towards(self, service: str, origins: Sequence[Origin], now: float) -> Target | None:
        """The origin that is chosen, unless the first link of its path is down."""
        origin, load = self._balancer.choose(self._groups.of(service, origins), now)
        port = self._links.get(origin.path[0])
        return None if port is None else Target(port, origin.path_bytes, load)

    def _nowhere(self, service: str) -> NotFound | Unavailable:
        here = self._egress.refusal(service)
        if isinstance(here, Unavailable):
            return here
        unreachable = self._routes.unreachable_origins(service)
        if unreachable:
            nodes = ", ".join(unreachable[:3])
            return Unavailable(
                f"service {service!r} is offered at {nodes}, which cannot be reached at the moment; "
                "`micro network status` at both nodes shows their links"
            )
        return NotFound(
            f"{self._name}: no service called {service!r} is known here; `micro network services` lists those that are"
        )


def _id(origin: Origin) -> bytes:
    return origin.origin
