"""Through an HTTP proxy by CONNECT (RFC 9110, 9.3.6), where a network lets nothing else out."""

from typing import Final

import h11
import trio

from sdk.errors import BadRequest, RemoteProtocolError, Unavailable
from sdk.rawsocket import RawSocket, open_tcp

from .proxies import VIA, HttpProxy

ANSWER: Final = 8.0
"""Seconds that a proxy has for its answer: less than a connection may take in all, so that it is named."""
MAX_ANSWER: Final = 16 * 1024
"""Longest head of an answer, in bytes."""

_UNREACHED: Final = (502, 503, 504)


async def open_through(proxy: HttpProxy, address: str) -> RawSocket:
    """Connects to `host:port`; raises `Unavailable` or `RemoteProtocolError` naming address, proxy and reason."""
    where = f"cannot connect to {address} through the proxy {proxy.address}"
    try:
        socket = await open_tcp(proxy.address)
    except Unavailable as error:
        raise Unavailable(f"{where}: {error}") from None
    try:
        with trio.move_on_after(ANSWER) as scope:
            reason = await _ask(socket, proxy, address)
        if scope.cancelled_caught:
            reason = f"it did not answer within {ANSWER:.0f} s"
    except RemoteProtocolError as error:
        socket.close()
        raise RemoteProtocolError(f"{where}: {error}") from None
    except trio.BrokenResourceError as error:
        socket.close()
        raise Unavailable(f"{where}: the connection broke: {error}") from None
    except BaseException:
        socket.close()
        raise
    if reason:
        socket.close()
        raise Unavailable(f"{where}: {reason}")
    return socket


async def _ask(socket: RawSocket, proxy: HttpProxy, address: str) -> str:
    """Asks for a connection; returns why there is none."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_ANSWER)
    await socket.send_all(_request(connection, proxy, address))
    taken = 0
    while True:
        data = await socket.receive_some(MAX_ANSWER)
        taken += len(data)
        if not data:
            return "it closed the connection"
        status = read_answer_untrusted(connection, data)
        if status is not None:
            break
        if taken >= MAX_ANSWER:
            raise RemoteProtocolError(f"its answer is longer than {MAX_ANSWER} bytes")
    if 200 <= status < 300 and connection.trailing_data[0]:
        raise RemoteProtocolError("it goes on talking after its answer")  # whoever is dialled waits for our first word
    return _refusal(status, proxy)


def _request(connection: h11.Connection, proxy: HttpProxy, address: str) -> bytes:
    try:
        target = address.encode("idna").decode()  # as it is resolved where there is no proxy
        headers = [("Host", target)]
        if proxy.authorization:
            headers.append(("Proxy-Authorization", proxy.authorization))
        request = connection.send(h11.Request(method="CONNECT", target=target, headers=headers))
        end = connection.send(h11.EndOfMessage())
    except (UnicodeError, h11.LocalProtocolError):
        raise BadRequest(f"{address!r} is no address that a proxy can be asked for") from None
    return (request or b"") + (end or b"")


def read_answer_untrusted(connection: h11.Connection, data: bytes) -> int | None:
    """Takes bytes of a proxy; returns the status of its answer once that has come, however often it said before that
    it is still at it."""
    try:
        connection.receive_data(data)
        while (event := connection.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Response):
                return event.status_code
            if not isinstance(event, h11.InformationalResponse):
                raise RemoteProtocolError("its answer makes no sense")
    except h11.RemoteProtocolError as error:
        raise RemoteProtocolError(f"its answer is no HTTP: {error}") from None
    return None


def _refusal(status: int, proxy: HttpProxy) -> str:
    if 200 <= status < 300:
        return ""
    if status == 407 and proxy.authorization:
        return "it does not accept the user and password it was given (HTTP status 407)"
    if status == 407:
        return (
            "it demands a user and a password (HTTP status 407): http://user:password@host:port in "
            f"{VIA}, or in HTTPS_PROXY"
        )
    if status == 403:
        return "it does not allow that (HTTP status 403)"
    if status in _UNREACHED:
        return f"it could not connect there (HTTP status {status})"
    return f"it answered with HTTP status {status}"
