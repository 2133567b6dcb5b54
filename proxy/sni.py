"""TLS on the proxy port: a connection whose server name is a service is a raw TCP call to it (RFC 6066, 3).

    curl --connect-to web:443:node:8081 https://web/

Nothing is decrypted here. The name stands in the program's first message, the ClientHello (RFC 8446, 4.1.2), which is
read and passed on as it came, with everything behind it; the certificate is the service's own. Only TLS that is meant
for the node itself ends here (termination.py). An error is a TLS alert, a number without words: those stand in the
node's log.
"""

from collections.abc import Callable
from typing import Final

from sdk.errors import RemoteProtocolError, Status
from sdk.head import CallHead, pack_call_head
from sdk.wire.frame import Reset

from .answering import AnsweringPort
from .speaks import RAW

HANDSHAKE: Final = b"\x16\x03"
"""What such a connection begins with: a record of a handshake, of any version since SSL 3."""

MAX_HELLO: Final = 16384
"""Bytes of a ClientHello with the headers of its records; with keys of post-quantum kind it has about 2,000."""

HANDSHAKE_FAILURE, ACCESS_DENIED, DECODE_ERROR, INTERNAL_ERROR, UNRECOGNIZED_NAME = 40, 49, 50, 80, 112
"""Alerts, as RFC 8446 (6) numbers them."""

_RECORD_HEADER, _MESSAGE_HEADER = 5, 4
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_HOST_NAME = 0
_ALERTS = {
    Status.NOT_FOUND: UNRECOGNIZED_NAME,
    Status.UNAUTHENTICATED: ACCESS_DENIED,
    Status.PERMISSION_DENIED: ACCESS_DENIED,
}


def pack_alert(number: int) -> bytes:
    """A record with a fatal alert."""
    return bytes((0x15, 3, 3, 0, 2, 2, number))


def service_of(name: str, meant_by: Callable[[str], str]) -> str:
    """The service that a server name means: the one that `meant_by` has for it, else for its first label, such as `web`
    for `web.example.com`. A name for which it has neither stays as it is."""
    return meant_by(name) or meant_by(name.partition(".")[0]) or name


class ServerNamePort(AnsweringPort):
    """A raw TCP port that answers its program with a TLS alert when the service cannot be reached."""

    def refusal(self, reset: Reset) -> bytes:
        """The alert that comes closest."""
        return pack_alert(_ALERTS.get(Status(reset.status), INTERNAL_ERROR))


class ClientHello:
    """Reads the first message of a TLS connection."""

    def __init__(self, meant_by: Callable[[str], str], is_own: Callable[[str], bool] | None = None) -> None:
        """`meant_by` says which service the name of a host means, or nothing, and `is_own` whether a name, or none,
        means this node."""
        self.token = b""
        """Nothing: TLS that is passed through has no place for it."""
        self._meant_by = meant_by
        self._is_own = is_own
        self._read = bytearray()
        self._records = 0
        self._message = bytearray()
        self._alert = b""

    def receive_untrusted(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Takes bytes; once the message is complete, the packed head of the call and everything that came. There is no
        call, and its head empty, where the program means this node.

        Raises `RemoteProtocolError` for what is no ClientHello, is larger than 16 KiB or names no server;
        `data_to_send` then has the alert that says so.
        """
        self._read += data
        try:
            if not self._gather():
                return None
            name = _server_name(bytes(self._message[_MESSAGE_HEADER:]))
        except RemoteProtocolError:
            self._alert = pack_alert(DECODE_ERROR)
            raise
        if self._is_own is not None and self._is_own(name):
            return b"", bytes(self._read)
        if not name:
            self._alert = pack_alert(HANDSHAKE_FAILURE)
            raise RemoteProtocolError(
                "it begins with TLS and names no server (SNI), so nobody knows which service it wants: connect to the "
                "service by its name, or without TLS"
            )
        head = CallHead(service=service_of(name, self._meant_by), endpoint="", protocol=RAW)
        return pack_call_head(head), bytes(self._read)

    def data_to_send(self) -> bytes:
        """The alert, if there is one."""
        return self._alert

    def _gather(self) -> bool:
        """Takes the message out of its records; whether it is complete."""
        read, message = self._read, self._message
        while len(message) < _MESSAGE_HEADER or len(message) < _MESSAGE_HEADER + int.from_bytes(message[1:4], "big"):
            start = self._records + _RECORD_HEADER
            end = start + int.from_bytes(read[start - 2 : start], "big")
            if read[self._records : self._records + 2] != HANDSHAKE[: len(read) - self._records]:
                raise RemoteProtocolError("what looked like TLS is none: it has a record that is of no handshake")
            if len(read) >= start and end == start:
                raise RemoteProtocolError("what looked like TLS is none: it has a handshake record without content")
            if len(read) >= start and end > MAX_HELLO:
                raise RemoteProtocolError(f"its TLS begins with a message of more than {MAX_HELLO} bytes")
            if len(read) < start or len(read) < end:
                return False
            message += read[start:end]
            self._records = end
            if message[0] != _CLIENT_HELLO:
                raise RemoteProtocolError("what looked like TLS is none: it does not begin with a ClientHello")
        del message[_MESSAGE_HEADER + int.from_bytes(message[1:4], "big") :]
        return True


class _Fields:
    """Takes a message apart, from its beginning."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    def take(self, size: int) -> bytes:
        """So many bytes; raises `RemoteProtocolError` where they are not there."""
        if size > len(self.rest):
            raise RemoteProtocolError("its ClientHello cannot be read: it ends within a field")
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken

    def take_number(self) -> int:
        """A number of two bytes."""
        return int.from_bytes(self.take(2), "big")

    def take_vector(self, width: int) -> bytes:
        """A field with its length before it, in so many bytes."""
        return self.take(int.from_bytes(self.take(width), "big"))


def _server_name(hello: bytes) -> str:
    """The name in a ClientHello; empty where there is none, or one that is no name."""
    fields = _Fields(hello)
    fields.take(2 + 32)  # version and random
    for width in (1, 2, 1):  # session, cipher suites, compression
        fields.take_vector(width)
    extensions = _Fields(fields.take_vector(2) if fields.rest else b"")
    while extensions.rest:
        kind, content = extensions.take_number(), extensions.take_vector(2)
        if kind == _SERVER_NAME:
            names = _Fields(_Fields(content).take_vector(2))
            while names.rest:
                form, name = names.take(1)[0], names.take_vector(2)
                if form == _HOST_NAME:
                    text = name.decode("latin-1")
                    return text if text.isascii() and text.isprintable() else ""
    return ""
