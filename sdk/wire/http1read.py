"""HTTP/1.1 heads as the heads of calls.

A request becomes a call of protocol `http`: `endpoint` is path and query, metadata begins with `:method`, `:scheme` and
`:authority`, then come the end-to-end fields in order, repeats and all. An answer's metadata begins with `:status`. An
upgrade is asked for, and agreed to, by `:upgrade`; `:te` says that a program takes trailers (RFC 9110, 10.1.4), for
some send none to others.

Programs send the same few heads again and again, so what was read is remembered by its bytes, at a tenth of the cost.
"""

from http import HTTPStatus
from typing import Final, NamedTuple

import msgpack

from sdk.head import IDEMPOTENT, IDEMPOTENT_METHODS, CallHead, Metadata, ReplyHead, pack_call_head, pack_reply_head

from .frame import NO_DEADLINE
from .http1fields import HOP_BY_HOP, VIA, connection_options, remember, service_of_host
from .http1head import (
    UNTIL_CLOSE,
    Fields,
    Malformed,
    RequestHead,
    host_untrusted,
    is_authority,
    is_protocol,
    request_framing_untrusted,
    request_head_untrusted,
    response_framing_untrusted,
    response_head_untrusted,
)
from .pages import site_of
from .timeout import FIELD, parse_timeout_untrusted

PROTOCOL: Final = "http"
"""The protocol of such calls."""

_NO_UPGRADE = frozenset(("h2c", "http/2.0", "http/1.1"))
"""Ways into another HTTP on the same connection, past whatever looked at this one (h2c smuggling, 2020)."""

_TLS = "tls/"
"""TLS on the same connection (RFC 2817): this end does not speak it so. Apache's HttpClient 5.4 offers it by itself;
taken for upgrades, its requests would not be tried again, have no deadline, and not be made over HTTP/2."""


class Asked(NamedTuple):
    """A request that was read, and what its connection has to know of it."""

    packed: bytes
    """Packed `CallHead`, but for the 16 bytes of its call id."""
    ms: int
    """Milliseconds it may take, or `NO_DEADLINE`."""
    framing: int
    """The length of its body, or `CHUNKED`."""
    method: str
    minor: int
    """0 for HTTP/1.0."""
    keep: bool
    """Whether another request may follow on the connection."""
    expects: bool
    """The program waits for `100 Continue` before it sends its body (RFC 9110, 10.1.1)."""
    upgrade: bool
    """It wants to speak something else afterwards."""
    token: bytes
    """What it showed in `Proxy-Authorization`."""
    service: str
    """The service that it names, or means."""
    hosted: bool
    """Whether that is the name of a host."""
    site: str
    """What `pages.site_of` says of a request that came without TLS and names its service in `Micro-Service`."""

    def to(self, service: str) -> bytes:
        """Like `packed`, for another service."""
        return b"%b%b%b" % (self.packed[:1], _pack(service), self.packed[1 + len(_pack(self.service)) :])


class Answered(NamedTuple):
    """An answer that was read."""

    packed: bytes
    """Packed `ReplyHead`."""
    status: int
    framing: int
    """The length of its body, `CHUNKED` or `UNTIL_CLOSE`."""
    keep: bool
    """Whether another request may follow on the connection."""


_pack = msgpack.Packer(autoreset=True).pack

_asked: dict[bytes, Asked] = {}
_answered: dict[bytes, Answered] = {}
_answered_head: dict[bytes, Answered] = {}  # to requests with that method


def read_request_untrusted(head: bytes, forwarded: bytes, otherwise: bytes = b"", pins: Metadata = ()) -> Asked:
    """Reads a request's head, empty line included. `forwarded` is what `Forwarded` says of its sender, and comes from
    `forwarded_by`. `otherwise` is the name of the service that is meant where none is named. `pins` is metadata that
    the call has besides, behind that of the request. Raises `Malformed`, or another `RemoteProtocolError`."""
    # A head may begin with whatever it likes, and must not be taken for the end of what is before it.
    key = b"%b\n%b\n%b" % (otherwise, forwarded, head) if otherwise else b"%b\n%b" % (forwarded, head)
    if pins:
        key = b"%b\n%b" % (repr(pins).encode(), key)
    known = _asked.get(key)
    return known or remember(_asked, key, _read_request(head, forwarded.decode(), otherwise.decode(), pins))


def read_answer_untrusted(head: bytes, method: str) -> Answered:
    """Reads the head of an answer to a request with that method, empty line included; raises `Malformed`."""
    answered = _answered_head if method == "HEAD" else _answered
    known = answered.get(head)
    return known or remember(answered, head, _read_answer(head, method))


def _read_request(data: bytes, forwarded: str, otherwise: str, pins: Metadata) -> Asked:
    head = request_head_untrusted(data)
    framing = request_framing_untrusted(head)
    host, endpoint = _where_to(head)
    options = connection_options(head.fields)
    upgrade = _wanted_upgrade(head, options, framing)
    content_type = named = token = ""
    expects, ms = False, NO_DEADLINE
    metadata = [":upgrade", upgrade] if upgrade else [":te", "trailers"] if _takes_trailers(head.fields) else []
    for name, value in head.fields:
        if name == "content-type" and not content_type:
            content_type = value
            continue
        if name == "micro-service":
            if named and value != named:
                raise Malformed("Micro-Service is said more than once")
            named = value
        elif name == "proxy-authorization":
            token = value
        elif name == FIELD and ms == NO_DEADLINE:
            ms = parse_timeout_untrusted(value)
        elif name == "expect":
            if value.lower() != "100-continue":
                raise Malformed("only `100-continue` can be expected", 417)
            expects = head.minor > 0  # RFC 9110, 10.1.1: of HTTP/1.0 it has to be ignored
            continue
        if name != "host" and name not in HOP_BY_HOP and name not in options:
            metadata += (name, value)
    hosted = "" if named else service_of_host(host)
    service = named or hosted or otherwise
    if not service:
        raise Malformed(
            "the request names no service: give its name in a Micro-Service header, or as the host of the URL", 404
        )
    flags = IDEMPOTENT if head.method in IDEMPOTENT_METHODS and not upgrade else 0
    scheme = forwarded.rpartition("=")[2]
    first = (":method", head.method, ":scheme", scheme, ":authority", host or service)
    last = (*pins, "forwarded", forwarded, "via", f"1.{head.minor} {VIA}")
    call = CallHead(service, endpoint, PROTOCOL, flags, content_type, (*first, *metadata, *last), bytes(16))
    return Asked(
        packed=pack_call_head(call)[:-16],
        service=service,
        hosted=bool(hosted),
        ms=NO_DEADLINE if upgrade else ms,
        framing=framing,
        method=head.method,
        minor=head.minor,
        keep=_keeps(head.minor, options),
        expects=expects,
        upgrade=bool(upgrade),
        token=token.encode("latin-1"),
        site=site_of(head.fields, host) if named and scheme == "http" else "",
    )


def _where_to(head: RequestHead) -> tuple[str, str]:
    """Host, and path with query. An absolute target says the host, whatever Host does (RFC 9112, 3.2.2)."""
    target = head.target
    host = host_untrusted(head)
    if "#" in target:
        raise Malformed("the target has a fragment")
    if target.startswith("/"):
        return host, target
    if target == "*" and head.method == "OPTIONS":
        return host, target
    scheme, mark, rest = target.partition("://")
    if not mark or scheme.lower() != "http":
        raise Malformed("the target is neither a path nor a URL that begins with http://")
    for at, letter in enumerate(rest):
        if letter in "/?":
            host, path = rest[:at], rest[at:]
            break
    else:
        host, path = rest, ""
    if not host or not is_authority(host):
        raise Malformed("the target's host is none")
    if not path.startswith("/"):
        path = "*" if not path and head.method == "OPTIONS" else f"/{path}"
    return host, path


def _wanted_upgrade(head: RequestHead, options: frozenset[str], framing: int) -> str:
    """What the program wants to speak afterwards. Where that cannot be, the field is as good as not said (RFC 9110,
    7.8)."""
    wanted = [value for name, value in head.fields if name == "upgrade"]
    if len(wanted) != 1 or "upgrade" not in options or framing or not head.minor:
        return ""
    protocol = wanted[0].lower()
    if protocol in _NO_UPGRADE or protocol.startswith(_TLS) or not is_protocol(protocol):
        return ""
    return wanted[0]


def _takes_trailers(fields: Fields) -> bool:
    """Whether the program says that it takes trailers."""
    return any(name == "te" and "trailers" in map(str.strip, value.lower().split(",")) for name, value in fields)


def _read_answer(data: bytes, method: str) -> Answered:
    head = response_head_untrusted(data)
    framing = response_framing_untrusted(head, method)
    options = connection_options(head.fields)
    content_type = ""
    metadata = [":status", str(head.status)]
    if head.status == HTTPStatus.SWITCHING_PROTOCOLS:
        metadata += (":upgrade", next((value for name, value in head.fields if name == "upgrade"), ""))
    for name, value in head.fields:
        if name == "content-type" and not content_type:
            content_type = value
        elif name not in HOP_BY_HOP and name not in options:
            metadata += (name, value)
    metadata += ("via", f"1.{head.minor} {VIA}")
    return Answered(
        packed=pack_reply_head(ReplyHead(content_type, tuple(metadata))),
        status=head.status,
        framing=framing,
        keep=framing != UNTIL_CLOSE and _keeps(head.minor, options),
    )


def _keeps(minor: int, options: frozenset[str]) -> bool:
    """Whether the connection goes on after this message (RFC 9112, 9.3)."""
    return "close" not in options and (minor > 0 or "keep-alive" in options)
