"""Asks DNS for a service: its SRV records and the addresses these lead to, or addresses alone."""

from typing import NamedTuple

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.rdtypes.IN.SRV
import dns.resolver

from sdk.errors import Unavailable
from sdk.netaddress import join_address, split_address

from .http import PATIENCE


class Found(NamedTuple):
    """What a name stands for."""

    places: frozenset[str]
    """`ip:port` of each instance; empty where there is no such name."""
    good_for: float
    """Seconds, by the answers' times to live; 0 where there is no such name."""


class Names:
    """Asks one server, or those of this machine."""

    def __init__(self, server: str) -> None:
        """`server` as `ip:port`; empty for those of this machine."""
        self._server = server

    async def find(self, name: str, domain: str, port: int) -> Found:
        """`port` is that of every address; 0: SRV records say it. Raises `Unavailable` when no answer comes."""
        resolver = self._resolver()
        if port:
            hosts, good_for = await _addresses(resolver, f"{name}.{domain}")
            return Found(frozenset(join_address(host, port) for host in hosts), good_for)
        for text in (f"_{name}._tcp.{domain}", f"{name}.{domain}"):
            records, good_for = await _ask(resolver, text, dns.rdatatype.SRV)
            servers = [record for record in records if isinstance(record, dns.rdtypes.IN.SRV.SRV) and record.port]
            for priority in sorted({server.priority for server in servers}):
                places: set[str] = set()
                for server in servers:
                    if server.priority == priority:
                        hosts, also = await _addresses(resolver, server.target.to_text())
                        places |= {join_address(host, server.port) for host in hosts}
                        good_for = min(good_for, also)
                if places:
                    return Found(frozenset(places), good_for)
        return Found(frozenset(), 0)

    def _resolver(self) -> dns.asyncresolver.Resolver:
        """Made anew each time, so that a machine that moved to another network is followed."""
        try:
            resolver = dns.asyncresolver.Resolver(configure=not self._server)
        except dns.exception.DNSException as error:
            raise Unavailable(str(error)) from None
        if self._server:
            host, port = split_address(self._server)
            resolver.nameservers, resolver.port = [host], port
        return resolver


async def _addresses(resolver: dns.asyncresolver.Resolver, host: str) -> tuple[list[str], float]:
    four, good_for = await _ask(resolver, host, dns.rdatatype.A)
    six, also = await _ask(resolver, host, dns.rdatatype.AAAA)
    times = [time for time, found in ((good_for, four), (also, six)) if found]
    return [record.to_text() for record in (*four, *six)], min(times, default=0)


async def _ask(
    resolver: dns.asyncresolver.Resolver, name: str, kind: dns.rdatatype.RdataType
) -> tuple[list[dns.rdata.Rdata], float]:
    """The records and their time to live; none where there is no such name, or it can be none."""
    try:
        absolute = dns.name.from_text(name)
    except dns.exception.DNSException:  # an empty label, or one too long
        return [], 0
    try:
        answer = await resolver.resolve(
            absolute, kind, lifetime=PATIENCE, raise_on_no_answer=False, backend=dns.asyncbackend.get_backend("trio")
        )
    except dns.resolver.NXDOMAIN:
        return [], 0
    except (dns.exception.DNSException, OSError) as error:
        raise Unavailable(f"no answer for {name}: {str(error) or type(error).__name__}") from None
    return (list(answer.rrset), float(answer.rrset.ttl)) if answer.rrset is not None else ([], 0)
