"""What a person writes of a service that knows nothing of us: read strictly, for nobody else will find the mistake.

Programs' records are read with more patience (`sdk.types.parse_service_untrusted`), as they may come from newer ones.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from router.services import is_tellable
from sdk.errors import BadRequest
from sdk.netaddress import split_address
from sdk.types import Service, parse_service

from .addresses import EVERY_INTERFACE, EVERY_INTERFACE_V6
from .check import parse_check

MAX_TTL: Final = 365 * 86400
"""Longest time to live that is taken, in seconds."""

_CALLED: Final = ("grpc", "http", "tcp")
_KEYS: Final = frozenset(("name", "version", "metadata", "endpoints", "nodes", "options"))
_NODE_KEYS: Final = frozenset(("id", "address", "port", "metadata"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A service that somebody offers by hand."""

    service: Service
    """Its record, with at least one instance."""
    ttl: float | None
    """Seconds after which it goes by itself; None: it stays."""
    notes: tuple[str, ...]
    """What was most likely meant otherwise, in words for a person."""


def parse_offer(record: Any) -> Offer:
    """Reads `{"name", "version", "metadata", "endpoints", "nodes": [...], "options": {"ttl": seconds}}`.

    Raises `BadRequest` for what is no record, for one that nodes would not tell each other, and for an instance that
    nobody could call or check.
    """
    service = parse_service(record)
    _check_instances(service)
    for what, text in (("name", service.name), ("version", service.version)):
        if not is_tellable(text):
            raise BadRequest(f"{what} holds characters that do not print")
    for instance in service.instances:
        if split_address(instance.address)[0] in (EVERY_INTERFACE, EVERY_INTERFACE_V6):
            raise BadRequest(f"node address {instance.address!r} is where one listens, and nobody can call it there")
        try:
            parse_check(instance)
        except BadRequest as error:
            raise BadRequest(f"metadata of {instance.id}: {error.detail}") from None
    return Offer(service=service, ttl=parse_ttl(record.get("options")), notes=tuple(_notes(record, service)))


def parse_withdrawal(record: Any) -> Service:
    """Reads the record of instances that are to go: their ids are enough, and a record with mistakes will do that
    `parse_offer` refuses, as it may be there since before. Raises `BadRequest`."""
    if isinstance(record, dict) and isinstance(record.get("nodes"), list):
        nodes = [{"address": "localhost:1", **node} if isinstance(node, dict) else node for node in record["nodes"]]
        record = {**record, "nodes": nodes}
    service = parse_service(record)
    _check_instances(service)
    return service


def parse_ttl(options: object) -> float | None:
    """The time to live that stands in the `options` of a record, in seconds; None where there is none, which go-micro
    writes as 0. Raises `BadRequest`."""
    if not options:
        return None
    ttl: Any = options.get("ttl") if isinstance(options, Mapping) else str(options)
    if ttl is None or (type(ttl) in (int, float) and ttl == 0):
        return None
    if type(ttl) not in (int, float) or not 0 < ttl <= MAX_TTL:
        raise BadRequest("options.ttl of a record is a number of seconds, at most a year")
    return float(ttl)


def _check_instances(service: Service) -> None:
    if not service.instances:
        raise BadRequest('it has no instance: "nodes" is a list of {"id": …, "address": "host:port"}')
    ids = set[str]()
    for instance in service.instances:
        if instance.id in ids:
            raise BadRequest(f"two of its nodes have the id {instance.id!r}: the id is what tells them apart")
        ids.add(instance.id)


def _notes(record: Mapping[str, Any], service: Service) -> Iterator[str]:
    unknown = record.keys() - _KEYS
    for node in record["nodes"]:
        unknown |= node.keys() - _NODE_KEYS
    if unknown:
        yield (
            f"no record has {', '.join(map(repr, sorted(unknown)))}, which was left out: what is your own goes into "
            '"metadata"'
        )
    for protocol in sorted({instance.protocol for instance in service.instances}.difference(_CALLED)):
        yield (
            f"nodes do not call instances whose protocol is {protocol!r}, they only lead raw connections there: in the "
            f"metadata of an instance it is {', '.join(_CALLED[:-1])} or {_CALLED[-1]}, and grpc where nothing is said"
        )
