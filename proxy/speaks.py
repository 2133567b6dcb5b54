"""What an instance speaks, and so how a call of a protocol reaches it."""

import enum
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from sdk.types import Instance

RAW: Final = "tcp"
"""The protocol of calls whose bytes nobody looks into."""


PROTOCOLS: Final = frozenset({"rpc", "grpc", RAW})
"""Those that calls may have."""


class Way(enum.Enum):
    """How a node calls an instance."""

    NATIVE = enum.auto()
    """Frames as they are, on a connection that all calls share."""
    GRPC = enum.auto()
    """gRPC over HTTP/2, likewise."""
    RAW = enum.auto()
    """A TCP connection of the call's own."""


class Callee(NamedTuple):
    """An instance, and how it is called."""

    instance: Instance
    way: Way


def way_to(instance: Instance, protocol: str) -> Way | None:
    """How a call of this protocol reaches an instance; None where it cannot."""
    if protocol == RAW:
        # Where the registry has a proxy for it that speaks frames, those say which service is meant.
        return Way.NATIVE if instance.native and instance.protocol == RAW else Way.RAW
    if protocol in ("rpc", "grpc"):
        return Way.NATIVE if instance.native else None
    return None


def among(protocol: str) -> Callable[[Sequence[Instance]], Sequence[Callee]]:
    """Who of the instances of a service can be called by this protocol."""

    def callees(instances: Sequence[Instance]) -> Sequence[Callee]:
        ways = ((instance, way_to(instance, protocol)) for instance in instances)
        return [Callee(instance, way) for instance, way in ways if way is not None]

    return callees
