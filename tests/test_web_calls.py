"""What stays open on the web: WebSockets of the `websockets` package and server-sent events, through two nodes."""

import http.client
import http.server
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.http11 import Request, Response
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from tests.processes import PATIENCE
from tests.twonodes import World

BYTES = bytes(range(256)) * 4096

WAYS = ("upgrade", "CONNECT")
"""How a WebSocket gets through a node: as a call of its own, and inside a tunnel."""


def chat(connection: ServerConnection) -> None:
    """Says everything back, until it is told to go."""
    for message in connection:
        if message == "go":
            connection.close(4001, "as you say")
        elif message == "how many":
            for number in range(1000):
                connection.send(str(number))
        else:
            connection.send(message)


def refuse(connection: ServerConnection, request: Request) -> Response | None:
    return connection.respond(403, "not here") if request.path == "/refused" else None


class Events(http.server.BaseHTTPRequestHandler):
    """Server-sent events: the next is sent when the test has seen the one before."""

    protocol_version = "HTTP/1.1"
    seen = threading.Semaphore(0)
    gone = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/hinted":
            self.send_response_only(103)
            self.send_header("Link", "</style.css>; rel=preload")
            self.end_headers()
            assert self.seen.acquire(timeout=PATIENCE)
            self.send_response(204)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        number = 0
        try:
            while number < 5 or self.path == "/endless":
                self.chunk(f"id: {number}\ndata: tick\n\n".encode())
                assert self.seen.acquire(timeout=PATIENCE)
                number += 1
            self.chunk(b"")
        except ConnectionError:
            self.gone.set()

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        world = World(tmp_path_factory.mktemp("world"), stack)
        sockets = stack.enter_context(
            serve(chat, "127.0.0.1", 0, subprotocols=[Subprotocol("talk")], process_request=refuse, max_size=None)
        )
        events = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Events))
        events.daemon_threads = True
        servers: tuple[Server | http.server.HTTPServer, ...] = (sockets, events)
        for each in servers:
            threading.Thread(target=each.serve_forever, daemon=True).start()
            stack.callback(each.shutdown)
        world.register("chat", sockets.socket.getsockname()[1], "http")
        world.register("events", events.server_port, "http")
        world.until_known("chat", "events")
        yield world


def joined(world: World, way: str, path: str = "/room") -> ClientConnection:
    by: dict[str, Any] = {"proxy": f"http://{world.proxy}"}
    if way == "upgrade":
        by = {"proxy": None, "sock": socket.create_connection((world.host, world.port))}
    talk: ClientConnection = connect(f"ws://chat{path}", subprotocols=[Subprotocol("talk")], max_size=None, **by)
    return talk


@pytest.mark.parametrize("way", WAYS)
def test_a_websocket_carries_text_and_bytes_pings_and_the_reason_of_its_end(world: World, way: str) -> None:
    with joined(world, way) as talk:
        assert talk.subprotocol == "talk"
        for message in ("ü", "", b"\x00\xff", BYTES, "x" * 70_000):
            talk.send(message)
            assert talk.recv(PATIENCE) == message
        assert talk.ping().wait(PATIENCE)
        talk.send("how many")
        assert [talk.recv(PATIENCE) for _ in range(1000)] == [str(number) for number in range(1000)]
        talk.send("go")
        with pytest.raises(ConnectionClosedError) as caught:
            talk.recv(PATIENCE)
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4001, "as you say")


@pytest.mark.parametrize("way", WAYS)
def test_a_websocket_that_is_refused_is_refused_by_the_instance(world: World, way: str) -> None:
    with pytest.raises(InvalidStatus) as caught, joined(world, way, "/refused"):
        pass
    assert (caught.value.response.status_code, caught.value.response.body) == (403, b"not here")


def test_many_websockets_are_open_at_once(world: World) -> None:
    with ExitStack() as stack:
        talks = [stack.enter_context(joined(world, "upgrade")) for _ in range(50)]
        for number, talk in enumerate(talks):
            talk.send(str(number))
        assert [talk.recv(PATIENCE) for talk in talks] == [str(number) for number in range(50)]
        with ThreadPoolExecutor(50) as pool:  # each waits for the other side's end of the handshake
            list(pool.map(ClientConnection.close, talks))


def listen(world: World, path: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(world.host, world.port, timeout=PATIENCE)
    connection.request("GET", f"http://events{path}")
    answer = connection.getresponse()
    assert answer.headers["Content-Type"] == "text/event-stream"
    return connection, answer


def test_server_sent_events_arrive_one_by_one(world: World) -> None:
    connection, answer = listen(world, "/five")
    for number in range(5):
        # The next one is not sent before this one is here.
        assert [answer.readline() for _ in range(3)] == [b"id: %d\n" % number, b"data: tick\n", b"\n"]
        Events.seen.release()
    assert answer.read() == b""
    connection.close()


def test_early_hints_arrive_before_the_answer(world: World) -> None:
    with socket.create_connection((world.host, world.port), PATIENCE) as program, program.makefile("rb") as said:
        program.sendall(b"GET http://events/hinted HTTP/1.1\r\nHost: events\r\n\r\n")
        assert said.readline() == b"HTTP/1.1 103 Early Hints\r\n"
        # The answer does not begin before they are here.
        assert b"link: </style.css>; rel=preload\r\n" in list(iter(said.readline, b"\r\n"))
        Events.seen.release()
        assert said.readline() == b"HTTP/1.1 204 No Content\r\n"


def test_whoever_sends_events_learns_that_nobody_listens_any_more(world: World) -> None:
    Events.gone.clear()
    connection, answer = listen(world, "/endless")
    assert answer.readline() == b"id: 0\n"
    answer.close()
    connection.close()
    for _ in range(300):
        Events.seen.release()
        if Events.gone.wait(0.1):
            return
    raise AssertionError("events were sent to nobody")
