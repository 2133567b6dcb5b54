"""A small HTTP/1.1 client for the registries that are asked over HTTP: requests, and answers that come line by line.

It speaks to one server, waits for nothing longer than its patience, reads no answer beyond a limit, and keeps
connections for the next request. What goes wrong is `Unavailable`, naming the server and the reason and no secret.
"""

import base64
import json as jsonlib
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, NamedTuple, Self
from urllib.parse import quote, unquote, urlencode, urlsplit

import h11
import trio

from sdk.errors import BadRequest, Unavailable
from sdk.netaddress import join_address

PATIENCE: Final = 5.0
"""Seconds for one request with its answer, unless the client is made with others; go-micro has as many for etcd."""
LONGEST_ANSWER: Final = 64 * 2**20
"""Bytes of one answer, or of one line of an answer that comes line by line, above which it is refused."""

ADVICE: Final = "see --registry-address (MICRO_REGISTRY_ADDRESS)"
"""What to do about a server that cannot be used."""

_MOST_KEPT: Final = 4
_PIECE: Final = 65536
# What OpenSSL finds in place of an answer, and what servers say of a certificate that is missing, old or not known.
_NO_TLS: Final = frozenset(("UNEXPECTED_EOF_WHILE_READING", "WRONG_VERSION_NUMBER", "HTTP_REQUEST"))
_REFUSED_CERTIFICATE: Final = re.compile("ALERT.*(CERTIFICATE|UNKNOWN_CA)")
# Seconds of silence before the kernel asks whether the server is still there, between two such questions, and how many
# stay unanswered before it is not: a watch of a server that lost its power ends after half a minute.
_ALIVE_AFTER, _ALIVE_EACH, _ALIVE_TIMES = 15, 5, 3


class Answer(NamedTuple):
    """What the server said to a request."""

    status: int
    """The HTTP status; every one is returned, none raised."""
    headers: Mapping[str, str]
    """By lower-case name; of several with one name the last."""
    body: bytes
    """All of it."""


class Lines:
    """The body of an answer, line by line as it comes. A wait that was cancelled may be taken up again."""

    def __init__(
        self, client: "HttpClient", connection: "_Connection", status: int, headers: Mapping[str, str]
    ) -> None:
        self.status = status
        """The HTTP status; where it is an error, the lines are the error's text."""
        self.headers = headers
        """By lower-case name."""
        self._client = client
        self._connection = connection
        self._buffer = bytearray()
        self._searched = 0
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next line without its end. Raises `Unavailable` when the connection breaks."""
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            if self._searched > self._client.longest_answer:
                raise self._client.unavailable(f"a line is longer than {self._client.longest_answer} bytes")
            if self._ended:
                if not self._buffer:
                    raise StopAsyncIteration
                rest = bytes(self._buffer)
                self._buffer.clear()
                self._searched = 0
                return rest
            piece = await self._client._next_piece(self._connection)
            self._ended = piece is None
            self._buffer += piece or b""
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line.removesuffix(b"\r")


class HttpClient:
    """Asks one server. Usable inside its `async with`; outside it raises `trio.ClosedResourceError`.

    A request whose connection breaks is not sent again: whether the server acted on it is unknown.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
        server_name: str = "",
        patience: float = PATIENCE,
        longest_answer: int = LONGEST_ANSWER,
    ) -> None:
        """`url` is `http[s]://[user:password@]host[:port][/base]`; user and password are shown by basic authentication.

        `headers` go with every request. `tls` gives how an https server is known and what is shown to it, asked for
        each request, by default the system's authorities and nothing, and `server_name` whom its certificate must name,
        by default the host of the URL. `patience` is in seconds: for a request with its whole answer, and for an answer
        line by line until its first line may come. Raises `BadRequest` for a URL that is none.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise BadRequest(f"the URL of a registry cannot be read: {error}") from None
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise BadRequest("the URL of a registry is not http://host:port or https://host:port")
        self._host, self._port, self._base = parts.hostname, port, parts.path.rstrip("/")
        self.url = f"{parts.scheme}://{join_address(self._host, port)}{self._base}"
        """Where the server is, without user and password."""
        self.patience = patience
        self.longest_answer = longest_answer
        self._tls = None if parts.scheme == "http" else tls or _of_the_system()
        self._server_name = server_name or self._host
        self._headers = {
            "host": parts.netloc.rpartition("@")[2],
            "user-agent": "micro",
            "accept": "application/json",
            **(_basic(parts.username, parts.password or "") if parts.username else {}),
            **{name.lower(): value for name, value in (headers or {}).items()},
        }
        self._open = False
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes every connection; who waits for an answer gets `trio.ClosedResourceError`."""
        self._open = False
        idle, self._idle = self._idle, []
        with trio.CancelScope(shield=True):  # bounded: it says goodbye to nobody
            for connection in [*idle, *self._busy]:
                await trio.aclose_forcefully(connection.stream)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Sends a request and returns its answer, whatever its status.

        `path` begins with a slash and is quoted here; `json` is sent as the body where it is not None. Raises
        `Unavailable` when no whole answer comes in time.
        """
        with trio.move_on_after(self.patience) as scope:
            async with self._ask(method, path, query, json, headers) as (connection, status, found):
                pieces, size = [], 0
                while (piece := await self._next_piece(connection)) is not None:
                    size += len(piece)
                    if size > self.longest_answer:
                        raise self.unavailable(f"its answer is longer than {self.longest_answer} bytes")
                    pieces.append(piece)
                return Answer(status, found, b"".join(pieces))
        assert scope.cancelled_caught
        raise self.unavailable(f"no answer to {method} {path} within {self.patience:g} s")

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Lines]:
        """Like `request`, for an answer without an end: waits for its head only and gives the lines of its body."""
        asked = self._ask(method, path, query, json, headers)
        with trio.move_on_after(self.patience) as scope:
            connection, status, found = await asked.__aenter__()
        if scope.cancelled_caught:
            raise self.unavailable(f"no answer to {method} {path} within {self.patience:g} s")
        try:
            yield Lines(self, connection, status, found)
        finally:
            await asked.__aexit__(None, None, None)

    async def close_idle(self) -> None:
        """Closes the connections that are kept: the next request goes over one that shows what `tls` shows by now."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await trio.aclose_forcefully(connection.stream)

    def check_open(self) -> None:
        """Raises `trio.ClosedResourceError` outside of `async with`."""
        if not self._open:
            raise trio.ClosedResourceError("the HTTP client is not open: use it inside `async with`")

    def unavailable(self, reason: str) -> Unavailable:
        """The error that names this server."""
        return Unavailable(f"the registry at {self.url} cannot be used: {reason.strip()}; {ADVICE}")

    @asynccontextmanager
    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        json: object,
        headers: Mapping[str, str] | None,
    ) -> AsyncIterator[tuple["_Connection", int, Mapping[str, str]]]:
        body = b""
        own = {**self._headers, **{name.lower(): value for name, value in (headers or {}).items()}}
        if json is not None:
            body = jsonlib.dumps(json, separators=(",", ":")).encode()
            own["content-type"] = "application/json"
        if body or method in {"POST", "PUT", "PATCH"}:
            own["content-length"] = str(len(body))
        target = self._base + quote(path, safe="/:@!$&'()*+,;=~-._") + (f"?{urlencode(query)}" if query else "")
        connection = await self._connection()
        reusable = False
        try:
            try:
                data = connection.machine.send(h11.Request(method=method, target=target, headers=list(own.items())))
            except h11.LocalProtocolError:  # its text shows the header, which may be a secret
                raise BadRequest("a header for the registry holds what no HTTP header may hold") from None
            for event in (h11.Data(data=body), h11.EndOfMessage()):
                data = (data or b"") + (connection.machine.send(event) or b"")
            try:
                await connection.stream.send_all(data or b"")
            except trio.BrokenResourceError as error:
                raise self.unavailable(_reason(error)) from error
            response = await self._event(connection)
            while isinstance(response, h11.InformationalResponse):
                response = await self._event(connection)
            assert isinstance(response, h11.Response)  # h11 lets nothing else come first
            found = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
            yield connection, response.status_code, found
            reusable = connection.machine.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}
        finally:
            self._busy.discard(connection)
            if reusable and self._open and len(self._idle) < _MOST_KEPT:
                connection.machine.start_next_cycle()
                self._idle.append(connection)
            else:
                await trio.aclose_forcefully(connection.stream)

    async def _next_piece(self, connection: "_Connection") -> bytes | None:
        """The next piece of the body; None at its end."""
        event = await self._event(connection)
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage):
            return None
        raise self.unavailable("the connection broke within the answer")

    async def _event(self, connection: "_Connection") -> h11.Event | type[h11.PAUSED]:
        machine = connection.machine
        try:
            while (event := machine.next_event()) is h11.NEED_DATA:
                data = bytes(await connection.stream.receive_some(_PIECE))
                if not data and machine.their_state is h11.SEND_RESPONSE:
                    hint = "; does it speak TLS (etcds://, consuls://)?" if self._tls is None else ""
                    raise self.unavailable(f"it closed the connection without an answer{hint}")
                machine.receive_data(data)
        except h11.RemoteProtocolError as error:
            raise self.unavailable(f"it broke the rules of HTTP ({error})") from error
        except trio.BrokenResourceError as error:
            raise self.unavailable(_reason(error)) from error
        assert event is not h11.NEED_DATA
        return event  # type: ignore[return-value]  # h11 types its sentinels loosely

    async def _connection(self) -> "_Connection":
        """A kept connection that is alive, else a new one."""
        if not self._open:
            await trio.lowlevel.checkpoint()
        self.check_open()
        context = self._tls() if self._tls is not None else None
        while self._idle:
            connection = self._idle.pop()
            # Between requests a server says nothing but goodbye. One that was shown a certificate which has been
            # replaced since would refuse what is asked when that one has run out, and keep the connection.
            if connection.context is context and not connection.socket.is_readable():
                self._busy.add(connection)
                return connection
            await trio.aclose_forcefully(connection.stream)
        connection = await self._connect(context)
        if not self._open:
            await trio.aclose_forcefully(connection.stream)
            raise trio.ClosedResourceError("the HTTP client was closed")
        self._busy.add(connection)
        return connection

    async def _connect(self, context: ssl.SSLContext | None) -> "_Connection":
        try:
            plain = await trio.open_tcp_stream(self._host, self._port)
        except OSError as error:
            raise self.unavailable(_reason(error)) from error
        except UnicodeError:
            raise self.unavailable("that is no name of a host") from None
        stream: trio.abc.Stream = plain
        try:
            _keep_asking(plain.socket)
            if context is not None:
                secure = trio.SSLStream(plain, context, server_hostname=self._server_name, https_compatible=True)
                stream = secure
                await secure.do_handshake()
        except (trio.BrokenResourceError, OSError) as error:
            await trio.aclose_forcefully(plain)
            raise self.unavailable(_reason(error)) from error
        except BaseException:
            await trio.aclose_forcefully(plain)
            raise
        return _Connection(stream, plain.socket, context)


class _Connection:
    __slots__ = ("context", "machine", "socket", "stream")

    def __init__(self, stream: trio.abc.Stream, socket: trio.socket.SocketType, context: ssl.SSLContext | None) -> None:
        self.stream = stream
        self.socket = socket
        self.context = context
        self.machine = h11.Connection(h11.CLIENT)


def _of_the_system() -> Callable[[], ssl.SSLContext]:
    context = ssl.create_default_context()
    return lambda: context


def _basic(user: str, password: str) -> dict[str, str]:
    shown = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    return {"authorization": f"Basic {shown}"}


def _keep_asking(sock: trio.socket.SocketType) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", _ALIVE_AFTER),
        ("TCP_KEEPINTVL", _ALIVE_EACH),
        ("TCP_KEEPCNT", _ALIVE_TIMES),
    ):
        if hasattr(socket, option):  # not every system has all of them
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _reason(error: BaseException) -> str:
    """What a person can act on: of a failed connection or handshake, the system's words for it."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, BaseExceptionGroup):  # one for each address of the host; they mostly say the same
        error = error.exceptions[0]
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
        return f"it does not speak TLS ({error.reason}); without TLS it is etcd://, consul:// or http://"
    if isinstance(error, ssl.SSLError) and _REFUSED_CERTIFICATE.search(error.reason or ""):
        return (
            f"it wants a certificate, or another than it is shown ({error.reason}); etcds:// and consuls:// take "
            "cert=FILE and key=FILE"
        )
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror | ssl.SSLError):
        return os.strerror(error.errno).lower()  # trio's own text names the address once more
    return str(error) or type(error).__name__
