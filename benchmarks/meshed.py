"""Our own nodes, as the benchmark of proxies runs them: one, or two that are linked over TCP."""

import contextlib
import json
import os
import secrets
import subprocess
from pathlib import Path

from benchmarks.calls import SERVICE, WEB, Ports
from benchmarks.contenders import MICRO
from benchmarks.hops import Chain, Contender, Processes, until_carries
from benchmarks.processes import ROOT, running


class Micro(Contender):
    """`micro network` nodes; the back end is registered with the one that is beside it."""

    def __init__(self, nodes: int) -> None:
        self.name = "micro" if nodes == 1 else "micro-pair"
        self._nodes = nodes

    def missing(self) -> str | None:
        """It comes with this benchmark."""
        return None

    def start(self, backend: Ports, folder: Path, stack: contextlib.ExitStack) -> Chain:
        """From the back end to the callers; each node but the one at the back end has an empty registry."""
        log = folder / "log"
        token = secrets.token_hex()
        processes: Processes = []
        ready: dict[str, str] = {}
        for number in range(self._nodes):
            env = {
                "MICRO_NETWORK_TOKEN": token,
                "MICRO_REGISTRY": "sqlite",
                "MICRO_REGISTRY_ADDRESS": str(folder / f"{number}.db"),
            }
            if not number:
                register(WEB, "http", backend.http, env)
                register(SERVICE, "grpc", backend.grpc, env)
            command = [MICRO, "network", "--address", "127.0.0.1:0", "--proxy-address", "127.0.0.1:0"]
            if ready:
                command += ["--nodes", f"tcp://{ready['link']}"]
            own = folder / f"{number}.log"
            processes.append(stack.enter_context(running(command, own, env)))
            ready = until_ready(processes[-1], own)
        port = int(ready["proxy"].rpartition(":")[2])
        ports = Ports(http=port, grpc=port)
        log.write_text("".join((folder / f"{number}.log").read_text() for number in range(self._nodes)))
        until_carries(self.name, ports, processes, log)
        return Chain(ports=ports, processes=processes)


def register(name: str, protocol: str, port: int, env: dict[str, str]) -> None:
    """Tells a registry of a service on loopback."""
    node = {"id": f"{name}-1", "address": f"127.0.0.1:{port}", "metadata": {"protocol": protocol}}
    command = [MICRO, "register", "service", json.dumps({"name": name, "nodes": [node]})]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"micro register service ended with status {done.returncode}: {done.stderr}")


def until_ready(process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    """The addresses in a node's `ready …` line, once it has printed it; raises OSError when it ends before."""
    while True:
        lines = [line for line in log.read_text().splitlines(keepends=True) if line.startswith("ready")]
        if lines and lines[0].endswith("\n"):
            return dict(word.split("=", 1) for word in lines[0].split() if "=" in word)
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = process.wait(0.02)
            raise OSError(f"micro network ended with status {status}: {log.read_text()}")
