"""Local ports that lead to a service, each to one: of a node (`micro network --listen`), and of an end of a tunnel
(`micro tunnel --forward`)."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sdk.errors import BadRequest
from sdk.netaddress import join_address, split_address
from sdk.types import MAX_NAME

LISTEN: Final = "--listen (MICRO_NETWORK_LISTEN)"

LOOPBACK: Final = "127.0.0.1"
"""Where such a port listens unless somebody says otherwise: it asks nobody for a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """A local port that leads to a TCP service somewhere else."""

    address: str
    """`host:port` to listen on; port 0 for a free one."""
    service: str
    """Who is called."""


def parse_listen(text: str) -> Forward:
    """Reads `[host:]port=service`. Raises `BadRequest`."""
    place, _, service = (part.strip() for part in text.partition("="))
    if not place or not is_name(service):
        raise BadRequest(f"{LISTEN} has {text!r}; it is PORT=SERVICE or HOST:PORT=SERVICE, such as 15432=postgres")
    return read_forward(place, service, f"{LISTEN} has {text!r}")


def read_forward(place: str, service: str, what: str) -> Forward:
    """Makes one of `[host:]port`. Raises `BadRequest`, which begins with `what`."""
    try:
        host, port = split_address(place if ":" in place else f":{place}")
    except BadRequest as error:
        raise BadRequest(f"{what}: {error}") from None
    return Forward(address=join_address(host or LOOPBACK, port), service=service)


def check_once(forwards: Iterable[Forward], flag: str) -> None:
    """Raises `BadRequest`, which begins with the flag, for a port that is to lead to two services."""
    places = Counter(forward.address for forward in forwards if not forward.address.endswith(":0"))
    for address, times in places.items():
        if times > 1:
            raise BadRequest(f"{flag} has {address} {times} times; a port leads to one service")


def is_name(text: str) -> bool:
    """Whether a service may be called so."""
    return 0 < len(text) <= MAX_NAME and text.isprintable()
