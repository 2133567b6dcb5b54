"""A real etcd for tests: one server on ports of its own, which can be killed, stopped and started again."""

import base64
import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any

from tests.sdk.registry.processserver import ProcessServer


class EtcdServer(ProcessServer):
    """Inside its `with` it runs."""

    READY = "ready to serve client requests"

    def __init__(
        self, program: str, folder: Path, *more: str, scheme: str = "http", before: tuple[str, ...] = ()
    ) -> None:
        """`before` stands before the command, as `ip netns exec …`; `ask` then reaches nobody."""
        super().__init__()
        self._data = folder / "etcd"
        self.port, peers = self.hold_port(), self.hold_port()
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        between = f"http://127.0.0.1:{peers}"
        self.command = [
            *before, program, f"--data-dir={self._data}", "--name=one",
            f"--listen-client-urls={self.url}", f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls={between}", f"--initial-advertise-peer-urls={between}",
            f"--initial-cluster=one={between}",
            # Elections are a matter of milliseconds on one host, and the shortest lease depends on them.
            "--heartbeat-interval=10", "--election-timeout=100", *more,
        ]  # fmt: skip

    def forget(self) -> None:
        """While it does not run: as if it had never been."""
        shutil.rmtree(self._data)

    def take_out(self, name: str, id: str) -> None:
        """Deletes an instance behind the back of whoever registered it."""
        self.delete(f"/micro/registry/{name}/{id}")

    def ask(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        """What somebody else might do to it."""
        asked = urllib.request.Request(self.url + path, data=json.dumps(request).encode())
        with urllib.request.urlopen(asked, timeout=30) as answer:
            said = json.load(answer)
        assert isinstance(said, dict)
        return said

    def put(self, key: str, value: bytes, lease: int = 0) -> None:
        self.ask("/v3/kv/put", {"key": b64(key), "value": base64.b64encode(value).decode(), "lease": str(lease)})

    def delete(self, key: str) -> None:
        self.ask("/v3/kv/deleterange", {"key": b64(key)})

    def wipe(self) -> None:
        self.ask("/v3/kv/deleterange", {"key": b64("/"), "range_end": b64("0")})

    def revision(self) -> int:
        return int(self.ask("/v3/kv/range", {"key": b64("/")})["header"]["revision"])

    def compact(self) -> None:
        self.ask("/v3/kv/compaction", {"revision": str(self.revision()), "physical": True})

    def leases(self) -> list[int]:
        return [int(lease["ID"]) for lease in self.ask("/v3/lease/leases", {}).get("leases", [])]


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
