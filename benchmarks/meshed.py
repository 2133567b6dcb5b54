"""Our own nodes, as the benchmark of proxies runs them: one, or two that are linked over TCP."""

import contextlib
import json
import os
import secrets
import subprocess
from pathlib import Path

from benchmarks.calls import SERVICE, WEB, Ports
from benchmarks.contenders import MICRO
from benchmarks.hops import Chain, Contender, Processes
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
            processes.append(stack.enter_context(running(command, log, env)))
            ready = until_ready(processes[-1], log, number)
        port = int(ready["proxy"].rpartition(":")[2])
        return Chain(ports=Ports(http=port, grpc=port), processes=processes, log=log)


def register(name: str, protocol: str, port: int, env: dict[str, str]) -> None:
    """Tells a registry of a service on loopback."""
    node = {"id": f"{name}-1", "address": f"127.0.0.1:{port}", "metadata": {"protocol": protocol}}
    command = [MICRO, "register", "service", json.dumps({"name": name, "nodes": [node]})]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"micro register service ended with status {done.returncode}: {done.stderr}")


def until_ready(process: subprocess.Popen[bytes], log: Path, number: int) -> dict[str, str]:
    """The addresses in the `ready …` line of the node of this number, counted from 0, once it stands in the log that
    all write to; raises OSError when the node ends before."""
    while True:
        lines = [line for line in log.read_text().splitlines(keepends=True) if line.startswith("ready")]
        if len(lines) > number and lines[number].endswith("\n"):
            return dict(word.split("=", 1) for word in lines[number].split() if "=" in word)
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = process.wait(0.02)
            raise OSError(f"micro network ended with status {status}: {log.read_text()}")
