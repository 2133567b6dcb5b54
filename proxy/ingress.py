"""The first node's part in a call: where it is answered, and the path that leads there.

Services of the node itself come first, unless the call is pinned to another node, then instances of this environment
that can be called, then the origins that offer the service, from the cheapest tier that can be reached, then, for a
service that nobody offers, the default gateway. The choice is made anew for each call.

A path is passed by while its first link is down, and as long as another one is there while it leads over a link that
has just failed somewhere else: for its spare, or else for another origin.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Protocol

from router.table import NODE_SERVICES
from sdk.errors import MicroError, NotFound, Unavailable
from sdk.head import DEFAULT, CallHead
from sdk.port import Port
from sdk.selector import EJECT_AFTER, Load
from sdk.wire.frame import MAX_HOPS

from .balance import Balancer, Group, Groups, cheapest_tier, healthy_tier, origin_key
from .egress import Egress
from .legs import Failed, Target
from .paths import Origin, Paths
from .pins import NONE, Labels, Pins, pins_of


class Routes(Protocol):
    """What is asked of the routing table for each call: look-ups, nothing is computed."""

    def origins_of(self, service: str) -> Sequence[Origin]:
        """Nodes that offer a service and can be reached, cheapest first."""

    def unreachable_origins(self, service: str) -> Sequence[str]:
        """Names of nodes that offer a service but cannot be reached at the moment."""

    def spellings(self, name: str) -> Sequence[str]:
        """Names of services that have capitals and are this name in lower case."""

    def origins_matching(self, service: str, version: str, labels: Labels) -> Sequence[Origin]:
        """Those that offer this version, or any where it is empty, with these labels."""

    def way_to(self, node: str) -> Origin | None:
        """A node, by its id as text or its name, if it can be reached."""


class Ingress:
    """Chooses for calls of programs."""

    def __init__(
        self,
        *,
        name: str,
        routes: Routes,
        links: Mapping[bytes, Port],
        egress: Egress,
        balancer: Balancer,
        gateway: str = "",
        id: str = "",
        network: str = "",
        elsewhere: bool = False,
        pin: str = "",
        own: dict[str, Port] | None = None,
    ) -> None:
        """`name` is this node's in errors, and `id` its id as text; `links` are the ports of links by the node they
        lead to; `gateway` is the node that takes calls for services nobody offers, by id or name. The node itself is no
        gateway of its own. `network` is the name of its network.

        With `elsewhere`, calls go to other nodes only, as through a tunnel. `pin` is the only node that calls go to,
        by id or name, unless they name another one themselves. `own` is where services of this node itself are put."""
        self.own = {} if own is None else own
        """Services that this node itself answers, such as `go.micro.network`."""
        self._name = name
        self._routes = routes
        self._links = links
        self._egress = egress
        self._balancer = balancer
        self._me = (name, id)
        self._gateway = gateway
        self._network = network
        self._elsewhere = elsewhere
        self._pin = pin
        self._groups = Groups(balancer, among=cheapest_tier, key=_key, weight=_weight)
        self._paths = Paths(links)

    def choose(self, head: CallHead, now: float, trusted: bool = False) -> Target:
        """Where the call goes. Raises `NotFound` for a service nobody offers, `Unavailable` for one out of reach,
        `Forbidden` for what only `trusted` callers may do."""
        service = head.service
        own = self.own.get(service)
        pins = pins_of(head.metadata) if head.metadata else None
        if own is not None:
            if pins is not None and self._is_for_another(pins):
                return self._pinned(head, pins.router, now)
            return self._egress.to_itself(own, head, trusted=trusted)
        if pins is not None or self._pin:
            return self._narrowed(head, pins or NONE, now)
        if not self._elsewhere and (here := self._egress.find(head)) is not None:
            well = (here.loads[0].failures < EJECT_AFTER or here.healthy(now)) and not self._egress.is_full(service)
            if well or not self._is_healthy(service, self._routes.origins_of(service), now):
                return self._egress.choose_in(here, head, now)
        origins = self._routes.origins_of(service)
        if not origins:
            return self._to_gateway(head, self._gateway, now)
        origin, load = self._balancer.choose(self._tier(service, origins, now), now)
        port = self._links.get(origin.path[0])
        if port is not None and not self._paths.avoided:
            return Target(port, origin.path_bytes, load)
        target = self._target(service, origins, origin, load, MAX_HOPS, now)
        if target is None:
            raise Unavailable(f"the links towards the nodes that offer {service!r} have just gone down")
        return target

    def knows(self, service: str) -> bool:
        """Whether there is a service of that name, even where it cannot be reached at the moment."""
        routes = self._routes
        here = service in self.own or (not self._elsewhere and self._egress.knows(service))
        return here or bool(routes.origins_of(service) or routes.unreachable_origins(service))

    def meant_by(self, host: str) -> str:
        """The service that the name of a host means; empty where there is none. It is the one of that name, else one
        that differs only in what means nothing in such names: case (RFC 4343), and a dot at the end (RFC 1034, 3.1)."""
        if self.knows(host):
            return host
        lower = host.lower().removesuffix(".")
        if lower != host and self.knows(lower):
            return lower
        return next(filter(self.knows, self._routes.spellings(lower)), "")

    def spoken_by(self, service: str) -> frozenset[str]:
        """What the instances of a service speak that can be called from here: none for services of the node itself."""
        if service in self.own:
            return frozenset()
        there = frozenset(chain.from_iterable(origin.protocols for origin in self._routes.origins_of(service)))
        return there if self._elsewhere else there | self._egress.spoken_by(service)

    def again(self, head: CallHead, now: float, failed: Failed, trusted: bool = False) -> Target:
        """Where a call goes on that has failed: to an instance or origin that is not among those that failed, over
        links that are not, as far as there are such. Raises as `choose` does."""
        if head.service in self.own:
            return self.choose(head, now, trusted)
        return self._narrowed(head, pins_of(head.metadata) or NONE, now, failed)

    def _narrowed(self, head: CallHead, pins: Pins, now: float, failed: Failed = ()) -> Target:
        """Where a call goes that may not go everywhere, or that has failed. Who failed is called again when nobody else
        is left, but nobody whom the pins exclude."""
        service = head.service
        self._check_network(pins)
        router = pins.router or self._pin
        origins = self._origins(service, pins)
        here = None
        if not self._elsewhere and (not router or router in self._me):
            if router:
                origins = ()
            here = self._egress.find(head, pins)
            others = here.without(failed) if here is not None else None
            well = others is not None and others.healthy(now) and not self._egress.is_full(service)
            if others is not None and (well or not self._is_healthy(service, origins, now)):
                return self._egress.choose_in(others, head, now)
        elif router:
            origins = self._at(router, origins, pins, service)
        fresh = [origin for origin in origins if self._groups.load(service, origin) not in failed]
        for usable in (fresh, origins):
            if usable:
                tier = healthy_tier(usable, partial(self._groups.load, service), now)
                origin, load = self._balancer.choose(self._groups.once(service, tier), now)
                target = self._target(service, usable, origin, load, MAX_HOPS, now, failed)
                if target is not None:
                    return target
        if here is not None:
            return self._egress.choose_in(here, head, now)
        if origins:
            whom = f"node {router!r}" if router else f"the nodes that offer {service!r}"
            raise Unavailable(f"the links towards {whom} have just gone down")
        if router:
            raise self._egress.refusal(head)
        if pins.kind and self.knows(service):
            raise NotFound(f"{self._name}: {service!r} is known here, but none of {pins.kind}")
        return self._to_gateway(head, pins.gateway or self._gateway, now)

    def _origins(self, service: str, pins: Pins | None) -> Sequence[Origin]:
        """Those that may answer, wherever they are."""
        if pins is None or not pins.kind:
            return self._routes.origins_of(service)
        return self._routes.origins_matching(service, pins.version, pins.labels)

    def _at(self, router: str, origins: Sequence[Origin], pins: Pins, service: str) -> Sequence[Origin]:
        """The one of these that the call is pinned to; raises where it is not among them."""
        wanted = self._way_to(router)
        found = [origin for origin in origins if origin.origin == wanted.origin]
        if not found:
            kind = f" of {pins.kind}" if pins.kind else ""
            raise NotFound(
                f"node {router!r}, the only one that the call may go to, offers no service called {service!r}{kind}"
            )
        return found

    def _is_for_another(self, pins: Pins) -> bool:
        """Whether a call for a service of the node itself is pinned to another node, which has that service too."""
        self._check_network(pins)
        return bool(pins.router) and pins.router not in self._me

    def _pinned(self, head: CallHead, router: str, now: float) -> Target:
        """The way to the node that the call is pinned to. It needs not be told that this node has the service: every
        node has those that are its own."""
        way = self._way_to(router)
        target = self._target(head.service, (way,), way, self._groups.load(head.service, way), MAX_HOPS, now)
        if target is None:
            raise Unavailable(f"the links towards node {router!r} have just gone down")
        return target

    def _check_network(self, pins: Pins) -> None:
        if pins.network and pins.network != self._network:
            raise NotFound(
                f"the call may go to nodes of network {pins.network!r} only (micro-network), and this node and all "
                f"that it is linked with are of network {self._network!r}"
            )

    def _way_to(self, router: str) -> Origin:
        way = self._routes.way_to(router)
        if way is None:
            raise Unavailable(f"the call may go to node {router!r} only, which cannot be reached at the moment")
        return way

    def extend(self, head: CallHead, hops: int, now: float) -> Target:
        """Where a call goes on for which this node is the default gateway and has no instance, over at most so many
        links. No gateway is asked again: neither this node's, nor, because the flag is taken off, the next one's.

        Raises `NotFound` for a service nobody offers, `Unavailable` for one out of reach.
        """
        service = head.service
        origins = self._origins(service, pins_of(head.metadata))
        if not origins:
            raise self._nowhere(head)
        tier = healthy_tier(origins, partial(self._groups.load, service), now)
        origin, load = self._balancer.choose(self._groups.once(service, tier), now)
        target = self._target(service, origins, origin, load, hops, now)
        if target is None:
            raise Unavailable(f"no node that offers {service!r} is within the {hops} links that the call has left")
        return target._replace(head_flags=head.flags & ~DEFAULT)

    def failed_edge(self, edge: bytes, now: float) -> None:
        """See `Paths`."""
        self._paths.failed_edge(edge, now)

    def _target(
        self,
        service: str,
        origins: Sequence[Origin],
        chosen: Origin,
        load: Load,
        hops: int,
        now: float,
        failed: Failed = (),
    ) -> Target | None:
        """A path to the origin that was chosen, or else to another of these."""

        def choose(usable: Sequence[Origin]) -> tuple[Origin, Load]:
            return self._balancer.choose(self._groups.once(service, usable), now)

        return self._paths.target(chosen, load, hops, now, origins, choose, failed)

    def _tier(self, service: str, origins: Sequence[Origin], now: float) -> Group[Origin]:
        """The cheapest tier of origins in which one is not ejected; where all are, the cheapest."""
        group = self._groups.of(service, origins)
        if group.loads[0].failures < EJECT_AFTER or group.healthy(now):
            return group
        return self._groups.once(service, healthy_tier(origins, partial(self._groups.load, service), now))

    def _is_healthy(self, service: str, origins: Sequence[Origin], now: float) -> bool:
        """Whether one of these is not ejected."""
        return any(not self._groups.load(service, origin).ejected(now) for origin in origins)

    def _to_gateway(self, head: CallHead, name: str, now: float) -> Target:
        """The default gateway, by its id or name, for a service that nobody offers. This node is none of its own."""
        error = self._nowhere(head)
        if not name or name in self._me or not isinstance(error, NotFound) or head.service in NODE_SERVICES:
            raise error
        gateway = self._routes.way_to(name)
        if gateway is not None:
            # Counted apart from calls for what the gateway itself offers: these may be answered anywhere.
            load = self._balancer.load(f"gateway {name}")
            target = self._target(head.service, (gateway,), gateway, load, MAX_HOPS, now)
            if target is not None:
                return target._replace(head_flags=head.flags | DEFAULT)
        raise Unavailable(
            f"no service called {head.service!r} is known here, and the default gateway {name!r} cannot be "
            "reached at the moment"
        )

    def _nowhere(self, head: CallHead) -> MicroError:
        service = head.service
        here = self._egress.refusal(head)
        if isinstance(here, Unavailable) and not self._elsewhere:
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


def _key(service: str, origin: Origin) -> bytes:
    return origin_key(service, origin.origin)


def _weight(origin: Origin) -> float:
    return origin.weight
