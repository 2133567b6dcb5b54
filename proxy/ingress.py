"""The first node's part in a call: where it is answered, and the path that leads there.

Services of the node itself come first, then instances of this environment that can be called, then the origins that
offer the service, from the cheapest tier that can be reached, then, for a service that nobody offers, the default
gateway. The choice is made anew for each call.

A path is passed by while its first link is down, and as long as another one is there while it leads over a link that
has just failed somewhere else: for its spare, or else for another origin.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Protocol

from router.table import NODE_SERVICES
from sdk.errors import Forbidden, MicroError, NotFound, Unavailable
from sdk.head import DEFAULT, CallHead
from sdk.port import Port
from sdk.selector import EJECT_AFTER, Load
from sdk.wire.frame import ID_SIZE, MAX_HOPS

from .balance import Balancer, Group, Groups, cheapest_tier, healthy_tier, origin_key
from .egress import Egress
from .legs import Failed, Target
from .speaks import RAW

AVOID = 1.0
"""Seconds a link that failed is avoided. Word of it is everywhere in a third of that; and a link that is back, or never
was down, is not missed for long."""

ROUTER_KEY = "micro-router"
"""The metadata that pins a call to a node."""

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
    def cost(self) -> int:
        """What the path costs."""

    @property
    def spare_bytes(self) -> bytes:
        """Another path, joined; empty where there is none."""

    @property
    def weight(self) -> int:
        """Share of calls it is good for: its instances."""


class Routes(Protocol):
    """What is asked of the routing table for each call: look-ups, nothing is computed."""

    def origins_of(self, service: str) -> Sequence[Origin]:
        """Nodes that offer a service and can be reached, cheapest first."""

    def unreachable_origins(self, service: str) -> Sequence[str]:
        """Names of nodes that offer a service but cannot be reached at the moment."""

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
        elsewhere: bool = False,
        pin: str = "",
    ) -> None:
        """`name` is this node's in errors, and `id` its id as text; `links` are the ports of links by the node they
        lead to; `gateway` is the node that takes calls for services nobody offers, by id or name. The node itself is no
        gateway of its own.

        With `elsewhere`, calls go to other nodes only, as through a tunnel. `pin` is the only node that calls go to,
        by id or name, unless they name another one themselves."""
        self.own: dict[str, Port] = {}
        """Services that this node itself answers, such as `go.micro.network`."""
        self.guarded: set[tuple[str, str]] = set()
        """Those endpoints of them, by service and name, that change the node: not everybody may call them."""
        self._name = name
        self._routes = routes
        self._links = links
        self._egress = egress
        self._balancer = balancer
        self._me = (name, id)
        self._gateway = "" if gateway in self._me else gateway
        self._elsewhere = elsewhere
        self._pin = pin
        self._groups = Groups(balancer, among=cheapest_tier, key=_key, weight=_weight)
        self._avoided: dict[bytes, float] = {}  # until when; those that end first come first

    def choose(self, head: CallHead, now: float, trusted: bool = False) -> Target:
        """Where the call goes. Raises `NotFound` for a service nobody offers, `Unavailable` for one out of reach,
        `Forbidden` for what only `trusted` callers may do."""
        own = self.own.get(head.service)
        if own is not None:
            if head.protocol == RAW:
                raise NotFound(f"{self._name}: {head.service} is this node itself, which takes no raw connections")
            if not trusted and (head.service, head.endpoint) in self.guarded:
                raise not_for_everybody(head)
            return Target(own, b"", None)
        service = head.service
        pin = pinned(head) if head.metadata else ""
        if pin or self._pin:
            return self._to_pinned(head, pin or self._pin, now)
        if not self._elsewhere and (here := self._egress.find(head)) is not None:
            if (
                here.loads[0].failures < EJECT_AFTER
                or here.healthy(now)
                or not self._is_healthy_elsewhere(service, now)
            ):
                return self._egress.choose_in(here, head, now)
        origins = self._routes.origins_of(service)
        if not origins:
            return self._to_gateway(head, now)
        origin, load = self._balancer.choose(self._tier(service, origins, now), now)
        port = self._links.get(origin.path[0])
        if port is not None and not self._avoided:
            return Target(port, origin.path_bytes, load)
        target = self._around(service, origins, origin, load, MAX_HOPS, now)
        if target is None:
            raise Unavailable(f"the links towards the nodes that offer {service!r} have just gone down")
        return target

    def knows(self, service: str) -> bool:
        """Whether there is a service of that name, even where it cannot be reached at the moment."""
        routes = self._routes
        here = service in self.own or (not self._elsewhere and self._egress.knows(service))
        return here or bool(routes.origins_of(service) or routes.unreachable_origins(service))

    def again(self, head: CallHead, now: float, failed: Failed, trusted: bool = False) -> Target:
        """Where a call goes on that has failed: to an instance or origin that is not among those that failed, over
        links that are not, as far as there are such. Raises as `choose` does."""
        if head.service in self.own:
            return self.choose(head, now, trusted)
        if pin := pinned(head) or self._pin:
            return self._to_pinned(head, pin, now, failed)
        if not self._elsewhere and (here := self._egress.find(head)) is not None:
            others = here.without(failed)
            if others is not None:
                return self._egress.choose_in(others, head, now)
        service = head.service
        origins = self._routes.origins_of(service)
        fresh = [origin for origin in origins if self._groups.load(service, origin) not in failed]
        for usable in (fresh, origins):
            if usable:
                tier = healthy_tier(usable, partial(self._groups.load, service), now)
                origin, load = self._balancer.choose(self._groups.once(service, tier), now)
                target = self._around(service, usable, origin, load, MAX_HOPS, now, failed)
                if target is not None:
                    return target
        return self.choose(head, now, trusted)

    def _to_pinned(self, head: CallHead, pin: str, now: float, failed: Failed = ()) -> Target:
        """The one node that may answer, where it offers the service."""
        if pin in self._me and not self._elsewhere:
            here = self._egress.find(head) if failed else None
            others = here.without(failed) if here is not None else None
            return self._egress.choose_in(others, head, now) if others is not None else self._egress.choose(head, now)
        service = head.service
        wanted = self._routes.way_to(pin)
        if wanted is None:
            raise Unavailable(f"the call may go to node {pin!r} only, which cannot be reached at the moment")
        origins = [origin for origin in self._routes.origins_of(service) if origin.origin == wanted.origin]
        if not origins:
            raise NotFound(f"node {pin!r}, the only one that the call may go to, offers no service called {service!r}")
        target = self._around(
            service, origins, origins[0], self._groups.load(service, origins[0]), MAX_HOPS, now, failed
        )
        if target is None:
            raise Unavailable(f"the links towards node {pin!r} have just gone down")
        return target

    def extend(self, head: CallHead, hops: int, now: float) -> Target:
        """Where a call goes on for which this node is the default gateway and has no instance, over at most so many
        links. No gateway is asked again: neither this node's, nor, because the flag is taken off, the next one's.

        Raises `NotFound` for a service nobody offers, `Unavailable` for one out of reach.
        """
        service = head.service
        origins = self._routes.origins_of(service)
        if not origins:
            raise self._nowhere(service)
        origin, load = self._balancer.choose(self._tier(service, origins, now), now)
        target = self._around(service, origins, origin, load, hops, now)
        if target is None:
            raise Unavailable(f"no node that offers {service!r} is within the {hops} links that the call has left")
        return target._replace(head_flags=head.flags & ~DEFAULT)

    def failed_edge(self, edge: bytes, now: float) -> None:
        """Avoids a link for a while: the ids of its two nodes, in the order a path names them.

        In this direction only: a node without transit refuses calls that go on from it, not those that end there. And
        only where there is another way, so that a node that says so wrongly delays nothing and cuts nobody off.
        """
        self._avoided.pop(edge, None)
        if len(self._avoided) >= MAX_AVOIDED:
            del self._avoided[next(iter(self._avoided))]
        self._avoided[edge] = now + AVOID

    def _around(
        self,
        service: str,
        origins: Sequence[Origin],
        chosen: Origin,
        load: Load,
        hops: int,
        now: float,
        failed: Failed = (),
    ) -> Target | None:
        """The spare path of the origin that was chosen, or else another origin, when its path may not be good."""
        while self._avoided and next(iter(self._avoided.values())) <= now:
            del self._avoided[next(iter(self._avoided))]
        for avoided, full in ((self._avoided, failed), ((), failed), ((), ())):
            way = self._way(chosen, avoided, full, hops)
            if way is None:
                usable = [each for each in origins if self._way(each, avoided, full, hops)]
                if not usable:
                    continue
                chosen, load = self._balancer.choose(self._groups.once(service, usable), now)
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

    def _tier(self, service: str, origins: Sequence[Origin], now: float) -> Group[Origin]:
        """The cheapest tier of origins in which one is not ejected; where all are, the cheapest."""
        group = self._groups.of(service, origins)
        if group.loads[0].failures < EJECT_AFTER or group.healthy(now):
            return group
        return self._groups.once(service, healthy_tier(origins, partial(self._groups.load, service), now))

    def _is_healthy_elsewhere(self, service: str, now: float) -> bool:
        """Whether another node offers the service that is not ejected."""
        origins = self._routes.origins_of(service)
        return bool(origins) and self._tier(service, origins, now).healthy(now)

    def _to_gateway(self, head: CallHead, now: float) -> Target:
        """The default gateway, for a service that nobody offers."""
        error = self._nowhere(head.service)
        if not self._gateway or not isinstance(error, NotFound) or head.service in NODE_SERVICES:
            raise error
        gateway = self._routes.way_to(self._gateway)
        if gateway is not None:
            # Counted apart from calls for what the gateway itself offers: these may be answered anywhere.
            load = self._balancer.load(f"gateway {self._gateway}")
            target = self._around(head.service, (gateway,), gateway, load, MAX_HOPS, now)
            if target is not None:
                return target._replace(head_flags=head.flags | DEFAULT)
        raise Unavailable(
            f"no service called {head.service!r} is known here, and the default gateway {self._gateway!r} cannot be "
            "reached at the moment"
        )

    def _nowhere(self, service: str) -> MicroError:
        here = self._egress.refusal(service)
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


def not_for_everybody(head: CallHead) -> Forbidden:
    """What a caller is told that may not change the node."""
    return Forbidden(
        f"{head.endpoint} changes this node: it may be called from this node's own host, and by programs that show its "
        "token (MICRO_PROXY_TOKEN)"
    )


def pinned(head: CallHead) -> str:
    """The only node that a call may go to, by id or name, where its metadata says so."""
    metadata = head.metadata
    for at in range(0, len(metadata), 2):
        if metadata[at] == ROUTER_KEY:
            return metadata[at + 1]
    return ""


def _key(service: str, origin: Origin) -> bytes:
    return origin_key(service, origin.origin)


def _weight(origin: Origin) -> float:
    return origin.weight
