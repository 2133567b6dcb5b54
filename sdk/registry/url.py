"""Where a registry is, as a person writes it: `etcd://user:password@host:2379,host2:2379?ca=FILE`.

Password and options never go into what is printed: `RegistryUrl.shown` leaves them out.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote

from sdk.errors import BadRequest
from sdk.netaddress import join_address, split_address

from .certificates import Certificates

_WHERE: Final = "--registry-address (MICRO_REGISTRY_ADDRESS)"
_FILES: Final = ("ca", "cert", "key")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryUrl:
    """The servers of one registry."""

    scheme: str
    """As it is shown: the back end's name, with an s where TLS is wanted."""
    secure: bool
    """Whether it is asked over TLS."""
    hosts: tuple[str, ...]
    """`host:port` of each server; at least one."""
    user: str = ""
    """Who asks; empty: nobody in particular."""
    password: str = field(default="", repr=False)
    """How that is known."""
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What stands behind the question mark, by name."""

    @property
    def shown(self) -> str:
        """The URL for a person, without user, password and options."""
        return f"{self.scheme}://{','.join(self.hosts)}"

    @property
    def servers(self) -> tuple[str, ...]:
        """The URL of each server for an HTTP client."""
        return tuple(f"{'https' if self.secure else 'http'}://{host}" for host in self.hosts)


def parse_url(text: str, *, scheme: str, port: int, options: frozenset[str] = frozenset()) -> RegistryUrl:
    """Reads `[scheme[s]://][user[:password]@]host[:port],...[?option=value&...]`; without a host it is this one.

    `scheme` is the back end's name and `port` its usual port; `http` and `https` are understood as well. Besides the
    back end's own `options`, TLS takes `ca`, `cert` and `key`, each a file. Raises `BadRequest`, repeating no secret.
    """
    before, mark, rest = text.partition("://")
    given, rest = (before, rest) if mark else (scheme, text)
    if given not in {scheme, f"{scheme}s", "http", "https"}:
        raise BadRequest(f"{_WHERE} begins with neither {scheme}:// nor {scheme}s://")
    secure = given in {f"{scheme}s", "https"}
    rest, _, query = rest.partition("?")
    who, _, places = rest.rpartition("@")
    user, _, password = who.partition(":")
    found = dict(parse_qsl(query, keep_blank_values=True))
    allowed = options | (frozenset(_FILES) if secure else frozenset())
    for name in found:
        if name not in allowed:
            known = f"it knows {', '.join(sorted(allowed))}" if allowed else "it knows none"
            hint = "" if secure else f"; certificates belong to {scheme}s://"
            raise BadRequest(f"{_WHERE} has an option that {given} does not know: {known}{hint}")
    asked = enumerate((place for place in places.rstrip("/").split(",") if place), start=1)
    hosts = tuple(_host(place, port, number) for number, place in asked) or (f"127.0.0.1:{port}",)
    return RegistryUrl(
        scheme=f"{scheme}s" if secure else scheme,
        secure=secure,
        hosts=hosts,
        user=unquote(user),
        password=unquote(password),
        options=found,
    )


def certificates_of(url: RegistryUrl) -> Certificates | None:
    """How the servers are known and what they are shown; None without TLS.

    `ca` is a file with the authorities that are believed in place of the system's; `cert` and `key` hold what is shown
    (`key` may be left out where it is in the same file). Raises `BadRequest` for a file that cannot be used.
    """
    if not url.secure:
        return None
    ca, cert, key = (url.options.get(name) or None for name in _FILES)
    if key and not cert:
        raise BadRequest(f"{_WHERE} names a key and no certificate: give cert=FILE as well")
    return Certificates(lambda: _context(ca, cert, key), (ca, cert, key))


def _context(ca: str | None, cert: str | None, key: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:
        raise BadRequest(f"{_WHERE}: the authorities in {ca} cannot be used: {_reason(error)}") from None
    if cert:
        try:
            # An empty password, so that OpenSSL does not ask whoever sits at the terminal.
            context.load_cert_chain(cert, key, password="")
        except (OSError, ValueError) as error:
            files = f"{cert} and {key}" if key else cert
            raise BadRequest(f"{_WHERE}: {files} cannot be used: {_reason(error)}") from None
    return context


def _host(place: str, port: int, position: int) -> str:
    # `host`, `[v6]`, `host:port` and `[v6]:port`.
    bare = ":" not in place or place.endswith("]")
    try:
        host, number = split_address(f"{place}:{port}" if bare else place)
    except BadRequest:
        # It is not repeated: behind a question mark or a missing @ it is a piece of the password.
        raise BadRequest(
            f"{_WHERE}: server {position} of it is no address: expected host:port, an IPv6 host in brackets; in a "
            "password, write ? as %3F, @ as %40, / as %2F and % as %25"
        ) from None
    return join_address(host or "127.0.0.1", number)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "it is no PEM, or the key does not fit the certificate"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
