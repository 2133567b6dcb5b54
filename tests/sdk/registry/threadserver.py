"""An HTTP server in threads of its own, for tests of registries: one that can be stopped and started on its port."""

import json
import socket
import threading
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl, unquote, urlsplit


class Asked(NamedTuple):
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By lower-case name."""
    json: Any


class Said(NamedTuple):
    status: int
    json: Any = None
    headers: Mapping[str, str] = {}
    lines: Iterable[Any] | None = None
    """Where it is not None, what is said piece by piece, each as a line of JSON, and then the connection closes."""


class ThreadServer:
    """Inside its `with` it runs. `changed` guards what it keeps, and is notified at every change and when it stops."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.running = False
        self.asked: list[Asked] = []
        self.port = 0
        self._server: ThreadingHTTPServer | None = None
        self._open: set[socket.socket] = set()

    def answer(self, asked: Asked) -> Said:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.kill()

    def start(self) -> None:
        outer = self

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

            def process_request(self, request: Any, client_address: Any) -> None:
                with outer.changed:
                    outer._open.add(request)
                super().process_request(request, client_address)

            def shutdown_request(self, request: Any) -> None:
                with outer.changed:
                    outer._open.discard(request)
                super().shutdown_request(request)

            def handle_error(self, request: Any, client_address: Any) -> None:
                if outer.running:
                    super().handle_error(request, client_address)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: object) -> None:
                pass

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    pass  # the client went, or this server did

            def serve(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                asked = Asked(
                    self.command,
                    unquote(parts.path),
                    dict(parse_qsl(parts.query, keep_blank_values=True)),
                    {name.lower(): value for name, value in self.headers.items()},
                    json.loads(body) if body else None,
                )
                outer.asked.append(asked)
                said = outer.answer(asked)
                self.send_response_only(said.status)
                for name, value in said.headers.items():
                    self.send_header(name, value)
                if said.lines is not None:
                    self.send_header("connection", "close")
                    self.end_headers()
                    for line in said.lines:
                        self.wfile.write(json.dumps(line).encode() + b"\n")
                    return
                data = said.json if isinstance(said.json, bytes) else json.dumps(said.json).encode()
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_DELETE = serve  # noqa: N815

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        self.running = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def kill(self) -> None:
        """Breaks every connection and listens no more; what it keeps stays."""
        assert self._server is not None
        with self.changed:
            self.running = False
            self.changed.notify_all()
            for sock in self._open:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        self._server.shutdown()
        self._thread.join()
        with self.changed:
            left = list(self._open)
        for sock in left:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._server.server_close()
