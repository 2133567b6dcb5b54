"""Addresses that a person gave: whether they can be used, and which to give to whom, where a port is bound to every
interface."""

import ipaddress
import socket
from collections.abc import Iterable
from typing import Final

from sdk.advertise import own_host
from sdk.errors import BadRequest
from sdk.netaddress import is_private, join_address, split_address

EVERY_INTERFACE: Final = "0.0.0.0"  # noqa: S104 - compared with, not bound to
EVERY_INTERFACE_V6: Final = "::"


def is_public(host: str) -> bool:
    """Whether an address to bind is an explicit public one: neither private, nor a name, nor every interface."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return not address.is_unspecified and not is_private(host)


def check_address(address: str, what: str, *, bind: bool = False) -> str:
    """Checks the form of an address and returns the host. One to bind may do without host, and with port 0.

    Raises `BadRequest`, which begins with `what`.
    """
    scheme, separator, rest = address.rpartition("://")
    if scheme == "mem" and rest:
        return ""
    if separator and (bind or scheme not in ("tcp", "ws", "wss")):
        others = ", tcp://host:port, ws://host:port/path or wss://host:port/path"
        raise BadRequest(f"{what} has {address!r}: write host:port" + ("" if bind else others))
    try:
        host, port = split_address(rest.partition("/")[0] if scheme in ("ws", "wss") else rest)
    except BadRequest as error:
        raise BadRequest(f"{what}: {error}") from None
    if not bind and not (host and port):
        raise BadRequest(f"{what} has {address!r}, which nobody can dial: it needs host and port")
    return host


def local_address(bound: Iterable[str]) -> str:
    """The first of the addresses, as programs on this machine dial it."""
    return _with_host(next(iter(bound)), "127.0.0.1", "::1")


def told_addresses(bound: Iterable[str]) -> tuple[str, ...]:
    """The addresses as other machines see them: `every interface` becomes the one this machine goes out by."""
    return tuple(dict.fromkeys(_with_host(address, *outward_hosts()) for address in bound))


def outward_hosts() -> tuple[str, str]:
    """The IPv4 and IPv6 addresses this machine goes out by; loopback where it does not. Nothing is sent to find out."""
    return own_host([socket.AF_INET]), own_host([socket.AF_INET6])


def _with_host(address: str, v4: str, v6: str) -> str:
    try:
        host, port = split_address(address)
    except BadRequest:  # mem://
        return address
    return join_address({EVERY_INTERFACE: v4, EVERY_INTERFACE_V6: v6}.get(host, host), port)
