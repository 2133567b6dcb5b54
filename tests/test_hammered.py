"""h2load and wrk as fast as they can through two nodes: HTTP/1.1, HTTP/2 and gRPC, and not one request may fail."""

import http.server
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.processes import PATIENCE
from tests.twonodes import World

pytestmark = pytest.mark.peers

REQUESTS = 5000
"""That h2load makes: a few seconds' worth, for instances in Python."""

MESSAGE = b"\0\0\0\0\x04John"
"""As gRPC sends it: not compressed, its length, itself."""


class Page(http.server.BaseHTTPRequestHandler):
    """The HTTP instance, and how often it was asked."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one write
    lock = threading.Lock()
    asked = 0

    def do_GET(self) -> None:
        with self.lock:
            Page.asked += 1
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


class Pages(http.server.ThreadingHTTPServer):
    """Its server, which takes many connections at once."""

    request_queue_size = 128
    daemon_threads = True


class Hello(grpc.GenericRpcHandler):
    """The gRPC instance, and how often it was asked."""

    lock = threading.Lock()
    asked = 0

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return grpc.unary_unary_rpc_method_handler(self.hello)

    def hello(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        with self.lock:
            Hello.asked += 1
        return b"hello " + request


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        world = World(tmp_path_factory.mktemp("world"), stack)
        pages = stack.enter_context(Pages(("127.0.0.1", 0), Page))
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        stack.callback(pages.shutdown)
        world.register("web", pages.server_port, "http")
        world.serve_grpc("greeter", Hello())
        world.until_known("web", "greeter")
        yield world


def hammer(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done
    return done.stdout


def h2load(program: str, world: World, url: str, *flags: str) -> None:
    flags = ("-n", str(REQUESTS), "--connect-to", world.proxy, *flags)
    printed = hammer(program, *flags, url)
    [counts] = re.findall(r"^requests: (.*)$", printed, re.MULTILINE)
    assert counts == (
        f"{REQUESTS} total, {REQUESTS} started, {REQUESTS} done, {REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout"
    )
    assert f"status codes: {REQUESTS} 2xx, 0 3xx, 0 4xx, 0 5xx" in printed


@pytest.mark.parametrize("flags", [("-c", "32", "--h1"), ("-c", "4", "-m", "32")], ids=["HTTP/1.1", "HTTP/2"])
def test_h2load_gets_every_page(world: World, require: Callable[[str], str], flags: tuple[str, ...]) -> None:
    before = Page.asked
    h2load(require("h2load"), world, "http://web/page", *flags)
    assert Page.asked - before == REQUESTS


def test_h2load_has_every_grpc_call_answered(world: World, require: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "message").write_bytes(MESSAGE)
    sent = ("-d", str(tmp_path / "message"), "-H", "content-type: application/grpc", "-H", "te: trailers")
    # What h2load takes for an answer may be an error of gRPC: that each call ran once is for the instance to say.
    before = Hello.asked
    h2load(require("h2load"), world, "http://greeter/greeter.Greeter/Hello", "-c", "4", "-m", "32", *sent)
    assert Hello.asked - before == REQUESTS


def test_wrk_gets_every_page(world: World, require: Callable[[str], str]) -> None:
    printed = hammer(
        require("wrk"), "-t", "1", "-c", "32", "-d", "3", "-H", "Host: web", f"http://{world.proxy}/page",
    )  # fmt: skip
    [requests] = re.findall(r"(\d+) requests in", printed)
    assert int(requests) > 100
    # It speaks of these only where there are some.
    assert "Socket errors" not in printed
    assert "Non-2xx" not in printed
