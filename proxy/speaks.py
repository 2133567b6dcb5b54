"""What an instance speaks, and so how a call of a protocol reaches it."""

import enum
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

from sdk.types import Instance

RAW: Final = "tcp"
"""The protocol of calls whose bytes nobody looks into."""

PROTOCOLS: Final = frozenset({"rpc", "grpc", "http", RAW})
"""Those that calls may have."""

RPC: Final = ("rpc", "grpc")
"""Those that gRPC carries."""

_OF_CALLS: Final = frozenset({"grpc", "http"})

ATTACHED: Final = "attached/"
"""What the address of an instance begins with that is attached to the node: there is nothing to dial, but the
connection that it opened itself. It is followed by where that comes from."""


class Way(enum.Enum):
    """How a node calls an instance."""

    NATIVE = enum.auto()
    """Frames as they are, on a connection that all calls share."""
    GRPC = enum.auto()
    """gRPC over HTTP/2, likewise."""
    ATTACHED = enum.auto()
    """Frames again, on the connection that the instance opened itself."""
    HTTP = enum.auto()
    """HTTP/1.1, on a connection that is the call's own for as long as it lasts."""
    JSON = enum.auto()
    """gRPC again, of which HTTP and JSON have to be made first."""
    RAW = enum.auto()
    """A TCP connection of the call's own."""


class Callee(NamedTuple):
    """An instance, and how it is called."""

    instance: Instance
    way: Way


def way_to(instance: Instance, protocol: str) -> Way | None:
    """How a call of this protocol reaches an instance; None where it cannot.

    An instance that takes frames and says that it speaks something else stands before one that does (`micro proxy`).
    """
    spoken = instance.protocol
    attached = instance.address.startswith(ATTACHED)
    if instance.native and (protocol == spoken or (protocol in RPC and spoken == "grpc")):
        return Way.ATTACHED if attached else Way.NATIVE
    if attached:
        return Way.JSON if protocol == "http" and spoken == "grpc" else None
    if protocol == RAW:
        return Way.RAW
    if protocol in RPC and spoken == "grpc":
        return Way.GRPC
    if protocol == "http":
        return Way.HTTP if spoken == "http" else Way.JSON if spoken == "grpc" else None
    return None


def is_looked_into(protocols: Collection[str]) -> bool:
    """Whether a raw connection to a service whose instances speak these is worth looking into: what it carries are
    calls then, which can go to an instance each. Where anybody speaks something else nobody can tell whose bytes they
    are."""
    return bool(protocols) and _OF_CALLS.issuperset(protocols)


def speaks_known(instance: Instance) -> bool:
    """Whether calls of any protocol reach an instance by what it says that it speaks. (Raw bytes reach every one.)"""
    return instance.protocol == RAW or any(way_to(instance, protocol) for protocol in (*RPC, "http"))


def among(protocol: str) -> Callable[[Sequence[Instance]], Sequence[Callee]]:
    """Who of the instances of a service can be called by this protocol."""

    def callees(instances: Sequence[Instance]) -> Sequence[Callee]:
        ways = ((instance, way_to(instance, protocol)) for instance in instances)
        found = [Callee(instance, way) for instance, way in ways if way is not None]
        # JSON is made into gRPC only where nobody speaks HTTP.
        return [callee for callee in found if callee.way is not Way.JSON] or found

    return callees
