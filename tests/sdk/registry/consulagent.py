"""A real agent of Consul for tests, where the program is at hand: in its development mode, which keeps nothing."""

import json
import os
import socket
import urllib.parse
import urllib.request
from typing import Any, Self

from tests.processes import Running
from tests.sdk.registry.etcdserver import hold_port


class ConsulAgent:
    """Inside its `with` it runs. It is one of 1.14 or newer."""

    def __init__(self, program: str) -> None:
        self._held = [socket.socket() for _ in range(4)]
        self.port, *others = (hold_port(sock) for sock in self._held)
        ports = dict(zip(("server", "serf-lan", "serf-wan"), others, strict=True))
        self._command = [
            program, "agent", "-dev", "-bind=127.0.0.1", "-log-level=info", f"-http-port={self.port}",
            "-dns-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1",
            *(f"-{kind}-port={port}" for kind, port in ports.items()),
        ]  # fmt: skip
        self._running: Running | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._running is not None:
            self.kill()
        for sock in self._held:
            sock.close()

    def start(self) -> None:
        self._running = Running(self._command, dict(os.environ))
        self._running.__enter__()
        # Before it is known to its own server, what is registered with the agent is in no list.
        self._running.wait_for("agent: Synced node info")

    def kill(self) -> None:
        assert self._running is not None
        running, self._running = self._running, None
        running.process.kill()
        running.__exit__(None, None, None)

    def take_out(self, service: str, id: str) -> None:
        """What an operator might do behind everybody's back."""
        assert self.ask("GET", f"/v1/agent/service/{urllib.parse.quote(id, safe='')}")["Service"] == service
        self.ask("PUT", f"/v1/agent/service/deregister/{urllib.parse.quote(id, safe='')}")

    def wipe(self) -> None:
        """Returns when nothing is registered any more, as the servers know it too."""
        for id in self.ask("GET", "/v1/agent/services"):
            self.ask("PUT", f"/v1/agent/service/deregister/{urllib.parse.quote(id, safe='')}")
        while self.ask("GET", "/v1/catalog/services").keys() != {"consul"}:
            pass  # a matter of milliseconds

    def ask(self, method: str, path: str) -> Any:
        """What it says; None where that is nothing."""
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.loads(answer.read() or b"null")
