import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks import calls, nginx
from benchmarks.calls import Ports
from benchmarks.contenders import free_port, make_certificate
from benchmarks.hops import Chain, Direct, Hop, Proxies, Role, until_carries
from benchmarks.processes import running
from benchmarks.proxies import Caddy, Haproxy

HOUSE = Path(__file__).parents[2]


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.proxy", *arguments]
    return subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, check=False, timeout=150)


def hop(folder: Path, role: Role) -> Hop:
    for each in ("own", "other"):
        (folder / each).mkdir()
    own, other = make_certificate(folder / "own"), make_certificate(folder / "other")
    ports = [Ports(http=free_port(), grpc=free_port()) for _ in range(2)]
    return Hop(role=role, listen=ports[0], to=ports[1], folder=folder, own=own, other=other)


def ask(process: subprocess.Popen[bytes], port: int, context: ssl.SSLContext) -> str:
    while True:
        assert process.poll() is None
        with (
            suppress(ConnectionRefusedError),
            socket.create_connection(("127.0.0.1", port), 10) as sock,
            context.wrap_socket(sock, server_hostname="far") as link,
        ):
            link.sendall(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
            return link.recv(4096).split(b"\r\n")[0].decode()


def test_a_contender_nobody_knows_is_refused_with_the_names_of_those_there_are() -> None:
    done = benchmark("--only", "direct,carrier-pigeon")
    assert done.returncode == 2
    assert "carrier-pigeon" in done.stderr
    assert "micro-pair" in done.stderr


def test_a_proxy_that_is_not_installed_says_so(tmp_path: Path) -> None:
    assert Proxies(Haproxy(), [Role.ALONE], str(tmp_path)).missing() == "haproxy"
    assert Direct().missing() is None


@pytest.mark.parametrize("role", Role)
def test_caddy_puts_no_certificate_of_its_own_into_the_store_of_the_machine(tmp_path: Path, role: Role) -> None:
    Caddy().end("caddy", hop(tmp_path, role))
    apps = json.loads((tmp_path / "caddy.json").read_text())["apps"]
    assert apps["pki"]["certificate_authorities"]["local"]["install_trust"] is False
    assert all(server["automatic_https"]["disable"] for server in apps["http"]["servers"].values())


@pytest.mark.peers
@pytest.mark.parametrize("name", ["direct", "nginx-pair", "micro-pair"])
def test_calls_are_measured_through_nothing_through_a_pair_of_proxies_and_through_two_nodes(
    name: str, require: Callable[[str], str]
) -> None:
    for each in ("nginx", "wrk", "h2load"):
        require(each)
    done = benchmark("--quick", "--only", name, "--output", "json")
    assert done.returncode == 0, done.stderr + done.stdout
    figures = json.loads(done.stdout)["figures"][name]
    assert len(figures) == 16
    assert all(value > 0 for value in figures.values())


@pytest.mark.peers
def test_refused_calls_are_not_counted_as_answered(tmp_path: Path, require: Callable[[str], str]) -> None:
    ports = Ports(http=free_port(), grpc=free_port())
    end = nginx.nginx(
        require("nginx"),
        tmp_path,
        f"""
        server {{ listen 127.0.0.1:{ports.http}; location / {{ return 503; }} }}
        server {{ listen 127.0.0.1:{ports.grpc} http2; location / {{ add_header grpc-status 14; return 200; }} }}
        """,
    )
    with running(end.command, tmp_path / "log", end.env) as process:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("benchmarks.hops.PATIENCE", 1.0)
            chain = Chain(ports=ports, processes=[process], log=tmp_path / "log")
            with pytest.raises(OSError, match="status 503"):
                until_carries("nginx", chain, ["http"])
        with pytest.raises(OSError, match="HTTP requests"):
            calls.load_http(require("wrk"), tmp_path, ports, 4, 1)
        with pytest.raises(OSError, match="gRPC calls were answered with 0 bytes"):
            calls.load_grpc(require("h2load"), tmp_path, ports, 4, 1)


@pytest.mark.peers
def test_the_far_hop_of_a_pair_wants_the_certificate_of_the_near_one(
    tmp_path: Path, require: Callable[[str], str]
) -> None:
    far = hop(tmp_path, Role.FAR)
    end = nginx.Nginx().end(require("nginx"), far)
    trusting = ssl.create_default_context(cafile=far.own)
    known = ssl.create_default_context(cafile=far.own)
    known.load_cert_chain(far.other)
    with running(end.command, tmp_path / "log", end.env) as process:
        answers = [ask(process, far.listen.http, context) for context in (trusting, known)]
    assert answers == ["HTTP/1.1 400 Bad Request", "HTTP/1.1 502 Bad Gateway"]  # nobody is behind it
