"""Which address to give to whom, where a port is bound to every interface."""

import socket
from collections.abc import Iterable
from typing import Final

from sdk.errors import BadRequest
from sdk.netaddress import join_address, split_address

EVERY_INTERFACE: Final = "0.0.0.0"  # noqa: S104 - compared with, not bound to
EVERY_INTERFACE_V6: Final = "::"


def local_address(bound: Iterable[str]) -> str:
    """The first of the addresses, as programs on this machine dial it."""
    return _with_host(next(iter(bound)), "127.0.0.1", "::1")


def told_addresses(bound: Iterable[str]) -> tuple[str, ...]:
    """The addresses as other machines see them: `every interface` becomes the one this machine goes out by."""
    return tuple(dict.fromkeys(_with_host(address, *outward_hosts()) for address in bound))


def outward_hosts() -> tuple[str, str]:
    """The IPv4 and IPv6 addresses this machine goes out by; loopback where it does not. Nothing is sent to find out."""
    # RFC 5737 and RFC 3849 set these apart for documentation: nobody is there, but a route is.
    return _outward(socket.AF_INET, "192.0.2.1", "127.0.0.1"), _outward(socket.AF_INET6, "2001:db8::1", "::1")


def _outward(family: socket.AddressFamily, somewhere: str, otherwise: str) -> str:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((somewhere, 9))
            host: str = probe.getsockname()[0]
    except OSError:
        return otherwise
    return host


def _with_host(address: str, v4: str, v6: str) -> str:
    try:
        host, port = split_address(address)
    except BadRequest:  # mem://
        return address
    return join_address({EVERY_INTERFACE: v4, EVERY_INTERFACE_V6: v6}.get(host, host), port)
