"""TCP for the forwarding path: a trio stream over a plain non-blocking socket.

It costs half of what a turn of `trio.SocketStream` costs (performance notes in docs/): one scheduler pass to wait for
bytes and one system call to take them, and a send that fits the socket's buffer takes no pass at all. Connecting and
listening stay trio's.
"""

import errno
import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable

import trio

from .errors import BadRequest, Conflict, Unavailable
from .netaddress import join_address, split_address

READ_SIZE = 65536
"""Bytes read at a time. From 128 KiB on, glibc maps and unmaps the buffer for every read, at six times the cost."""

BACKLOG = 512
"""Connections that may wait to be accepted."""

SHALLOW = 65536
"""Bytes that may lie in a socket unsent. What lies there can be overtaken by nothing: a deep buffer would hold up small
calls behind a bulk transfer, and RESET and PING with them."""

_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25 if sys.platform == "linux" else None)

QUIET = 60
"""Seconds after which a connection on which nothing comes is asked for a sign of life. The other end may have vanished
without a word, and nothing else would ever tell: raw connections may be silent for days, and so may programs."""

ASKED = (15, 4)
"""Seconds between such questions, and how many of them stay without answer until the connection is given up."""

WATCHED = 5
"""Seconds after which, and between which, a connection is asked that is watched closely."""

VANISHED = 20
"""Seconds without a sign of life, to a question or to bytes that were sent, after which such a connection is lost."""

DELAY = 0.25
"""Seconds that one address of a host has before the next is tried beside it (RFC 8305)."""

ATTEMPTS = 5
"""Times that a port which is free for IPv4 and IPv6 both is looked for."""


class RawSocket(trio.abc.HalfCloseableStream):
    """A connected TCP socket. One task may read and one may write at a time."""

    def __init__(self, sock: socket.socket) -> None:
        """Takes the socket over; it must be connected."""
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock
        self._unasked = sys.maxsize
        self.set_depth(SHALLOW)
        self._keep_alive()
        self.pieces = 0
        """Pieces that writes were cut into, because the system could not take them whole: grows while the other end
        takes something of a write that goes on."""
        self.peer_host = ""
        """The other end's address, without the port."""
        self.peer = "a connection that is gone"
        """The other end, as `host:port`."""
        try:
            self.peer_host, port = sock.getpeername()[:2]
        except OSError:  # it left between accept and here; the first read will say so
            return
        self.peer = join_address(self.peer_host, port)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has arrived, at most 64 KiB; `b""` at the end. Raises `trio.BrokenResourceError` when the connection
        is lost."""
        while True:
            await self._wait(trio.lowlevel.wait_readable)
            try:
                return self._socket.recv(max_bytes or READ_SIZE)
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._error(error) from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Sends everything. It is a checkpoint only when the socket is full, or `set_depth` has made it shallow: its
        callers have others."""
        view: bytes | bytearray | memoryview = data
        if len(data) > self._unasked:
            await self._wait(trio.lowlevel.wait_writable)
        while True:
            try:
                sent = self._socket.send(view)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                raise self._error(error) from error
            if sent == len(view):
                return
            view = memoryview(view)[sent:]
            self.pieces += sent > 0
            await self._wait(trio.lowlevel.wait_writable)

    def send_now(self, data: bytes) -> bytes:
        """Sends what can be sent without waiting, and returns the rest; also of a connection that is gone, which
        `send_all` will tell."""
        if len(data) > self._unasked:
            return data
        try:
            sent = self._socket.send(data)
        except OSError:
            return data
        return data[sent:]

    async def wait_send_all_might_not_block(self) -> None:
        """Waits until the socket's buffer has room."""
        await self._wait(trio.lowlevel.wait_writable)

    async def send_eof(self) -> None:
        """Sends nothing more; receiving goes on. On a connection that is gone it does nothing. It is no checkpoint."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # reading says why

    def abort(self) -> None:
        """Closes the socket so that the other end sees it broken (RST) and not ended."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        except OSError:
            pass  # it is closed
        self.close()

    def set_depth(self, size: int) -> None:
        """Lets about so many bytes lie in the socket unsent, where the system knows such a bound."""
        # Linux keeps to a small bound only if it is asked for room before a write: one that just comes may fill up the
        # last piece of what lies there, which grows to 64 KiB. Writes that are small beside the bound need not ask.
        self._unasked = size // 2 if size < SHALLOW else sys.maxsize
        if _NOTSENT_LOWAT is not None:
            try:
                self._socket.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, size)
            except OSError:
                pass  # it is closed

    def watch_closely(self) -> None:
        """Finds out within `VANISHED` seconds that the other end is gone. The system asks, and the other one's system
        answers: a program that is busy for longer is not taken for gone. It keeps the way through a NAT open as well.
        """
        self._set(TCP_KEEPIDLE=WATCHED, TCP_KEEPINTVL=WATCHED, TCP_KEEPCNT=VANISHED // WATCHED - 1)
        self._set(TCP_USER_TIMEOUT=VANISHED * 1000)  # RFC 5482: keep-alive asks nobody who owes an acknowledgement

    def _keep_alive(self) -> None:
        """Has the system find out that the other end is gone (RFC 9293, 3.8.4)."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except OSError:
            return  # it is gone already, or no TCP
        self._set(TCP_KEEPIDLE=QUIET, TCP_KEEPINTVL=ASKED[0], TCP_KEEPCNT=ASKED[1])

    def _set(self, **options: int) -> None:
        """Sets options of TCP where the system has them."""
        for name, value in options.items():
            if hasattr(socket, name):
                try:
                    self._socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
                except OSError:
                    return  # it is gone already, or no TCP

    def option(self, level: int, name: int, size: int) -> bytes:
        """A socket option that is a structure of at most `size` bytes; raises `OSError` where there is none such."""
        return self._socket.getsockopt(level, name, size)

    async def aclose(self) -> None:
        """Closes the socket at once; whoever waits on it gets `trio.ClosedResourceError`."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Closes the socket, without a checkpoint."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    async def _wait(self, ready: Callable[[socket.socket], Awaitable[None]]) -> None:
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError("this socket was closed")
        await ready(self._socket)

    def _error(self, error: OSError) -> Exception:
        """Who ended it: this side, perhaps in the very turn in which bytes came, or the other."""
        if self._socket.fileno() < 0:
            return trio.ClosedResourceError("this socket was closed")
        return trio.BrokenResourceError(_reason(error))


_AT_ONCE = struct.pack("ii", 1, 0)


def take_over(stream: trio.SocketStream) -> RawSocket:
    """Makes a `RawSocket` of what trio accepted or connected; the `SocketStream` is empty afterwards."""
    return RawSocket(socket.socket(fileno=stream.socket.detach()))


async def open_tcp(address: str) -> RawSocket:
    """Connects to `host:port`, trying all addresses of the host (RFC 8305, as trio does it).

    Raises `Unavailable` (not run) naming the address and the reason.
    """
    host, port = split_address(address)
    try:
        if (numeric := _numeric(host)) is not None:
            return await _connect(numeric, host, port)
        stream = await trio.open_tcp_stream(host or "localhost", port, happy_eyeballs_delay=DELAY)
        return take_over(stream)
    except OSError as error:
        raise Unavailable(f"cannot connect to {address}: {_reason(error)}") from error
    except UnicodeError:  # so Python, and trio, refuse names that DNS cannot have
        raise Unavailable(f"cannot connect to {address}: that is no name of a host") from None


def _numeric(host: str) -> socket.AddressFamily | None:
    """The family of an address that needs no looking up; IPv6 with a zone does."""
    try:
        return socket.AF_INET if ipaddress.ip_address(host).version == 4 else socket.AF_INET6
    except ValueError:
        return None


async def _connect(family: socket.AddressFamily, host: str, port: int) -> RawSocket:
    """Connects to one address: a fifth of what trio's race of many costs."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        number = sock.connect_ex((host, port))
        if number == errno.EINPROGRESS:
            await trio.lowlevel.wait_writable(sock)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        return RawSocket(sock)
    except BaseException:
        trio.lowlevel.notify_closing(sock)
        sock.close()
        raise


async def listen_tcp(address: str, *, flag: str = "") -> list[trio.SocketListener]:
    """Listens on `host:port`; no host means every interface, port 0 any one that is free on all of them.

    Raises `Conflict` naming the port when it is taken, `BadRequest` for an address that is none of this host's. Both
    begin with `flag`, which says what sets the address.
    """
    where = f"{flag}: " if flag else ""
    host, port = split_address(address)
    try:
        listeners = await _listen(host or None, port)
        for _ in range(ATTEMPTS):
            ports = [listener.socket.getsockname()[1] for listener in listeners]
            if len(set(ports)) == 1:
                break
            # IPv4 and IPv6 were given a port each, but people are told one: the first, unless the other has that taken.
            for listener in listeners:
                listener.socket.close()
            try:
                listeners = await _listen(host or None, ports[0])
            except OSError:
                listeners = await _listen(host or None, port)
        return listeners
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Conflict(f"{where}port {port} is taken: another program listens on {address}") from error
        raise BadRequest(f"{where}cannot listen on {address}: {_reason(error)}") from error
    except UnicodeError:
        raise BadRequest(f"{where}cannot listen on {address}: that is no name of a host") from None


def bound_address(listener: trio.SocketListener) -> str:
    """The `host:port` a listener is bound to."""
    return join_address(*listener.socket.getsockname()[:2])


async def _listen(host: str | None, port: int) -> list[trio.SocketListener]:
    return list(await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG))


def _reason(error: OSError) -> str:
    """What the system says, without numbers: `connection refused`."""
    cause = error
    while isinstance(cause.__cause__, OSError):
        cause = cause.__cause__
    if isinstance(cause.__cause__, BaseExceptionGroup):
        cause = next((each for each in cause.__cause__.exceptions if isinstance(each, OSError)), cause)
    if cause.errno and not isinstance(cause, socket.gaierror):
        return os.strerror(cause.errno).lower()  # trio's own text names the address once more
    return (cause.strerror or str(cause)).lower()
