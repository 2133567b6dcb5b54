"""A program from outside at the proxy port: two hosts in namespaces, joined by a public and a private network."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sdk.wire import frame
from tests.namespaces import joined
from tests.processes import Running

MICRO = str(Path(sys.executable).with_name("micro"))

# Connects, says hello as a program does, and prints how many bytes came back before the end or a second of silence.
PROGRAM = """
import socket, sys
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)
sock.sendall(bytes.fromhex(sys.argv[3]))
try:
    print(len(sock.recv(100)))
except ConnectionResetError:
    print(0)
"""


@pytest.fixture
def hosts(require: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    require("ip")
    with joined() as names:
        yield names


@pytest.mark.peers
def test_with_a_token_whoever_shows_it_is_let_in_from_anywhere_and_may_change_the_node(
    hosts: tuple[str, str], tmp_path: Path
) -> None:
    here, there = hosts
    env = {
        **os.environ,
        "MICRO_REGISTRY": "sqlite",
        "MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db"),
        "MICRO_NETWORK_TOKEN": "a secret of this test",
    }

    def asks(host: str, address: str, *words: str, token: str = "") -> tuple[int, str]:
        shown = {"MICRO_PROXY_TOKEN": token} if token else {}
        command = ["ip", "netns", "exec", host, MICRO, "network", *words, "--proxy-address", f"{address}:{port}"]
        done = subprocess.run(
            command, env=env | shown, check=False, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    node = ["ip", "netns", "exec", here, MICRO, "network", "--address", "127.0.0.1:0", "--proxy-address", ":0"]
    connect = ("connect", "127.0.0.1:9")
    for token in ("", "a secret of programs"):
        with Running(node, env | ({"MICRO_PROXY_TOKEN": token} if token else {})) as running:
            ready = running.wait_for("ready micro network")
            port = ready.split("proxy=")[1].split(",")[0].rpartition(":")[2].strip()
            assert asks(here, "127.0.0.1", *connect) == (0, "ok\n")
            for address in ("10.11.12.1", "203.0.113.1") if token else ():
                assert asks(there, address, "services", token=token) == (0, "go.micro.network\n")
                assert asks(there, address, *connect, token=token) == (0, "ok\n")
                for wrong, reason in (("", "this one showed none"), ("guess", "the one shown is another")):
                    status, said = asks(there, address, "services", token=wrong)
                    assert status == 1
                    assert reason in said
            if not token:
                assert asks(there, "10.11.12.1", "services") == (0, "go.micro.network\n")
                status, said = asks(there, "10.11.12.1", *connect)
                assert status == 1
                assert "Network.Connect changes this node" in said
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(timeout=30) == 0


@pytest.mark.peers
def test_the_proxy_port_lets_private_peers_in_and_no_public_ones(hosts: tuple[str, str], tmp_path: Path) -> None:
    here, there = hosts
    env = {
        **os.environ,
        "MICRO_REGISTRY": "sqlite",
        "MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db"),
        "MICRO_NETWORK_TOKEN": "a secret of this test",
    }
    hello = frame.PREFACE + frame.pack_frame(frame.HELLO, 0, 0, frame.pack_hello(frame.Hello(1, "client", 100)))

    def answer(address: str, port: str) -> int:
        """How many bytes a program on the other host gets to hear."""
        command = ["ip", "netns", "exec", there, sys.executable, "-c", PROGRAM, address, port, hello.hex()]
        return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout)

    node = ["ip", "netns", "exec", here, MICRO, "network", "--address", "127.0.0.1:0", "--proxy-address", ":0"]
    with Running(node, env) as running:
        ready = running.wait_for("ready micro network")
        port = ready.split("proxy=")[1].split(",")[0].rpartition(":")[2].strip()
        assert answer("10.11.12.1", port) > 0
        assert answer("203.0.113.1", port) == 0
        assert "203.0.113.2" in running.wait_for("refused a connection from")
        assert answer("10.11.12.1", port) > 0
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(timeout=30) == 0
