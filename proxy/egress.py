"""The last node's part in a call: which instance of this environment answers it, or that the node itself does: a call
for one of its own services that was pinned to it comes from another node."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from sdk.errors import Forbidden, NotFound, TooManyRequests, Unavailable
from sdk.head import CallHead, endpoint_of
from sdk.port import Port
from sdk.types import Instance

from .balance import Balancer, Group, Groups
from .legs import Failed, Target
from .pins import Labels, Pins, pins_of
from .speaks import PROTOCOLS, RAW, Callee, Way, among


class LocalInstances(Protocol):
    """What is asked of the routing table for each call: a look-up."""

    def local_instances(self, service: str) -> Sequence[Instance]:
        """Instances of this environment."""

    def local_matching(self, service: str, version: str, labels: Labels) -> Sequence[Instance]:
        """Those of this version, or any where it is empty, with these labels."""


class Dialer(Protocol):
    """Connections to instances, shared by all calls."""

    def port_to(self, address: str) -> Port:
        """The port to an address. It exists before its socket does, takes frames meanwhile, and dies as not reached."""

    def raw_to(self, address: str) -> Port:
        """Likewise a port of its own for one call, whose bytes go there as they are."""

    def grpc_to(self, address: str) -> Port:
        """Likewise the port to an address where gRPC is spoken."""

    def http_to(self, address: str) -> Port:
        """Likewise a port to an address where HTTP/1.1 is spoken, for one call."""


class Egress:
    """Chooses among instances."""

    def __init__(
        self,
        *,
        name: str,
        instances: LocalInstances,
        dialer: Dialer,
        balancer: Balancer,
        json: Port | None = None,
        max_calls: int = 0,
        flag_of_max_calls: str = "",
        own: Mapping[str, Port] | None = None,
        attached: Callable[[str], Port] | None = None,
    ) -> None:
        """`name` is this node's in errors; `json` takes calls in HTTP for instances that speak gRPC: without it they
        are refused. `max_calls` is how many calls to one service may be open on its instances here, 0 for any number,
        and `flag_of_max_calls` what people set it by. `own` are the services that this node itself answers when another
        node asks; without them there are none. `attached` gives the connection of an instance that is attached, by its
        address."""
        self.own: Mapping[str, Port] = {} if own is None else own
        self.guarded: set[tuple[str, str]] = set()
        """Those endpoints of services of the node itself, by service and name, that change it: not everybody may call
        them, and other nodes never."""
        self._max_calls = max_calls
        self._flag_of_max_calls = flag_of_max_calls
        self._name = name
        self._instances = instances
        self._balancer = balancer
        self._groups: dict[str, Groups[Instance, Callee]] = {}
        self._connect: dict[Way, Callable[[str], Port]] = {
            Way.NATIVE: dialer.port_to,
            Way.GRPC: dialer.grpc_to,
            Way.HTTP: dialer.http_to,
            Way.RAW: dialer.raw_to,
        }
        if attached is not None:
            self._connect[Way.ATTACHED] = attached
        if json is not None:
            self._connect[Way.JSON] = lambda address: json

    def knows(self, service: str) -> bool:
        """Whether a service of that name is here."""
        return bool(self._instances.local_instances(service))

    def spoken_by(self, service: str) -> frozenset[str]:
        """What the instances of a service here speak."""
        return frozenset(instance.protocol for instance in self._instances.local_instances(service))

    def find(self, head: CallHead, pins: Pins | None = None) -> Group[Callee] | None:
        """The instances that can answer a call by its protocol and its pins, or None when none is here."""
        narrowed = pins is not None and bool(pins.version or pins.labels)
        if pins is not None and narrowed:
            instances = self._instances.local_matching(head.service, pins.version, pins.labels)
        else:
            instances = self._instances.local_instances(head.service)
        if not instances:
            return None
        groups = self._groups.get(head.protocol)
        if groups is None:
            known = head.protocol if head.protocol in PROTOCOLS else ""  # or programs could fill the memory with names
            groups = self._groups[known] = Groups(self._balancer, among=among(known), key=_id)
        group = groups.once(head.service, instances) if narrowed else groups.of(head.service, instances)
        return group if group.items else None

    def choose(self, head: CallHead, now: float) -> Target:
        """The instance that answers a call of another node, or this node itself. Raises `NotFound` when there is none,
        `Unavailable` when none speaks what the call does, `Forbidden` for what changes this node."""
        own = self.own.get(head.service)
        if own is not None:
            return self.to_itself(own, head, trusted=False)
        group = self.find(head, pins_of(head.metadata) if head.metadata else None)
        if group is None:
            raise self.refusal(head)
        return self.choose_in(group, head, now)

    def again(self, head: CallHead, now: float, failed: Failed) -> Target:
        """Another instance than those that failed; raises as `choose` does when there is none."""
        group = self.find(head, pins_of(head.metadata) if head.metadata else None)
        others = group.without(failed) if group is not None else None
        if others is None:
            raise self.refusal(head)
        return self.choose_in(others, head, now)

    def choose_in(self, group: Group[Callee], head: CallHead, now: float) -> Target:
        """The instance of a group that answers. Raises `TooManyRequests` when the service has enough to do."""
        if self._max_calls and self.is_full(head.service):
            raise TooManyRequests(
                f"{self._max_calls} calls to {head.service!r} are open already, which is the limit of this node: "
                + self._flag_of_max_calls
            )
        (instance, way), load = self._balancer.choose(group, now)
        connect = self._connect.get(way)
        if connect is None:
            raise self.refusal(head)
        # Of a call in JSON another one is made, for which an instance is chosen again: that is the one that counts.
        return Target(connect(instance.address), b"", load if way is not Way.JSON else None)

    def to_itself(self, own: Port, head: CallHead, *, trusted: bool) -> Target:
        """The node itself answers, at this port; calls in JSON over HTTP come to it by way of gRPC. Raises `Forbidden`
        for what only `trusted` callers may do, and nobody over HTTP, where a web page could make the browser of
        whoever is trusted call it; `NotFound` where the caller wants a raw connection."""
        if head.protocol == RAW:
            raise NotFound(f"{self._name}: {head.service} is this node itself, which takes no raw connections")
        in_json = self._connect.get(Way.JSON) if head.protocol == "http" else None
        if (head.service, endpoint_of(head.endpoint)) in self.guarded and (in_json is not None or not trusted):
            raise not_for_everybody(head)
        if in_json is not None:
            return Target(in_json(""), b"", None)
        return Target(own, b"", None)

    def is_full(self, service: str) -> bool:
        """Whether as many calls to a service are open on its instances here as may be."""
        if not self._max_calls:
            return False
        instances = self._instances.local_instances(service)
        return sum(self._balancer.load(instance.id).pending for instance in instances) >= self._max_calls

    def refusal(self, head: CallHead) -> NotFound | Unavailable:
        """Why no instance of this environment can be called."""
        service = head.service
        pins = pins_of(head.metadata)
        if pins is not None and pins.kind and not self._instances.local_matching(service, pins.version, pins.labels):
            return NotFound(f"{self._name}: no instance of {service!r} here is of {pins.kind}")
        spoken = ", ".join(sorted({instance.protocol for instance in self._instances.local_instances(service)}))
        if spoken:
            return Unavailable(
                f"the instances of {service!r} speak {spoken} only, which no {head.protocol} call can reach"
            )
        return NotFound(f"{self._name}: no instance of {service!r} is left here")


def not_for_everybody(head: CallHead) -> Forbidden:
    """What a caller is told that may not change the node."""
    if head.protocol == "http":
        return Forbidden(f"{head.endpoint} changes this node, which is not done in JSON over HTTP")
    return Forbidden(
        f"{head.endpoint} changes this node: it may be called from this node's own host, and by programs that show its "
        "token (MICRO_PROXY_TOKEN)"
    )


def _id(service: str, callee: Callee) -> str:
    return callee.instance.id
