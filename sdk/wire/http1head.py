"""Heads of HTTP/1.1 messages: the bytes up to the empty line, read as strictly as RFC 9112 allows.

Two programs that read one message differently can be played against each other (request smuggling: the second sees a
request where the first saw a body). So whatever two implementations are known to read differently is refused here and
never repaired: bare LF or CR, folded lines, spaces before a colon, a length that is said twice, a length beside chunks,
any transfer coding but `chunked`.

Text is Latin-1 both ways: each byte is one character, and comes out as it went in.
"""

import re
from typing import Final, NamedTuple

from sdk.errors import RemoteProtocolError

MAX_HEAD: Final = 65536
"""Longest head, in bytes, its empty line included (Node.js allows 16 KiB, Envoy 60 KiB, Go 1 MiB)."""

MAX_FIELDS: Final = 100
"""Most header fields of a head (Apache and Envoy allow 100 too)."""

CHUNKED: Final = -1
"""In place of a body's length: it comes in chunks."""
UNTIL_CLOSE: Final = -2
"""In place of a body's length: the end of the connection ends it. Only answers may come so."""

Fields = list[tuple[str, str]]
"""Name in lower case and value, in order."""

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - RFC 9110's word for the characters of a name
_TEXT = r"[^\x00-\x08\x0a-\x1f\x7f]*"

_is_token = re.compile(_TOKEN).fullmatch
_is_protocol = re.compile(rf"{_TOKEN}(?:/{_TOKEN})?").fullmatch
_is_text = re.compile(_TEXT).fullmatch
_are_fields = re.compile(rf"(?:{_TOKEN}:{_TEXT}\r\n)*").fullmatch
_request_line = re.compile(rf"({_TOKEN}) ([!-~\x80-\xff]+) HTTP/([0-9])\.([0-9])").fullmatch
_status_line = re.compile(rf"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ({_TEXT}))?").fullmatch
_is_host = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%!$&'()*+,;=]*)(?::[0-9]{0,5})?").fullmatch

_MAX_METHOD = 32
_MAX_DIGITS = 18


class Malformed(RemoteProtocolError):
    """A message that cannot be read, and the status that tells its sender so."""

    def __init__(self, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.status = status
        """HTTP status for whoever sent it, where it was a request."""


class RequestHead(NamedTuple):
    """A request without its body."""

    method: str
    target: str
    """As it was written: origin, absolute or asterisk form."""
    minor: int
    """0 for HTTP/1.0, 1 for HTTP/1.1."""
    fields: Fields


class ResponseHead(NamedTuple):
    """An answer without its body."""

    status: int
    reason: str
    minor: int
    fields: Fields


def head_size_untrusted(data: bytes) -> int:
    """How many of the bytes are the head, its empty line included; 0 when that has not come yet.

    Raises `Malformed` for a head that is too long, and for one that will never end because its lines do not end in
    CR LF (RFC 9112, 2.2).
    """
    size = data.find(b"\r\n\r\n") + 4
    if size > MAX_HEAD or (size == 3 and len(data) >= MAX_HEAD):
        raise Malformed(f"the head has more than {MAX_HEAD >> 10} KiB", 431)
    if size != 3:
        return size
    if data.count(b"\n") != data.count(b"\r\n"):
        raise Malformed("a line of the head ends in a bare LF")
    return 0


def request_head_untrusted(head: bytes) -> RequestHead:
    """Reads a whole head, empty line included; raises `Malformed`."""
    line, _, rest = head.decode("latin-1").partition("\r\n")
    matched = _request_line(line)
    if matched is None:
        raise Malformed("the request line is not `METHOD target HTTP/1.1`")
    method, target, major, minor = matched.groups()
    if major != "1" or minor not in "01":
        raise Malformed(f"HTTP/{major}.{minor} is not spoken here", 505)
    if len(method) > _MAX_METHOD:
        raise Malformed("the method's name is too long", 501)
    return RequestHead(method, target, int(minor), fields_untrusted(rest[:-2]))


def response_head_untrusted(head: bytes) -> ResponseHead:
    """Reads a whole head, empty line included; raises `Malformed`."""
    line, _, rest = head.decode("latin-1").partition("\r\n")
    matched = _status_line(line)
    if matched is None:
        raise Malformed("the status line is not `HTTP/1.1 200 OK`")
    minor, status, reason = matched.groups()
    return ResponseHead(int(status), reason or "", int(minor), fields_untrusted(rest[:-2]))


def fields_untrusted(lines: str) -> Fields:
    """Header or trailer fields, each of them with its CR LF; raises `Malformed`."""
    if _are_fields(lines) is None:
        raise Malformed(_complaint(lines))
    fields = []
    for line in lines.split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        fields.append((name.lower(), value.strip(" \t")))
    if len(fields) > MAX_FIELDS:
        raise Malformed(f"there are more than {MAX_FIELDS} fields", 431)
    return fields


def request_framing_untrusted(head: RequestHead) -> int:
    """The length of a request's body, or `CHUNKED` (RFC 9112, 6.3). Raises `Malformed` where that is in doubt."""
    said = _said_of_body(head)
    return 0 if said is None else said


def response_framing_untrusted(head: ResponseHead, method: str) -> int:
    """The length of the body that answers a request with that method, `CHUNKED` or `UNTIL_CLOSE` (RFC 9112, 6.3).

    Raises `Malformed` where that is in doubt.
    """
    said = _said_of_body(head)
    if method == "HEAD" or head.status in (204, 304) or head.status < 200:
        return 0
    return UNTIL_CLOSE if said is None else said


def host_untrusted(head: RequestHead) -> str:
    """The Host header; empty where HTTP/1.0 has none. Raises `Malformed` where it is missing, said twice, or no
    authority at all (RFC 9112, 3.2)."""
    hosts = [value for name, value in head.fields if name == "host"]
    if len(hosts) > 1:
        raise Malformed("Host is said more than once")
    if not hosts:
        if head.minor:
            raise Malformed("Host is missing")
        return ""
    if not is_authority(hosts[0]):
        raise Malformed("Host is no host and port")
    return hosts[0]


def is_authority(text: str) -> bool:
    """Whether it can stand in a Host header."""
    return _is_host(text) is not None


def is_token(text: str) -> bool:
    """Whether it can be a method or the name of a field."""
    return _is_token(text) is not None


def is_protocol(text: str) -> bool:
    """Whether it can be the one protocol in an Upgrade header: a name, with or without a version (RFC 9110, 7.8)."""
    return _is_protocol(text) is not None


def is_text(text: str) -> bool:
    """Whether it can be the value of a field: above all, without line ends and NUL."""
    return _is_text(text) is not None


def content_length_untrusted(text: str) -> int:
    """The number in a Content-Length; raises `Malformed` for anything but a few digits."""
    if len(text) > _MAX_DIGITS or not (text.isascii() and text.isdigit()):
        raise Malformed("Content-Length is no number")
    return int(text)


def _said_of_body(head: RequestHead | ResponseHead) -> int | None:
    """The length of the body, or `CHUNKED`, or None where the head says neither. Content-Length and Transfer-Encoding
    are said once at most (RFC 9110, 8.6; RFC 9112, 6.1), and never both."""
    length: int | None = None
    coding: str | None = None
    for name, value in head.fields:
        if name == "content-length":
            if length is not None:
                raise Malformed("Content-Length is said more than once")
            length = content_length_untrusted(value)
        elif name == "transfer-encoding":
            if coding is not None:
                raise Malformed("Transfer-Encoding is said more than once")
            coding = value.lower()
    if coding is None:
        return length
    if length is not None:
        raise Malformed("Content-Length and Transfer-Encoding contradict each other")
    if coding != "chunked":
        raise Malformed("the transfer coding is not `chunked`", 501)
    if not head.minor:
        raise Malformed("HTTP/1.0 has no transfer codings")
    return CHUNKED


def _complaint(lines: str) -> str:
    """What is wrong with the first line that is."""
    for line in lines.split("\r\n")[:-1]:
        if _are_fields(f"{line}\r\n") is not None:
            continue
        if line[:1] in (" ", "\t"):
            return "a header field is folded over two lines"
        if "\0" in line:
            return "a header field has a NUL in it"
        if "\r" in line or "\n" in line:
            return "a header field has a bare CR or LF in it"
        name, colon, _ = line.partition(":")
        if not colon:
            return "a header field has no colon"
        if name != name.rstrip(" \t"):
            return "a header field has a space before its colon"
        return "a header field has a name that is none" if not is_token(name) else "a header field has a control in it"
    return "a header field does not end in CR LF"
