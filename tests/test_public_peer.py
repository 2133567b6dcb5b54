"""A program from outside at the proxy port: two hosts in network namespaces, joined by a public and a private network.

The addresses are documentation's (RFC 5737, public as far as a node is concerned) and private ones.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sdk.wire import frame
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


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts(require: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Two namespaces joined by a cable; they and the cable are gone afterwards."""
    require("ip")
    here, there = names = f"micro-{os.getpid()}-a", f"micro-{os.getpid()}-b"
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", here, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", there)
        for number, name in enumerate(names, 1):
            ip("-n", name, "address", "add", f"203.0.113.{number}/24", "dev", "cable")
            ip("-n", name, "address", "add", f"10.11.12.{number}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


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
