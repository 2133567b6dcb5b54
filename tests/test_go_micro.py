"""A service of go-micro v2, as it stands in etcd, called through two nodes the way go-micro calls it.

The record and the requests are written down here byte for byte, as go-micro v2.9 makes them: it is not there to do so.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events
import httpx
import pytest

from sdk import Client
from tests.processes import PATIENCE
from tests.sdk.registry.etcdserver import EtcdServer
from tests.twonodes import World

pytestmark = pytest.mark.peers

NAME = "go.micro.srv.greeter"
ID = f"{NAME}-0d7a7c0e-3f0c-4a3e-9f6a-0c8b5a1c6f11"
PATH = f"/{NAME}.Greeter/Hello"

RECORD = (
    '{"name":"NAME","version":"latest","metadata":null,"endpoints":[{"name":"Greeter.Hello","request":{"name":"Request",'
    '"type":"Request","values":[{"name":"name","type":"string","values":null}]},"response":{"name":"Response","type":'
    '"Response","values":[{"name":"msg","type":"string","values":null}]},"metadata":{}},{"name":"Greeter.Stream",'
    '"request":{"name":"Context","type":"Context","values":null},"response":{"name":"Stream","type":"Stream","values":'
    'null},"metadata":{"stream":"true"}}],"nodes":[{"id":"ID","address":"ADDRESS","metadata":{"broker":"http",'
    '"protocol":"grpc","registry":"etcd","server":"grpc","transport":"grpc"}}]}'
)


class MicroWorld(World):
    """Two environments: the callers' node has SQLite, the other one etcd."""

    def __init__(self, folder: Path, stack: ExitStack, etcd: EtcdServer) -> None:
        self.etcd = etcd
        super().__init__(folder, stack)

    def env(self, name: str) -> dict[str, str]:
        env = super().env(name)
        if name == "far":
            env |= {"MICRO_REGISTRY": "etcd", "MICRO_REGISTRY_ADDRESS": f"127.0.0.1:{self.etcd.port}"}
        return env

    def offer(self, port: int) -> None:
        """Writes the record as go-micro does: on a lease of its RegisterTTL."""
        lease = int(self.etcd.ask("/v3/lease/grant", {"TTL": "90"})["ID"])
        record = RECORD.replace("NAME", NAME).replace("ID", ID).replace("ADDRESS", f"127.0.0.1:{port}")
        self.etcd.put(f"/micro/registry/{NAME}/{ID}", record.encode(), lease)
        self.until_known(NAME)


@pytest.fixture
def world(require: Callable[[str], str], tmp_path: Path) -> Iterator[MicroWorld]:
    with ExitStack() as stack:
        etcd = stack.enter_context(EtcdServer(require("etcd"), tmp_path))
        yield MicroWorld(tmp_path, stack, etcd)


class Instance:
    """Answers as go-micro's gRPC server: in the content type it was asked in. Inside its `with`."""

    def __init__(self) -> None:
        self.heads: list[dict[str, str]] = []
        """Of the requests."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> "Instance":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # the block is left
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        machine = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        machine.initiate_connection()
        bodies: dict[int, bytes] = {}
        heads: dict[int, dict[str, str]] = {}
        with sock:
            sock.sendall(machine.data_to_send())
            while data := sock.recv(65536):
                for event in machine.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        heads[event.stream_id] = {str(name): str(value) for name, value in event.headers or ()}
                    elif isinstance(event, h2.events.DataReceived):
                        bodies[event.stream_id] = bodies.get(event.stream_id, b"") + (event.data or b"")
                    elif isinstance(event, h2.events.StreamEnded):
                        self._answer(machine, event.stream_id, heads[event.stream_id], bodies[event.stream_id])
                sock.sendall(machine.data_to_send())

    def _answer(self, machine: Any, stream: int, head: dict[str, str], body: bytes) -> None:
        self.heads.append(head)
        name = json.loads(body[5:])["name"]
        machine.send_headers(stream, [(":status", "200"), ("content-type", head["content-type"])])
        machine.send_data(stream, framed(json.dumps({"msg": f"Hello {name}"}).encode()))
        machine.send_headers(stream, [("grpc-status", "0")], end_stream=True)


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def test_an_unmodified_grpc_program_calls_it_by_go_micros_path(world: MicroWorld) -> None:
    heard: list[str] = []

    class Greeter(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> Any:
            heard.append(details.method)
            return grpc.unary_unary_rpc_method_handler(lambda request, context: b"\n\x05Hello" + request)

    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Greeter()])
    world.offer(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    with grpc.insecure_channel(world.proxy) as channel:
        hello: Callable[..., Any] = channel.unary_unary(PATH)
        metadata = (("timeout", "5000000000"), ("x-content-type", "application/grpc+proto"))
        assert hello(b"\n\x04John", metadata=metadata, timeout=PATIENCE) == b"\n\x05Hello\n\x04John"
    server.stop(0).wait()
    assert heard == [PATH]


def test_json_over_grpc_arrives_as_go_micro_says_it(world: MicroWorld) -> None:
    with Instance() as instance:
        world.offer(instance.port)
        with httpx.Client(http1=False, http2=True, timeout=PATIENCE) as http:
            answer = http.post(
                f"http://{world.proxy}{PATH}",
                headers={
                    "content-type": "application/grpc+json",
                    "te": "trailers",
                    "timeout": "5000000000",
                    "x-content-type": "application/grpc+json",
                    "x-tenant": "blue",
                },
                content=framed(b'{"name":"John"}'),
            )
        assert answer.headers["content-type"] == "application/grpc+json"
        assert answer.content == framed(b'{"msg": "Hello John"}')
        [head] = instance.heads
        assert (head[":path"], head["content-type"]) == (PATH, "application/grpc+json")
        assert (head["x-tenant"], head["timeout"]) == ("blue", "5000000000")


async def test_a_program_with_the_sdk_calls_it_in_json(world: MicroWorld) -> None:
    with Instance() as instance:
        world.offer(instance.port)
        async with Client(proxy=world.proxy) as client:
            reply = await client.call(NAME, "Greeter.Hello", {"name": "John"}, content_type="application/json")
        assert reply == {"msg": "Hello John"}
        [head] = instance.heads
        assert (head[":path"], head["content-type"]) == (PATH, "application/grpc+json")
