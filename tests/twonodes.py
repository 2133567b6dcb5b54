"""Two real nodes in two environments for tests of programs that know nothing of us: callers here, instances there.

with ExitStack() as stack:
    world = World(folder, stack)                 # `near` is the callers' node, `far` the instances'
    world.register("greeter", port, "grpc")      # an instance at this port of the machine, told to `far`
    world.until_known("greeter")
    world.proxy                                  # where callers connect to
"""

import json
import time
from concurrent import futures
from contextlib import ExitStack
from pathlib import Path

import grpc

from tests.processes import PATIENCE, Running, run, start

UNBOUNDED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
"""Options for messages of any size, of channels and of servers."""


class World:
    """Two environments: the callers' node, and the other one with the instances."""

    def __init__(self, folder: Path, stack: ExitStack, *flags: str) -> None:
        """`flags` are more of the near node's."""
        self._stack = stack
        self._folder = folder
        self.far = self.node("far")
        self.near = self.node("near", "--nodes", self.far.address("link"), *flags)
        self.proxy = self.near.address("proxy")
        self.host, _, port = self.proxy.rpartition(":")
        self.port = int(port)

    def env(self, name: str) -> dict[str, str]:
        """The settings of an environment."""
        return {
            "MICRO_REGISTRY": "sqlite",
            "MICRO_REGISTRY_ADDRESS": str(self._folder / f"{name}.db"),
            "MICRO_NETWORK_TOKEN": "a secret of this test",
        }

    def node(self, name: str, *flags: str) -> Running:
        """Starts a node."""
        local = "127.0.0.1:0"
        command = ("micro", "network", "--name", name, "--address", local, "--proxy-address", local, *flags)
        return self._stack.enter_context(start(*command, env=self.env(name)))

    def start(self, *command: str) -> Running:
        """Starts a program where the instances are."""
        return self._stack.enter_context(start(*command, env=self.env("far")))

    def register(self, service: str, port: int, protocol: str) -> None:
        """Tells the far registry of an instance."""
        record = {
            "name": service,
            "nodes": [{"id": f"{service}-1", "address": f"127.0.0.1:{port}", "metadata": {"protocol": protocol}}],
        }
        assert run("micro", "register", "service", json.dumps(record), env=self.env("far")).status == 0

    def until_known(self, *services: str) -> None:
        """Waits until the near node knows of them."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            asked = run("micro", "network", "services", "--proxy-address", self.proxy, env=self.env("near"))
            if set(services) <= set(asked.stdout.split()):
                return
        raise AssertionError(f"{services} did not become known: {asked}")

    def serve_grpc(self, service: str, *handlers: grpc.GenericRpcHandler) -> grpc.Server:
        """Starts grpcio's server in this process, as an instance of a service; more may be added to it."""
        server = grpc.server(futures.ThreadPoolExecutor(8), options=UNBOUNDED)
        server.add_generic_rpc_handlers(handlers)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self._stack.callback(lambda: server.stop(0).wait())
        self.register(service, port, "grpc")
        return server
