"""TLS that ends at the proxy port: programs that reach the node itself by `https`, gRPC over TLS and the like.

Who names one of the names of the node's certificate, or no name at all, means the node; what is said inside is told by
its first bytes again. Any other name is a service's, and nothing of its TLS is opened (sni.py). A certificate says
whose port this is, not who comes: a token has to be shown inside as it has outside.
"""

import ssl
from dataclasses import dataclass
from typing import Final

import trio
from cryptography import x509
from cryptography.x509.oid import NameOID

from sdk.errors import BadRequest
from sdk.rawsocket import RawSocket
from tunnel.transport.tls import load_own
from tunnel.transport.tlsstream import ALERT, TlsStream

CERT: Final = "--proxy-tls-cert (MICRO_PROXY_TLS_CERT)"
KEY: Final = "--proxy-tls-key (MICRO_PROXY_TLS_KEY)"

PROTOCOLS: Final = ["h2", "http/1.1"]
"""What is offered by ALPN (RFC 7301), the better one first. Who asks for neither is served all the same: SOCKS5 and
frames have no name there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyTlsConfig:
    """Files in PEM; without them no TLS ends here. Links have their own, which say who a node is to other nodes."""

    cert: str = ""
    """The certificate that programs are shown, with what leads to its CA behind it."""
    key: str = ""
    """Its private key, without a passphrase; empty where it stands in the same file."""

    def __post_init__(self) -> None:
        if self.key and not self.cert:
            raise BadRequest(f"{KEY} is given without {CERT}: a key is used with its certificate")


class Termination:
    """The files of a configuration, read. Raises `BadRequest` naming the flag of one that cannot be used."""

    def __init__(self, config: ProxyTlsConfig) -> None:
        """`config` has a certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(PROTOCOLS)
        # A ticket that is never read makes of a close a reset, and connections of programs last.
        context.num_tickets = 0
        certificate = load_own(context, config.cert, config.key, flags=(CERT, KEY))
        self.context = context
        """With what TLS is accepted."""
        self.names = names_of(certificate)
        """The names of the certificate, in lower case."""

    def is_for(self, name: str) -> bool:
        """Whether a program that names this server (SNI), or none, means the node itself."""
        name = name.lower()
        wild = f"*.{name.partition('.')[2]}"  # it stands for one label, the first (RFC 9525, 6.3)
        return not name or name in self.names or wild in self.names


def read_termination(config: ProxyTlsConfig) -> Termination | None:
    """What a configuration says; None where no TLS ends here. Raises as `Termination` does."""
    return Termination(config) if config.cert else None


def names_of(certificate: x509.Certificate) -> frozenset[str]:
    """The names and addresses that a certificate is for; of one that lists none, as older ones do, its subject."""
    try:
        listed = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        subject = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return frozenset(str(each.value).lower() for each in subject)
    names = listed.get_values_for_type(x509.DNSName)
    return frozenset((*map(str.lower, names), *map(str, listed.get_values_for_type(x509.IPAddress))))


class ProgramTls(TlsStream):
    """The TLS connection of a program."""

    def __init__(self, socket: RawSocket, context: ssl.SSLContext, first: bytes) -> None:
        """`first` was read from the socket."""
        super().__init__(socket, context, first=first)

    async def aclose(self) -> None:
        """Says that it is over, and closes the socket: without that word a program takes it for cut off."""
        with trio.move_on_after(ALERT):
            try:
                await self.send_eof()
            except trio.ClosedResourceError:
                pass  # by whoever else closes it
        await super().aclose()

    def abort(self) -> None:
        """Closes the socket so that the other end sees it broken and not ended."""
        self.socket.abort()
