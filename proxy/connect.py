"""HTTP CONNECT on the proxy port: `CONNECT service:port` makes a raw TCP call to that service (RFC 9110, 9.3.6).

So whatever knows how to go through an HTTP proxy reaches a service by its name. The port number means nothing here. An
error comes as an HTTP answer in plain words, with its kind in `Proxy-Status` (RFC 9209) and with `Micro-Fate`: the same
as for any other request.
"""

import base64
from typing import Final

import h11

from sdk.errors import RemoteProtocolError, Status
from sdk.head import CallHead, metadata_to_pairs, pack_call_head
from sdk.port.refusal import refusal, refusal_bytes
from sdk.wire.frame import Fate, Reset

from .answering import AnsweringPort
from .speaks import RAW

METHOD: Final = "CONNECT"
"""The method of such a request."""

MAX_REQUEST: Final = 16384
"""Bytes of a request's head."""


class ConnectPort(AnsweringPort):
    """A raw TCP port that answers its program in HTTP before the bytes begin."""

    established = b"HTTP/1.1 200 Connection established\r\n\r\n"

    def refusal(self, reset: Reset) -> bytes:
        """An answer in plain words."""
        return refusal_bytes(refusal(reset), close=True)


class ConnectRequest:
    """Reads the request that such a connection begins with."""

    def __init__(self) -> None:
        self.token = b""
        """What the program showed in `Proxy-Authorization`: a bearer's token, or the password of whoever."""
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST)
        self._out = b""

    def receive_untrusted(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Takes bytes; once the request is complete, the packed head of the call and what came behind the request.

        Raises `RemoteProtocolError` for what is no proper CONNECT; `data_to_send` has the answer to it then.
        """
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise self._refused(f"the request cannot be read: {error}") from None
        if event is h11.NEED_DATA:
            return None
        if not isinstance(event, h11.Request) or event.method != METHOD.encode():
            raise self._refused("the connection ended within its request")
        target = event.target.decode("latin-1")
        service = target.rpartition(":")[0] or target
        if not service or service.startswith(":"):
            raise self._refused("CONNECT takes service:port")
        self.token = token_of(dict(event.headers).get(b"proxy-authorization", b""))
        pins = metadata_to_pairs(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in event.headers
            if name.startswith(b"micro-") and name != b"micro-service"
        )
        head = CallHead(service=service, endpoint="", protocol=RAW, metadata=pins)
        return pack_call_head(head), self._http.trailing_data[0]

    def data_to_send(self) -> bytes:
        """Drains what the program is told at once: why its request cannot be read. A proper one is answered when it is
        known what came of the call."""
        out, self._out = self._out, b""
        return out

    def _refused(self, reason: str) -> RemoteProtocolError:
        self._out = refusal_bytes(refusal(Reset(Status.INVALID_ARGUMENT, Fate.NOT_REACHED, reason)), close=True)
        return RemoteProtocolError(reason)


def token_of(credentials: bytes) -> bytes:
    """The token in a header; empty where there is none (RFC 7617, RFC 6750)."""
    scheme, _, value = credentials.strip().partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    try:
        return base64.b64decode(value, validate=True).partition(b":")[2] if scheme.lower() == b"basic" else b""
    except ValueError:
        return b""
