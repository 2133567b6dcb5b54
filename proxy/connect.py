"""HTTP CONNECT on the proxy port: `CONNECT service:port` makes a raw TCP call to that service (RFC 9110, 9.3.6).

So whatever knows how to go through an HTTP proxy reaches a service by its name. The port number means nothing here. An
error comes as an HTTP answer in plain words, and with its kind in `Proxy-Status` (RFC 9209).
"""

import base64
from typing import Final

import h11

from sdk.errors import RemoteProtocolError, Status
from sdk.head import CallHead, metadata_to_pairs, pack_call_head

from .answering import AnsweringPort

METHOD: Final = "CONNECT"
"""The method of such a request."""

MAX_REQUEST: Final = 16384
"""Bytes of a request's head."""

_STATUS = {
    Status.INVALID_ARGUMENT: (400, "Bad Request", "http_request_error"),
    Status.NOT_FOUND: (404, "Not Found", "destination_not_found"),
    Status.UNAUTHENTICATED: (407, "Proxy Authentication Required", "http_request_denied"),
    Status.DEADLINE_EXCEEDED: (504, "Gateway Timeout", "connection_timeout"),
}
_OTHERWISE = (503, "Service Unavailable", "destination_unavailable")


class ConnectPort(AnsweringPort):
    """A raw TCP port that answers its program in HTTP before the bytes begin."""

    established = b"HTTP/1.1 200 Connection established\r\n\r\n"

    def refusal(self, status: int, detail: str) -> bytes:
        """An answer in plain words."""
        return refusal(status, detail)


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
        head = CallHead(service=service, endpoint="", protocol="tcp", metadata=pins)
        return pack_call_head(head), self._http.trailing_data[0]

    def data_to_send(self) -> bytes:
        """Drains what the program is told at once: why its request cannot be read. A proper one is answered when it is
        known what came of the call."""
        out, self._out = self._out, b""
        return out

    def _refused(self, reason: str) -> RemoteProtocolError:
        self._out = refusal(Status.INVALID_ARGUMENT, reason)
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


def refusal(status: int, detail: str) -> bytes:
    """The answer to a request that leads nowhere."""
    number, phrase, kind = _STATUS.get(Status(status), _OTHERWISE)
    text = f"{detail}\n".encode()
    quoted = detail.encode("ascii", "replace").decode().replace("\\", "\\\\").replace('"', '\\"')
    challenge = 'Proxy-Authenticate: Basic realm="micro"\r\n' if number == 407 else ""
    head = (
        f"HTTP/1.1 {number} {phrase}\r\n{challenge}Proxy-Status: micro; error={kind}; "
        f'details="{"".join(letter if letter.isprintable() else "?" for letter in quoted)}"\r\n'
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + text
