"""Programs that know nothing of us reach services through two nodes, the first of which they speak TLS to."""

import http.server
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import grpc
import pytest

from tests.processes import PATIENCE
from tests.test_any_call import Methods, Web
from tests.tunnel.transport.certificates import ca_file, files
from tests.twonodes import UNBOUNDED, World

NAME = "node.example.com"


class Port(NamedTuple):
    """A proxy port that shows a certificate for `NAME`, and the CA to believe."""

    address: str
    ca: str


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    folder = tmp_path_factory.mktemp("tls")
    tls = files(folder, NAME)
    with ExitStack() as stack:
        there = World(folder, stack, "--proxy-tls-cert", tls.cert, "--proxy-tls-key", tls.key)
        there.serve_grpc("greeter", Methods())
        web = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web))
        web.daemon_threads = True
        threading.Thread(target=web.serve_forever, daemon=True).start()
        stack.callback(web.shutdown)
        there.register("web", web.server_port, "http")
        there.until_known("greeter", "web")
        yield Port(there.proxy, ca_file(folder))


def test_grpcio_calls_over_tls(port: Port) -> None:
    with open(port.ca, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    options = (*UNBOUNDED, ("grpc.ssl_target_name_override", NAME))
    with grpc.secure_channel(port.address, credentials, options=options) as secure:
        channel: Any = secure
        assert channel.unary_unary("/greeter.Greeter/Hello")(b"world", timeout=PATIENCE) == b"hello world"
        large = bytes(range(256)) * 20_000
        echo = channel.stream_stream("/greeter.Greeter/Echo")
        assert list(echo(iter([large, b"", b"x"]), timeout=PATIENCE)) == [large, b"", b"x"]
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/greeter.Greeter/Refuse")(b"", timeout=PATIENCE)
        assert caught.value.code() is grpc.StatusCode.ABORTED


def test_a_channel_that_does_not_know_the_ca_is_told_so_by_tls_and_no_call_runs(port: Port) -> None:
    options = (("grpc.ssl_target_name_override", NAME),)
    with grpc.secure_channel(port.address, grpc.ssl_channel_credentials(), options=options) as secure:
        channel: Any = secure
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/greeter.Greeter/Hello")(b"world", timeout=PATIENCE)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("flags", "version"), [(("--http2",), "2"), (("--http1.1",), "1.1"), (("--http2", "--tls-max", "1.2"), "2")]
)
@pytest.mark.peers
def test_curl_speaks_the_version_that_was_agreed_upon(
    port: Port, require: Callable[[str], str], flags: tuple[str, ...], version: str
) -> None:
    command = [
        require("curl"), "-sS", *flags, "--cacert", port.ca, "--connect-to", f"::{port.address}",
        "--max-time", str(PATIENCE), "-H", "Micro-Service: web", "-w", "\n%{http_version} %{scheme}",
        f"https://{NAME}/hello",
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=2 * PATIENCE)
    body, said = done.stdout.rsplit("\n", 1)
    assert said == f"{version} HTTPS"
    assert '"path": "/hello"' in body
    assert "proto=https" in body
    upload = [*command[:-3], "--data-binary", "@-", *command[-3:]]
    done = subprocess.run(
        upload, check=True, capture_output=True, text=True, timeout=2 * PATIENCE, input="x" * 5_000_000
    )
    assert done.stdout.partition("\n")[0] == "5000000"


@pytest.mark.peers
def test_curl_uses_the_port_as_a_proxy_that_speaks_https(port: Port, require: Callable[[str], str]) -> None:
    host, _, number = port.address.rpartition(":")
    command = [
        require("curl"), "-sS", "--proxy-cacert", port.ca, "--resolve", f"{NAME}:{number}:{host}", "--max-time",
        str(PATIENCE), "-x", f"https://{NAME}:{number}",
    ]  # fmt: skip
    for more in ((), ("--proxytunnel",)):
        done = subprocess.run([*command, *more, "http://web/hello"], check=False, capture_output=True, text=True)
        assert '"path": "/hello"' in done.stdout, done.stderr


def test_what_is_agreed_upon_is_http2_where_the_program_knows_it(port: Port) -> None:
    """RFC 7301: the server's own order decides."""
    host, _, number = port.address.rpartition(":")
    for offered, chosen in ((["http/1.1", "h2"], "h2"), (["http/1.1"], "http/1.1"), (["acme"], None)):
        context = ssl.create_default_context(cafile=port.ca)
        context.set_alpn_protocols(offered)
        with context.wrap_socket(socket.create_connection((host, int(number))), server_hostname=NAME) as tls:
            assert tls.selected_alpn_protocol() == chosen
