"""Which certificates are shown and which are believed, where a link travels inside TLS.

TLS is what the fronts of clouds speak; what makes a link private is its own handshake inside. So the certificates here
say which front or node is talked to, and keep out who has none; who may link is decided by the token all the same.
"""

import ssl
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from cryptography import x509

from sdk.errors import BadRequest

CA: Final = "--tls-ca (MICRO_TLS_CA)"
CERT: Final = "--tls-cert (MICRO_TLS_CERT)"
KEY: Final = "--tls-key (MICRO_TLS_KEY)"

_PROTOCOL: Final = "http/1.1"
"""Told by ALPN (RFC 7301): a front that could speak HTTP/2 must not, a WebSocket is an upgrade of HTTP/1.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """Files in PEM; all may be left out, and then `wss` addresses are verified against the system's CAs."""

    ca: str = ""
    """The only CAs that are believed; empty for the system's. With `cert` as well, whoever connects by TLS must show a
    certificate of theirs."""
    cert: str = ""
    """The certificate this node shows, with what leads to its CA behind it. With it the link port accepts TLS."""
    key: str = ""
    """Its private key, without a passphrase; empty where it stands in the same file."""

    def __post_init__(self) -> None:
        if self.key and not self.cert:
            raise BadRequest(f"{KEY} is given without {CERT}: a key is used with its certificate")


class Tls:
    """The files of a configuration, read. Raises `BadRequest` naming the flag of one that cannot be used."""

    def __init__(self, config: TlsConfig = TlsConfig()) -> None:
        self._config = config
        self.accepting = self._accepting() if config.cert else None
        """With what TLS is accepted; None where it is not."""
        if config.ca or config.cert:
            self.dialling  # noqa: B018 - to find out now that a file is bad

    @cached_property
    def dialling(self) -> ssl.SSLContext:
        """With what TLS is dialled. The system's CAs take a while to load, so that waits until somebody dials."""
        if self._config.ca:
            _certificates(self._config.ca, CA)
        context = ssl.create_default_context(cafile=self._config.ca or None)
        self._finish(context)
        return context

    def _accepting(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Nobody resumes a session here, and a ticket that is never read makes of a close a reset.
        context.num_tickets = 0
        if self._config.ca:
            _certificates(self._config.ca, CA)
            context.load_verify_locations(self._config.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        self._finish(context)
        return context

    def _finish(self, context: ssl.SSLContext) -> None:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols([_PROTOCOL])
        if self._config.cert:
            load_own(context, self._config.cert, self._config.key)


def load_own(context: ssl.SSLContext, cert: str, key: str, *, flags: tuple[str, str] = (CERT, KEY)) -> x509.Certificate:
    """Has a context show the certificate in a file, with its key: in another file, or in the same where `key` is
    empty. Returns the certificate.

    Raises `BadRequest` naming that of the two `flags`, the certificate's and the key's, whose file cannot be used.
    """
    cert_flag, key_flag = flags
    certificate = _certificates(cert, cert_flag)[0]
    if key:
        _read(key, key_flag)
    flag, path = (key_flag, key) if key else (cert_flag, cert)
    try:
        context.load_cert_chain(cert, key or None, _no_passphrase)
    except _Passphrase:
        raise BadRequest(f"{flag}: the key in {path} has a passphrase; a node needs one without") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise BadRequest(f"{flag}: the key in {path} does not belong to the certificate in {cert}") from None
        # OpenSSL says no more than "PEM lib" of a file that is none of its own.
        also = "" if key else f"; {key_flag} may name another file"
        raise BadRequest(f"{flag}: there is no private key in PEM in {path} that fits the certificate{also}") from None
    return certificate


def _certificates(path: str, flag: str) -> list[x509.Certificate]:
    """Those in a file, of which there is one at least."""
    try:
        return x509.load_pem_x509_certificates(_read(path, flag))
    except ValueError:
        raise BadRequest(f"{flag}: there is no certificate in PEM in {path}") from None


def _read(path: str, flag: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BadRequest(f"{flag}: cannot read {path}: {(error.strerror or str(error)).lower()}") from None


class _Passphrase(Exception):
    """The key needs one; without this OpenSSL would ask at the terminal."""


def _no_passphrase() -> bytes:
    raise _Passphrase
