"""What a connection speaks, told from its first bytes."""

from collections.abc import Mapping
from typing import Final, TypeVar

T = TypeVar("T")

_METHODS: Final = (
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE",
    "ACL", "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "COPY", "LABEL", "LINK", "LOCK", "MERGE", "MKACTIVITY",
    "MKCALENDAR", "MKCOL", "MKREDIRECTREF", "MKWORKSPACE", "MOVE", "ORDERPATCH", "PROPFIND", "PROPPATCH", "QUERY",
    "REBIND", "REPORT", "SEARCH", "UNBIND", "UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE", "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
    "PURGE",
)  # fmt: skip
"""Those of RFC 9110, of WebDAV and the others of IANA's registry, and one that caches have."""

HTTP1: Final = tuple(f"{method} ".encode() for method in _METHODS)
"""What HTTP/1.1 begins with, but for CONNECT: that asks for something else."""


def spoken(table: Mapping[bytes, T], first: bytes) -> T | None:
    """What the table has for the beginning that these bytes have; None where it has nothing, or not yet."""
    return next((meant for beginning, meant in table.items() if first.startswith(beginning)), None)


def is_undecided(table: Mapping[bytes, object], first: bytes) -> bool:
    """Whether more bytes could still make of these a beginning that the table has."""
    return spoken(table, first) is None and any(beginning.startswith(first) for beginning in table)
