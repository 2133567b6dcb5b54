"""At which of the addresses that a peer tells of itself it is called back.

Whoever has the token may tell any. Dialling one of them sends a request, so a peer could have this node ask a server
that itself cannot reach, such as one of this host, for a path of its choice (server-side request forgery). Therefore a
peer of another host is never called back on this one, and nobody by a path. A node whose address has a path dials
again by itself.
"""

from collections.abc import Iterable

from sdk.errors import BadRequest
from sdk.netaddress import is_loopback, split_address


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
    here = host.lower().rstrip(".") == "localhost" or not host or is_loopback(host) or host.strip("0.:") == ""
    return port > 0 and not path and (not here or not peer_host or is_loopback(peer_host))
