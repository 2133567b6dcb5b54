"""A real agent of Consul for tests, where the program is at hand: in its development mode, which keeps nothing."""

import json
import urllib.parse
import urllib.request
from typing import Any

from tests.sdk.registry.processserver import ProcessServer


class ConsulAgent(ProcessServer):
    """Inside its `with` it runs. It is one of 1.14 or newer."""

    READY = "agent: Synced node info"  # before, what is registered with the agent is in no list

    def __init__(self, program: str) -> None:
        super().__init__()
        self.port = self.hold_port()
        ports = {kind: self.hold_port() for kind in ("server", "serf-lan", "serf-wan")}
        self.command = [
            program, "agent", "-dev", "-bind=127.0.0.1", "-log-level=info", f"-http-port={self.port}",
            "-dns-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1",
            *(f"-{kind}-port={port}" for kind, port in ports.items()),
        ]  # fmt: skip

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
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return json.loads(answer.read() or b"null")
