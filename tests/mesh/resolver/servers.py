"""A DNS server and a web server that run in the test, and say what it tells them to."""

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import h11
import trio


class DnsServer:
    """Answers over UDP from `zone`, which has the records of a name and type as text. A name without any is not known;
    one whose records are None is a failure of the server."""

    def __init__(self, bound: trio.socket.SocketType) -> None:
        self._socket = bound
        self.zone: dict[tuple[str, str], list[str] | None] = {}
        self.asked: list[tuple[str, str]] = []
        host, port = bound.getsockname()[:2]
        self.address = f"{host}:{port}"

    async def run(self) -> None:
        while True:
            data, sender = await self._socket.recvfrom(4096)
            await self._socket.sendto(self._answer(dns.message.from_wire(data)).to_wire(), sender)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        [question] = query.question
        name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        records = self.zone.get((name, kind), [])
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AA | dns.flags.RA
        if records is None:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif records:
            answer.answer.append(dns.rrset.from_text(question.name, 5, "IN", kind, *records))
        elif not any(known == name for known, _ in self.zone):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer


@asynccontextmanager
async def dns_server() -> AsyncIterator[DnsServer]:
    """A server on a free port."""
    with trio.socket.socket(type=socket.SOCK_DGRAM) as bound:
        await bound.bind(("127.0.0.1", 0))
        server = DnsServer(bound)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.run)
            yield server
            nursery.cancel_scope.cancel()


@dataclass
class Answer:
    """What the web server sends."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    dribble: float = 0
    """Seconds between the bytes of the body."""


class WebServer:
    """Answers what `answer` makes of a request, one request to a connection."""

    def __init__(self) -> None:
        self.answer: Callable[[h11.Request], Answer] = lambda _: Answer(status=404)
        self.asked: list[h11.Request] = []
        self.address = ""

    async def serve(self, stream: trio.abc.Stream) -> None:
        try:
            await self._converse(stream)
        except trio.BrokenResourceError:
            pass  # the other side has seen enough

    async def _converse(self, stream: trio.abc.Stream) -> None:
        connection = h11.Connection(h11.SERVER)
        while not isinstance(request := connection.next_event(), h11.Request):
            connection.receive_data(bytes(await stream.receive_some()))
        self.asked.append(request)
        answer = self.answer(request)
        headers = [*answer.headers.items(), ("Connection", "close")]
        await stream.send_all(connection.send(h11.Response(status_code=answer.status, headers=headers)) or b"")
        step = 1 if answer.dribble else 65536
        for at in range(0, len(answer.body), step):
            await trio.sleep(answer.dribble)
            await stream.send_all(connection.send(h11.Data(data=answer.body[at : at + step])) or b"")
        await stream.send_all(connection.send(h11.EndOfMessage()) or b"")


@asynccontextmanager
async def web_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[WebServer]:
    """A server on a free port, inside TLS where it has a certificate for that."""
    server = WebServer()
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server.address = f"127.0.0.1:{listener.socket.getsockname()[1]}"
        listening = trio.SSLListener(listener, tls, https_compatible=True) if tls else listener
        nursery.start_soon(trio.serve_listeners, server.serve, [listening])
        yield server
        nursery.cancel_scope.cancel()


def header(request: h11.Request, name: bytes) -> bytes:
    """One header of a request; empty where it has none."""
    return dict(request.headers).get(name, b"")
