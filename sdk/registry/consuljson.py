"""How records stand in Consul: one service of an agent for each instance, with go-micro's tags.

Of a tag the first letter says what it holds: `e` an endpoint, `t` one pair of the instance's metadata, `v` the version,
each as JSON (the version as it is), deflated, in hexadecimal digits behind a dash; the oldest go-micro wrote them plain
behind an equals sign. `m`, the metadata of the service, is ours: go-micro has no place for it and skips it. Services of
others have no such tags: what stands in their `Meta` is the metadata, and in it `version`; and as their ids are mostly
the same on every host, the name of the node stands behind them.

Nothing here does I/O.
"""

import json
import re
import zlib
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from sdk.errors import BadRequest, RemoteProtocolError
from sdk.netaddress import join_address, split_address
from sdk.types import Service, parse_service_untrusted, service_to_json

from .records import parse_json_untrusted

LONGEST_TAG: Final = 2**20
"""Bytes a tag may have when it is inflated; a schema is a few kilobytes."""
LARGEST: Final = 512 * 1024
"""Bytes a registration may have. Consul's tags have no limit of their own, but entries of its log of changes that are
larger hold up its servers (hashicorp/raft, SuggestedMaxDataSize), and it cuts only those of its key-value store."""

# What Consul refuses in a path (hashicorp/go-cleanhttp, PrintablePathCheckHandler), and what marks it.
_SHOWN: Final = re.compile(r"(?:[^%]|%[0-9A-F]{2})*", re.DOTALL)


class Entry(NamedTuple):
    """One instance."""

    record: Service
    """The record with this instance alone."""
    changed: int
    """Consul's count of changes when this one was made."""
    critical: bool
    """Whether a check of it, or of its host, is. A warning keeps no callers away: that is how Consul's own DNS and
    go-micro read them."""


def shown_name(name: str) -> str:
    """The name or id as Consul takes it: what cannot be printed, and the percent sign, as in a URL.

    So are the slashes and dots of a name that would be another one as a path, such as `a//b` or `..`.
    """
    told = "%"
    if not {"", ".", ".."}.isdisjoint(name.split("/")):
        told = "%/."
    return "".join(_marked(letter) if letter in told or not letter.isprintable() else letter for letter in name)


def the_one(piece: Service) -> str:
    """A filter for the instances with the id of this one's (hashicorp/go-bexpr; a text in it is as in Go)."""
    id = shown_name(piece.instances[0].id).replace("\\", r"\\").replace('"', r"\x22")
    return f'Service.ID == "{id}"'


def registration(piece: Service, ttl: str, gone_after: str) -> dict[str, Any]:
    """What the agent is told of a record with one instance; `ttl` and `gone_after` as Go writes times, or empty.

    Raises `BadRequest` for one that is larger than Consul takes well, or could not be read back.
    """
    said = service_to_json(piece)
    [node] = said["nodes"]
    host, port = split_address(node["address"])
    tags = [f"t-{_deflated(json.dumps({key: value}))}" for key, value in node["metadata"].items()]
    tags += [f"e-{_deflated(json.dumps(endpoint))}" for endpoint in said["endpoints"]]
    tags.append(f"v-{_deflated(piece.version)}")
    if piece.metadata:
        tags.append(f"m-{_deflated(json.dumps(said['metadata']))}")
    told = {
        "ID": shown_name(node["id"]),
        "Name": shown_name(piece.name),
        "Tags": tags,
        "Address": host,
        "Port": port,
    }
    if ttl:
        told["Check"] = {"TTL": ttl, "Status": "passing", "DeregisterCriticalServiceAfter": gone_after}
    if (size := len(json.dumps(told))) > LARGEST:
        raise BadRequest(
            f"the record of {piece.name!r} with the instance {node['id']!r} has {size} bytes as Consul keeps it, and "
            f"{LARGEST} are the most: leave out metadata or endpoints"
        )
    return told


def parse_names_untrusted(body: bytes) -> list[str]:
    """The names of all services, as Consul has them, in the answer of `/v1/catalog/services`.

    Raises `RemoteProtocolError` and nothing else.
    """
    found = parse_json_untrusted(body)
    if not isinstance(found, dict):
        raise RemoteProtocolError("the list of services is not an object")
    return [name for name in found if name != "consul"]  # its own servers, which speak what only they understand


def parse_entries_untrusted(body: bytes) -> list[object]:
    """The entries of `/v1/health/service/NAME`, each to be read by itself: one that is wrong spoils no other.

    Raises `RemoteProtocolError` and nothing else.
    """
    found = parse_json_untrusted(body)
    if not isinstance(found, list):
        raise RemoteProtocolError("the list of instances is not a list")
    return found


def parse_instance_untrusted(data: object) -> Entry:
    """Reads one such entry. Raises `RemoteProtocolError` and nothing else."""
    entry = _object(data, "entry")
    service = _object(entry.get("Service"), "service")
    node = _object(entry.get("Node") or {}, "node")
    tags = _tags(service.get("Tags"))
    meta = service.get("Meta") or {}
    metadata: dict[object, object] = dict(_object(meta, "Meta"))
    version = metadata.get("version")
    if "t" in tags or "v" in tags:
        metadata = {}
        for text in tags.get("t", []):
            metadata.update(_object(parse_json_untrusted(text), "metadata"))
    if found := tags.get("v"):
        version = found[0].decode(errors="surrogatepass")
    id = _name(service.get("ID"))
    if not tags.keys() & {"t", "v"} and isinstance(id, str) and isinstance(at := node.get("Node"), str):
        id = f"{id}@{at}"
    host, port, index = service.get("Address") or node.get("Address"), service.get("Port"), service.get("ModifyIndex")
    if not isinstance(host, str) or not host:
        raise RemoteProtocolError("there is no address")
    if type(port) is not int or not 0 < port < 65536:
        raise RemoteProtocolError("there is no port")
    record = parse_service_untrusted(
        {
            "name": _name(service.get("Service")),
            "version": version,
            "metadata": parse_json_untrusted(tags["m"][0]) if "m" in tags else None,
            "endpoints": [parse_json_untrusted(text) for text in tags.get("e", [])],
            "nodes": [{"id": id, "address": join_address(host, port), "metadata": metadata}],
        }
    )
    checks = entry.get("Checks") or []
    if not isinstance(checks, list):
        raise RemoteProtocolError("the checks are not a list")
    critical = any(isinstance(check, dict) and check.get("Status") == "critical" for check in checks)
    return Entry(record, index if type(index) is int else 0, critical)


def parse_agent_service_untrusted(body: bytes) -> tuple[object, ...]:
    """What `/v1/agent/service/ID` says of name, tags, address and port. Raises `RemoteProtocolError` alone."""
    found = _object(parse_json_untrusted(body), "service")
    return tuple(found.get(name) for name in ("Service", "Tags", "Address", "Port"))


def parse_index_untrusted(text: str) -> int:
    """The count of changes in an `X-Consul-Index` header. Raises `RemoteProtocolError` and nothing else."""
    if not text.isascii() or not text.isdecimal() or len(text) > 20:
        raise RemoteProtocolError("it gives no X-Consul-Index")
    return int(text)


def _marked(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode())


def _deflated(text: str) -> str:
    data = text.encode()
    if len(data) > LONGEST_TAG:
        raise BadRequest(f"an endpoint or a pair of metadata has {len(data)} bytes, and {LONGEST_TAG} are the most")
    return zlib.compress(data).hex()


def _tags(data: object) -> dict[str, list[bytes]]:
    """The tags that are written as go-micro's are, inflated, by their first letter; those of others are left out."""
    found: dict[str, list[bytes]] = {}
    if not isinstance(data, list):
        return found
    for tag in data:
        if not isinstance(tag, str):
            continue
        kind, mark, text = tag[:1], tag[1:2], tag[2:]
        if kind not in {"e", "t", "v", "m"} or mark not in {"-", "="} or not text:
            continue
        if mark == "=":
            found.setdefault(kind, []).append(text.encode(errors="surrogatepass"))
        elif (inflated := _inflated(text)) is not None:
            found.setdefault(kind, []).append(inflated)
    return found


def _inflated(text: str) -> bytes | None:
    try:
        machine = zlib.decompressobj()
        data = machine.decompress(bytes.fromhex(text), LONGEST_TAG)
    except (ValueError, zlib.error):
        return None  # somebody's tag that only begins as ours do, such as "v-blue"
    if not machine.eof:
        raise RemoteProtocolError(f"a tag is cut short, or longer than {LONGEST_TAG} bytes")
    return data


def _object(data: object, what: str) -> dict[Any, object]:
    if not isinstance(data, dict):
        raise RemoteProtocolError(f"{what} is not an object")
    return data


def _name(data: object) -> object:
    if not isinstance(data, str):
        return data
    try:
        if _SHOWN.fullmatch(data):
            return unquote(data, errors="strict")
    except UnicodeDecodeError:
        pass
    raise RemoteProtocolError(f"the name {data!r} holds a percent sign that stands for nothing")
