"""Network addresses as text: taking `host:port` apart, and telling private addresses from public ones."""

import functools
import ipaddress

from .errors import BadRequest


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port`, `:port` (an empty host: every interface) or `[v6]:port`; raises `BadRequest`."""
    host, _, port = address.rpartition(":")
    if ":" not in address or not (port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535):
        too_high = ", the port from 0 to 65535" if port.isascii() and port.isdecimal() and ":" in address else ""
        raise BadRequest(f"{address!r} is no address: expected host:port{too_high}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not host:
            raise BadRequest(f"{address!r} is no address: the brackets are empty")
    elif "://" in host:
        raise BadRequest(f"{address!r} is no address: expected host:port, without {host.partition('://')[0]}://")
    elif ":" in host:
        raise BadRequest(f"{address!r} is no address: an IPv6 host is written in brackets, such as [::1]:8085")
    return host, int(port)


def split_host(text: str) -> tuple[str, int]:
    """Host and port of what `split_address` takes, or of a host alone, whose port is 0 then; an IPv6 address may stand
    without brackets. Raises `BadRequest`, also for a URL."""
    bare = text.removeprefix("[").removesuffix("]")
    try:
        ipaddress.IPv6Address(bare)
    except ValueError:
        host, port = split_address(text) if ":" in text else (text, 0)
    else:
        return bare, 0
    if set(host) & _NOT_IN_HOSTS:
        raise BadRequest(f"{text!r} is no address: expected host:port, or a host alone")
    return host, port


_NOT_IN_HOSTS = frozenset("/@[]?#, \t\r\n")


def join_address(host: str, port: int) -> str:
    """The reverse of `split_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@functools.lru_cache(maxsize=1024)  # asked of the same few programs at every call
def is_loopback(host: str) -> bool:
    """Whether a peer with this IP address is on this machine. An IPv4 address inside an IPv6 one counts as itself."""
    return _within(host, _LOOPBACK)


@functools.lru_cache(maxsize=1024)
def is_private(host: str) -> bool:
    """Whether a peer with this IP address is this machine or one of its private networks.

    Loopback, link-local, RFC 1918, RFC 6598 (carrier-grade NAT, where overlay networks live) and IPv6 unique local
    addresses. An IPv4 address inside an IPv6 one counts as itself. Names, and what is no address at all, are not
    private.
    """
    return _within(host, _PRIVATE)


def _within(host: str, networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address.version == network.version and address in network for network in networks)


_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
# Named one by one: `ipaddress.is_private` holds documentation and benchmark networks too, and its list changes with
# Python.
_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in (
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10",
        "::1/128", "fc00::/7", "fe80::/10",
    )
)  # fmt: skip
