"""TLS over a socket, with Python's `ssl` working in memory.

`trio.SSLStream` would do but for two things: it keeps the alert to itself that tells the other end why a handshake
failed, and it cannot be given bytes that were read to tell the protocol. And since renegotiation is switched off, only
reading ever waits for bytes, so that most of what makes it long is not needed.
"""

import ssl
from typing import Final

import trio

from sdk.errors import RemoteProtocolError, Unavailable
from sdk.rawsocket import READ_SIZE, RawSocket

from .tls import CA, CERT, KEY

HANDSHAKE: Final = b"\x16"
"""The first byte of whoever begins to speak TLS: the content type of its record (RFC 8446, 5.1)."""

ALERT: Final = 0.5
"""Seconds for an alert to go out before the socket is closed."""

_WORDS: Final = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": f"it demands a client certificate: give {CERT} and {KEY}",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not believe the CA of the certificate it was shown",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not accept the certificate it was shown",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that the certificate it was shown has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not accept the certificate it was shown",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it refuses the TLS handshake; it may demand a client certificate",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate, and this node demands one",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it speaks no version of TLS that this node speaks: 1.2 or newer",
    "UNSUPPORTED_PROTOCOL": "it speaks no version of TLS that this node speaks: 1.2 or newer",
    "WRONG_VERSION_NUMBER": "it does not speak TLS there",
    "UNEXPECTED_EOF_WHILE_READING": "it closed the connection during the TLS handshake",
}
"""What OpenSSL's reasons mean to whoever runs a node."""

_NO_CA: Final = (18, 19, 20, 21)
"""X509_V_ERR_ of x509_vfy.h in OpenSSL: self-signed, and certificates whose issuer is not found."""


class TlsStream(trio.abc.HalfCloseableStream):
    """A TLS connection. One task may read and one may write at a time."""

    def __init__(self, socket: RawSocket, context: ssl.SSLContext, *, host: str = "", first: bytes = b"") -> None:
        """`host` is whom the certificate has to name, for the end that dialled; `first` was read from the socket."""
        self.socket = socket
        """What it runs over."""
        self.failure = ""
        """Why TLS came to an end, where it was not by closing."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._incoming.write(first)
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=not host, server_hostname=host or None)
        self._flushing = trio.Lock()
        self._ended = False
        self._early = b""  # decrypted before anybody asked for it

    async def handshake(self) -> None:
        """The first thing to do. Raises `RemoteProtocolError` or `Unavailable` with the reason in words."""
        try:
            while True:
                try:
                    self._tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    await self._flush()
                    await self._fill()
            await self._flush()
        except ssl.SSLEOFError as error:
            raise Unavailable(explain(error)) from None
        except ssl.SSLError as error:
            await self._alert()
            raise RemoteProtocolError(explain(error)) from None
        except trio.BrokenResourceError as error:
            raise Unavailable(f"the connection broke during the TLS handshake: {error}") from None

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has arrived, at most 64 KiB; `b""` at the end. Raises `trio.BrokenResourceError` saying why."""
        most = max_bytes or READ_SIZE
        if self._early:
            data, self._early = self._early[:most], self._early[most:]
            return data
        while not self._ended:
            try:
                data = self._tls.read(most)
                while len(data) < most and self._incoming.pending:  # a record holds 16 KiB at most
                    data += self._read_more(most - len(data))
                return data
            except ssl.SSLWantReadError:
                await self._flush()  # an answer to a change of keys
                await self._fill()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                # Many close without saying so in TLS; what runs inside knows its own end.
                self._ended = True
            except ssl.SSLError as error:
                self.failure = explain(error)
                await self._alert()
                raise trio.BrokenResourceError(self.failure) from None
        await trio.lowlevel.checkpoint()
        return b""

    def _read_more(self, most: int) -> bytes:
        """What can be read at once; what goes wrong here goes wrong again when it is read next."""
        try:
            return self._tls.read(most) if most else b""
        except ssl.SSLError:
            return b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Sends everything."""
        if self.failure:
            raise trio.BrokenResourceError(self.failure)
        if data:
            try:
                self._tls.write(data)
            except ssl.SSLError:  # it may be that the other end has closed, and only TLS knows so far
                raise trio.BrokenResourceError("the other end has closed the TLS connection") from None
        await self._flush()

    async def send_eof(self) -> None:
        """Says in TLS that nothing more is sent; receiving goes on (RFC 8446, 6.1). On a connection that is gone it
        does nothing."""
        # OpenSSL goes on to look for the other end's own word, and loses what comes before it: so that is kept away.
        self._early += self._read_more(self._tls.pending())
        held = self._incoming.read()
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # the other end has not said so, or TLS has come to an end already: then reading says why
        if held:  # after the end of the connection there is nothing, and nothing may be written
            self._incoming.write(held)
        try:
            await self._flush()
        except trio.BrokenResourceError:
            pass  # likewise

    async def wait_send_all_might_not_block(self) -> None:
        """Waits until the socket's buffer has room."""
        await self.socket.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Closes the socket at once; whoever waits on it gets `trio.ClosedResourceError`."""
        await self.socket.aclose()

    def close(self) -> None:
        """The same, without a checkpoint."""
        self.socket.close()

    async def _fill(self) -> None:
        data = await self.socket.receive_some()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        """Sends what TLS has to send. Records go out in the order they were made, so one task does it at a time."""
        if not self._outgoing.pending:
            return
        try:
            self._flushing.acquire_nowait()  # costs no turn of the scheduler, as `async with` would
        except trio.WouldBlock:
            await self._flushing.acquire()
        try:
            if out := self._outgoing.read():
                await self.socket.send_all(out)
        finally:
            self._flushing.release()

    async def _alert(self) -> None:
        """Tells the other end what was wrong."""
        with trio.move_on_after(ALERT):
            try:
                await self._flush()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # it has left


def explain(error: ssl.SSLError) -> str:
    """One line for a person."""
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = f"; {CA} names the CAs to believe instead of the system's" if error.verify_code in _NO_CA else ""
        return f"certificate verify failed: {error.verify_message.rstrip('.')}{hint}"
    reason = error.reason or "it closed the connection during the TLS handshake"
    return _WORDS.get(reason, f"TLS failed: {reason.lower().replace('_', ' ')}")
