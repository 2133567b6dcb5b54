"""What an instance of `tests.ledger` offers besides to programs that know nothing of us: gRPC by grpcio's server, and
HTTP/1.1 by the standard library's, each as a service of its own. What they run is written into the same book.
"""

import http.server
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from functools import partial
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import grpc
import trio

from sdk.registry import open_registry
from sdk.types import Instance, Service

GRPC = "ledger-grpc"
WEB = "ledger-web"

QUIET = 0.5
"""Seconds without a new call after which an instance that has left the registry may end."""

THREADS = 64


class Book:
    """What the handlers of one process do, in threads."""

    def __init__(self, write: Callable[[str], None], work: float, reason: str, *, fails: bool) -> None:
        """`write` notes that a call ran, and `work` is how many seconds each takes; with `fails` each gets an error
        with that `reason`."""
        self.reason = reason
        self.fails = fails
        self._write = write
        self._work = work
        self._last = time.monotonic()

    def note(self, id: str) -> None:
        """A call runs."""
        self._write(id)
        self._last = time.monotonic()

    def work(self) -> None:
        """Takes as long as a handler does."""
        threading.Event().wait(self._work)

    def until_quiet(self) -> None:
        """Waits until nobody calls any more."""
        while (left := self._last + QUIET - time.monotonic()) > 0:
            threading.Event().wait(left)


class Methods(grpc.GenericRpcHandler):
    """`Work` answers with the id of the call, and `Talk` each message with itself."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._errors = itertools.cycle((grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE))

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        kinds: dict[str, Any] = {
            "Work": grpc.unary_unary_rpc_method_handler(self.work),
            "Talk": grpc.stream_stream_rpc_method_handler(self.talk),
        }
        return kinds.get(details.method.rpartition("/")[2])

    def work(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self._book.note(request.decode())
        self._book.work()
        self._fail(context)
        return request

    def talk(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        first = next(requests)
        self._book.note(first.decode())
        self._fail(context)
        yield first
        for message in requests:
            self._book.work()
            yield message

    def _fail(self, context: grpc.ServicerContext) -> None:
        if self._book.fails:
            context.abort(next(self._errors), self._book.reason)


class Page(http.server.BaseHTTPRequestHandler):
    """`GET /id` and `POST /id` answer with the id of the call."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    errors = itertools.cycle((HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE))

    def __init__(self, book: Book, *arguments: Any) -> None:
        self._book = book
        super().__init__(*arguments)

    def do_GET(self) -> None:
        id = self.path[1:]
        self._book.note(id)
        self._book.work()
        status = next(self.errors) if self._book.fails else HTTPStatus.OK
        body = (self._book.reason if self._book.fails else id).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


class Pages(http.server.ThreadingHTTPServer):
    """Its server."""

    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Nodes may hang up."""


class Peers:
    """Both servers, inside `with`: in the registry from its beginning to its end."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._grpc = grpc.server(futures.ThreadPoolExecutor(THREADS))
        self._grpc.add_generic_rpc_handlers((Methods(book),))
        self._web = Pages(("127.0.0.1", 0), partial(Page, book))
        ports = {GRPC: ("grpc", self._grpc.add_insecure_port("127.0.0.1:0")), WEB: ("http", self._web.server_port)}
        self._records = [
            Service(
                name=name,
                version="latest",
                instances=(
                    Instance(id=f"{name}-{uuid4()}", address=f"127.0.0.1:{port}", metadata={"protocol": protocol}),
                ),
            )
            for name, (protocol, port) in ports.items()
        ]

    def __enter__(self) -> None:
        self._grpc.start()
        threading.Thread(target=self._web.serve_forever, daemon=True).start()
        trio.run(self._tell, True)

    def __exit__(self, *_: object) -> None:
        trio.run(self._tell, False)
        self._book.until_quiet()
        self._grpc.stop(QUIET).wait()
        self._web.shutdown()
        self._web.server_close()

    async def _tell(self, there: bool) -> None:
        async with open_registry(address=os.environ["MICRO_REGISTRY_ADDRESS"]) as registry:
            for record in self._records:
                # Without end, for nobody renews it: nodes find out by themselves that a process was killed.
                await (registry.register(record) if there else registry.deregister(record))
