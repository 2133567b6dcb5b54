"""SOCKS5 on the proxy port: a connection to a name is a raw TCP call to the service of that name (RFC 1928).

    ALL_PROXY=socks5h://node:8081 curl http://web/

The `h` matters: with it the program leaves the name to the proxy. The port number means nothing here. Who has to show a
token shows it as the password, whatever the user name (RFC 1929).

SOCKS answers with a number; the words that belong to it stand in the node's log.
"""

import enum
from collections.abc import Callable
from typing import Final

from sdk.errors import RemoteProtocolError, Status
from sdk.head import CallHead, pack_call_head
from sdk.wire.frame import Reset

from .answering import AnsweringPort
from .speaks import RAW

VERSION: Final = b"\x05"
"""What such a connection begins with."""

BY_NAME: Final = (
    "it asks in SOCKS5 for an IP address, and a service is called by its name: with socks5h:// instead of socks5:// "
    "curl and others leave the name to the proxy"
)

_NO_AUTHENTICATION, _PASSWORD, _NO_METHOD = 0, 2, 0xFF
_CONNECT = 1
_IPV4, _NAME = 1, 3
_SUBNEGOTIATION = 1


class Reply(enum.IntEnum):
    """How a request went (RFC 1928, 6)."""

    SUCCEEDED = 0
    FAILURE = 1
    NOT_ALLOWED = 2
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    EXPIRED = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8


_REPLIES = {
    Status.NOT_FOUND: Reply.HOST_UNREACHABLE,
    Status.UNAVAILABLE: Reply.CONNECTION_REFUSED,
    Status.DEADLINE_EXCEEDED: Reply.EXPIRED,
    Status.UNAUTHENTICATED: Reply.NOT_ALLOWED,
    Status.PERMISSION_DENIED: Reply.NOT_ALLOWED,
}


def pack_reply(reply: Reply) -> bytes:
    """The answer to a request; the address in it, which nobody could use, is zero."""
    return bytes((5, reply, 0, _IPV4)) + bytes(6)


class SocksPort(AnsweringPort):
    """A raw TCP port that answers its program in SOCKS5 before the bytes begin."""

    established = pack_reply(Reply.SUCCEEDED)

    def refusal(self, reset: Reset) -> bytes:
        """The number that comes closest."""
        return pack_reply(_REPLIES.get(Status(reset.status), Reply.FAILURE))


class _State(enum.Enum):
    METHODS = "the ways to authenticate that it offers"
    PASSWORD = "the password"  # noqa: S105 - what is awaited
    REQUEST = "the request"


class SocksRequest:
    """Reads what such a connection begins with, and answers until there is a request."""

    def __init__(self, objection: Callable[[bytes], str]) -> None:
        """`objection` says what is wrong with a token that the program shows, or with none."""
        self.token = b""
        """What the program showed as password."""
        self._objection = objection
        self._state = _State.METHODS
        self._buffer = b""
        self._out = b""

    def receive_untrusted(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Takes bytes; once the request is complete, the packed head of the call and what came behind the request.

        Raises `RemoteProtocolError` for what is no SOCKS5, for a program that is not let in, and for what is no
        request for a connection to a name. What the program is to be told is in `data_to_send` even then.
        """
        self._buffer += data
        if self._state is _State.METHODS:
            self._read_methods()
        if self._state is _State.PASSWORD:
            self._read_password()
        return self._read_request() if self._state is _State.REQUEST else None

    def data_to_send(self) -> bytes:
        """Drains what the program is to be told."""
        out, self._out = self._out, b""
        return out

    def _read_methods(self) -> None:
        buffer = self._buffer
        self._check_version(5)
        if len(buffer) < 2 or len(buffer) < 2 + buffer[1]:
            return
        offered = buffer[2 : 2 + buffer[1]]
        objection = self._objection(b"")
        if not objection and _NO_AUTHENTICATION in offered:
            method, self._state = _NO_AUTHENTICATION, _State.REQUEST
        elif _PASSWORD in offered:  # where none is needed, any will do
            method, self._state = _PASSWORD, _State.PASSWORD
        else:
            self._out = bytes((5, _NO_METHOD))
            raise RemoteProtocolError(
                objection or "it offers no way to authenticate in SOCKS5 that this port knows: none, or a password"
            )
        self._out += bytes((5, method))
        self._buffer = buffer[2 + buffer[1] :]

    def _read_password(self) -> None:
        buffer = self._buffer
        self._check_version(_SUBNEGOTIATION)
        if len(buffer) < 2 or len(buffer) < 3 + buffer[1]:
            return
        start = 3 + buffer[1]
        end = start + buffer[start - 1]
        if len(buffer) < end:
            return
        self.token = buffer[start:end]
        objection = self._objection(self.token)
        self._out += bytes((_SUBNEGOTIATION, bool(objection)))
        if objection:
            raise RemoteProtocolError(objection)
        self._state = _State.REQUEST
        self._buffer = buffer[end:]

    def _read_request(self) -> tuple[bytes, bytes] | None:
        buffer = self._buffer
        self._check_version(5)
        if len(buffer) < 5:
            return None
        _, command, _, kind, length = buffer[:5]
        if command != _CONNECT:
            raise self._refused(
                Reply.COMMAND_NOT_SUPPORTED, "it asks in SOCKS5 for something else than a TCP connection"
            )
        if kind != _NAME:
            raise self._refused(Reply.ADDRESS_TYPE_NOT_SUPPORTED, BY_NAME)
        end = 5 + length
        if len(buffer) < end + 2:
            return None
        try:
            service = buffer[5:end].decode()
        except UnicodeDecodeError:
            service = ""
        if not service:
            raise self._refused(Reply.FAILURE, "the name it asks for in SOCKS5 is none")
        return pack_call_head(CallHead(service=service, endpoint="", protocol=RAW)), buffer[end + 2 :]

    def _check_version(self, version: int) -> None:
        if self._buffer and self._buffer[0] != version:
            raise RemoteProtocolError(
                f"it does not speak SOCKS5: byte {self._buffer[0]} instead of {self._state.value}"
            )

    def _refused(self, reply: Reply, reason: str) -> RemoteProtocolError:
        self._out += pack_reply(reply)
        return RemoteProtocolError(reason)
