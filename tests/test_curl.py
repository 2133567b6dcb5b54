"""curl in the ways that people use it with a proxy, through two nodes, and uploads larger than a node may become."""

import http.server
import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.processes import PATIENCE, Running
from tests.twonodes import World

pytestmark = pytest.mark.peers

UPLOAD = 1 << 30

GROWTH = 32 << 20
"""Octets by which a node may grow while an upload passes: some copies of what is on its way, and what Python keeps."""


class Web(http.server.BaseHTTPRequestHandler):
    """The instance: it says what it was asked, and how much it was sent."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer({"path": self.path, "host": self.headers["Host"]})

    def do_PUT(self) -> None:
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        size = self.read_chunks() if chunked else self.read(int(self.headers["Content-Length"]))
        self.answer({"size": size, "chunked": chunked})

    def read_chunks(self) -> int:
        total = 0
        while size := int(self.rfile.readline(), 16):
            total += self.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return total

    def read(self, size: int) -> int:
        left = size
        while left:
            left -= len(self.rfile.read(min(left, 1 << 20))) or left
        return size

    def answer(self, said: dict[str, Any]) -> None:
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        world = World(tmp_path_factory.mktemp("world"), stack)
        web = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web))
        web.daemon_threads = True
        threading.Thread(target=web.serve_forever, daemon=True).start()
        stack.callback(web.shutdown)
        world.register("web", web.server_port, "http")
        world.until_known("web")
        yield world


@pytest.fixture
def curl(require: Callable[[str], str]) -> tuple[str, ...]:
    said_last = "\n%{http_version} %{num_connects}"
    return (require("curl"), "--disable", "-sS", "--fail", "--max-time", "120", "--write-out", said_last)


def said(printed: bytes) -> tuple[dict[str, Any], str]:
    """The instance's answer, and the version of HTTP by which it came."""
    body, _, line = printed.rpartition(b"\n")
    return json.loads(body), line.split()[0].decode()


def done(command: Sequence[str], env: Mapping[str, str] | None = None) -> bytes:
    """What a command prints that ends well."""
    ended = subprocess.run(command, env=env, capture_output=True, check=False, timeout=PATIENCE)
    assert ended.returncode == 0, ended
    return ended.stdout


def resident(node: Running, what: str) -> int:
    """Octets of a process's memory, by the name that Linux gives it: `VmRSS` now, `VmHWM` at most."""
    [size] = re.findall(rf"{what}:\s+(\d+) kB", Path(f"/proc/{node.process.pid}/status").read_text())
    return int(size) << 10


HTTP_2 = ("--http2-prior-knowledge",)

WAYS: dict[str, tuple[str, ...]] = {
    "Host": ("--connect-to", "web:80:{proxy}"),
    "Host, HTTP/2": ("--connect-to", "web:80:{proxy}", *HTTP_2),
    "absolute form": ("--proxy", "http://{proxy}"),
    "CONNECT": ("--proxy", "http://{proxy}", "--proxytunnel"),
    "SOCKS5": ("--socks5-hostname", "{proxy}"),
}


@pytest.mark.parametrize("way", WAYS)
def test_curl_gets_a_page(world: World, curl: tuple[str, ...], way: str) -> None:
    flags = [flag.format(proxy=world.proxy) for flag in WAYS[way]]
    seen, version = said(done([*curl, *flags, "http://web/a%20page?x=1"]))
    assert seen == {"path": "/a%20page?x=1", "host": "web"}
    assert version == ("2" if HTTP_2[0] in flags else "1.1")


@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
def test_curl_finds_the_node_in_its_environment(world: World, curl: tuple[str, ...], variable: str) -> None:
    value = {"http_proxy": f"http://{world.proxy}", "ALL_PROXY": f"socks5h://{world.proxy}"}[variable]
    seen, _ = said(done([*curl, "http://web/page"], {variable: value}))
    assert seen["path"] == "/page"


def test_curl_uses_one_connection_for_several_pages(world: World, curl: tuple[str, ...]) -> None:
    pages = [f"http://web/{number}" for number in range(5)]
    printed = done([*curl, "--proxy", f"http://{world.proxy}", *pages])
    assert re.findall(rb"\n1\.1 (\d)", printed) == [b"1", b"0", b"0", b"0", b"0"]


@pytest.mark.parametrize("way", ["absolute form", "Host, HTTP/2", "CONNECT"])
def test_an_upload_of_a_gibibyte_needs_no_memory(world: World, curl: tuple[str, ...], way: str) -> None:
    nodes = (world.near, world.far)
    before = [resident(node, "VmRSS") for node in nodes]
    for node in nodes:
        Path(f"/proc/{node.process.pid}/clear_refs").write_text("5")  # VmHWM begins anew
    flags = [flag.format(proxy=world.proxy) for flag in WAYS[way]]
    with (
        subprocess.Popen(("head", "-c", str(UPLOAD), "/dev/zero"), stdout=subprocess.PIPE) as source,
        subprocess.Popen(
            (*curl, *flags, "--upload-file", "-", "http://web/upload"), stdin=source.stdout, stdout=subprocess.PIPE
        ) as upload,
    ):
        assert source.stdout is not None
        source.stdout.close()  # curl's alone, so that its end is head's
        printed, _ = upload.communicate()
    assert upload.returncode == 0
    assert said(printed)[0] == {"size": UPLOAD, "chunked": True}
    grown = [resident(node, "VmHWM") - was for node, was in zip(nodes, before, strict=True)]
    assert max(grown) < GROWTH, f"grew by {grown}"
