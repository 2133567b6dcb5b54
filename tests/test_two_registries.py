"""Two hosts whose programs keep to different registries, etcd and multicast DNS: each calls what the other offers."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.namespaces import joined
from tests.processes import PATIENCE, Done, Running, run, start
from tests.sdk.registry.etcdserver import EtcdServer

pytestmark = pytest.mark.peers

MICRO = str(Path(sys.executable).with_name("micro"))

SERVICE = """
from sdk import Service

service = Service("NAME")

@service.handle("Greeter.Hello")
async def hello(request):
    return {"msg": f"NAME greets {request['name']}"}

service.run()
"""

# It knows where its node is, and no more.
CALLER = """
import sys, trio
from sdk import Client

async def main():
    async with Client() as client:
        print((await client.call(sys.argv[1], "Greeter.Hello", {"name": "John"}))["msg"])

trio.run(main)
"""


class Host:
    """A namespace with a node, whose programs use one registry."""

    def __init__(self, namespace: str, address: str, registry: dict[str, str], stack: ExitStack) -> None:
        self._before = ("ip", "netns", "exec", namespace)
        self._address = address
        self._stack = stack
        self._env = {**registry, "MICRO_NETWORK_TOKEN": "a secret of this test"}
        self._node: Running | None = None

    def link(self, *nodes: str) -> str:
        """Starts the node; where others link to it."""
        self._node = self.start(
            MICRO, "network", "--address", f"{self._address}:0", "--proxy-address", "127.0.0.1:0",
            "--resolver", "static", "--nodes", ",".join(nodes),
        )  # fmt: skip
        return self._node.address("link")

    def start(self, *command: str) -> Running:
        return self._stack.enter_context(start(*self._before, *command, env=self._env))

    def listed(self) -> list[str]:
        """What this host's own registry holds, besides what belongs to micro itself."""
        done = run(*self._before, MICRO, "list", "services", env=self._env)
        assert done.status == 0, done.stderr
        return [name for name in done.stdout.split() if not name.startswith("go.micro.")]

    def run(self, *command: str) -> Done:
        """Runs a program that knows the node, and no registry."""
        assert self._node is not None
        return run(*self._before, *command, env={"MICRO_PROXY": self._node.address("proxy")})

    def calls(self, service: str) -> str:
        """What a program with the SDK is answered, as soon as it is answered."""
        until = time.monotonic() + PATIENCE
        while (done := self.run(sys.executable, "-c", CALLER, service)).status:
            assert time.monotonic() < until, done.stderr
        return done.stdout.strip()

    def curl(self, service: str) -> str:
        assert self._node is not None
        done = self.run(
            "curl", "--disable", "-sS", "--fail", "--max-time", "30", "-x", f"http://{self._node.address('proxy')}",
            "-H", "Content-Type: application/json", "-d", '{"name": "John"}', f"http://{service}/Greeter/Hello",
        )  # fmt: skip
        assert done.status == 0, done.stderr
        return str(json.loads(done.stdout)["msg"])


@pytest.fixture
def hosts(require: Callable[[str], str], tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    """One with etcd, and one with multicast DNS."""
    for program in ("ip", "curl"):
        require(program)
    etcd = require("etcd")
    with joined() as (here, there), ExitStack() as stack:
        server = stack.enter_context(EtcdServer(etcd, tmp_path, before=("ip", "netns", "exec", here)))
        of_etcd = {"MICRO_REGISTRY": "etcd", "MICRO_REGISTRY_ADDRESS": f"127.0.0.1:{server.port}"}
        yield (
            Host(here, "10.11.12.1", of_etcd, stack),
            Host(there, "10.11.12.2", {"MICRO_REGISTRY": "mdns"}, stack),
        )


def test_services_of_either_registry_are_called_from_both_hosts_by_programs_that_know_of_neither(
    hosts: tuple[Host, Host],
) -> None:
    with_etcd, with_mdns = hosts
    with_mdns.link(with_etcd.link())
    with_etcd.start(sys.executable, "-c", SERVICE.replace("NAME", "of-etcd"))
    with_mdns.start(sys.executable, "-c", SERVICE.replace("NAME", "of-mdns"))
    for host in hosts:
        for service in ("of-etcd", "of-mdns"):
            assert host.calls(service) == f"{service} greets John"
            assert host.curl(service) == f"{service} greets John"
    # Nothing was carried from one registry into the other, and neither was read across the cable.
    assert with_etcd.listed() == ["of-etcd"]
    assert with_mdns.listed() == ["of-mdns"]
