"""What an attached service and its node say to each other in REGISTER and DEREGISTER, on stream 0.

program → node    REGISTER    the record of a service, with the one instance that is this connection
                  DEREGISTER  [name, version]
node → program    REGISTER    [name, version]: it is registered
                  DEREGISTER  [name, version, status, sentence]: it is not, because it was asked so (status 0), or
                              because of what the sentence says
"""

from dataclasses import replace
from typing import Any, Final, NamedTuple

import msgpack

from sdk.errors import BadRequest, RemoteProtocolError, Status
from sdk.types import MAX_NAME, Endpoint, Service, parse_service_untrusted, service_to_json

from .frame import MAX_PAYLOAD

MAX_DETAIL: Final = 1000
"""Characters of a sentence that are said."""


class Registered(NamedTuple):
    """Which of the services of a connection is meant."""

    name: str
    version: str


class Refused(NamedTuple):
    """A service that is not registered, or not any more."""

    registered: Registered
    status: int
    """A gRPC status: 0 where the program itself asked for it."""
    detail: str
    """A sentence for a person: why."""


def pack_registration(service: Service) -> bytes:
    """The payload of a program's REGISTER. Where it would not fit, the schemas of the endpoints are left out; raises
    `BadRequest` where that does not help."""
    for record in (service, replace(service, endpoints=tuple(_bare(each) for each in service.endpoints))):
        packed: bytes = msgpack.packb(service_to_json(record))
        if len(packed) <= MAX_PAYLOAD:
            return packed
    raise BadRequest(f"the record of {service.name} has {len(packed)} bytes; {MAX_PAYLOAD} can be told to a node")


def parse_registration_untrusted(payload: bytes, address: str) -> Service:
    """Reads a program's REGISTER; its one instance gets `address`, whatever the program says."""
    service = parse_service_untrusted(_unpacked(payload, "REGISTER"), address=address)
    if len(service.instances) != 1:
        raise RemoteProtocolError(f"REGISTER has {len(service.instances)} instances; a connection is one")
    return service


def pack_registered(registered: Registered) -> bytes:
    """The payload of a program's DEREGISTER, and of a node's REGISTER."""
    packed: bytes = msgpack.packb(registered)
    return packed


def parse_registered_untrusted(payload: bytes) -> Registered:
    """Reads it; items that a newer peer added are skipped."""
    match _unpacked(payload, "the name of a registration"):
        case [str(name), str(version), *_] if 0 < len(name) <= MAX_NAME and len(version) <= MAX_NAME:
            return Registered(name, version)
    raise RemoteProtocolError("the name of a registration is not [name, version]")


def pack_refused(refused: Refused) -> bytes:
    """The payload of a node's DEREGISTER."""
    packed: bytes = msgpack.packb((*refused.registered, refused.status, refused.detail[:MAX_DETAIL]))
    return packed


def parse_refused_untrusted(payload: bytes) -> Refused:
    """Reads it; a status that is not known is `UNKNOWN`."""
    match _unpacked(payload, "DEREGISTER"):
        case [str(name), str(version), int(status), str(detail), *_]:
            known = Status(status) if 0 <= status <= Status.UNAUTHENTICATED else Status.UNKNOWN
            return Refused(Registered(name[:MAX_NAME], version[:MAX_NAME]), known, detail[:MAX_DETAIL])
    raise RemoteProtocolError("DEREGISTER is not [name, version, status, sentence]")


def _unpacked(payload: bytes, what: str) -> Any:
    try:
        return msgpack.unpackb(payload)
    except Exception as error:
        raise RemoteProtocolError(f"{what} cannot be read: {type(error).__name__}") from None


def _bare(endpoint: Endpoint) -> Endpoint:
    return replace(endpoint, request=None, response=None)
