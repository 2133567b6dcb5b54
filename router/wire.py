"""Gossip messages and statements as bytes: msgpack arrays, in which what a newer node appends is skipped.

    message    [1, [[statement, signature], ...]]                          link states told
               [2, statement, signature, base epoch, base seq, more,
                [name gone, ...], [entry, ...]]                            services told
               [3, root of link states, root of services]                  compare: what the sender knows, in two hashes
               [4, flags, [[kind, origin, epoch, seq, mark], ...]]         versions: the same by origin
               [5, [[kind, origin, epoch, seq], ...]]                      pull: what is asked for, and what is there
    statement  [1, network, public, epoch, seq, born, name, [address, ...],
                [[neighbour, delay, loss, price], ...], transit, radius]
               [2, network, public, epoch, seq, count, root]
    entry      [service, version, [protocol, ...], instances, weight, [key, value, ...]], packed on its own

Messages and statements of an unknown kind are no error: a newer node may have more to say.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import msgpack

from sdk.errors import RemoteProtocolError
from sdk.wire.frame import ID_SIZE

from .linkstate import MAX_COST, MAX_RADIUS, LinkState, LinkTerms
from .servicemap import Point
from .services import MAX_INSTANCES, MAX_LABELS, MAX_PROTOCOLS, ServiceEntry, ServiceRoot, is_tellable
from .statement import MARK_SIZE, PUBLIC_SIZE, Kind, Signed, Version

MAX_MESSAGE: Final = 256 << 10
"""Longest message, in bytes. Own messages are shorter (see neighbour.py) but for the longest single entries."""
MAX_ADDRESSES: Final = 16
"""Most addresses of a node."""
MAX_ENTRY: Final = 96 << 10
"""Longest packed entry, in bytes: 32 labels of 255 characters each way fit."""

MAX_STATEMENT: Final = 64 << 10
"""Longest statement, in bytes: twice what 256 links and 16 addresses need. With the longest entry it fits a message:
who passes on what came in several puts them together in other ways, and must not be blamed for their length."""

_MAX_ARRAY: Final = 4096
"""Longest array; above all bounds that are counted rather than punished."""
_MAX_NUMBER: Final = 1 << 63
_MAX_SIGNATURE: Final = 64
ROOT_SIZE: Final = 32

_LINK_STATES: Final = 1
_SERVICES: Final = 2
_COMPARE: Final = 3
_VERSIONS: Final = 4
_PULL: Final = 5

_ASK: Final = 1  # the flag that a list of one kind is complete is the bit of that kind's number

_KINDS: Final = {int(kind): kind for kind in Kind}

_pack = msgpack.Packer(autoreset=True).pack

NodeId = Callable[[bytes], bytes]
"""public key -> id of the node."""


class LinkStates(NamedTuple):
    """Nodes speak of themselves and their links."""

    items: tuple[Signed, ...]


class Services(NamedTuple):
    """A node's services, or a change of them."""

    signed: Signed
    base: Point
    """The state that this is a change to; (0, 0) when it is all there is."""
    more: bool
    """Whether the next message goes on with the same."""
    gone: tuple[str, ...]
    """Names of services that are offered no more."""
    entries: tuple[bytes, ...]
    """Packed entries: all versions of each service named."""


class Compare(NamedTuple):
    """Everything the sender knows that the receiver should know too, in two hashes."""

    link_states: bytes
    services: bytes


class Versions(NamedTuple):
    """What the sender knows, by origin."""

    complete: frozenset[Kind]
    """Of which kinds this is all that the receiver should know too."""
    ask: bool
    """Whether the receiver is to answer in kind."""
    versions: tuple[tuple[Kind, bytes, Version], ...]


class Pull(NamedTuple):
    """The sender asks for the newest of these, and says which state it has."""

    wanted: tuple[tuple[Kind, bytes, Point], ...]


Message = LinkStates | Services | Compare | Versions | Pull


def pack_link_states(items: Iterable[Signed]) -> bytes:
    """A message that tells link states."""
    packed: bytes = _pack((_LINK_STATES, tuple(items)))
    return packed


def pack_services(services: Services) -> bytes:
    """A message that tells services, or a part of them."""
    (statement, signature), base, more, gone, entries = services
    packed: bytes = _pack((_SERVICES, statement, signature, *base, more, gone, entries))
    return packed


def pack_compare(compare: Compare) -> bytes:
    """A message that compares everything."""
    packed: bytes = _pack((_COMPARE, *compare))
    return packed


def pack_versions(versions: Versions) -> bytes:
    """A message that says what is known."""
    flags = sum(1 << kind for kind in versions.complete) + _ASK * versions.ask
    packed: bytes = _pack((_VERSIONS, flags, [(kind, origin, *version) for kind, origin, version in versions.versions]))
    return packed


def pack_pull(wanted: Iterable[tuple[Kind, bytes, Point]]) -> bytes:
    """A message that asks."""
    packed: bytes = _pack((_PULL, [(kind, origin, *point) for kind, origin, point in wanted]))
    return packed


def pack_link_state(state: LinkState) -> bytes:
    """The statement of a link state."""
    packed: bytes = _pack(
        (
            Kind.LINK_STATE, state.network, state.public, state.epoch, state.seq, state.born, state.name,
            state.addresses, [(neighbour, *terms) for neighbour, terms in state.links], state.transit, state.radius,
        )
    )  # fmt: skip
    return packed


def pack_service_root(root: ServiceRoot) -> bytes:
    """The statement that goes with services."""
    packed: bytes = _pack((Kind.SERVICES, root.network, root.public, root.epoch, root.seq, root.count, root.root))
    return packed


def pack_entry(entry: ServiceEntry) -> bytes:
    """One entry."""
    labels = [text for pair in entry.labels for text in pair]
    packed: bytes = _pack((entry.service, entry.version, entry.protocols, entry.instances, entry.weight, labels))
    return packed


def mark_of(statement: bytes) -> bytes:
    """The mark of a packed statement: the first bytes of its SHA-256."""
    return hashlib.sha256(statement).digest()[:MARK_SIZE]


def parse_message_untrusted(message: bytes) -> Message | None:
    """Reads a message, not yet the statements and entries in it; None when its kind is unknown."""
    if len(message) > MAX_MESSAGE:
        raise RemoteProtocolError(f"gossip message is longer than {MAX_MESSAGE} bytes")
    fields = _array(_unpack(message, "message"), "message")
    if not fields or type(fields[0]) is not int:
        raise RemoteProtocolError("gossip message has no kind")
    kind = fields[0]
    if kind == _LINK_STATES:
        return LinkStates(tuple(_signed(*_items(item, 2, "item")) for item in _array(_items(fields, 2)[1], "items")))
    if kind == _SERVICES:
        _, statement, signature, epoch, seq, more, gone, entries = _items(fields, 8)
        return Services(
            _signed(statement, signature),
            (_number(epoch, 0, _MAX_NUMBER, "epoch"), _number(seq, 0, _MAX_NUMBER, "seq")),
            _flag(more, "more"),
            _texts(gone, _MAX_ARRAY, "names"),
            tuple(map(_entry_bytes, _array(entries, "entries"))),
        )
    if kind == _COMPARE:
        _, link_states, services = _items(fields, 3)
        return Compare(_bytes(link_states, ROOT_SIZE, "root"), _bytes(services, ROOT_SIZE, "root"))
    if kind == _VERSIONS:
        _, flags, items = _items(fields, 3)
        _number(flags, 0, 255, "flags")
        complete = frozenset(kind for kind in Kind if flags & 1 << kind)
        versions = (_version(item) for item in _array(items, "versions"))
        return Versions(complete, bool(flags & _ASK), tuple(each for each in versions if each is not None))
    if kind == _PULL:
        wanted = (_want(item) for item in _array(_items(fields, 2)[1], "pull"))
        return Pull(tuple(each for each in wanted if each is not None))
    return None


def parse_statement_untrusted(signed: Signed, node_id: NodeId) -> LinkState | ServiceRoot | None:
    """Reads a statement, of which nothing is verified yet; None when its kind is unknown."""
    fields = _array(_unpack(signed.statement, "statement"), "statement")
    kind = _KINDS.get(fields[0]) if fields and type(fields[0]) is int else None
    if kind is None:
        return None
    _, network, public, epoch, seq = _items(fields, 5, "statement")
    _text(network, "network")
    _bytes(public, PUBLIC_SIZE, "public key")
    _number(epoch, 0, _MAX_NUMBER, "epoch")
    _number(seq, 0, _MAX_NUMBER, "seq")
    mark, origin = mark_of(signed.statement), node_id(public)
    if kind is Kind.LINK_STATE:
        born, name, addresses, links, transit, radius = _items(fields[5:], 6, "link state")
        return LinkState(
            network=network, origin=origin, public=public, epoch=epoch, seq=seq, mark=mark,
            born=_number(born, 0, _MAX_NUMBER, "born"), name=_text(name, "name"),
            addresses=_texts(addresses, MAX_ADDRESSES, "addresses"), links=_links(links, origin),
            transit=_flag(transit, "transit"), radius=_number(radius, 0, MAX_RADIUS, "radius"),
        )  # fmt: skip
    count, root = _items(fields[5:], 2, "root of services")
    return ServiceRoot(
        network=network, origin=origin, public=public, epoch=epoch, seq=seq, mark=mark,
        count=_number(count, 0, _MAX_NUMBER, "count"), root=_bytes(root, ROOT_SIZE, "root"),
    )  # fmt: skip


def parse_entry_untrusted(packed: bytes) -> ServiceEntry:
    """Reads one packed entry."""
    service, version, protocols, instances, weight, labels = _items(_unpack(packed, "service"), 6, "service")
    if not service:
        raise RemoteProtocolError("gossip service has no name")
    texts = _texts(labels, 2 * MAX_LABELS, "labels")
    if len(texts) % 2:
        raise RemoteProtocolError("gossip label has no value")
    return ServiceEntry(
        service=_text(service, "service"),
        version=_text(version, "version"),
        protocols=_texts(protocols, MAX_PROTOCOLS, "protocols"),
        instances=_number(instances, 0, MAX_INSTANCES, "instances"),
        weight=_number(weight, 0, MAX_INSTANCES, "weight"),
        labels=tuple(zip(texts[::2], texts[1::2], strict=True)),
        packed=packed,
    )


def _unpack(data: bytes, what: str) -> Any:
    try:
        # There are no maps and no extensions in gossip; without these bounds, small objects could take much memory.
        return msgpack.unpackb(data, use_list=False, max_array_len=_MAX_ARRAY, max_map_len=0, max_ext_len=0)
    except Exception as error:
        raise RemoteProtocolError(f"gossip {what} cannot be read: {type(error).__name__}") from None


def _array(data: Any, what: str) -> tuple[Any, ...]:
    if type(data) is not tuple:
        raise RemoteProtocolError(f"gossip {what} is no array")
    return data


def _items(data: Any, count: int, what: str = "message") -> tuple[Any, ...]:
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


def _flag(data: Any, what: str) -> bool:
    if type(data) is not bool:
        raise RemoteProtocolError(f"gossip {what} is neither true nor false")
    return data


def _signed(statement: Any, signature: Any) -> Signed:
    if type(statement) is not bytes or type(signature) is not bytes:
        raise RemoteProtocolError("gossip told statement is not made of bytes")
    if len(statement) > MAX_STATEMENT:
        raise RemoteProtocolError(f"gossip statement is longer than {MAX_STATEMENT} bytes")
    if len(signature) > _MAX_SIGNATURE:
        raise RemoteProtocolError("gossip signature is too long")
    return Signed(statement, signature)


def _entry_bytes(data: Any) -> bytes:
    if type(data) is not bytes or len(data) > MAX_ENTRY:
        raise RemoteProtocolError("gossip entry is not made of bytes, or too long")
    return data


def _want(data: Any) -> tuple[Kind, bytes, Point] | None:
    number, origin, epoch, seq = _items(data, 4, "pull")
    kind = _KINDS.get(_number(number, 0, _MAX_NUMBER, "kind"))
    _bytes(origin, ID_SIZE, "origin")
    point = _number(epoch, 0, _MAX_NUMBER, "epoch"), _number(seq, 0, _MAX_NUMBER, "seq")
    return None if kind is None else (kind, origin, point)


def _version(data: Any) -> tuple[Kind, bytes, Version] | None:
    number, origin, epoch, seq, mark = _items(data, 5, "version")
    kind = _KINDS.get(_number(number, 0, _MAX_NUMBER, "kind"))
    _bytes(origin, ID_SIZE, "origin")
    version = Version(
        _number(epoch, 0, _MAX_NUMBER, "epoch"),
        _number(seq, 0, _MAX_NUMBER, "seq"),
        _bytes(mark, MARK_SIZE, "mark"),
    )
    return None if kind is None else (kind, origin, version)


def _links(data: Any, origin: bytes) -> tuple[tuple[bytes, LinkTerms], ...]:
    links: dict[bytes, LinkTerms] = {}
    for item in _array(data, "links"):
        neighbour, *terms = _items(item, 4, "link")
        _bytes(neighbour, ID_SIZE, "neighbour")
        if neighbour == origin or neighbour in links:
            raise RemoteProtocolError("gossip links name a node twice")
        links[neighbour] = LinkTerms(*(_number(part, 0, MAX_COST, "cost") for part in terms))
    return tuple(links.items())
