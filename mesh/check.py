"""Health checks that a record asks for: how an instance that renews nothing is found dead, as its metadata says.

    check           tcp, grpc, /path, http://host:port/path or https://host:port/path
    check-interval  between two checks, such as 10s
    check-timeout   until which one must have succeeded, such as 2s
    check-failures  so many failures in a row withdraw the instance
    check-successes so many successes in a row bring it back

Thresholds keep one lost packet from withdrawing anything, as in HAProxy (`fall`, `rise`), whose numbers the defaults
are. Nothing here does I/O.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import urlsplit

from sdk.config import parse_count, parse_seconds
from sdk.errors import BadRequest
from sdk.netaddress import join_address, split_address
from sdk.types import Instance

T = TypeVar("T")

SHORTEST: Final = 1.0
"""Seconds between checks of one instance, at least: a record may not make all nodes flood somebody."""

LONGEST: Final = 86400.0
"""Likewise, at most."""

MOST_IN_A_ROW: Final = 100
"""Highest threshold."""

LONGEST_TIMEOUT: Final = 30.0
"""Seconds that a check may take, at most: some fifty are under way at a time, and those of others wait meanwhile."""

MAX_PATH: Final = 1024
"""Longest path that is asked for, in characters."""


class Kind(enum.Enum):
    """What is tried."""

    TCP = "tcp"
    """A connection is accepted."""
    HTTP = "http"
    """A GET is answered with a status from 200 to 399."""
    HTTPS = "https"
    """Likewise, over TLS, by whoever has a certificate for the host."""
    GRPC = "grpc"
    """The health protocol of gRPC says that it serves; a server without that protocol has to answer, no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How one instance is checked."""

    kind: Kind
    """What is tried."""
    address: str
    """`host:port` where: the host is that of the instance."""
    path: str
    """What is asked for, with HTTP and HTTPS."""
    interval: float
    """Seconds from one check to the next."""
    timeout: float
    """Seconds until a check that does not end has failed."""
    failures: int
    """In a row, they withdraw the instance."""
    successes: int
    """In a row, they bring it back."""

    def __str__(self) -> str:
        return f"{self.kind.value}://{self.address}{self.path}"


def parse_check(instance: Instance) -> Check | None:
    """The check that a record asks for, None where it asks for none. Raises `BadRequest` naming what makes no sense."""
    said = instance.metadata.get("check", "")
    if not said:
        return None
    kind, address, path = _target(said, instance.address)
    interval = _read(instance, "check-interval", parse_seconds, 10.0)
    timeout = _read(instance, "check-timeout", parse_seconds, min(2.0, interval))
    failures = _read(instance, "check-failures", parse_count, 3)
    successes = _read(instance, "check-successes", parse_count, 2)
    if not SHORTEST <= interval <= LONGEST or timeout > interval:
        raise BadRequest(
            f"check-interval is from {SHORTEST:g} s to a day and no shorter than check-timeout, here they are "
            f"{interval:g} s and {timeout:g} s"
        )
    if timeout > LONGEST_TIMEOUT:
        raise BadRequest(f"check-timeout is {LONGEST_TIMEOUT:g} s at most, here it is {timeout:g} s")
    if not 0 < failures <= MOST_IN_A_ROW or not 0 < successes <= MOST_IN_A_ROW:
        raise BadRequest(f"check-failures and check-successes are from 1 to {MOST_IN_A_ROW}")
    return Check(
        kind=kind,
        address=address,
        path=path,
        interval=interval,
        timeout=timeout,
        failures=failures,
        successes=successes,
    )


def _target(said: str, address: str) -> tuple[Kind, str, str]:
    if said in (Kind.TCP.value, Kind.GRPC.value):
        return Kind(said), address, ""
    if len(said) > MAX_PATH or not said.isascii() or not said.isprintable() or " " in said:
        raise BadRequest(f"check is longer than {MAX_PATH} characters, or no path that can be asked for")
    if said.startswith("/"):
        return Kind.HTTP, address, said
    try:
        url = urlsplit(said)
        host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    except ValueError:
        raise BadRequest(f"check is {said!r}, which is no URL") from None
    if url.scheme not in (Kind.HTTP.value, Kind.HTTPS.value) or url.username is not None or url.password is not None:
        # It is not repeated where it may hold a password.
        shown = repr(said) if "@" not in said else "a URL with a user"
        raise BadRequest(
            f"check is {shown}: it takes tcp, grpc, /path, http://host:port/path or https://host:port/path"
        )
    # Whoever may write a record must not send the nodes to any address they like.
    if host != split_address(address)[0].lower():
        raise BadRequest(f"check is {said!r}, which is another host than that of the instance, {address}")
    return Kind(url.scheme), join_address(host, port), (url.path or "/") + (f"?{url.query}" if url.query else "")


def _read(instance: Instance, name: str, parse: Callable[[str], T], default: T) -> T:
    text = instance.metadata.get(name)
    if text is None:
        return default
    try:
        return parse(text)
    except BadRequest as error:
        raise BadRequest(f"{name}: {error.detail}") from None
