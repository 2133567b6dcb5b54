"""What a registry holds: services, their running instances, and the endpoints they offer.

The JSON form is go-micro's (`nodes` for instances), so that records written by either side can be read by the other.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import BadRequest, RemoteProtocolError

MAX_NAME = 255
"""Longest name of a service, endpoint or instance, in characters; DNS and etcd users stay far below it."""

MAX_DEPTH = 8
"""Deepest schema that is read; go-micro writes three levels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One field of an endpoint's request or response, as a tree."""

    name: str
    """The field's name; for the outermost value, the name of the type."""
    type: str
    """The type as its language calls it, such as `str` or `int64`."""
    values: tuple["Value", ...] = ()
    """The fields within, for a structure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One callable method of a service."""

    name: str
    """`Handler.Method`, such as `Greeter.Hello`."""
    request: Value | None = None
    """Schema of the request, when the service publishes one."""
    response: Value | None = None
    """Schema of the response, when the service publishes one."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """`stream: true` marks a streaming endpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One running copy of a service."""

    id: str
    """Unique within the registry: `<service>-<random>`."""
    address: str
    """`host:port` where it is called (IPv6 hosts in brackets)."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """`protocol` (grpc, http, tcp, mucp), `native: 1` where it speaks frames, and whatever its owner adds."""

    @property
    def protocol(self) -> str:
        """What the instance speaks; `grpc` where the record does not say."""
        return self.metadata.get("protocol", "grpc")

    @property
    def native(self) -> bool:
        """Whether it speaks frames as well."""
        return self.metadata.get("native") == "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A named thing that can be called, in one version, with the instances that run it."""

    name: str
    """What callers call it by."""
    version: str = "latest"
    """Instances of different versions are different records of one name."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Labels of the whole service."""
    endpoints: tuple[Endpoint, ...] = ()
    """What can be called on it."""
    instances: tuple[Instance, ...] = ()
    """The copies that run now."""


def service_to_json(service: Service) -> dict[str, Any]:
    """The record as go-micro writes it, ready for a JSON or msgpack encoder."""
    return {
        "name": service.name,
        "version": service.version,
        "metadata": dict(service.metadata),
        "endpoints": [
            {
                "name": endpoint.name,
                "request": _value_to_json(endpoint.request),
                "response": _value_to_json(endpoint.response),
                "metadata": dict(endpoint.metadata),
            }
            for endpoint in service.endpoints
        ],
        "nodes": [
            {"id": instance.id, "address": instance.address, "metadata": dict(instance.metadata)}
            for instance in service.instances
        ],
    }


def parse_service_untrusted(data: object, *, address: str = "") -> Service:
    """Reads a decoded record from a registry or the network; unknown keys are skipped. Where `address` is given, that
    is where the instances are, whatever the record says.

    Raises `RemoteProtocolError` naming the field that is wrong, and nothing else.
    """
    record = _mapping(data, "service")
    return Service(
        name=_text(record.get("name"), "name", required=True),
        version=_text(record.get("version"), "version") or "latest",
        metadata=_metadata(record.get("metadata"), "metadata"),
        endpoints=tuple(_endpoint(item) for item in _list(record.get("endpoints"), "endpoints")),
        instances=tuple(_instance(item, address) for item in _list(record.get("nodes"), "nodes")),
    )


def parse_service(data: object) -> Service:
    """Like `parse_service_untrusted`, for a record a person typed: raises `BadRequest` with the same text."""
    try:
        return parse_service_untrusted(data)
    except RemoteProtocolError as error:
        raise BadRequest(str(error)) from None


def _value_to_json(value: Value | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {"name": value.name, "type": value.type, "values": [_value_to_json(item) for item in value.values]}


def _endpoint(data: object) -> Endpoint:
    record = _mapping(data, "endpoint")
    return Endpoint(
        name=_text(record.get("name"), "endpoint name", required=True),
        request=_value(record.get("request"), 0),
        response=_value(record.get("response"), 0),
        metadata=_metadata(record.get("metadata"), "endpoint metadata"),
    )


def _instance(data: object, address: str) -> Instance:
    record = _mapping(data, "node")
    return Instance(
        id=_text(record.get("id"), "node id", required=True),
        address=address or _address(record),
        metadata=_metadata(record.get("metadata"), "node metadata"),
    )


def _address(record: Mapping[object, object]) -> str:
    address = _text(record.get("address"), "node address", required=True)
    port = record.get("port")
    if port is not None and not (type(port) is int and port == 0):  # 0 is protobuf's way to say that there is none
        if type(port) is not int or not 0 < port < 65536:
            raise RemoteProtocolError("node port is not a number from 1 to 65535")
        if address.count(":") == 1 or "]:" in address:
            raise RemoteProtocolError(
                f"node address {address!r} has a port, and port says {port}: it takes one of them"
            )
        address = f"[{address}]:{port}" if ":" in address and address[0] != "[" else f"{address}:{port}"
    found = _HOST_AND_PORT.fullmatch(address)
    if found is None or not 0 < int(found[1]) < 65536:
        raise RemoteProtocolError(f"node address {address!r} is not host:port")
    return address


# No URL and no path; IPv6 in brackets only, as nobody could tell its port from it.
_HOST_AND_PORT = re.compile(r"(?:[^][:/@?#,\s]+|\[[^][/@?#,\s]+\]):([0-9]{1,5})")


def _value(data: object, depth: int) -> Value | None:
    if data is None:
        return None
    if depth > MAX_DEPTH:
        raise RemoteProtocolError(f"schema is deeper than {MAX_DEPTH} levels")
    record = _mapping(data, "schema")
    values = (_value(item, depth + 1) for item in _list(record.get("values"), "schema values"))
    return Value(
        name=_text(record.get("name"), "schema name"),
        type=_text(record.get("type"), "schema type"),
        values=tuple(value for value in values if value is not None),
    )


def _mapping(data: object, what: str) -> Mapping[object, object]:
    if not isinstance(data, dict):
        raise RemoteProtocolError(f"{what} is not an object")
    return data


def _list(data: object, what: str) -> list[object]:
    if data is None:
        return []
    if not isinstance(data, list):
        raise RemoteProtocolError(f"{what} is not a list")
    return data


def _text(data: object, what: str, *, required: bool = False) -> str:
    if data is None and not required:
        return ""
    if not isinstance(data, str) or (required and not data):
        raise RemoteProtocolError(f"{what} is missing or not text")
    if len(data) > MAX_NAME:
        raise RemoteProtocolError(f"{what} is longer than {MAX_NAME} characters")
    return _encodable(data, what)


def _encodable(text: str, what: str) -> str:
    # JSON's \ud800 alone makes a text that nothing can write again: it would fail far from whoever sent it.
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RemoteProtocolError(f"{what} is not valid Unicode") from None
    return text


def _metadata(data: object, what: str) -> dict[str, str]:
    result: dict[str, str] = {}
    if data is None:
        return result
    for key, value in _mapping(data, what).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise RemoteProtocolError(f"{what} holds something other than text")
        result[_encodable(key, what)] = _encodable(value, what)
    return result
