"""The machine that tells this node's links and services to the network and listens to what others tell.

Every statement belongs to one origin, which alone makes it, numbered (epoch, seq) and signed. News is flooded: sent on
to every neighbour but the one it came from (RFC 2328, 13.3), link states to all, services to those whom the origin's
radius takes in. Neighbours compare one hash over what they know when a link comes up, every 30 s and soon after
changes, and only where it differs they exchange versions and pull what they lack (as IS-IS does, ISO 10589, 7.3.15): so
nothing that was missed stays missed, withdrawals included, since a withdrawal is a newer state like any other.

The file is longer than others: what happens to the node, what it hears and what follows from both share one state.
"""

import collections
from collections.abc import Callable, Collection, Iterable, Mapping
from math import inf
from random import Random
from typing import Final, Protocol

from sdk.errors import BadRequest

from .database import Database, OriginView
from .gathering import Gathering
from .linkstate import MAX_RADIUS, Edges, LinkState, LinkTerms
from .neighbour import Neighbour
from .ownword import OwnWord
from .services import ServiceEntry, ServiceRoot, is_tellable
from .statement import Kind, Signed
from .store import MAX_ORIGINS, Refusal, Verify
from .twins import Twin, Twins
from .wire import (
    MAX_ADDRESSES,
    Compare,
    LinkStates,
    NodeId,
    Pull,
    Services,
    Versions,
    parse_message_untrusted,
    parse_statement_untrusted,
)

COMPARE_EVERY: Final = 30.0
"""Seconds between comparisons on a link, give or take a quarter, so that nodes started together do not stay in step."""
COMPARE_AFTER: Final = 4.0
"""Seconds after a change, give or take a quarter, until the neighbours compare whether it has come to all."""
SWEEP_AFTER: Final = 1.0
"""Seconds after a change of topology at which is looked who is out of reach."""
PATIENCE: Final = 1.0
"""Seconds for which nobody else is asked for what one neighbour was asked for."""

_NOTHING: Final = (0, 0)


class Listener(Protocol):
    """Who wants to know of changes. It is called when a change is in force, and does little."""

    def services_changed(self, origin: bytes, names: Collection[str], now: float) -> None:
        """What this origin offers under these names is another, or nothing any more."""

    def topology_changed(self, now: float) -> None:
        """Links, costs, transit or the nodes themselves are others."""


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
        node_id: NodeId,
        random: Random,
        wake: Callable[[], None],
        transit: bool = True,
        radius: int = MAX_RADIUS,
    ) -> None:
        """`sign`, `verify` and `node_id` are those of the node's identity; `epoch` rises with each start of the node.

        `transit` is whether it passes on the calls of others, `radius` how many links far its services are told.
        Raises `BadRequest` for a name or an address that other nodes would not take.
        """
        self.me = me
        """This node's id."""
        self.network = network
        """Name of the network."""
        self.counters: collections.Counter[str] = collections.Counter()
        """How often something was refused, left out or had to be repaired, by name."""
        addresses = tuple(addresses)[:MAX_ADDRESSES]
        for text in (name, network, *addresses):
            if not is_tellable(text):
                raise BadRequest(f"{text[:40]!r} cannot be told to other nodes: it is too long, or not printable")
        state = LinkState(
            network=network, origin=me, public=public, epoch=epoch, seq=0, born=epoch, name=name, addresses=addresses,
            links=(), transit=transit, radius=radius,
        )  # fmt: skip
        self._own = OwnWord(state, sign, self.counters)
        self._node_id = node_id
        self._random = random
        self._wake = wake
        self._awake = False
        self._listener: Listener | None = None
        self._peers: dict[bytes, Neighbour] = {}
        self._known = Database(me=me, network=network, verify=verify)
        self._twins = Twins(epoch)
        self._topology = 0
        self._sweep_at = inf
        self._gathering = Gathering()
        self._asked: dict[tuple[Kind, bytes], tuple[float, bytes]] = {}
        self._tell_links(0.0)
        self._tell_services(0.0)
        self._topology = self._known.topology

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
        """The graph: what both ends of a link agree on, at the larger of their two costs. A node that has given way to
        its twin has no part in it."""
        return {self.me: {}} if self._twins.withdrawn else self._known.edges

    @property
    def reachable(self) -> Mapping[bytes, None]:
        """The nodes that can be reached over any number of links, this one first, then from near to far."""
        return {self.me: None} if self._twins.withdrawn else self._known.reachable

    @property
    def link_state_root(self) -> bytes:
        """One hash over the link states of all nodes in reach: equal in all of them when nothing is on its way."""
        return self._known.root(Kind.LINK_STATE, self.me)

    @property
    def twin(self) -> Twin | None:
        """Another node that runs with this one's key, once that is known."""
        return self._twins.twin

    def services_root(self, origin: bytes) -> bytes | None:
        """The hash over all that is known of an origin's services; None where nothing is."""
        services = self._known.map_of(origin)
        return services.root if services else None

    def terms(self, a: bytes, b: bytes) -> LinkTerms | None:
        """What the link between two nodes costs; None where not both say that there is one."""
        return self._known.terms(a, b)

    def listen(self, listener: Listener) -> None:
        """Tells one listener of every change from now on."""
        self._listener = listener

    # What happens to this node.

    def link_up(self, peer: bytes, terms: LinkTerms, now: float) -> None:
        """A link to this node came up, perhaps in the place of another one."""
        neighbour = self._peers[peer] = Neighbour(terms, self._next_compare(now))
        self._gathering.drop(peer)
        neighbour.compare = self.me < peer  # one of the two is enough
        self._has_output()
        self._own.links_changed(now)
        self._tell_due(now)

    def set_terms(self, peer: bytes, terms: LinkTerms, now: float) -> None:
        """The link to this node costs so much from now on. Ignored when there is no such link."""
        neighbour = self._peers.get(peer)
        if neighbour is not None and neighbour.terms != terms:
            neighbour.terms = terms
            self._own.links_changed(now)
            self._tell_due(now)

    def link_down(self, peer: bytes, now: float) -> None:
        """The last link to this node is gone. Everyone is told at once. Ignored when there was none."""
        if self._peers.pop(peer, None) is not None:
            self._gathering.drop(peer)
            self._own.links_changed(now, urgent=True)
            self._tell_due(now)

    def end_transit(self, now: float) -> None:
        """Tells everyone at once that no calls of others should come this way any more."""
        self._own.end_transit(now)
        self._tell_due(now)

    def set_services(self, entries: Iterable[ServiceEntry], now: float) -> None:
        """This is all that the node offers from now on. What is gone is told at once, what is new within a second."""
        self._own.offer(entries, now)
        self._tell_due(now)

    # The machine's verbs.

    def receive(self, peer: bytes, message: bytes, now: float) -> None:
        """A message came over the link to this node.

        Raises `RemoteProtocolError` for one that cannot be read: the link should end. What can be read but is not
        believed, or is no news, is counted and changes nothing.
        """
        sender = self._peers.get(peer)
        if sender is None or self._twins.withdrawn:
            return
        content = parse_message_untrusted(message)
        if isinstance(content, LinkStates):
            for signed in content.items:
                self._hear_link_state(peer, signed, now)
        elif isinstance(content, Services):
            self._hear_services(peer, content, now)
        elif isinstance(content, Compare):
            self._compare(peer, sender, content)
        elif isinstance(content, Versions):
            self._hear_versions(peer, sender, content, now)
        elif isinstance(content, Pull):
            self._answer(sender, content)
        else:
            self.counters["unknown_message"] += 1
        self._settle(now)

    def messages_to_send(self, now: float) -> list[tuple[bytes, bytes]]:
        """All there is to send now, as (neighbour, message), in order for each neighbour."""
        if not self._awake or self._twins.withdrawn:
            return []
        self._awake = False
        return [
            (peer, message)
            for peer, neighbour in self._peers.items()
            for message in neighbour.messages(self._known, peer, now)
        ]

    def next_timeout(self) -> float:
        """When `handle_timeout` wants to be called; `inf` for never."""
        if self._twins.withdrawn:
            return inf
        of_peers = min((min(peer.compare_at, peer.bulk_at) for peer in self._peers.values()), default=inf)
        return min(self._own.due, self._sweep_at, self._twins.due, of_peers)

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        if now >= self._twins.due:
            self._jump(now)
        self._tell_due(now)
        for peer in self._peers.values():
            if now >= peer.compare_at:
                peer.compare = True
                peer.compare_at = self._next_compare(now)
                self._has_output()
            if now >= peer.bulk_at:
                peer.bulk_at = inf
                self._has_output()
        if now >= self._sweep_at:
            self._sweep_at, gone = self._known.sweep(now)
            for origin, names in gone:
                for peer in self._peers.values():
                    peer.forgets(origin)
                self._changed(origin, names, now)
            self._settle(now)

    # Telling.

    def _tell_due(self, now: float) -> None:
        if self._own.links_due(now):
            self._tell_links(now)
        if self._own.services_due(now):
            self._tell_services(now)
        self._settle(now)

    def _tell_links(self, now: float) -> None:
        signed = self._own.links({neighbour: peer.terms for neighbour, peer in self._peers.items()})
        state = parse_statement_untrusted(signed, self._node_id)
        assert isinstance(state, LinkState)
        self._take_link_state(state, signed, now)

    def _tell_services(self, now: float) -> None:
        change, at = self._own.change()
        services = self._known.change_own(change, at)
        signed = self._own.services(services)
        root = parse_statement_untrusted(signed, self._node_id)
        assert isinstance(root, ServiceRoot)
        self._flood_map(self.me, self._known.keep_own(root, signed, services, change), now)

    def _jump(self, now: float) -> None:
        self.counters["jumps"] += 1
        self._own.jump(self._twins.jump(now))
        self._tell_links(now)
        self._tell_services(now)
        self._settle(now)

    # Listening.

    def _hear_link_state(self, peer: bytes, signed: Signed, now: float) -> None:
        state = parse_statement_untrusted(signed, self._node_id)
        if not isinstance(state, LinkState):
            self.counters["unknown_statement"] += 1
            return
        refusal = self._known.refusal(state, signed)
        if refusal in (None, Refusal.DUPLICATE):
            self._peers[peer].knows((Kind.LINK_STATE, state.origin), state.version)
        if refusal is not None:
            self.counters[refusal.value] += 1
        elif state.origin == self.me:
            self._twins.met(state.epoch, now, state)
            if self._twins.withdrawn:
                self._topology = -1  # the graph is this node alone from now on: whoever listens is told
        else:
            self._take_link_state(state, signed, now)

    def _hear_services(self, peer: bytes, told: Services, now: float) -> None:
        root = parse_statement_untrusted(told.signed, self._node_id)
        if not isinstance(root, ServiceRoot):
            self.counters["unknown_statement"] += 1
            return
        refusal = self._known.refusal(root, told.signed)
        if refusal in (None, Refusal.DUPLICATE):
            self._peers[peer].knows((Kind.SERVICES, root.origin), root.version)
        if refusal is not None:
            self._gathering.drop(peer)
            self.counters[refusal.value] += 1
        elif root.origin == self.me:
            self._twins.met(root.epoch, now)
        else:
            self._take_services(peer, root, told, now)

    def _take_services(self, peer: bytes, root: ServiceRoot, told: Services, now: float) -> None:
        # Entries that are signed and cannot be read end this link: an honest neighbour would not have taken them.
        change = self._gathering.entries(told.entries)
        if sum(map(len, change.values())) != len(set(told.entries)):
            self.counters[Refusal.BAD_ROOT] += 1
        elif told.base > _NOTHING:
            change = {**dict.fromkeys(told.gone, ()), **change}
            if not self._known.has_room(root.origin, None, change):
                self.counters[Refusal.TOO_MANY_SERVICES] += 1
                return
            names = self._known.take_services(root, told.signed, change)
            if names is not None:
                self._flood_map(root.origin, names, now)
                return
            # Either it does not fit what this node has, and what is missing is asked for, or nothing fits it.
            have = self._known.map_of(root.origin)
            fits = have is not None and have.at == told.base
            self.counters[Refusal.BAD_ROOT if fits else Refusal.GAP] += 1
            self._ask(peer, (Kind.SERVICES, root.origin), now, again=fits)
        else:
            found = self._gathering.add(peer, root, told, change)
            if isinstance(found, Refusal):
                self.counters[found.value] += 1
            elif found is not None and not self._known.has_room(root.origin, found):
                self.counters[Refusal.TOO_MANY_SERVICES] += 1
            elif found is not None:
                self._flood_map(root.origin, self._known.take_map(root, told.signed, found), now)

    def _hear_versions(self, peer: bytes, sender: Neighbour, versions: Versions, now: float) -> None:
        sender.said(versions)
        if versions.ask:
            sender.complete |= dict.fromkeys(sorted(versions.complete))
            self._has_output()
        for kind, origin, version in versions.versions:
            if self._known.lacks(kind, origin, version):
                self._ask(peer, (kind, origin), now)

    def _compare(self, peer: bytes, sender: Neighbour, compare: Compare) -> None:
        theirs = {Kind.LINK_STATE: compare.link_states, Kind.SERVICES: compare.services}
        different = [kind for kind, root in theirs.items() if root != self._known.root(kind, peer)]
        if different:
            self.counters["differences"] += 1
            sender.complete |= dict.fromkeys(different)
            sender.ask = True
            self._has_output()

    def _answer(self, sender: Neighbour, pull: Pull) -> None:
        for kind, origin, point in pull.wanted:
            if self._known.kept(kind, origin) is not None:
                sender.wants((kind, origin), point)
                self._has_output()

    def _ask(self, peer: bytes, key: tuple[Kind, bytes], now: float, *, again: bool = False) -> None:
        """Asks a neighbour for something, unless another one is about to send it. `again` asks for all of it."""
        until, asked = self._asked.get(key, (-inf, peer))
        pulls = self._peers[peer].pulls
        if (now < until and asked != peer and asked in self._peers) or len(pulls) >= 2 * MAX_ORIGINS:
            return
        if len(self._asked) >= 2 * MAX_ORIGINS:
            self._asked = {each: wait for each, wait in self._asked.items() if wait[0] > now}
        self._asked[key] = (now + PATIENCE, peer)
        services = self._known.map_of(key[1]) if key[0] is Kind.SERVICES and not again else None
        pulls[key] = services.at if services else _NOTHING
        self._has_output()

    # What follows from a change.

    def _take_link_state(self, state: LinkState, signed: Signed, now: float) -> None:
        names = self._known.take_link_state(state, signed)
        for peer in self._peers.values():
            peer.link_states[state.origin] = None
        self._changed(state.origin, names, now)

    def _flood_map(self, origin: bytes, names: Collection[str], now: float) -> None:
        for id, peer in self._peers.items():
            if self._known.is_for(origin, id):
                peer.maps[origin] = None
        if not self._known.is_for(origin, self.me):  # it is kept for a while: the graph may be late
            self._sweep_at = min(self._sweep_at, now + SWEEP_AFTER)
        self._changed(origin, names, now)

    def _changed(self, origin: bytes, names: Collection[str], now: float) -> None:
        """Something is known that was not: whoever listens is told, and soon is looked whether it came to all."""
        for peer in self._peers.values():
            peer.compare_at = min(peer.compare_at, now + COMPARE_AFTER * self._random.uniform(0.75, 1.25))
        self._has_output()
        if names and self._listener is not None:
            self._listener.services_changed(origin, names, now)

    def _settle(self, now: float) -> None:
        """After a change of topology: who is to be told more services, and who is out of reach?"""
        if self._topology == self._known.topology:
            return
        self._topology = self._known.topology
        self._sweep_at = min(self._sweep_at, now + SWEEP_AFTER)
        for id, peer in self._peers.items():
            in_scope = self._known.in_scope(id)
            new = [origin for origin in in_scope if origin not in peer.in_scope]
            peer.in_scope = in_scope
            if new:
                peer.offers |= dict.fromkeys(new)
                self._has_output()
        if self._listener is not None:
            self._listener.topology_changed(now)

    def _has_output(self) -> None:
        if self._peers and not self._awake:
            self._awake = True
            self._wake()

    def _next_compare(self, now: float) -> float:
        return now + COMPARE_EVERY * self._random.uniform(0.75, 1.25)
