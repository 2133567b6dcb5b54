"""What `--resolver` says, and which of the nodes that are named it makes into names to look up. Nothing is asked here.

A URL may hold a password, so no message repeats a value before it is known to be harmless.
"""

import enum
import ipaddress
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, urlsplit

from sdk.errors import BadRequest
from sdk.netaddress import join_address, split_address

FLAG: Final = "--resolver (MICRO_NETWORK_RESOLVER)"

DNS_PORT: Final = 53
MAX_DOMAIN: Final = 253
"""Characters of a name in DNS without its last dot (RFC 1035: 255 bytes on the wire)."""

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\Z")


class Kind(enum.Enum):
    """The ways to find other nodes, beside those that are named with their address."""

    REGISTRY = "registry"
    """In the local registry."""
    STATIC = "static"
    """None."""
    DNS = "dns"
    """The nodes that are named are names in DNS."""
    HTTP = "http"
    """A web server has a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One way, with what it needs."""

    kind: Kind
    """Which."""
    server: str = ""
    """The DNS server to ask, as `ip:port`; empty for what the system asks."""
    url: str = field(default="", repr=False)
    """Where the list is. It may hold a password."""


def parse_resolver(text: str) -> Choice:
    """Reads the setting: `registry`, `static`, `dns`, `dns://ip[:port]`, or the `http://` or `https://` URL of a list.

    Raises `BadRequest`, naming flag and variable and nothing that may be a password.
    """
    scheme, separator, _ = text.partition("://")
    if separator and scheme in ("dns", "http", "https"):
        url = _split(text)
        if scheme == "dns":
            return Choice(kind=Kind.DNS, server=_server(url))
        return Choice(kind=Kind.HTTP, url=text)
    if text not in ("registry", "static", "dns"):
        said = repr(text) if "@" not in text else "something else"
        raise BadRequest(
            f"{FLAG} is {said}; known are registry, static, dns, dns://IP:PORT and a http:// or https:// URL"
        )
    return Choice(kind=Kind(text))


def shown(url: str) -> str:
    """A URL that `parse_resolver` took, without what may be secret: user, password and query."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    host = join_address(parts.hostname, parts.port) if parts.port else parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def is_looked_up(node: str) -> bool:
    """Whether a node is named by what DNS knows: not by a URL, and not by an IP address."""
    if "://" in node:
        return False
    host = split_address(node)[0] if ":" in node else node
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return True
    return False


def is_srv_name(node: str) -> bool:
    """Whether a name is that of SRV records, which say the port, rather than `host:port`."""
    return ":" not in node or node.startswith("_")


def check_srv_name(name: str, what: str) -> None:
    """Raises `BadRequest`, which begins with `what`, for what cannot be a name in DNS."""
    domain = name.removesuffix(".")
    if not domain or len(domain) > MAX_DOMAIN or not all(map(_LABEL.match, domain.split("."))):
        raise BadRequest(
            f"{what} has {name!r}, which cannot be looked up: it is host:port, or a name of SRV records without a port"
        )


def _split(text: str) -> SplitResult:
    """Takes a URL apart. What `urlsplit` complains of is not repeated: it may be part of a password."""
    wrong = BadRequest(
        f"{FLAG} is a {text.partition(':')[0]}:// URL that cannot be read: it is scheme://host:port/path"
    )
    # urlsplit drops these without a word.
    if not text.isascii() or not text.isprintable() or " " in text:
        raise wrong
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise wrong from None
    # An @ in the path is most likely one in a password that holds a slash.
    if not url.hostname or port == 0 or "@" in url.path:
        raise wrong
    return url


def _server(url: SplitResult) -> str:
    host = url.hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise BadRequest(f"{FLAG} names a DNS server by {host!r}: it is dns://IP or dns://IP:PORT") from None
    if url.path.strip("/") or url.query or url.fragment or "@" in url.netloc:
        raise BadRequest(f"{FLAG} has more than the address of a DNS server: it is dns://IP or dns://IP:PORT")
    return join_address(host, url.port or DNS_PORT)
