"""Links over WebSocket: through proxies and load balancers that pass nothing but HTTP.

The messages carry a stream of bytes; where one ends means nothing. trio-websocket passes about 15,000 messages a
second, so what is sent at once goes in one message, up to 64 KiB.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import trio
import trio_websocket
from wsproto.utilities import LocalProtocolError as WebSocketMisuse

from sdk.errors import RemoteProtocolError, Unavailable
from sdk.rawsocket import RawSocket
from tunnel.admission import FromOutside

from .tlsstream import TlsStream

logger = logging.getLogger(__name__)

MAX_MESSAGE: Final = 65536
"""Longest message, in bytes."""

CLOSING: Final = 0.5
"""Seconds for the closing handshake; then the socket is closed all the same."""

GOODBYE: Final = 1.0
"""Seconds that a connection which was cancelled is read on: without its reader the library closes the socket, and
neither last words nor a closing handshake get through."""

_OPTIONS: Final[dict[str, Any]] = {
    # With the library's 4 KiB, a message of 64 KiB costs two and a half times as much.
    "receive_buffer_size": 65536,
    "message_queue_size": 64,
    "max_message_size": MAX_MESSAGE,
}
_FORWARDED: Final = (b"forwarded", b"x-forwarded-for")
"""Headers of proxies that say for whom they ask (RFC 7239, and the custom before it)."""
_NORMAL = (1000, 1001)
_FAULT = (1002, 1007, 1009)


Below = RawSocket | TlsStream
"""What a WebSocket runs over."""


class WebSocketTransport:
    """A stream of bytes in the binary messages of a WebSocket."""

    def __init__(self, connection: trio_websocket.WebSocketConnection, socket: Below) -> None:
        self.socket = socket
        """What the WebSocket runs over."""
        self._connection = connection
        self._closed = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next message, whole whatever `max_bytes` says; nothing once the peer has closed. Raises
        `RemoteProtocolError` for text, and where the peer breaks the rules of WebSocket."""
        message: bytes | str = b""
        while not message:
            try:
                message = await self._connection.get_message()
            except trio_websocket.ConnectionClosed as error:
                if self._closed or error.reason is None:
                    raise trio.ClosedResourceError("this WebSocket was closed") from None
                if error.reason.code in _NORMAL:
                    return b""
                if error.reason.code in _FAULT:
                    raise RemoteProtocolError(_explain(error.reason)) from None
                raise trio.BrokenResourceError(_explain(error.reason)) from None
        if isinstance(message, str):
            raise RemoteProtocolError("the peer sent text over the WebSocket; a link is binary")
        return message

    async def send_all(self, data: bytes) -> None:
        """Sends everything, in as few messages as it takes."""
        try:
            if len(data) <= MAX_MESSAGE:
                await self._connection.send_message(data)
                return
            for start in range(0, len(data), MAX_MESSAGE):
                await self._connection.send_message(data[start : start + MAX_MESSAGE])
        except trio_websocket.ConnectionClosed as error:
            raise trio.BrokenResourceError(_explain(error.reason)) from None
        except WebSocketMisuse:  # the peer closes just now
            raise trio.BrokenResourceError("the peer closes the WebSocket") from None

    async def aclose(self) -> None:
        """Says goodbye for half a second at most, then closes the socket."""
        self._closed = True
        with trio.move_on_after(CLOSING, shield=True):
            try:
                await self._connection.aclose()
            except WebSocketMisuse:
                pass  # both ends close at once
        await self.socket.aclose()


class _Replay(trio.abc.Stream):
    """A socket of which some bytes were read already."""

    def __init__(self, first: bytes, socket: Below) -> None:
        self._first = first
        self._socket = socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        first, self._first = self._first, b""
        return first or await self._socket.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._socket.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._socket.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._socket.aclose()


class _Opening:
    """Stands in for the nursery that trio-websocket starts its reader in.

    The reader raises what the peer does wrong, which would end everything in that nursery; and when it ends before the
    opening handshake is through, the library waits for ever. Here it only ends the wait.
    """

    def __init__(self, nursery: trio.Nursery, socket: Below) -> None:
        self._nursery = nursery
        self._socket = socket
        self.scope = trio.CancelScope()
        self.reason = "its WebSocket upgrade came to nothing"

    def start_soon(self, reader: Callable[[], Awaitable[None]]) -> None:
        self._nursery.start_soon(self._run, reader)

    async def _run(self, reader: Callable[[], Awaitable[None]]) -> None:
        reading = trio.CancelScope(shield=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, reader, reading, nursery.cancel_scope)
            try:
                await trio.sleep_forever()
            finally:
                reading.deadline = trio.current_time() + GOODBYE

    async def _read(
        self, reader: Callable[[], Awaitable[None]], reading: trio.CancelScope, waiting: trio.CancelScope
    ) -> None:
        try:
            with reading:
                await reader()
        except trio_websocket.ConnectionRejected as error:
            self.reason = f"it answered the WebSocket upgrade with HTTP status {error.status_code}"
        except Exception:  # whatever the library makes of bad bytes is this connection's end only
            logger.debug("the reader of a WebSocket ended", exc_info=True)
        finally:
            self._socket.close()
            self.scope.cancel()
            waiting.cancel()


async def dial(url: str, socket: Below, nursery: trio.Nursery) -> WebSocketTransport:
    """Upgrades a connection to the host of `ws://host:port/path`; raises `Unavailable` naming the reason."""
    host, _, path = url.partition("://")[2].partition("/")
    opening = _Opening(nursery, socket)
    try:
        with opening.scope:
            connection = await trio_websocket.wrap_client_stream(
                cast("trio.Nursery", opening), cast("trio.SocketStream", socket), host, f"/{path}", **_OPTIONS
            )
            return WebSocketTransport(connection, socket)
    except BaseException:
        socket.close()
        raise
    raise Unavailable(f"cannot connect to {url}: {opening.reason}")


async def accept(
    socket: Below, first: bytes, nursery: trio.Nursery, *, direct_only: bool = False
) -> WebSocketTransport:
    """Takes the upgrade request of which `first` was read already; raises `Unavailable` when it comes to nothing.

    With `direct_only`, raises `FromOutside` for a request that a proxy forwards for somebody else: the address of that
    proxy says nothing of where the request comes from.
    """
    opening = _Opening(nursery, socket)
    forwarded = False
    with opening.scope:
        try:
            request = await trio_websocket.wrap_server_stream(
                cast("trio.Nursery", opening), _Replay(first, socket), **_OPTIONS
            )
            forwarded = direct_only and any(name.lower() in _FORWARDED for name, _ in request.headers)
            if not forwarded:
                return WebSocketTransport(await request.accept(), socket)
            await request.reject(403)
        except trio_websocket.ConnectionClosed:
            pass
    if forwarded:
        raise FromOutside("with the default token nobody may link through a proxy that forwards for others")
    raise Unavailable(opening.reason)


def _explain(reason: trio_websocket.CloseReason | None) -> str:
    if reason is None or reason.code == 1006:
        return "the connection broke"
    if reason.code in _FAULT:
        # Which end found fault with the other the library does not tell.
        return f"the WebSocket broke off with code {reason.code}: {(reason.reason or 'no reason given')[:100]!r}"
    return f"the peer closed the WebSocket with code {reason.code}"
