"""The address that a service tells the registry: one that others reach it by, whatever it listens on."""

import ipaddress
import socket
from collections.abc import Sequence

import trio

from .netaddress import join_address, split_address, split_host
from .rawsocket import bound_address

_WAYS_OUT = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses set aside for documentation (RFC 5737, RFC 3849): packets for them leave as those for anybody do."""

_LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def advertised(advertise: str, listeners: Sequence[trio.SocketListener]) -> str:
    """What the registry is told: `advertise` (`host:port`, or a host alone), with the bound address for what it leaves
    out.

    A service that listens on every interface tells the address its packets leave with: of several networks the one with
    the way out, in a container the container's. It tells IPv4 rather than IPv6, because more programs can dial that,
    but not where only IPv6 leads out. Raises `BadRequest` for what is no address.
    """
    host, port = split_host(advertise)
    ordered = sorted(listeners, key=lambda listener: listener.socket.family != socket.AF_INET)
    bound_host, bound_port = split_address(bound_address(ordered[0]))
    if not host:
        host = own_host([each.socket.family for each in ordered]) if _unspecified(bound_host) else bound_host
    return join_address(host, port or bound_port)


def own_host(families: Sequence[int]) -> str:
    """The address of this host, in the first of these families (`AF_INET`, `AF_INET6`) that has a way out: that of the
    interface its packets leave through. Loopback where none has."""
    ways = (_way_out(family) for family in families)
    return next(filter(None, ways), _LOOPBACK[socket.AddressFamily(families[0])])


def _way_out(family: int) -> str:
    """Connecting a UDP socket sends nothing; it finds the route, and with it the address."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((_WAYS_OUT[socket.AddressFamily(family)], 9))
            host: str = probe.getsockname()[0]
            return host
    except OSError:
        return ""


def _unspecified(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_unspecified
