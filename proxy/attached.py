"""Services that are attached to a node: their instances have no address, but the connection that they opened.

A program says on its connection to the proxy port what it offers (REGISTER). From then on that is an instance of this
environment like those of the registry, until the program takes it back or the connection is gone. Its address names the
connection, and calls run from the node to the program over it.

Whoever attaches changes what the node offers: only programs that may change the node can do it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final, Protocol

from sdk.errors import Conflict, Forbidden, TooManyRequests, Unavailable
from sdk.port import Port
from sdk.types import Service
from sdk.wire.registration import Refused, Registered

MAX_SERVICES: Final = 64
"""Services, by name and version, that one connection may offer."""

MAX_BYTES: Final = 1 << 20
"""Bytes of their records together."""

AT_ONCE: Final = 100
"""Changes that a connection may make one right after the other. Each is told to the network …"""
PER_SECOND: Final = 10
"""… and so many each second after that."""

NOT_TRUSTED = (
    "a service that attaches changes this node: it may do so from this node's own host, or where it shows the node's "
    "token (MICRO_PROXY_TOKEN)"
)


class AttachedPort(Port, Protocol):
    """The port of a connection on which services attach."""

    def withdrawn(self, refused: Refused) -> None:
        """A service of this connection is registered no more, and nobody there asked for it."""


@dataclass(slots=True)
class _Connection:
    """What one connection offers."""

    address: str = ""
    services: dict[Registered, Service] = field(default_factory=dict)
    sizes: dict[Registered, int] = field(default_factory=dict)
    """Bytes of their records."""
    allowed: float = AT_ONCE
    """Changes it may make now."""
    counted: float = inf
    """When that was found out."""

    def take_room(self, key: Registered, size: int, now: float) -> None:
        """Makes room for a record. Raises `TooManyRequests` where there is none, or where it comes too soon."""
        self.allowed = min(AT_ONCE, self.allowed + max(0.0, now - self.counted) * PER_SECOND)
        self.counted = now
        if self.allowed < 1:
            raise TooManyRequests(f"one connection may change what it offers {PER_SECOND} times a second")
        self.allowed -= 1
        sizes = self.sizes | {key: size}
        if len(sizes) > MAX_SERVICES or sum(sizes.values()) > MAX_BYTES:
            raise TooManyRequests(
                f"one connection may offer {MAX_SERVICES} services, with records of {MAX_BYTES >> 20} MiB together"
            )
        self.sizes = sizes


class Attached:
    """All that is attached to a node."""

    def __init__(
        self, *, reserved: Iterable[str] = (), changed: Callable[[tuple[Service, ...]], None] | None = None
    ) -> None:
        """`reserved` are names that nobody may take; `changed` hears all that is attached after each change. Without it
        nothing may attach here."""
        self.changed = changed
        self._reserved = frozenset(reserved)
        self._connections: dict[AttachedPort, _Connection] = {}
        self._ports: dict[str, AttachedPort] = {}

    def port_to(self, address: str) -> Port:
        """The connection with this address. Raises `Unavailable` (not run) where there is none."""
        port = self._ports.get(address)
        if port is None:
            raise Unavailable(f"nothing is attached at {address}")
        return port

    def register(self, port: AttachedPort, service: Service, size: int) -> None:
        """Offers a service, whose one instance is the program at `port`, in place of what that offered before under the
        same name and version. The instance's address is that of the connection; `size` is that of the record in bytes.

        Raises `Forbidden` where the program may not attach, `Conflict` for a name that is not to be had, and
        `TooManyRequests` where it offers too much, or changes it too often.
        """
        if self.changed is None:
            raise Forbidden("no service can attach here: this is not the proxy port of a node")
        if not port.trusted:
            raise Forbidden(NOT_TRUSTED)
        if service.name in self._reserved:
            raise Conflict(f"{service.name} is answered by this node itself: no service can take that name")
        key = Registered(service.name, service.version)
        connection = self._connections.setdefault(port, _Connection())
        connection.take_room(key, size, port.now)
        instance = service.instances[0]
        instance = replace(instance, metadata={**instance.metadata, "native": "1"})
        self._take_over(instance.id, but=port)
        connection.services[key] = replace(service, instances=(instance,))
        connection.address = instance.address
        self._ports[instance.address] = port
        self._tell()

    def deregister(self, port: AttachedPort, key: Registered) -> None:
        """Offers it no more; what is not registered stays so."""
        connection = self._connections.get(port)
        if connection is not None and connection.services.pop(key, None) is not None:
            connection.sizes.pop(key)
            self._tell()

    def gone(self, port: AttachedPort) -> None:
        """A connection is gone, and what it offered with it."""
        connection = self._connections.pop(port, None)
        if connection is not None:
            self._ports.pop(connection.address, None)
            if connection.services:
                self._tell()

    def _take_over(self, id: str, *, but: AttachedPort) -> None:
        """An instance that comes again has lost its connection before, which the node may not know yet."""
        for port, connection in self._connections.items():
            for key, service in list(connection.services.items()):
                if port is not but and service.instances[0].id == id:
                    del connection.services[key], connection.sizes[key]
                    port.withdrawn(Refused(key, Conflict.grpc, f"{id} has attached over another connection"))

    def _tell(self) -> None:
        if self.changed is not None:
            self.changed(tuple(service for each in self._connections.values() for service in each.services.values()))
