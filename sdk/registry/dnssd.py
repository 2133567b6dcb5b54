"""A record as DNS-SD carries it (RFC 6763): what stands in the TXT record of an instance, and how it is read.

An instance is called `<service>-<digest>._micro._tcp.local.`; the digest stands for name, version and id, which may be
any text and longer than DNS allows. Its TXT record, the head, says whose it is, how long it is good and what it is
about: the JSON of the record, compressed as go-micro does it. What does not fit into one packet stands in parts, each
the TXT record of a name of its own, so that a renewal costs one small packet however long the record is.

Nothing here does I/O. What comes from the network is bounded before it is read: lengths, parts, and what a few bytes
may unpack to.
"""

import hashlib
import json
import math
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sdk.errors import BadRequest, RemoteProtocolError
from sdk.types import Service, parse_service_untrusted, service_to_json

from .records import Key, key_of

TYPE = "_micro._tcp.local."
"""The service type every instance is found by."""
PART_TYPE = "_micro-part._tcp.local."
"""That of the parts of long records; nobody browses it."""
INLINE = 900
"""Bytes of a compressed record that still stand in the head: with the rest of it they fit a packet of Ethernet."""
PART = 1200
"""Bytes of a part; a packet of its own, which no router has to cut."""
MAX_PARTS = 256
"""Parts of one record, thus 300 KB compressed."""
MAX_JSON = 1 << 20
"""Bytes of a record's JSON, on whichever side."""
MAX_TTL = 86_400.0
"""Seconds. A record that is to live longer must be renewed once a day all the same."""

_STRING = 250
"""Bytes of a value in a TXT record: with its key and `=` it fits a string of DNS, 255 bytes."""
_HEX = re.compile(rb"[0-9a-f]{32}")
_NUMBER = re.compile(rb"[0-9]{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the TXT record of an instance says."""

    source: str
    """The registry that offers it, a random name made when that was opened."""
    sequence: int
    """Counts what that registry said, so that an old answer is known from a new one."""
    ttl: float
    """Seconds for which it is good from when it is heard."""
    group: str
    """Registries of other groups do not see it."""
    host: str
    """The network stack it was offered from: what its loopback addresses mean."""
    digest: str
    """Of the compressed record."""
    parts: int
    """How many parts the rest of the world must fetch; 0: `inline` is all."""
    inline: bytes = b""
    """The compressed record, where it is short."""


def label(key: Key, group: str = "") -> str:
    """What the instance is called in front of the type; the readable beginning is for people who browse.

    The same instance in two groups has two names: who takes one back says nothing of the other.
    """
    readable = re.sub(r"[^a-z0-9]+", "-", key[0].lower())[:24].strip("-") or "service"
    return f"{readable}-{digest(json.dumps([*key, group]).encode())}"


def group_of(address: str) -> str:
    """The group of an address that was given; any text may be one."""
    return digest(address.encode(errors="surrogatepass")) if address else ""


def pack(piece: Service) -> bytes:
    """The record of one instance, compressed.

    Raises `BadRequest` where it is longer than mdns carries: 1 MiB, or 300 KB compressed.
    """
    plain = json.dumps(service_to_json(piece), separators=(",", ":"), ensure_ascii=False).encode()
    packed = zlib.compress(plain)
    if len(plain) > MAX_JSON or len(packed) > MAX_PARTS * PART:
        raise BadRequest(
            f"the record of {piece.name!r} is too long for mdns: it has {len(plain)} bytes, {len(packed)} compressed, "
            f"and at most {MAX_JSON} and {MAX_PARTS * PART} can be carried; take endpoints or metadata out of it, or "
            "choose another registry with --registry (MICRO_REGISTRY)"
        )
    return packed


def head_of(packed: bytes, *, source: str, sequence: int, ttl: float, group: str, host: str) -> Head:
    """The head for a packed record."""
    short = len(packed) <= INLINE
    return Head(
        source=source,
        sequence=sequence,
        ttl=ttl,
        group=group,
        host=host,
        digest=digest(packed),
        parts=0 if short else math.ceil(len(packed) / PART),
        inline=packed if short else b"",
    )


def part_names(head: Head) -> list[str]:
    """What the parts are called, in their order."""
    return [f"{head.digest}-{number}.{PART_TYPE}" for number in range(head.parts)]


def parts_of(packed: bytes) -> list[bytes]:
    """The TXT records of the parts of a packed record."""
    return [_text([], packed[start : start + PART]) for start in range(0, len(packed), PART)]


def head_to_text(head: Head) -> bytes:
    """The TXT record of a head."""
    fields = [
        ("txtvers", "1"),
        ("by", head.source),
        ("seq", str(head.sequence)),
        ("ttl", str(math.ceil(head.ttl * 1000))),
        ("host", head.host),
        ("sum", head.digest),
        ("parts", str(head.parts)),
    ]
    return _text([*fields, ("in", head.group)] if head.group else fields, head.inline)


def parse_head_untrusted(text: bytes) -> Head:
    """Reads the TXT record of an instance. Raises `RemoteProtocolError` and nothing else."""
    fields = _fields(text)
    if fields.get(b"txtvers") != b"1":
        raise RemoteProtocolError("it is of another version, or none of ours")
    for name in (b"by", b"host", b"sum"):
        if not _HEX.fullmatch(fields.get(name, b"")):
            raise RemoteProtocolError(f"its {name.decode()} is no digest")
    if group := fields.get(b"in", b""):
        if not _HEX.fullmatch(group):
            raise RemoteProtocolError("its group is no digest")
    ttl, parts = _number(fields, b"ttl"), _number(fields, b"parts")
    if not ttl or parts > MAX_PARTS:
        raise RemoteProtocolError(f"it is good for {ttl} ms and has {parts} parts; at most {MAX_PARTS} are read")
    return Head(
        source=fields[b"by"].decode(),
        sequence=_number(fields, b"seq"),
        ttl=min(ttl / 1000, MAX_TTL),
        group=group.decode(),
        host=fields[b"host"].decode(),
        digest=fields[b"sum"].decode(),
        parts=parts,
        inline=_payload(fields),
    )


def parse_part_untrusted(text: bytes) -> bytes:
    """Reads the TXT record of a part. Raises `RemoteProtocolError` and nothing else."""
    payload = _payload(_fields(text))
    if not 0 < len(payload) <= PART:
        raise RemoteProtocolError(f"a part of it has {len(payload)} bytes; one has 1 to {PART}")
    return payload


def parse_record_untrusted(packed: bytes) -> Service:
    """Reads a packed record of one instance. Raises `RemoteProtocolError` and nothing else."""
    unpacking = zlib.decompressobj()
    try:
        plain = unpacking.decompress(packed, MAX_JSON)
        if not unpacking.eof:
            raise RemoteProtocolError(f"it ends early or has more than {MAX_JSON} bytes unpacked")
        data = json.loads(plain)
    except (zlib.error, ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"it is no compressed JSON: {type(error).__name__}") from None
    piece = parse_service_untrusted(data)
    if len(piece.instances) != 1:
        raise RemoteProtocolError(f"it has {len(piece.instances)} instances instead of one")
    return piece


def unpack_untrusted(head: Head, parts: Sequence[bytes], name: str) -> Service:
    """The record that a head called `name` (its label) and the TXT records of its parts amount to.

    Raises `RemoteProtocolError` and nothing else.
    """
    packed = b"".join(map(parse_part_untrusted, parts)) if head.parts else head.inline
    if digest(packed) != head.digest:
        raise RemoteProtocolError("its parts do not belong together")
    piece = parse_record_untrusted(packed)
    if label(key_of(piece), head.group) != name:
        raise RemoteProtocolError("it is the record of something else")
    return piece


def digest(data: bytes) -> str:
    """32 characters that stand for these bytes: half of their SHA-256."""
    return hashlib.sha256(data).hexdigest()[:32]


def _text(fields: Iterable[tuple[str, str]], payload: bytes) -> bytes:
    """A TXT record: strings `key=value`, each after its length; the payload as `d0`, `d1` …"""
    strings = [f"{key}={value}".encode() for key, value in fields]
    for number, start in enumerate(range(0, len(payload), _STRING)):
        strings.append(f"d{number}=".encode() + payload[start : start + _STRING])
    return b"".join(bytes((len(string),)) + string for string in strings)


def _fields(text: bytes) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    position = 0
    while position < len(text):
        end = position + 1 + text[position]
        if end > len(text):
            raise RemoteProtocolError("its TXT record ends in the middle of a string")
        key, _, value = text[position + 1 : end].partition(b"=")
        fields.setdefault(key.lower(), value)  # the first one counts, RFC 6763 section 6.4
        position = end
    return fields


def _payload(fields: dict[bytes, bytes]) -> bytes:
    pieces: list[bytes] = []
    while (piece := fields.get(b"d%d" % len(pieces))) is not None:
        pieces.append(piece)
    return b"".join(pieces)


def _number(fields: dict[bytes, bytes], name: bytes) -> int:
    value = fields.get(name, b"")
    if not _NUMBER.fullmatch(value):
        raise RemoteProtocolError(f"its {name.decode()} is no number")
    return int(value)
