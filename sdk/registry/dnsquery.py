"""Asks DNS for a service: its SRV records and the addresses these lead to, or addresses alone, and what its TXT say."""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import dns.exception
import dns.name
import dns.rdata
import dns.rdatatype
import dns.rdtypes.ANY.TXT
import dns.rdtypes.IN.SRV
import dns.resolver

from sdk.errors import Unavailable
from sdk.netaddress import join_address

from .atonce import at_once
from .dnsexchange import Exchange
from .dnsmessage import Records, Reply

LABELS: Final = b"micro.mu/"
"""What a string of a TXT record begins with that is meant for us, as labels in Kubernetes do."""
AT_ONCE: Final = 64
"""Questions under way for one service: a thousand hosts a tenth of a second away are known in four seconds."""

_ADDRESSES: Final = (dns.rdatatype.A, dns.rdatatype.AAAA)


class Found(NamedTuple):
    """What a name stands for."""

    places: frozenset[str] = frozenset()
    """`ip:port` of each instance; empty where there is no such name."""
    good_for: float = 0
    """Seconds, by the answers' times to live; 0 where there is no such name."""
    labels: Mapping[str, str] = {}
    """What TXT records beside it say with `micro.mu/KEY=VALUE`, by KEY."""
    bad: tuple[str, ...] = ()
    """The records that are no use, and why, in order."""


class Names:
    """Asks some servers, or those of this machine."""

    def __init__(self, servers: Sequence[tuple[str, int]]) -> None:
        """Each an IP address and a port; none: those of this machine, read anew each time, because it may move."""
        self._of_this_machine = not servers
        self._servers = servers
        self._exchange = Exchange(servers)

    async def find(self, name: str, domain: str, port: int) -> Found:
        """`port` is that of every address; 0: SRV records say it.

        Raises `Unavailable` when anything that was asked for is not answered: half an answer would take instances away
        that are there.
        """
        if self._of_this_machine and (servers := _servers_of_this_machine()) != self._servers:
            self._servers, self._exchange = servers, Exchange(servers)
        search = _Search(self._exchange)
        plain = to_name(f"{name}.{domain}")
        if port:
            return await search.addresses(plain, port)
        for owner in (to_name(f"_{name}._tcp.{domain}"), plain):
            found = await search.services(owner)
            if found is not None:
                return found
        return Found()


class _Search:
    """What was asked for one service."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._good_for: list[float] = []
        self._bad: set[str] = set()

    async def addresses(self, owner: dns.name.Name | None, port: int) -> Found:
        """The instances at the addresses of a name."""
        hosts = await self._hosts({owner} if owner else (), {})
        return await self._found(owner, {join_address(host, port) for of in hosts.values() for host in of})

    async def services(self, owner: dns.name.Name | None) -> Found | None:
        """The instances that SRV records of a name lead to; None where it has no such records."""
        if owner is None:
            return None
        reply = await self._ask(owner, dns.rdatatype.SRV)
        all_of = [record for record in reply.records.of if isinstance(record, dns.rdtypes.IN.SRV.SRV)]
        if not all_of:
            return None
        servers = [record for record in all_of if self._usable(record, alone=len(all_of) == 1)]
        places: set[str] = set()
        for priority in sorted({server.priority for server in servers}):
            best = [server for server in servers if server.priority == priority]
            hosts = await self._hosts({server.target for server in best}, reply.besides)
            for server in best:
                places |= {join_address(host, server.port) for host in hosts[server.target]}
                if not hosts[server.target]:
                    self._bad.add(f"SRV {server}: its target has no address")
            if places:
                break
        return await self._found(owner, places)

    def _usable(self, record: dns.rdtypes.IN.SRV.SRV, *, alone: bool) -> bool:
        """A root alone as target is how a domain says that it does not offer the service (RFC 2782)."""
        if record.target == dns.name.root:
            if not alone:
                self._bad.add(f"SRV {record}: it has no target")
        elif not record.port:
            self._bad.add(f"SRV {record}: it has no port")
        else:
            return True
        return False

    async def _found(self, owner: dns.name.Name | None, places: set[str]) -> Found:
        labels = await self._labels(owner) if owner and places else {}
        good_for = min(self._good_for, default=0) if places else 0
        return Found(frozenset(places), good_for, labels, tuple(sorted(self._bad)))

    async def _labels(self, owner: dns.name.Name) -> Mapping[str, str]:
        reply = await self._ask(owner, dns.rdatatype.TXT)
        texts = (
            text
            for record in reply.records.of
            if isinstance(record, dns.rdtypes.ANY.TXT.TXT)
            for text in record.strings
        )
        labels: dict[str, str] = {}
        for text in sorted(texts):  # in the order of its own, because answers have none
            key, _, value = text.removeprefix(LABELS).partition(b"=")
            if text.startswith(LABELS):
                try:
                    labels.setdefault(key.decode(), value.decode())
                except UnicodeDecodeError:
                    self._bad.add(f"TXT {text!r}: it is not UTF-8")
        return labels

    async def _hosts(
        self,
        names: Iterable[dns.name.Name],
        said: Mapping[tuple[dns.name.Name, dns.rdatatype.RdataType], Records],
    ) -> Mapping[dns.name.Name, set[str]]:
        """The addresses of each name, those that were said already taken as they are.

        Where the servers said addresses of one family alone, names that have one are not asked for the other: most
        networks have but one, and a thousand questions in vain are many.
        """
        hosts: dict[dns.name.Name, set[str]] = {name: set() for name in names}
        families = {kind for name, kind in said if name in hosts}
        left: list[tuple[dns.name.Name, dns.rdatatype.RdataType]] = []
        for name in hosts:
            known = {kind for kind in _ADDRESSES if (name, kind) in said}
            for kind in known:
                self._good_for.append(said[name, kind].good_for)
                hosts[name] |= self._usable_addresses(said[name, kind])
            left += [(name, kind) for kind in _ADDRESSES if kind not in known and (not known or kind in families)]

        async def look_up(asked: tuple[dns.name.Name, dns.rdatatype.RdataType]) -> None:
            hosts[asked[0]] |= self._usable_addresses((await self._ask(*asked)).records)

        await at_once(look_up, left, limit=min(AT_ONCE, len(left)))
        return hosts

    def _usable_addresses(self, records: Records) -> set[str]:
        usable = set()
        for text in (record.to_text() for record in records.of):
            address = ipaddress.ip_address(text)
            if address.is_unspecified or address.is_multicast:  # what filters of advertisements say, for one
                self._bad.add(f"{text}: it is the address of no host")
            else:
                usable.add(text)
        return usable

    async def _ask(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> Reply:
        reply = await self._exchange.ask(name, kind)
        if reply.records.of:
            self._good_for.append(reply.records.good_for)
        self._bad |= {
            f"{dns.rdatatype.to_text(kind)} of {name.to_text(omit_final_dot=True)}: {why}" for why in reply.bad
        }
        return reply


def to_name(text: str) -> dns.name.Name | None:
    """None for what cannot be a name: an empty label, or one too long."""
    try:
        return dns.name.from_text(text)
    except (dns.exception.DNSException, UnicodeError):
        return None


def _servers_of_this_machine() -> Sequence[tuple[str, int]]:
    try:
        system = dns.resolver.Resolver()
    except dns.exception.DNSException as error:
        raise Unavailable(
            f"this machine names no server of DNS, name one as dns://SERVER/DOMAIN?services=...: {error}"
        ) from None
    return [(server, system.port) for server in system.nameservers if isinstance(server, str)]
