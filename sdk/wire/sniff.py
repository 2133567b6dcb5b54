"""What a connection speaks, told from its first bytes.

HTTP/1.1 has no beginning of its own: a method is any word that somebody has made up (RFC 9110, 9.1). A connection that
begins with one of the many that are registered is known by it; with any other one by the end of its first line, where
the version stands. Empty lines before that line are passed over (RFC 9112, 2.2).
"""

import re
from collections.abc import Mapping
from typing import Final, Generic, TypeVar

T = TypeVar("T")

ANY: Final = ""
"""In place of a method: every one that is not listed, but for CONNECT, which asks for something else."""

MAX_LINE: Final = 16384
"""Bytes that are read at most for a first line with an unknown method, and for the empty lines before it."""

_METHODS: Final = (
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE",
    "ACL", "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "COPY", "LABEL", "LINK", "LOCK", "MERGE", "MKACTIVITY",
    "MKCALENDAR", "MKCOL", "MKREDIRECTREF", "MKWORKSPACE", "MOVE", "ORDERPATCH", "PROPFIND", "PROPPATCH", "QUERY",
    "REBIND", "REPORT", "SEARCH", "UNBIND", "UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE", "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
    "PURGE",
)  # fmt: skip
"""Those of RFC 9110, of WebDAV and the others of IANA's registry, and one that caches have."""

_TOKEN = rb"(?!CONNECT )[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_is_request = re.compile(rb"%b [^\r\n]* HTTP/[0-9]\.[0-9]\r?\n" % _TOKEN).match
_empty_lines = re.compile(rb"\A(?:\r\n)+")
_may_be_request = re.compile(rb"%b(?: [^\r\n]*\r?)?" % _TOKEN).fullmatch


class Beginnings(Generic[T]):
    """A table of what connections may begin with."""

    def __init__(self, literal: Mapping[bytes, T], methods: Mapping[str, T]) -> None:
        """`literal` is by first bytes, `methods` by the method of an HTTP/1.1 request, or `ANY`. Without `ANY` nothing
        is passed over before the method."""
        self._any = methods.get(ANY)
        known = dict.fromkeys(_METHODS, self._any) if self._any is not None else {}
        known |= {method: meant for method, meant in methods.items() if method}
        self._methods: Final = {f"{method} ".encode(): meant for method, meant in known.items() if meant is not None}
        self._literal: Final = dict(literal)

    def spoken(self, first: bytes) -> T | None:
        """What the table has for the beginning that these bytes have; None where it has nothing, or not yet."""
        meant = _listed(self._literal, first)
        if meant is not None:
            return meant
        line = self._line(first)
        meant = _listed(self._methods, line)
        if meant is None and self._any is not None and _is_request(line, 0, MAX_LINE):
            meant = self._any
        return meant

    def is_undecided(self, first: bytes) -> bool:
        """Whether more bytes could still make of these a beginning that the table has."""
        if self.spoken(first) is not None:
            return False
        line = self._line(first)
        if any(beginning.startswith(first) for beginning in self._literal):
            return True
        if self._any is None:
            return any(beginning.startswith(line) for beginning in self._methods)
        return len(first) < MAX_LINE and (line in b"\r" or _may_be_request(line) is not None)

    def _line(self, first: bytes) -> bytes:
        """Where the first line begins, as far as it is HTTP's."""
        return first if self._any is None else _empty_lines.sub(b"", first, 1)


def _listed(table: Mapping[bytes, T], first: bytes) -> T | None:
    return next((meant for beginning, meant in table.items() if first.startswith(beginning)), None)
