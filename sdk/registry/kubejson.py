"""What Kubernetes says of services: EndpointSlices (discovery.k8s.io/v1), in lists and as changes of a watch.

A slice bears the labels of its Service. The record's name is the label `micro.mu/name`, else the name of the Service;
its version is `micro.mu/version`; every other `micro.mu/KEY` is the instances' metadata KEY, so `micro.mu/protocol`
says what they speak. Without that label the port says it, by its `appProtocol` or by the beginning of its name. Of
several ports it is the one called `micro`, else `grpc`, else the first.

Nothing here does I/O.
"""

import enum
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sdk.errors import RemoteProtocolError
from sdk.netaddress import join_address
from sdk.types import Service, parse_service_untrusted

from .records import Key, key_of, parse_json_untrusted

LABEL_VALUE: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
"""What the value of a label may be (Kubernetes documentation, Labels and Selectors), but for nothing at all."""
LABELS: Final = "micro.mu/"
"""What our labels begin with."""
SERVICE_NAME: Final = "kubernetes.io/service-name"
"""The label that Kubernetes gives every slice of a Service."""

_SPOKEN: Final = ("grpc", "http", "tcp", "mucp")


class Page(NamedTuple):
    """One answer to the question for all slices."""

    slices: list[object]
    """Each to be read by itself: one that is wrong spoils no other."""
    version: str
    """From which changes are told."""
    more: str
    """What to ask for the next page with; empty for the last."""


class Kind(enum.Enum):
    """What a line of a watch says."""

    STANDS = "stands"
    """A slice is new, or reads differently now."""
    GONE = "gone"
    """A slice was deleted."""
    MARK = "mark"
    """Nothing happened up to this version."""
    EXPIRED = "expired"
    """The version asked for is no longer kept: list again."""
    BROKEN = "broken"
    """The server cannot go on."""


class Told(NamedTuple):
    """One line of a watch."""

    kind: Kind
    version: str
    """From which the next changes are told."""
    slice: object
    """To be read by itself."""
    reason: str
    """The server's words where it cannot go on."""


class Slice(NamedTuple):
    """Some of the instances of one service."""

    path: str
    """`namespace/name`."""
    records: Mapping[Key, Service]
    """The record of each instance that is ready."""
    bad: tuple[str, ...] = ()
    """What is wrong with instances that cannot be read; they spoil no other."""


def parse_page_untrusted(body: bytes) -> Page:
    """Reads an EndpointSliceList. Raises `RemoteProtocolError` and nothing else."""
    found = _object(parse_json_untrusted(body), "list")
    about = _object(found.get("metadata"), "metadata of the list")
    items = found.get("items") or []
    if not isinstance(items, list):
        raise RemoteProtocolError("the items of the list are no list")
    return Page(items, _text(about.get("resourceVersion"), "resourceVersion"), str(about.get("continue") or ""))


def parse_told_untrusted(line: bytes) -> Told:
    """Reads a line of a watch. Raises `RemoteProtocolError` and nothing else."""
    found = _object(parse_json_untrusted(line), "event")
    kind, item = found.get("type"), _object(found.get("object"), "object of the event")
    if kind == "ERROR":
        expired = item.get("code") == 410
        return Told(Kind.EXPIRED if expired else Kind.BROKEN, "", None, str(item.get("message") or item.get("code")))
    version = _text(_object(item.get("metadata"), "metadata").get("resourceVersion"), "resourceVersion")
    if kind not in {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"}:
        raise RemoteProtocolError("the event is of a kind that is not known")
    named = {"DELETED": Kind.GONE, "BOOKMARK": Kind.MARK}
    return Told(named.get(str(kind), Kind.STANDS), version, item, "")


def parse_path_untrusted(data: object) -> str:
    """The `namespace/name` of a slice. Raises `RemoteProtocolError` and nothing else."""
    about = _object(_object(data, "slice").get("metadata"), "metadata")
    return f"{_text(about.get('namespace'), 'namespace')}/{_text(about.get('name'), 'name')}"


def parse_slice_untrusted(data: object) -> Slice:
    """Reads one slice; an instance that is not ready is left out, and one that cannot be read is told of.

    Raises `RemoteProtocolError` where that is true of all of them, and nothing else.
    """
    path = parse_path_untrusted(data)
    item = _object(data, "slice")
    labels = _object(_object(item.get("metadata"), "metadata").get("labels") or {}, "labels")
    port, spoken = _port(item.get("ports"))
    ours = {name.removeprefix(LABELS): value for name, value in labels.items() if str(name).startswith(LABELS)}
    name = ours.pop("name", None) or labels.get(SERVICE_NAME)
    version = ours.pop("version", None)
    metadata = {**({"protocol": spoken} if spoken else {}), **ours}
    # A pod with addresses of both kinds stands in two slices, and an id is one address.
    behind = "-ipv6" if item.get("addressType") == "IPv6" else ""
    endpoints = item.get("endpoints")
    if endpoints is not None and not isinstance(endpoints, list):
        raise RemoteProtocolError("the endpoints are no list")
    records, bad = {}, []
    for endpoint in endpoints or []:
        try:
            if (ready := _ready(endpoint)) is None:
                continue
            host, id = ready
            node = {"id": f"{id}{behind}", "address": join_address(host, port), "metadata": metadata}
            record = parse_service_untrusted({"name": name, "version": version, "nodes": [node]})
        except RemoteProtocolError as error:
            bad.append(str(error))
        else:
            records[key_of(record)] = record
    if bad and not records:
        raise RemoteProtocolError(bad[0])
    return Slice(path, records, tuple(dict.fromkeys(bad)))


def _ready(data: object) -> tuple[str, str] | None:
    """Address and name of an endpoint; None for one that is not ready."""
    endpoint = _object(data, "endpoint")
    # What is not known counts as ready (Kubernetes API, EndpointConditions).
    if _object(endpoint.get("conditions") or {}, "conditions").get("ready") is False:
        return None
    addresses = endpoint.get("addresses")
    if not isinstance(addresses, list) or not addresses:
        raise RemoteProtocolError("an endpoint has no address")
    host = _text(addresses[0], "address")  # further ones are of no use to anybody, says the API
    target = _object(endpoint.get("targetRef") or {}, "targetRef")
    return host, _text(target.get("name") or host, "name of a pod")


def _port(data: object) -> tuple[int, str]:
    """Number and protocol; the protocol is empty where nothing says it."""
    if not isinstance(data, list) or not data:
        raise RemoteProtocolError("it has no port")
    ports = [_object(one, "port") for one in data]
    ports = [one for one in ports if one.get("protocol", "TCP") == "TCP"]
    by_name = {str(one.get("name") or ""): one for one in reversed(ports)}
    chosen = by_name.get("micro") or by_name.get("grpc") or (ports[0] if ports else {})
    number = chosen.get("port")
    if type(number) is not int or not 0 < number < 65536:
        raise RemoteProtocolError("it has no TCP port")
    said = str(chosen.get("appProtocol") or chosen.get("name") or "").lower()
    if said == "kubernetes.io/h2c":
        return number, "grpc"
    return number, next((one for one in _SPOKEN if said == one or said.startswith(f"{one}-")), "")


def _object(data: object, what: str) -> dict[Any, Any]:
    if not isinstance(data, dict):
        raise RemoteProtocolError(f"the {what} is not an object")
    return data


def _text(data: object, what: str) -> str:
    if not isinstance(data, str) or not data:
        raise RemoteProtocolError(f"the {what} is missing or not text")
    return data
