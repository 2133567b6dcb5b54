"""`micro proxy` as people start it."""

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.processes import PATIENCE, run, start

LOCAL = "127.0.0.1:0"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment of the test's own."""
    return {"MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db")}


class Page(BaseHTTPRequestHandler):
    """Says hello over HTTP."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def web() -> Iterator[str]:
    """The address of a web server that knows nothing of us."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_programs_call_through_it_by_its_name(env: dict[str, str]) -> None:
    call = ("micro", "call", "greeter", "Greeter.Hello", '{"name": "John"}')
    with start("micro", "proxy", "--address", LOCAL, env=env) as proxy, start("python", "examples/greeter.py", env=env):
        assert "token" not in proxy.stderr, "it links with nobody"
        for _ in range(100):  # each call is a process of its own
            done = run(*call, env=env | {"MICRO_PROXY": "go.micro.proxy"})
            if done.status == 0:
                break
        assert json.loads(done.stdout)["msg"] == "Hello John", done
        assert proxy.stop(signal.SIGTERM)[0] == 0
        assert run("micro", "list", "services", env=env).stdout == "greeter\n"


def test_before_a_back_end_it_registers_as_that_service(env: dict[str, str], tmp_path: Path) -> None:
    elsewhere = {"MICRO_REGISTRY_ADDRESS": str(tmp_path / "elsewhere.db")}
    with start("python", "examples/greeter.py", env=elsewhere) as greeter:
        variables = {
            "MICRO_SERVER_NAME": "greeter",
            "MICRO_SERVER_ADDRESS": LOCAL,
            "MICRO_PROXY_ENDPOINT": f"micro://{greeter.address()}",
        }
        with start("micro", "proxy", env=env | variables) as proxy:
            assert run("micro", "list", "services", env=env).stdout == "greeter\n"
            done = run("micro", "call", "greeter", "Greeter.Hello", '{"name": "John"}', env=env)
            assert (done.status, json.loads(done.stdout)["msg"]) == (0, "Hello John"), done
            assert proxy.stop(signal.SIGTERM)[0] == 0
        assert run("micro", "list", "services", env=env).stdout == ""


def test_the_address_of_a_proxy_beats_that_of_a_server(env: dict[str, str]) -> None:
    variables = {"MICRO_PROXY_ADDRESS": LOCAL, "MICRO_SERVER_ADDRESS": "nowhere"}
    with start("micro", "proxy", env=env | variables) as proxy:
        assert proxy.address("proxy").startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("arguments", "variables", "says"),
    [
        (("--address", "nowhere"), {}, "--address (MICRO_PROXY_ADDRESS)"),
        (("--endpoint", "localhost:1"), {}, "without --server-name (MICRO_SERVER_NAME)"),
        ((), {"MICRO_PROXY_ENDPOINT": "ftp://x:1", "MICRO_SERVER_NAME": "x"}, "--endpoint (MICRO_PROXY_ENDPOINT)"),
        ((), {"MICRO_PROXY_TOKEN": ""}, "--proxy-token (MICRO_PROXY_TOKEN)"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    env: dict[str, str], arguments: tuple[str, ...], variables: dict[str, str], says: str
) -> None:
    done = run("micro", "proxy", "--address", LOCAL, *arguments, env=env | variables)
    assert done.status == 2
    assert says in done.stderr


@pytest.mark.peers
def test_curl_reaches_a_web_server_behind_it_in_every_way_there_is(
    env: dict[str, str], web: str, require: Callable[[str], str]
) -> None:
    curl = [require("curl"), "-sS", "--max-time", "20"]
    front = ("--endpoint", f"tcp://{web}", "--server-name", "web")
    with start("micro", "proxy", "--address", LOCAL, *front, env=env) as proxy:
        address = proxy.address("proxy")
        for way in (("-p", "-x", f"http://{address}"), ("-x", f"socks5h://{address}")):
            done = subprocess.run([*curl, *way, "http://web/"], capture_output=True, check=False, timeout=PATIENCE)
            assert (done.returncode, done.stdout) == (0, b"hello"), done.stderr
