"""At which of the addresses that a peer tells of itself it is called back.

Whoever has the token may tell any. Dialling one of them sends a request, so a peer could have this node ask a server
that itself cannot reach, such as one of this host, for a path of its choice (server-side request forgery). Therefore a
peer of another host is never called back on this one, and nobody by a path. A node whose address has a path dials
again by itself. (What a name of the DNS leads to is not known before it is dialled, and not asked here.)
"""

import ipaddress
import re
from collections.abc import Iterable

from sdk.errors import BadRequest
from sdk.netaddress import is_loopback, split_address

# `127.1` and `0x7f000001` are 127.0.0.1 to whoever looks them up, and no name ends so ("URL Standard", 3.5).
_is_number = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)").fullmatch


def called_back_at(addresses: Iterable[str], peer_host: str) -> tuple[str, ...]:
    """Those of the addresses that may be dialled; `peer_host` is the IP address that the peer came from, empty for one
    in memory."""
    return tuple(address for address in addresses if _may_be_dialled(address, peer_host))


def _may_be_dialled(address: str, peer_host: str) -> bool:
    scheme, mark, rest = address.partition("://")
    if mark and scheme == "mem":
        return not peer_host
    place, _, path = (rest if mark else address).partition("/")
    try:
        host, port = split_address(place)
    except BadRequest:
        return False
    return port > 0 and not path and (not _may_be_here(host) or not peer_host or is_loopback(peer_host))


def _may_be_here(host: str) -> bool:
    name = host.lower().rstrip(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        here = not name or name.rpartition(".")[2] == "localhost" or _is_number(name) is not None
        return here or not name.isascii()  # letters of other scripts may stand for any of these
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return address.is_unspecified or is_loopback(name)
