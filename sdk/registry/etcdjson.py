"""What is said to etcd v3 through its JSON gateway, and how its answers are read. Nothing here does I/O.

The gateway is documented at etcd.io ("Why gRPC gateway"): keys and values are base64, 64-bit numbers are text, and what
is zero or empty is left out.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from sdk.codec import JSON, decode_untrusted
from sdk.errors import RemoteProtocolError
from sdk.types import Service, service_to_json

from .records import Key

PREFIX: Final = "/micro/registry/"
"""Where go-micro keeps its records."""

# etcd takes 128 operations and 1.5 MiB in one transaction, unless it is told otherwise.
_MOST_AT_ONCE: Final = 100
_LARGEST_AT_ONCE: Final = 1_000_000


class Kept(NamedTuple):
    """What etcd holds under one key."""

    path: str
    """The key."""
    value: str | None
    """None where the key was deleted."""
    revision: int
    """Of its last change."""


class Page(NamedTuple):
    """A part of what is there, in the order of keys."""

    revision: int
    """Of the store as a whole."""
    kept: list[Kept]
    more: bool
    """Whether something comes behind it."""


class Told(NamedTuple):
    """One line of a watch."""

    changes: list[Kept]
    """In the order they were made."""
    ended: str
    """Why the watch is over; empty while it is not."""
    compacted: bool
    """Whether it is over because the log it needs is no longer kept: what there is must be listed again."""


class Refusal(NamedTuple):
    """An answer that is an error."""

    code: int
    """The gRPC status."""
    text: str


def path_of(key: Key) -> str:
    """The key of a record, as go-micro makes it: its parts hold no slash, and the version is in the record only."""
    return f"{service_prefix(key[0])}{_part(key[2])}"


def service_prefix(name: str) -> str:
    """What the keys of a service begin with."""
    return f"{PREFIX}{_part(name)}/"


def text_of(record: Service) -> str:
    """A record with one instance as it is written."""
    return json.dumps(service_to_json(record), separators=(",", ":"), sort_keys=True)


def range_request(prefix: str, *, limit: int = 0, after: str = "", revision: int = 0) -> dict[str, Any]:
    """Asks for what begins with a prefix; a page of it, behind the key `after`, as it was at a revision."""
    first = f"{after}\0" if after else prefix
    return {**_span(prefix), "key": _b64(first), "limit": str(limit), "revision": str(revision)}


def count_request(prefix: str) -> dict[str, Any]:
    """The cheapest question there is."""
    return {**_span(prefix), "count_only": True}


def watch_request(prefix: str, revision: int) -> dict[str, Any]:
    """Asks for all changes from a revision on. Long batches come in fragments and not as one line of any length."""
    return {"create_request": {**_span(prefix), "start_revision": str(revision), "fragment": True}}


def parts(texts: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Values by key, in portions that etcd takes at once."""
    part: dict[str, str] = {}
    size = 0
    for path, text in texts.items():
        more = len(path.encode()) + len(text.encode())
        if part and (len(part) == _MOST_AT_ONCE or size + more > _LARGEST_AT_ONCE):
            yield part
            part, size = {}, 0
        part[path] = text
        size += more
    if part:
        yield part


def put_request(texts: Mapping[str, str], lease: int) -> dict[str, Any]:
    """The transaction that writes values by key, on a lease (0: on none)."""
    puts = ({"key": _b64(path), "value": _b64(text), "lease": str(lease)} for path, text in texts.items())
    return {"success": [{"request_put": put} for put in puts]}


def compare_requests(revisions: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Transactions that do nothing and succeed when each key was last written at this revision."""
    for part in parts(dict.fromkeys(revisions, "")):
        yield {
            "compare": [
                {"key": _b64(path), "target": "MOD", "result": "EQUAL", "mod_revision": str(revisions[path])}
                for path in part
            ]
        }


def delete_requests(paths: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Transactions that delete keys."""
    for part in parts(dict.fromkeys(paths, "")):
        yield {"success": [{"request_delete_range": {"key": _b64(path)}} for path in part]}


def parse_answer_untrusted(body: bytes) -> Mapping[str, Any]:
    """Reads an answer, which is an object. Raises `RemoteProtocolError`."""
    data = decode_untrusted(JSON, body)
    if not isinstance(data, dict):
        raise RemoteProtocolError("its answer is not an object")
    return data


def parse_page_untrusted(body: bytes) -> Page:
    """Reads the answer to a range request. Raises `RemoteProtocolError`."""
    data = parse_answer_untrusted(body)
    kept = [_kept(item) for item in _list(data.get("kvs"))]
    return Page(parse_number_untrusted(_object(data.get("header")).get("revision")), kept, data.get("more") is True)


def parse_told_untrusted(line: bytes) -> Told:
    """Reads a line of a watch. Raises `RemoteProtocolError`."""
    data = parse_answer_untrusted(line)
    if "error" in data:
        return Told([], parse_refusal_untrusted(line).text or "it gave an error without a text", False)
    result = _object(data.get("result"))
    changes = []
    for item in _list(result.get("events")):
        event = _object(item)
        kept = _kept(event.get("kv"))
        changes.append(kept._replace(value=None) if event.get("type") == "DELETE" else kept)
    if result.get("canceled") is not True:
        return Told(changes, "", False)
    compacted = parse_number_untrusted(result.get("compact_revision")) > 0
    reason = result.get("cancel_reason")
    return Told(changes, reason if isinstance(reason, str) and reason else "the watch was cancelled", compacted)


def parse_refusal_untrusted(body: bytes) -> Refusal:
    """Reads an error, of a request or of a stream. Raises `RemoteProtocolError`."""
    data = parse_answer_untrusted(body)
    inner = data.get("error")
    if isinstance(inner, dict):
        data = inner
    code, text = data.get("code", data.get("grpc_code")), data.get("message", inner)
    return Refusal(code if type(code) is int else 2, text[:200] if isinstance(text, str) else "")


def parse_number_untrusted(data: object) -> int:
    """Reads a number, which is text in this JSON and left out where it is 0. Raises `RemoteProtocolError`."""
    if data is None:
        return 0
    if not isinstance(data, str) or len(data) > 20 or not data.removeprefix("-").isdecimal() or not data.isascii():
        raise RemoteProtocolError("its answer has text in place of a number")
    return int(data)


def _part(text: str) -> str:
    return text.replace("/", "-")


def _span(prefix: str) -> dict[str, Any]:
    # The end is the first key behind all that begin so.
    return {"key": _b64(prefix), "range_end": _b64(f"{prefix[:-1]}{chr(ord(prefix[-1]) + 1)}")}


def _kept(data: object) -> Kept:
    record = _object(data)
    return Kept(
        _text(record.get("key")), _text(record.get("value")), parse_number_untrusted(record.get("mod_revision"))
    )


def _text(data: object) -> str:
    # What is no UTF-8 stays such that the reader of the record refuses it alone.
    try:
        return base64.b64decode(data if isinstance(data, str) else "", validate=True).decode(errors="surrogateescape")
    except ValueError:
        raise RemoteProtocolError("its answer has a key or value that is not base64") from None


def _object(data: object) -> Mapping[str, Any]:
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise RemoteProtocolError("its answer has something else in place of an object")
    return data


def _list(data: object) -> list[object]:
    if data is None:
        return []
    if not isinstance(data, list):
        raise RemoteProtocolError("its answer has something else in place of a list")
    return data


def _b64(text: str) -> str:
    return base64.b64encode(text.encode(errors="surrogateescape")).decode()
