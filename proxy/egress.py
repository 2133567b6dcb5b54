"""The last node's part in a call: which instance of this environment answers it."""

from collections.abc import Sequence
from typing import Protocol

from sdk.errors import NotFound, Unavailable
from sdk.head import CallHead
from sdk.port import Port
from sdk.types import Instance

from .balance import Balancer
from .switch import Target


class LocalInstances(Protocol):
    """What is asked of the routing table for each call: a look-up."""

    def local_instances(self, service: str) -> Sequence[Instance]:
        """Instances of this environment."""


class Dialer(Protocol):
    """Connections to instances, shared by all calls."""

    def port_to(self, address: str) -> Port:
        """The port to an address. It exists before its socket does, takes frames meanwhile, and dies as not reached."""


class Egress:
    """Chooses among instances."""

    def __init__(self, *, name: str, instances: LocalInstances, dialer: Dialer, balancer: Balancer) -> None:
        """`name` is this node's in errors."""
        self._name = name
        self._instances = instances
        self._dialer = dialer
        self._balancer = balancer

    def offers(self, service: str) -> bool:
        """Whether an instance of the service is here that can be called."""
        return any(instance.native for instance in self._instances.local_instances(service))

    def choose(self, head: CallHead, now: float) -> Target:
        """The instance that answers. Raises `NotFound` when none is here, `Unavailable` when none speaks frames."""
        callable_ = [each for each in self._instances.local_instances(head.service) if each.native]
        if not callable_:
            raise self.refusal(head.service)
        index, load = self._balancer.choose([instance.id for instance in callable_], now)
        return Target(self._dialer.port_to(callable_[index].address), b"", load)

    def refusal(self, service: str) -> NotFound | Unavailable:
        """Why no instance of this environment can be called."""
        spoken = ", ".join(sorted({instance.protocol for instance in self._instances.local_instances(service)}))
        if spoken:
            return Unavailable(f"the instances of {service!r} speak {spoken} only, which this node cannot call yet")
        return NotFound(f"{self._name}: no instance of {service!r} is left here")
