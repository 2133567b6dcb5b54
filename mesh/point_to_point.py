"""`micro tunnel`: two environments and nothing between them.

An end of a tunnel is a node that carries nothing for others: it tells what runs here to those it is linked with, and to
nobody further, and it calls what runs there. What runs here is no candidate for calls through it: a program that wants
that needs no tunnel. Beside services of the registry an end can offer plain TCP addresses under a name, and open local
ports that lead to a name over there.
"""

import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from router.policy import Strategy
from router.table import NODE_SERVICES
from sdk.errors import BadRequest
from sdk.netaddress import join_address, split_address
from sdk.types import Instance, Service

from .local_ports import LOOPBACK, Forward, check_once, is_name, read_forward

TUNNEL_SERVICE: Final = "go.micro.tunnel"
"""The name under which an end of a tunnel registers, and the name of its network."""

FORWARD: Final = "--forward (MICRO_TUNNEL_FORWARD)"
EXPOSE: Final = "--expose (MICRO_TUNNEL_EXPOSE)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose:
    """A local TCP address that the other end can call under a name."""

    name: str
    """The name."""
    address: str
    """`host:port`, as this machine dials it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointToPoint:
    """What makes a node an end of a tunnel. Raises `BadRequest` for a local port that is to lead to two services."""

    pin: str = ""
    """Id or name of the only end that calls go to; empty for any."""
    forwards: tuple[Forward, ...] = ()
    """Local ports."""
    exposes: tuple[Expose, ...] = ()
    """Local addresses that are offered."""

    def __post_init__(self) -> None:
        check_once(self.forwards, FORWARD)


def parse_forward(text: str) -> Forward:
    """Reads `[host:]port:service`. Raises `BadRequest`."""
    place, _, service = text.rpartition(":")
    if not place or not is_name(service):
        raise BadRequest(f"{FORWARD} has {text!r}; it is PORT:SERVICE or HOST:PORT:SERVICE, such as 15432:postgres")
    return read_forward(place, service, f"{FORWARD} has {text!r}")


def parse_expose(text: str) -> Expose:
    """Reads `name=host:port`. Raises `BadRequest`."""
    name, separator, address = text.partition("=")
    if not separator or not is_name(name.strip()):
        raise BadRequest(f"{EXPOSE} has {text!r}; it is NAME=HOST:PORT, such as db=127.0.0.1:5432")
    try:
        host, port = split_address(address.strip())
    except BadRequest as error:
        raise BadRequest(f"{EXPOSE} has {text!r}: {error}") from None
    if not port:
        raise BadRequest(f"{EXPOSE} has {text!r}: port 0 is nobody's")
    if name.strip() in NODE_SERVICES:
        raise BadRequest(f"{EXPOSE} has {text!r}: {name.strip()} is every node's own name; choose another one")
    return Expose(name=name.strip(), address=join_address(host or LOOPBACK, port))


def with_exposed(services: Iterable[Service], exposes: Iterable[Expose]) -> tuple[Service, ...]:
    """The records of the registry together with the addresses that are offered besides."""
    records = {(service.name, service.version): service for service in services}
    for expose in exposes:
        instance = Instance(id=f"{expose.name}-{expose.address}", address=expose.address, metadata={"protocol": "tcp"})
        known = records.get((expose.name, "latest"), Service(name=expose.name))
        records[expose.name, "latest"] = replace(known, instances=(*known.instances, instance))
    return tuple(records.values())


def tunnel_values(*, servers: tuple[str, ...], address: str | None, id: str, **more: Any) -> dict[str, Any]:
    """The values of a `NodeConfig` for one end: which network, what is told, who is dialled.

    An end that dials listens only where it is told to. `id` is the name of an end that does not dial, and otherwise
    says which of the ends it dials takes the calls.
    """
    pin = id if servers else ""
    return {
        "address": address if address is not None else "" if servers else ":8083",
        "nodes": servers,
        "network": TUNNEL_SERVICE,
        "resolver": "static",
        "proxy_address": ":0",
        "advertise_strategy": Strategy.LOCAL.value,
        "name": id if id and not servers else socket.gethostname(),
        "point_to_point": PointToPoint(pin=pin, forwards=more.pop("forwards", ()), exposes=more.pop("exposes", ())),
        **more,
    }
