"""Nodes by a name in DNS: the addresses of `host:port`, or the servers of SRV records and their addresses.

Addresses come from the system's resolver, which knows the hosts file and whatever else this machine is set up for. It
does not do SRV records, so dnspython asks the system's name servers for these. A server that was chosen is asked for
all of it: what it alone knows, as is usual for service discovery, is not in the system's resolver.
"""

import socket
from random import Random
from typing import Final

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.rdtypes.IN.SRV
import trio

from sdk.errors import Unavailable
from sdk.netaddress import join_address, split_address

from .choice import is_srv_name
from .lookup import MAX_NODES, Found, no_answer
from .srv import Server, in_order

SERVICE: Final = "_micro._tcp"
"""Where the SRV records of a domain stand (RFC 2782: service, protocol)."""
AT_ONCE: Final = 8
"""Servers of SRV records that are looked up at a time."""


class DnsName:
    """A name and its nodes."""

    def __init__(self, name: str, *, server: str, random: Random) -> None:
        """`name` is `host:port`, or one of SRV records; `server` as `ip:port` is asked, where there is one, in place of
        the system's."""
        self.name = name
        self._server = server
        self._random = random
        self._known: dict[tuple[str, int], tuple[str, ...]] = {}

    async def find(self) -> Found:
        """Looks the name up. Servers of SRV records whose own names cannot be looked up keep their last addresses."""
        servers = await self._servers() if is_srv_name(self.name) else [split_address(self.name)]
        failed: list[str] = []
        limit = trio.CapacityLimiter(AT_ONCE)

        async def look_up(server: tuple[str, int]) -> None:
            try:
                async with limit:
                    known[server] = await self._addresses(*server)
            except Unavailable as error:
                failed.append(str(error))

        known = {server: self._known.get(server, ()) for server in servers}
        async with trio.open_nursery() as nursery:
            for server in servers:
                nursery.start_soon(look_up, server)
        self._known = known
        nodes = tuple(dict.fromkeys(address for server in servers for address in known[server]))
        if failed and not nodes:
            raise Unavailable(failed[0])
        return Found(nodes, min(failed, default=""))

    async def _servers(self) -> list[tuple[str, int]]:
        """Host and port of each SRV record; raises `Unavailable`."""
        name = self.name if self.name.startswith("_") else f"{SERVICE}.{self.name}"
        try:
            resolver = self._resolver()
            answer = await resolver.resolve(
                name, dns.rdatatype.SRV, search=not self._server, backend=dns.asyncbackend.get_backend("trio")
            )
        except (dns.exception.DNSException, OSError) as error:
            raise no_answer(error) from None
        records = [
            Server(record.priority, record.weight, record.port, record.target.to_text(omit_final_dot=True).strip("."))
            for record in answer
            if isinstance(record, dns.rdtypes.IN.SRV.SRV)
        ]
        servers = in_order(records, self._random)[: MAX_NODES + 1]
        if not servers:
            raise Unavailable(f"{name} says that there is no such service")
        return servers

    async def _addresses(self, host: str, port: int) -> tuple[str, ...]:
        """The IPv6 and IPv4 addresses of a host, each with the port; raises `Unavailable` where there are none."""
        hosts = await (self._ask_server(host) if self._server else _ask_system(host))
        if not hosts:
            raise Unavailable(f"{host} has no address")
        return tuple(join_address(address, port) for address in dict.fromkeys(hosts))

    async def _ask_server(self, host: str) -> list[str]:
        try:
            backend = dns.asyncbackend.get_backend("trio")
            return list((await self._resolver().resolve_name(host, backend=backend)).addresses())
        except (dns.exception.DNSException, OSError) as error:
            raise no_answer(error) from None

    def _resolver(self) -> dns.asyncresolver.Resolver:
        """Made anew each time, so that a machine that moved to another network is followed."""
        resolver = dns.asyncresolver.Resolver(configure=not self._server)
        if self._server:
            host, port = split_address(self._server)
            resolver.nameservers, resolver.port = [host], port
        return resolver


async def _ask_system(host: str) -> list[str]:
    try:
        found = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise Unavailable(f"{host}: {error.strerror}") from None
    except (OSError, UnicodeError) as error:
        raise no_answer(error) from None
    return [str(sockaddr[0]) for _, _, _, _, sockaddr in found]
