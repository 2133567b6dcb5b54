"""`micro proxy`: a node that links with nobody.

It carries the calls of programs to what stands in the local registry. Or it stands before one back end, a program that
knows nothing of us: it registers under the name of that service, and whoever calls the service reaches the back end
through it. Calls for that name go there and nowhere else, whatever the registry has under it: most likely the proxy
itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from router.policy import Strategy
from router.table import NODE_SERVICES
from sdk.errors import BadRequest
from sdk.netaddress import is_loopback, join_address, split_address
from sdk.types import Instance, Service

from .addresses import EVERY_INTERFACE, EVERY_INTERFACE_V6, outward_hosts
from .local_ports import LOOPBACK, is_name

PROXY_SERVICE: Final = "go.micro.proxy"
"""The name under which a proxy registers that stands before no service."""

ENDPOINT: Final = "--endpoint (MICRO_PROXY_ENDPOINT)"
SERVER_NAME: Final = "--server-name (MICRO_SERVER_NAME)"

_SPOKEN: Final = {
    "": {"protocol": "grpc"},
    "grpc": {"protocol": "grpc"},
    "http": {"protocol": "http"},
    "tcp": {"protocol": "tcp"},
    "micro": {"protocol": "grpc", "native": "1"},
}
"""What a back end speaks, by the scheme of its address, as the metadata of an instance says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackEnd:
    """The one program before which a proxy stands."""

    service: str
    """The name it is called by."""
    address: str
    """`host:port`, as this machine dials it."""
    scheme: str = ""
    """What it speaks: `grpc`, which is also meant by nothing, `http`, `tcp`, or `micro` for frames, as the SDK does."""

    def __post_init__(self) -> None:
        if self.scheme not in _SPOKEN:
            raise BadRequest(f"{ENDPOINT} has {self.scheme}://; known are {', '.join(filter(None, _SPOKEN))}")
        if not is_name(self.service) or self.service in NODE_SERVICES:
            raise BadRequest(
                f"{ENDPOINT} is given, and {SERVER_NAME} is {self.service!r}: it has to be the name of the service "
                "that the proxy stands before"
            )

    @property
    def record(self) -> Service:
        """The back end as a service of this environment."""
        instance = Instance(id=f"{self.service}-{self.address}", address=self.address, metadata=_SPOKEN[self.scheme])
        return Service(name=self.service, instances=(instance,))

    @property
    def protocol(self) -> str:
        """What calls for it are made of."""
        return _SPOKEN[self.scheme]["protocol"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """What makes a node a proxy alone."""

    back_end: BackEnd | None = None
    """Before whom it stands, if before one."""


def parse_back_end(service: str, text: str) -> BackEnd:
    """Reads `[scheme://]host:port`. Raises `BadRequest`."""
    scheme, separator, rest = text.strip().rpartition("://")
    try:
        host, port = split_address(rest.rstrip("/") if separator else rest)
    except BadRequest as error:
        raise BadRequest(f"{ENDPOINT} is {text!r}: {error}") from None
    if not port:
        raise BadRequest(f"{ENDPOINT} is {text!r}: port 0 is nobody's")
    return BackEnd(service=service, address=join_address(host or LOOPBACK, port), scheme=scheme)


def refuse_itself(back_end: BackEnd, bound: Iterable[str]) -> None:
    """Raises `BadRequest` where the back end is the very proxy, which is bound to these addresses: it would call itself
    until it has no streams left."""
    host, port = split_address(back_end.address)
    for address in bound:
        own, own_port = split_address(address)
        everywhere = own in (EVERY_INTERFACE, EVERY_INTERFACE_V6)
        here = host == "localhost" or is_loopback(host) or host in outward_hosts()
        if port == own_port and (host == own or (here and (everywhere or (host == "localhost" and is_loopback(own))))):
            raise BadRequest(f"{ENDPOINT} is {back_end.address}, where this proxy itself listens")


def with_back_end(services: Iterable[Service], back_end: BackEnd | None) -> tuple[Service, ...]:
    """The records of the registry, with the back end in place of those of its name."""
    if back_end is None:
        return tuple(services)
    return (*(service for service in services if service.name != back_end.service), back_end.record)


def proxy_values(*, back_end: BackEnd | None, **more: Any) -> dict[str, Any]:
    """The values of a `NodeConfig` for a proxy alone: it has no link port and dials nobody."""
    return {
        "address": "",
        "resolver": "static",
        "advertise_strategy": Strategy.NONE.value,
        "alone": Alone(back_end=back_end),
        **more,
    }
