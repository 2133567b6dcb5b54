"""Gossip messages and statements as bytes: msgpack arrays, in which what a newer node appends is skipped.

    message    [1, [[statement, signature, body], ...]]                   statements told
               [2, [[kind, origin, epoch, seq, mark], ...]]               digest: what the sender knows
               [3, [[kind, origin], ...]]                                 pull: what the sender asks for
    statement  [1, network, origin, public, epoch, seq, name, [address, ...], [[neighbour, cost], ...], transit]
               [2, network, origin, public, epoch, seq, count, root]      its body is [entry, ...]
    entry      [service, version, [protocol, ...], instances, weight, [[key, value], ...]]

Messages and statements of an unknown kind are no error: a newer node may have more to say.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgpack

from sdk.errors import RemoteProtocolError

from .linkstate import MAX_COST, LinkState
from .services import MAX_INSTANCES, MAX_LABELS, MAX_PROTOCOLS, ServiceEntry, ServiceMap, is_tellable
from .statement import ID_SIZE, MARK_SIZE, PUBLIC_SIZE, Kind, Signed, Version

MAX_MESSAGE: Final = 4 << 20
"""Longest message, in bytes: what a link puts together from its pieces."""
MAX_ADDRESSES: Final = 16
"""Most addresses of a node."""

_MAX_ARRAY: Final = 4096
"""Longest array but the entries; above all bounds that are counted rather than punished."""
_MAX_ENTRIES: Final = 65536
"""The same for entries."""
_MAX_NUMBER: Final = 1 << 63
_MAX_SIGNATURE: Final = 64
_ROOT_SIZE: Final = 32

_STATEMENTS: Final = 1
_DIGEST: Final = 2
_PULL: Final = 3

_KINDS: Final = {int(kind): kind for kind in Kind}

_pack = msgpack.Packer(autoreset=True).pack


class Statements(NamedTuple):
    """Something is told, for the first time or once more."""

    items: tuple[Signed, ...]


class Digest(NamedTuple):
    """Everything the sender knows, by version."""

    versions: tuple[tuple[Kind, bytes, Version], ...]


class Pull(NamedTuple):
    """The sender asks for the newest statements of this kind and origin."""

    keys: tuple[tuple[Kind, bytes], ...]


def pack_statements(items: Iterable[Signed]) -> bytes:
    """A message that tells."""
    packed: bytes = _pack((_STATEMENTS, tuple(items)))
    return packed


def pack_digest(versions: Iterable[tuple[Kind, bytes, Version]]) -> bytes:
    """A message that says what is known."""
    packed: bytes = _pack((_DIGEST, [(kind, origin, *version) for kind, origin, version in versions]))
    return packed


def pack_pull(keys: Iterable[tuple[Kind, bytes]]) -> bytes:
    """A message that asks."""
    packed: bytes = _pack((_PULL, tuple(keys)))
    return packed


def pack_link_state(state: LinkState) -> bytes:
    """The statement of a link state."""
    packed: bytes = _pack(
        (
            Kind.LINK_STATE, state.network, state.origin, state.public, state.epoch, state.seq,
            state.name, state.addresses, state.links, state.transit,
        )
    )  # fmt: skip
    return packed


def pack_service_map(services: ServiceMap) -> bytes:
    """The statement of a service map."""
    packed: bytes = _pack(
        (
            Kind.SERVICES, services.network, services.origin, services.public, services.epoch, services.seq,
            services.count, services.root,
        )
    )  # fmt: skip
    return packed


def pack_entry(entry: ServiceEntry) -> bytes:
    """One entry of a body."""
    packed: bytes = _pack((entry.service, entry.version, entry.protocols, entry.instances, entry.weight, entry.labels))
    return packed


def pack_body(packed_entries: Sequence[bytes]) -> bytes:
    """The body of a service map."""
    header: bytes = msgpack.Packer().pack_array_header(len(packed_entries))
    return header + b"".join(packed_entries)


def mark_of(statement: bytes) -> bytes:
    """The mark of a packed statement: the first bytes of its SHA-256."""
    return hashlib.sha256(statement).digest()[:MARK_SIZE]


def parse_message_untrusted(message: bytes) -> Statements | Digest | Pull | None:
    """Reads a message, not yet the statements in it; None when its kind is unknown."""
    if len(message) > MAX_MESSAGE:
        raise RemoteProtocolError(f"gossip message is longer than {MAX_MESSAGE} bytes")
    kind, items = _items(_unpack(message, "message"), 2, "message")
    if type(kind) is not int:
        raise RemoteProtocolError("gossip message has no kind")
    if kind == _STATEMENTS:
        return Statements(tuple(_signed(item) for item in _array(items, "statements")))
    if kind == _DIGEST:
        return Digest(tuple(entry for item in _array(items, "digest") if (entry := _digest_entry(item)) is not None))
    if kind == _PULL:
        return Pull(tuple(key for item in _array(items, "pull") if (key := _key(item)) is not None))
    return None


def parse_statement_untrusted(signed: Signed) -> LinkState | ServiceMap | None:
    """Reads a statement, of which nothing is verified yet; None when its kind is unknown."""
    fields = _array(_unpack(signed.statement, "statement"), "statement")
    kind = _KINDS.get(fields[0]) if fields and type(fields[0]) is int else None
    if kind is None:
        return None
    _, network, origin, public, epoch, seq = _items(fields, 6, "statement")
    _text(network, "network")
    _bytes(origin, ID_SIZE, "origin")
    _bytes(public, PUBLIC_SIZE, "public key")
    _number(epoch, 0, _MAX_NUMBER, "epoch")
    _number(seq, 0, _MAX_NUMBER, "seq")
    mark = mark_of(signed.statement)
    if kind is Kind.LINK_STATE:
        name, addresses, links, transit = _items(fields[6:], 4, "link state")
        if type(transit) is not bool:
            raise RemoteProtocolError("transit of a link state is neither true nor false")
        if signed.body:
            raise RemoteProtocolError("a link state has a body")
        return LinkState(
            network=network, origin=origin, public=public, epoch=epoch, seq=seq, mark=mark,
            name=_text(name, "name"), addresses=_texts(addresses, MAX_ADDRESSES, "addresses"),
            links=_links(links, origin), transit=transit,
        )  # fmt: skip
    count, root = _items(fields[6:], 2, "service map")
    return ServiceMap(
        network=network, origin=origin, public=public, epoch=epoch, seq=seq, mark=mark,
        count=_number(count, 0, _MAX_NUMBER, "count"), root=_bytes(root, _ROOT_SIZE, "root"),
    )  # fmt: skip


def parse_entries_untrusted(body: bytes, count: int) -> tuple[ServiceEntry, ...]:
    """Reads the body of a service map that says it has so many entries."""
    entries = tuple(map(_entry, _array(_unpack(body, "services", _MAX_ENTRIES), "services")))
    if len(entries) != count:
        raise RemoteProtocolError(f"gossip speaks of {count} services and brings {len(entries)}")
    if len({entry.key for entry in entries}) != count:
        raise RemoteProtocolError("gossip brings one service twice")
    return entries


def _unpack(data: bytes, what: str, max_array: int = _MAX_ARRAY) -> Any:
    try:
        # There are no maps and no extensions in gossip; without these bounds, small objects could take much memory.
        return msgpack.unpackb(data, use_list=False, max_array_len=max_array, max_map_len=0, max_ext_len=0)
    except Exception as error:
        raise RemoteProtocolError(f"gossip {what} cannot be read: {type(error).__name__}") from None


def _array(data: Any, what: str) -> tuple[Any, ...]:
    if type(data) is not tuple:
        raise RemoteProtocolError(f"gossip {what} is no array")
    return data


def _items(data: Any, count: int, what: str) -> tuple[Any, ...]:
    """The first so many items."""
    array = _array(data, what)
    if len(array) < count:
        raise RemoteProtocolError(f"gossip {what} is too short")
    return array[:count]


def _text(data: Any, what: str) -> str:
    if type(data) is not str or not is_tellable(data):
        raise RemoteProtocolError(f"gossip {what} is no text, or too long, or not printable")
    return data


def _texts(data: Any, limit: int, what: str) -> tuple[str, ...]:
    array = _array(data, what)
    if len(array) > limit:
        raise RemoteProtocolError(f"gossip {what} are more than {limit}")
    for item in array:
        _text(item, what)
    return array


def _bytes(data: Any, size: int, what: str) -> bytes:
    if type(data) is not bytes or len(data) != size:
        raise RemoteProtocolError(f"gossip {what} is not {size} bytes long")
    return data


def _number(data: Any, least: int, most: int, what: str) -> int:
    if type(data) is not int or not least <= data <= most:
        raise RemoteProtocolError(f"gossip {what} is no number from {least} to {most}")
    return data


def _signed(data: Any) -> Signed:
    statement, signature, body = _items(data, 3, "told statement")
    if type(statement) is not bytes or type(signature) is not bytes or type(body) is not bytes:
        raise RemoteProtocolError("gossip told statement is not made of bytes")
    if len(signature) > _MAX_SIGNATURE:
        raise RemoteProtocolError("gossip signature is too long")
    return Signed(statement, signature, body)


def _key(data: Any) -> tuple[Kind, bytes] | None:
    number, origin = _items(data, 2, "key")
    kind = _KINDS.get(_number(number, 0, _MAX_NUMBER, "kind"))
    _bytes(origin, ID_SIZE, "origin")
    return None if kind is None else (kind, origin)


def _digest_entry(data: Any) -> tuple[Kind, bytes, Version] | None:
    number, origin, epoch, seq, mark = _items(data, 5, "digest entry")
    kind = _KINDS.get(_number(number, 0, _MAX_NUMBER, "kind"))
    _bytes(origin, ID_SIZE, "origin")
    version = Version(
        _number(epoch, 0, _MAX_NUMBER, "epoch"),
        _number(seq, 0, _MAX_NUMBER, "seq"),
        _bytes(mark, MARK_SIZE, "mark"),
    )
    return None if kind is None else (kind, origin, version)


def _links(data: Any, origin: bytes) -> tuple[tuple[bytes, int], ...]:
    links: dict[bytes, int] = {}
    for item in _array(data, "links"):
        neighbour, cost = _items(item, 2, "link")
        _bytes(neighbour, ID_SIZE, "neighbour")
        if neighbour == origin or neighbour in links:
            raise RemoteProtocolError("gossip links name a node twice")
        links[neighbour] = _number(cost, 1, MAX_COST, "cost")
    return tuple(links.items())


def _entry(data: Any) -> ServiceEntry:
    service, version, protocols, instances, weight, labels = _items(data, 6, "service")
    if not service:
        raise RemoteProtocolError("gossip service has no name")
    pairs = _array(labels, "labels")
    if len(pairs) > MAX_LABELS:
        raise RemoteProtocolError(f"gossip labels are more than {MAX_LABELS}")
    return ServiceEntry(
        service=_text(service, "service"),
        version=_text(version, "version"),
        protocols=_texts(protocols, MAX_PROTOCOLS, "protocols"),
        instances=_number(instances, 0, MAX_INSTANCES, "instances"),
        weight=_number(weight, 0, MAX_INSTANCES, "weight"),
        labels=tuple(map(_label, pairs)),
    )


def _label(data: Any) -> tuple[str, str]:
    key, value = _items(data, 2, "label")
    return _text(key, "label"), _text(value, "label")
