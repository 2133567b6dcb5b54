"""Links over WebSocket: through proxies and load balancers that pass nothing but HTTP.

trio-websocket makes the upgrade, over a stand-in that gives it the heads of request and answer and nothing else. From
there on the frames are our own (`wsframes`): the library passes about 15,000 messages a second, through a task and a
channel, and took three times the CPU for bulk.
"""

import logging
import os
from collections.abc import Awaitable, Callable
from typing import Final, cast

import trio
import trio_websocket

from sdk.errors import RemoteProtocolError, Unavailable
from sdk.rawsocket import READ_SIZE, RawSocket
from tunnel.admission import FromOutside

from .tlsstream import TlsStream
from .wsframes import GOING_AWAY, NO_CODE, NORMAL, WebSocketFault, WebSocketFrames

logger = logging.getLogger(__name__)

MAX_HEAD: Final = 16384
"""Longest head of an upgrade request, or of its answer, in bytes."""

CLOSING: Final = 0.5
"""Seconds for the closing handshake; then the socket is closed all the same."""

_END_OF_HEAD: Final = b"\r\n\r\n"
_UPGRADED: Final = b"HTTP/1.1 101 "
_FORWARDED: Final = (b"forwarded", b"x-forwarded-for", b"via")
"""Headers of proxies that say for whom they ask (RFC 7239, and the custom before it), or only that they do (RFC 9110,
7.6.3)."""

Below = RawSocket | TlsStream
"""What a WebSocket runs over."""


class WebSocketTransport:
    """A stream of bytes in the binary messages of a WebSocket. One task may read and one may write at a time."""

    def __init__(self, socket: Below, *, client: bool, first: bytes = b"") -> None:
        """`socket` is past the upgrade; `first` was read from it already."""
        self.socket = socket
        """What the WebSocket runs over."""
        self._frames = WebSocketFrames(client=client, mask=_mask)
        self._first = first
        self._closed = False
        self._turn = trio.Lock()  # answers to PING and CLOSE go out between the writer's messages

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has arrived, whatever `max_bytes` says; nothing once the peer has closed. Raises `RemoteProtocolError`
        when it breaks the rules, after telling it."""
        frames = self._frames
        if self._closed:
            raise trio.ClosedResourceError("this WebSocket was closed")
        while frames.closed is None:
            data, self._first = self._first or await self.socket.receive_some(READ_SIZE), b""
            if not data:
                raise trio.BrokenResourceError("the connection broke")
            try:
                taken = frames.receive_untrusted(data)
            except WebSocketFault as fault:
                await self._say([frames.pack_close(fault.close_with)])
                raise
            if frames.answers:
                await self._answer()
            if taken:
                return taken
        if frames.closed in (NORMAL, GOING_AWAY, NO_CODE):
            return b""
        raise trio.BrokenResourceError(f"the peer closed the WebSocket with code {frames.closed}")

    async def send_all(self, data: bytes) -> None:
        """Sends everything, in as few messages as it takes."""
        if self._frames.closed is not None:
            raise trio.BrokenResourceError("the peer closes the WebSocket")
        await self._say(self._frames.pack(data))

    async def aclose(self) -> None:
        """Says goodbye for half a second at most, then closes the socket."""
        if not self._closed:
            with trio.move_on_after(CLOSING, shield=True):
                try:
                    await self._say([self._frames.pack_close(NORMAL)])
                    while self._frames.closed is None:
                        await self.receive_some()
                except (trio.BrokenResourceError, trio.ClosedResourceError, RemoteProtocolError):
                    pass  # it is over in any case
        self._closed = True
        await self.socket.aclose()

    async def _answer(self) -> None:
        answers, self._frames.answers = self._frames.answers, []
        try:
            await self._say(answers)
        except trio.BrokenResourceError:
            if self._frames.closed is None:
                raise
            # It said goodbye and did not wait for the same from here.

    async def _say(self, frames: list[bytes]) -> None:
        try:
            self._turn.acquire_nowait()
        except trio.WouldBlock:
            await self._turn.acquire()
        try:
            await self.socket.send_all(frames[0] if len(frames) == 1 else b"".join(frames))
        finally:
            self._turn.release()


class _Upgrading(trio.abc.Stream):
    """A connection as the library sees it: the heads of the upgrade pass, what comes behind is kept."""

    def __init__(self, socket: Below, first: bytes, *, client: bool) -> None:
        self.rest = b""
        """What was read behind the head."""
        self._socket = socket
        self._client = client
        self._first = first
        self._head = b""
        self._passed = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Bytes of the head; when it is over, none for ever, so that the library's reader keeps still."""
        if self._passed:
            await trio.sleep_forever()
        data, self._first = self._first or await self._socket.receive_some(max_bytes), b""
        before, self._head = len(self._head), self._head + data
        end = self._head.find(_END_OF_HEAD)
        if end < 0 and len(self._head) > MAX_HEAD:
            raise trio.BrokenResourceError(f"its upgrade has more than {MAX_HEAD} bytes")
        if end < 0 or (self._client and not self._head.startswith(_UPGRADED)):
            return data  # a refusal may have a body, which the library reads
        self._passed = True
        end += len(_END_OF_HEAD)
        self.rest = self._head[end:]
        return self._head[before:end]

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._socket.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._socket.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()  # whoever gave the socket closes it


class _Opening:
    """Stands in for the nursery that trio-websocket starts its reader in.

    The reader raises what the peer does wrong, which would end everything in that nursery; and when it ends before the
    opening handshake is through, the library waits for ever. Here it only ends the wait.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.reason = "its WebSocket upgrade came to nothing"

    def start_soon(self, reader: Callable[[], Awaitable[None]]) -> None:
        self._nursery.start_soon(self._run, reader)

    async def _run(self, reader: Callable[[], Awaitable[None]]) -> None:
        try:
            await reader()
        except trio_websocket.ConnectionRejected as error:
            self.reason = f"it answered the WebSocket upgrade with HTTP status {error.status_code}"
        except Exception:  # whatever the library makes of bad bytes is this connection's end only
            logger.debug("the reader of a WebSocket ended", exc_info=True)
        finally:
            self._nursery.cancel_scope.cancel()


async def dial(url: str, socket: Below) -> WebSocketTransport:
    """Upgrades a connection to the host of `ws://host:port/path`; raises `Unavailable` naming the reason, and closes
    the connection then."""
    host, _, path = url.partition("://")[2].partition("/")

    async def upgrade(opening: _Opening, upgrading: _Upgrading) -> None:
        await trio_websocket.wrap_client_stream(
            cast("trio.Nursery", opening), cast("trio.SocketStream", upgrading), host, f"/{path}"
        )

    reason, rest = await _open(_Upgrading(socket, b"", client=True), upgrade, socket)
    if reason:
        raise Unavailable(f"cannot connect to {url}: {reason}")
    return WebSocketTransport(socket, client=True, first=rest)


async def accept(socket: Below, first: bytes, *, direct_only: bool = False) -> WebSocketTransport:
    """Takes the upgrade request of which `first` was read already; raises `Unavailable` when it comes to nothing.

    With `direct_only`, raises `FromOutside` for a request that a proxy forwards for somebody else: the address of that
    proxy says nothing of where the request comes from.
    """
    forwarded = False

    async def upgrade(opening: _Opening, upgrading: _Upgrading) -> None:
        nonlocal forwarded
        request = await trio_websocket.wrap_server_stream(cast("trio.Nursery", opening), upgrading)
        forwarded = direct_only and any(name.lower() in _FORWARDED for name, _ in request.headers)
        await (request.reject(403) if forwarded else request.accept())

    reason, rest = await _open(_Upgrading(socket, first, client=False), upgrade, socket)
    if forwarded:
        raise FromOutside("with the default token nobody may link through a proxy that forwards for others")
    if reason:
        raise Unavailable(reason)
    return WebSocketTransport(socket, client=False, first=rest)


async def _open(
    upgrading: _Upgrading, upgrade: Callable[[_Opening, _Upgrading], Awaitable[None]], socket: Below
) -> tuple[str, bytes]:
    """Runs the upgrade; returns why it failed, or nothing, and what came behind it."""
    upgraded = opened = False
    try:
        async with trio.open_nursery() as nursery:
            opening = _Opening(nursery)
            try:
                await upgrade(opening, upgrading)
                upgraded = True
            except trio_websocket.ConnectionClosed:
                pass
            nursery.cancel_scope.cancel()
        opened = upgraded  # unless the caller has cancelled meanwhile
    finally:
        if not opened:
            socket.close()
    return "" if opened else opening.reason, upgrading.rest


def _mask() -> bytes:
    return os.urandom(4)
