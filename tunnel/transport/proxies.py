"""Which addresses are dialled through an HTTP proxy: all by `--via`, else as HTTPS_PROXY and NO_PROXY say.

Nobody has written down what those two variables mean; this follows curl and Go where they agree: the lower-case name
first, names match themselves and what is below them, networks match addresses that are written as such.
"""

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from sdk.errors import BadRequest
from sdk.netaddress import join_address, split_address

VIA: Final = "--via (MICRO_VIA)"

_PORT: Final = 80
_LOOPBACK: Final = ("localhost", "127.0.0.0/8", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpProxy:
    """A proxy that connects by HTTP CONNECT."""

    address: str
    """`host:port`."""
    authorization: str = field(default="", repr=False)
    """Value of Proxy-Authorization (RFC 9110, 11.7.2); empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """The way out of here. Nothing is dialled through a proxy unless there is one."""

    proxy: HttpProxy | None = None
    """What is dialled through."""
    direct: tuple[str, ...] = ()
    """What is dialled without it: names, with all that is below them, addresses, networks, each perhaps with a port,
    or `*` for everything."""

    def between(self, host: str, port: int) -> HttpProxy | None:
        """The proxy between here and a host; None where it is dialled directly."""
        if any(_matches(pattern.strip().lower(), host.lower() or "localhost", port) for pattern in self.direct):
            return None
        return self.proxy


def choose_proxies(via: str, environment: Mapping[str, str]) -> Proxies:
    """What `--via` says, or else the environment; raises `BadRequest` naming which of them makes no sense."""
    if via:
        return Proxies(proxy=parse_proxy(via, VIA))
    name, url = _variable(environment, "https_proxy")
    if not url:
        return Proxies()
    _, spared = _variable(environment, "no_proxy")
    return Proxies(proxy=parse_proxy(url, name), direct=(*_LOOPBACK, *spared.split(",")))


def parse_proxy(url: str, what: str) -> HttpProxy:
    """Reads `http://[user:password@]host[:port]`, the scheme being optional. Raises `BadRequest` that begins with
    `what` and shows nothing of the rest, where a password may be."""
    scheme, separator, rest = url.strip().partition("://")
    if separator and scheme.lower() != "http":
        raise BadRequest(f"{what} is a proxy of a kind that is not known: only http:// is")
    login, _, host = (rest if separator else scheme).partition("/")[0].rpartition("@")
    try:
        host, port = split_address(host if _has_port(host) else f"{host}:{_PORT}")
    except BadRequest:
        host = ""
    if not host or not port or not host.isprintable():
        raise BadRequest(f"{what} is no proxy: write http://host:port or http://user:password@host:port")
    user, _, password = login.partition(":")
    basic = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()  # RFC 7617
    return HttpProxy(address=join_address(host, port), authorization=f"Basic {basic}" if login else "")


def _variable(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    for each in (name, name.upper()):
        if each in environment:
            return each, environment[each].strip()
    return name, ""


def _has_port(host: str) -> bool:
    return ":" in host.rpartition("]")[2]


def _matches(pattern: str, host: str, port: int) -> bool:
    if pattern == "*":
        return True
    if _has_port(pattern) and (pattern.startswith("[") or pattern.count(":") == 1):
        pattern, _, only = pattern.rpartition(":")
        if only != str(port):
            return False
    pattern = pattern.removeprefix("[").removesuffix("]")
    try:
        network = ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        name = pattern.removeprefix("*").strip(".")
        host = host.rstrip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.version == network.version and address in network
