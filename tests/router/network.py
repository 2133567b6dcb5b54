"""A network of gossip machines on an event heap: time is a number, links delay what they carry, and may lose it.

Losing a whole message is worse than anything a link does while it is up; it stands for all that could go wrong.
"""

import hashlib
import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from router.gossip import Gossip
from router.linkstate import MAX_RADIUS, LinkState, LinkTerms
from router.servicemap import ServiceMap
from router.services import ServiceEntry, ServiceRoot, by_name
from router.statement import Signed, to_sign
from router.table import RoutingTable
from router.wire import (
    LinkStates,
    Services,
    pack_entry,
    pack_link_state,
    pack_link_states,
    pack_service_root,
    pack_services,
    parse_message_untrusted,
)

NETWORK = "test"
DELAY = 0.005


def node_id(public: bytes) -> bytes:
    return hashlib.sha256(public).digest()[:16]


class Key:
    """A node's key made from its name. The signatures are no secret, only as hard to hit by chance as real ones."""

    def __init__(self, name: str) -> None:
        self.public = hashlib.sha256(name.encode()).digest()
        self.id = node_id(self.public)

    def sign(self, data: bytes) -> bytes:
        return hashlib.sha512(self.public + data).digest()

    @staticmethod
    def verify(public: bytes, signature: bytes, data: bytes) -> bool:
        return hashlib.sha512(public + data).digest() == signature


class RealKey(Key):
    """A node's key as it is outside tests."""

    def __init__(self, name: str) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
        self.public = self._private.public_key().public_bytes_raw()
        self.id = node_id(self.public)

    def sign(self, data: bytes) -> bytes:
        return self._private.sign(data)

    @staticmethod
    def verify(public: bytes, signature: bytes, data: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True


class FamilyKey(Key):
    """Two names that differ in case only have one key."""

    def __init__(self, name: str) -> None:
        super().__init__(name.lower())


def gossip(
    key: Key,
    name: str = "",
    *,
    epoch: int = 1,
    network: str = NETWORK,
    wake: Callable[[], None] = lambda: None,
    transit: bool = True,
    radius: int = MAX_RADIUS,
    random: Random | None = None,
) -> Gossip:
    return Gossip(
        me=key.id, public=key.public, name=name, network=network, addresses=[f"tcp://{name}:8085"], epoch=epoch,
        sign=key.sign, verify=key.verify, node_id=node_id, random=random or Random(len(name)), wake=wake,
        transit=transit, radius=radius,
    )  # fmt: skip


def told_by(machine: Gossip, now: float = 0.0) -> list[Signed]:
    """The statements it is about to send."""
    told: list[Signed] = []
    for _, message in machine.messages_to_send(now):
        content = parse_message_untrusted(message)
        if isinstance(content, LinkStates):
            told += content.items
        elif isinstance(content, Services):
            told.append(content.signed)
    return told


def said_by(machine: Gossip, now: float = 0.0) -> list[bytes]:
    """The messages it is about to send, to whomever."""
    return [message for _, message in machine.messages_to_send(now)]


def links_message(
    key: Key,
    *others: Key,
    epoch: int = 1,
    seq: int = 1,
    born: int = 1,
    network: str = NETWORK,
    transit: bool = True,
    radius: int = MAX_RADIUS,
    name: str = "",
    signer: Key | None = None,
) -> bytes:
    """What the owner of a key tells of its links."""
    packed = pack_link_state(
        LinkState(
            network=network, origin=key.id, public=key.public, epoch=epoch, seq=seq, born=born, name=name, addresses=(),
            links=tuple((other.id, LinkTerms()) for other in others), transit=transit, radius=radius,
        )
    )  # fmt: skip
    return pack_link_states([Signed(packed, (signer or key).sign(to_sign(packed)))])


def signed_root(key: Key, whole: ServiceMap, *, epoch: int = 1, seq: int = 1, network: str = NETWORK) -> Signed:
    """What the owner of a key signs of its services."""
    packed = pack_service_root(
        ServiceRoot(
            network=network, origin=key.id, public=key.public, epoch=epoch, seq=seq, count=whole.count, root=whole.root
        )
    )
    return Signed(packed, key.sign(to_sign(packed)))


def map_of(*entries: ServiceEntry) -> ServiceMap:
    """A map with these entries."""
    whole = ServiceMap()
    whole.update(by_name(replace(each, packed=pack_entry(each)) for each in entries), (0, 0))
    return whole


def services_message(key: Key, *names: str, epoch: int = 1, seq: int = 1, network: str = NETWORK) -> bytes:
    """All that the owner of a key offers, in one message."""
    whole = map_of(*(entry(name) for name in names))
    entries = tuple(each.packed for each in whole)
    return pack_services(
        Services(signed_root(key, whole, epoch=epoch, seq=seq, network=network), (0, 0), False, (), entries)
    )


def entry(service: str, version: str = "latest", *, instances: int = 1) -> ServiceEntry:
    return ServiceEntry(
        service=service, version=version, protocols=("grpc",), instances=instances, weight=instances, labels=()
    )


@dataclass
class Node:
    name: str
    key: Key
    gossip: Gossip
    table: RoutingTable
    wakes: int = 0

    def sees(self, service: str) -> bool:
        return bool(self.table.origins_of(service))

    def next_timeout(self) -> float:
        return min(self.gossip.next_timeout(), self.table.next_timeout())


class Network:
    """Nodes by their names, and the links between them."""

    def __init__(self, *links: str, key: type[Key] = Key) -> None:
        """Each link is two names of one letter each, such as `ab`. Nodes are made and links come up at time 0."""
        self.now = 0.0
        self.nodes: dict[str, Node] = {}
        self.loses: Callable[[str, str, bytes], bool] = lambda source, to, message: False
        """Whether this message is lost."""
        self.sent = 0
        """Messages put on a link so far."""
        self._key = key
        self._names: dict[bytes, str] = {}
        self._links: dict[str, int] = {}
        self._number = itertools.count()
        self._arrivals: list[tuple[float, int, str, str, int, bytes]] = []
        for link in links:
            for name in link:
                if name not in self.nodes:
                    self.start(name)
            self.link(link)

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def start(self, name: str, *, epoch: int = 1, transit: bool = True, radius: int = MAX_RADIUS) -> Node:
        """A node starts, perhaps once more; its links do not come back by themselves."""
        key = self._key(name)
        machine = gossip(key, name, epoch=epoch, wake=lambda: self._woken(name), transit=transit, radius=radius)
        self._names[key.id] = name
        self.nodes[name] = Node(name, key, machine, RoutingTable(gossip=machine, format_id=lambda id: self._names[id]))
        return self.nodes[name]

    def stop(self, name: str) -> None:
        """A node dies: its neighbours find their links broken, it says no word."""
        for link in [link for link in self._links if name in link]:
            del self._links[link]
            [other] = set(link) - {name}
            self[other].gossip.link_down(self[name].key.id, self.now)
        del self.nodes[name]

    def link(self, link: str, cost: int = 1) -> None:
        self._links[link] = next(self._number)
        a, b = list(link)
        self[a].gossip.link_up(self[b].key.id, LinkTerms(price=cost - 1), self.now)
        self[b].gossip.link_up(self[a].key.id, LinkTerms(price=cost - 1), self.now)

    def cut(self, link: str) -> None:
        del self._links[link]
        a, b = list(link)
        self[a].gossip.link_down(self[b].key.id, self.now)
        self[b].gossip.link_down(self[a].key.id, self.now)

    def offer(self, name: str, *services: str) -> None:
        self[name].gossip.set_services([entry(service) for service in services], self.now)

    def run(self, seconds: float) -> None:
        """Lets time pass. Whatever is due happens in the order of its time, then of its making."""
        until = self.now + seconds
        while True:
            self._send()
            due = min((node.next_timeout() for node in self.nodes.values()), default=until)
            at = min(due, self._arrivals[0][0] if self._arrivals else until)
            if at > until:
                break
            self.now = max(self.now, at)
            if self._arrivals and self._arrivals[0][0] <= self.now:
                _, _, source, to, number, message = heapq.heappop(self._arrivals)
                if self._number_of(source, to) == number:
                    self[to].gossip.receive(self[source].key.id, message, self.now)
            elif due > self.now or not self._handle():
                break
        self.now = until

    def _handle(self) -> bool:
        due = [node for node in self.nodes.values() if node.next_timeout() <= self.now]
        for node in due:
            if node.gossip.next_timeout() <= self.now:
                node.gossip.handle_timeout(self.now)
                assert node.gossip.next_timeout() > self.now, "a timeout that was handled is due again"
            node.table.settle(self.now)
            if node.table.next_timeout() <= self.now:
                node.table.handle_timeout(self.now)
        return bool(due)

    def _woken(self, name: str) -> None:
        if name in self.nodes:
            self.nodes[name].wakes += 1

    def _send(self) -> None:
        for name, node in self.nodes.items():
            woken, node.wakes = node.wakes, 0
            assert woken <= 1, "woken again before what there was to send was fetched"
            messages = node.gossip.messages_to_send(self.now)
            assert woken or not messages, "nobody was told that there is something to send"
            for peer, message in messages:
                [to] = {other for link in self._links for other in link if self[other].key.id == peer and name in link}
                self.sent += 1
                if not self.loses(name, to, message):
                    arrival = (self.now + DELAY, next(self._number), name, to, self._number_of(name, to), message)
                    heapq.heappush(self._arrivals, arrival)

    def _number_of(self, a: str, b: str) -> int:
        return self._links.get(a + b, self._links.get(b + a, -1))
