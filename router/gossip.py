"""The machine that tells this node's links and services to the network and listens to what others tell.

Every statement belongs to one origin, which alone makes it, numbered (epoch, seq) and signed. News is flooded: sent on
to every neighbour but the one it came from (RFC 2328, 13.3). Neighbours compare what they know when a link comes up and
every 30 s, by a digest of all versions, and pull what they lack (as IS-IS does, ISO 10589, 7.3.15): so nothing that was
missed stays missed, withdrawals included, since a withdrawal is a newer statement like any other.

What waits to be sent to a neighbour is which statements, not the statements: a slow neighbour gets the newest of each,
once, and costs no more memory than there is to know.
"""

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Final

from sdk.errors import BadRequest

from .database import Database, OriginView
from .linkstate import MAX_EDGES, Edges, LinkState
from .pace import Pace
from .services import MAX_BODY, MAX_SERVICES, ServiceEntry, ServiceMap, is_tellable, root_of
from .statement import Kind, Signed, Version, to_sign
from .store import MAX_ORIGINS, Verify
from .wire import (
    MAX_ADDRESSES,
    Digest,
    Pull,
    Statements,
    pack_body,
    pack_digest,
    pack_entry,
    pack_link_state,
    pack_pull,
    pack_service_map,
    pack_statements,
    parse_entries_untrusted,
    parse_message_untrusted,
    parse_statement_untrusted,
)

DIGEST_EVERY: Final = 30.0
"""Seconds between digests on a link, give or take a quarter, so that nodes started together do not stay in step."""
SWEEP_AFTER: Final = 1.0
"""Seconds after a change of topology at which is looked who is out of reach."""
JUMP_EVERY: Final = 10.0
"""Seconds at least from one jump above one's own older self to the next, lest twins with one key chase each other."""
BATCH: Final = 256 << 10
"""Bytes of statements after which a message is full; a single larger one goes alone."""


@dataclass(slots=True, kw_only=True)
class _Peer:
    """A neighbour, and what it is to be sent. Dictionaries stand for sets that keep their order."""

    cost: int
    digest_at: float
    digest: bool = True
    items: dict[tuple[Kind, bytes], None] = field(default_factory=dict)
    pulls: dict[tuple[Kind, bytes], None] = field(default_factory=dict)


class Gossip:
    """What a node knows about its network. A machine; `wake` is called when there is something to send."""

    def __init__(
        self,
        *,
        me: bytes,
        public: bytes,
        name: str,
        network: str,
        addresses: Iterable[str],
        epoch: int,
        sign: Callable[[bytes], bytes],
        verify: Verify,
        node_id: Callable[[bytes], bytes],
        random: Random,
        wake: Callable[[], None],
    ) -> None:
        """`sign`, `verify` and `node_id` are those of the node's identity; `epoch` rises with each start of the node.

        Raises `BadRequest` for a name or an address that other nodes would not take.
        """
        self.me = me
        """This node's id."""
        self.network = network
        """Name of the network."""
        self.counters: collections.Counter[str] = collections.Counter()
        """How often something was refused, left out or had to be repaired, by name."""
        self._public = public
        self._name = name
        self._addresses = tuple(addresses)[:MAX_ADDRESSES]
        for text in (name, network, *self._addresses):
            if not is_tellable(text):
                raise BadRequest(f"{text[:40]!r} cannot be told to other nodes: it is too long, or not printable")
        self._epoch = epoch
        self._sign = sign
        self._random = random
        self._wake = wake
        self._awake = False
        self._peers: dict[bytes, _Peer] = {}
        self._entries: dict[tuple[str, str], ServiceEntry] = {}
        self._known = Database(me=me, network=network, node_id=node_id, verify=verify)
        self._seqs = dict.fromkeys(Kind, 0)
        self._link_pace = Pace()
        self._service_pace = Pace()
        self._swept = 0
        self._sweep_at = inf
        self._older_self: tuple[int, int] | None = None
        self._jump_after = -inf
        self._tell_links()
        self._tell_services()

    # What is known.

    @property
    def revision(self) -> int:
        """Rises with every change of what is known."""
        return self._known.revision

    @property
    def topology(self) -> int:
        """Rises with every change of who is linked to whom."""
        return self._known.topology

    @property
    def origins(self) -> Mapping[bytes, OriginView]:
        """All nodes that are known, this one first. Some may be out of reach."""
        return self._known.origins

    @property
    def edges(self) -> Edges:
        """The graph: what both ends of a link agree on, at the larger of their two costs."""
        return self._known.edges

    @property
    def reachable(self) -> Mapping[bytes, None]:
        """The nodes that can be reached over any number of links, this one first, then from near to far."""
        return self._known.reachable

    # What happens to this node.

    def link_up(self, peer: bytes, cost: int, now: float) -> None:
        """A link to this node came up, perhaps in the place of another one. `cost` is from metric.py."""
        self._peers[peer] = _Peer(cost=cost, digest_at=self._next_digest(now))
        self._has_output()
        self._link_pace.changed(now)
        self._tell_due(now)

    def set_cost(self, peer: bytes, cost: int, now: float) -> None:
        """The link to this node costs so much from now on. Ignored when there is no such link."""
        neighbour = self._peers.get(peer)
        if neighbour is not None and neighbour.cost != cost:
            neighbour.cost = cost
            self._link_pace.changed(now)
            self._tell_due(now)

    def link_down(self, peer: bytes, now: float) -> None:
        """The last link to this node is gone. Everyone is told at once. Ignored when there was none."""
        if self._peers.pop(peer, None) is not None:
            self._link_pace.changed(now, urgent=True)
            self._tell_due(now)

    def set_services(self, entries: Iterable[ServiceEntry], now: float) -> None:
        """This is all that the node offers from now on. What is gone is told at once, what is new within a second."""
        wanted = {entry.key: entry for entry in sorted(entries, key=lambda entry: entry.key)}
        if wanted != self._entries:
            self._service_pace.changed(now, urgent=any(key not in wanted for key in self._entries))
            self._entries = wanted
            self._tell_due(now)

    # The machine's verbs.

    def receive(self, peer: bytes, message: bytes, now: float) -> None:
        """A message came over the link to this node.

        Raises `RemoteProtocolError` for one that cannot be read: the link should end. What can be read but is not
        believed, or is no news, is counted and changes nothing.
        """
        sender = self._peers.get(peer)
        if sender is None:
            return
        content = parse_message_untrusted(message)
        if isinstance(content, Statements):
            for signed in content.items:
                self._hear(peer, signed, now)
        elif isinstance(content, Digest):
            self._compare(sender, content)
        elif isinstance(content, Pull):
            self._answer(sender, content)
        else:
            self.counters["unknown_message"] += 1

    def messages_to_send(self, now: float) -> list[tuple[bytes, bytes]]:
        """All there is to send, as (neighbour, message), in order for each neighbour."""
        self._awake = False
        return [(peer, message) for peer, waiting in self._peers.items() for message in self._drain(waiting)]

    def next_timeout(self) -> float:
        """When `handle_timeout` wants to be called; `inf` for never."""
        jump_at = inf if self._older_self is None else self._jump_after
        digest_at = min((peer.digest_at for peer in self._peers.values()), default=inf)
        return min(self._link_pace.due, self._service_pace.due, self._sweep_at, jump_at, digest_at)

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        if self._older_self is not None and now >= self._jump_after:
            self._jump(now)
        self._tell_due(now)
        for peer in self._peers.values():
            if now >= peer.digest_at:
                peer.digest = True
                peer.digest_at = self._next_digest(now)
                self._has_output()
        if now >= self._sweep_at:
            self._sweep_at = self._known.sweep(now)

    # Telling.

    def _tell_due(self, now: float) -> None:
        if self._link_pace.due <= now:
            self._link_pace.told(now)
            self._tell_links()
            self._look_for_the_lost(now)
        if self._service_pace.due <= now:
            self._service_pace.told(now)
            self._tell_services()

    def _tell_links(self) -> None:
        links = sorted(((peer.cost, neighbour) for neighbour, peer in self._peers.items()))
        if len(links) > MAX_EDGES:
            self.counters["links_not_told"] += len(links) - MAX_EDGES
        statement = pack_link_state(
            LinkState(
                network=self.network,
                origin=self.me,
                public=self._public,
                epoch=self._epoch,
                seq=self._next_seq(Kind.LINK_STATE),
                name=self._name,
                addresses=self._addresses,
                links=tuple(sorted((neighbour, cost) for cost, neighbour in links[:MAX_EDGES])),
                transit=True,
            )
        )
        self._tell(statement)

    def _tell_services(self) -> None:
        told: list[ServiceEntry] = []
        packed: list[bytes] = []
        room = MAX_BODY - 8  # for the array's header
        for entry in self._entries.values():
            data = pack_entry(entry)
            room -= len(data)
            if room < 0 or len(packed) == MAX_SERVICES:
                self.counters["services_not_told"] += len(self._entries) - len(packed)
                break
            packed.append(data)
            told.append(entry)
        body = pack_body(packed)
        statement = pack_service_map(
            ServiceMap(
                network=self.network,
                origin=self.me,
                public=self._public,
                epoch=self._epoch,
                seq=self._next_seq(Kind.SERVICES),
                count=len(packed),
                root=root_of(body),
            )
        )
        self._tell(statement, body, told)

    def _tell(self, packed: bytes, body: bytes = b"", entries: Sequence[ServiceEntry] = ()) -> None:
        signed = Signed(packed, self._sign(to_sign(packed)), body)
        statement = parse_statement_untrusted(signed)
        assert statement is not None
        self._flood(self._known.take(statement, signed, entries))

    def _next_seq(self, kind: Kind) -> int:
        self._seqs[kind] += 1
        return self._seqs[kind]

    # Listening.

    def _hear(self, peer: bytes, signed: Signed, now: float) -> None:
        statement = parse_statement_untrusted(signed)
        if statement is None:
            self.counters["unknown_statement"] += 1
        elif (refusal := self._known.refusal(statement, signed)) is not None:
            self.counters[refusal.value] += 1
        elif statement.origin == self.me:
            self._meet_older_self(statement.version, now)
        else:
            # Entries that are signed and cannot be read end this link: an honest neighbour would not have taken them.
            entries = parse_entries_untrusted(signed.body, statement.count) if isinstance(statement, ServiceMap) else ()
            self._flood(self._known.take(statement, signed, entries), source=peer)
            self._look_for_the_lost(now, stranger=statement.origin not in self._known.origins)

    def _meet_older_self(self, version: Version, now: float) -> None:
        """Others have something newer of this node than it has said: from before a restart, or of a twin with its key.

        It jumps above (RFC 2328, 13.4), or nobody would listen to it again.
        """
        self._older_self = max(self._older_self or (0, 0), version[:2])
        if now >= self._jump_after:
            self._jump(now)

    def _jump(self, now: float) -> None:
        assert self._older_self is not None
        epoch, seq = self._older_self
        self._older_self = None
        self._jump_after = now + JUMP_EVERY
        self.counters["jumps"] += 1
        self._epoch = max(self._epoch, epoch)
        self._seqs = {kind: max(mine, seq) for kind, mine in self._seqs.items()}
        self._tell_links()
        self._tell_services()

    def _look_for_the_lost(self, now: float, *, stranger: bool = False) -> None:
        """If the topology has changed, or somebody unknown has told something, look soon who is out of reach."""
        if self._swept != self._known.topology or stranger:
            self._swept = self._known.topology
            self._sweep_at = min(self._sweep_at, now + SWEEP_AFTER)

    def _compare(self, sender: _Peer, digest: Digest) -> None:
        """A neighbour says what it knows. What this node lacks it pulls."""
        for kind, origin, version in digest.versions:
            if self._known.lacks(kind, origin, version) and len(sender.pulls) < 2 * MAX_ORIGINS:
                sender.pulls[kind, origin] = None
                self._has_output()

    def _answer(self, sender: _Peer, pull: Pull) -> None:
        for kind, origin in pull.keys:
            if self._known.get(kind, origin) is not None:
                sender.items[kind, origin] = None
                self._has_output()

    # Sending.

    def _flood(self, key: tuple[Kind, bytes], *, source: bytes = b"") -> None:
        for peer, waiting in self._peers.items():
            if peer != source:
                waiting.items[key] = None
                self._has_output()

    def _has_output(self) -> None:
        if not self._awake:
            self._awake = True
            self._wake()

    def _next_digest(self, now: float) -> float:
        return now + DIGEST_EVERY * self._random.uniform(0.75, 1.25)

    def _drain(self, waiting: _Peer) -> Iterator[bytes]:
        items, waiting.items = waiting.items, {}
        pulls, waiting.pulls = waiting.pulls, {}
        batch: list[Signed] = []
        size = 0
        for kind, origin in items:
            kept = self._known.get(kind, origin)
            if kept is None:
                continue
            length = sum(map(len, kept.signed))
            if batch and size + length > BATCH:
                yield pack_statements(batch)
                batch, size = [], 0
            batch.append(kept.signed)
            size += length
        if batch:
            yield pack_statements(batch)
        if pulls:
            yield pack_pull(pulls)
        if waiting.digest:
            waiting.digest = False
            yield pack_digest(self._known.reachable_versions())
