"""Channels of grpcio to a service of the network: existing programs, through real nodes, to a servicer in a service."""

import asyncio  # noqa: TID251 - grpc.aio runs on it
import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

import sdk.grpc
from sdk.errors import BadRequest, Unavailable
from tests.sdk.grpc.greetings import InThreads, greeting, pb2, pb2_grpc
from tests.twonodes import World

PROGRAM = """
import sdk.grpc
from sdk import Service
from tests.sdk.grpc.greetings import InThreads, OnTrio, pb2, pb2_grpc
import grpc

class Servicer({base}):
    {kind} SayHello(self, request, context):
        if request.name == "nobody":
            context.set_trailing_metadata((("x-last-bin", b"\\xff"),))
            {await_}context.abort(grpc.StatusCode.FAILED_PRECONDITION, "who is there?")
        return pb2.Answer(message=f"Hello {{request.name}}")

service = Service({name!r})
sdk.grpc.mount(service, Servicer(), pb2_grpc.add_GreeterServicer_to_server)
service.run()
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        world = World(tmp_path_factory.mktemp("world"), stack)
        for name, base, kind, await_ in (
            ("in-threads", "InThreads", "def", ""),
            ("on-trio", "OnTrio", "async def", "await "),
        ):
            world.start("python", "-c", PROGRAM.format(base=base, kind=kind, await_=await_, name=name))
        world.until_known("in-threads", "on-trio")
        yield world


@pytest.mark.parametrize("service", ["in-threads", "on-trio"])
def test_a_blocking_program_calls_through_nodes(world: World, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICRO_PROXY", world.proxy)
    with sdk.grpc.insecure_channel(service) as channel:
        stub = pb2_grpc.GreeterStub(channel)
        assert stub.SayHello(greeting("John")) == pb2.Answer(message="Hello John")
        assert [reply.message for reply in stub.Count(greeting("n", 2))] == ["n 0", "n 1"]
        assert stub.Join(map(greeting, "ab")) == pb2.Answer(message="a b")
        assert [reply.message for reply in stub.Chat(map(greeting, "a"))] == ["speak", "Hello a"]
        with pytest.raises(grpc.RpcError) as caught:
            stub.SayHello(greeting("nobody"))
        error: Any = caught.value
        assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "who is there?")
        assert dict(error.trailing_metadata())["x-last-bin"] == b"\xff"


@pytest.mark.parametrize("service", ["in-threads", "on-trio"])
def test_a_program_on_asyncio_calls_through_nodes(world: World, service: str) -> None:
    async def call_all() -> None:
        async with sdk.grpc.aio_channel(service, proxy=world.proxy) as channel:
            stub = pb2_grpc.GreeterStub(channel)
            assert await stub.SayHello(greeting("John")) == pb2.Answer(message="Hello John")
            assert [reply.message async for reply in stub.Count(greeting("n", 2))] == ["n 0", "n 1"]
            assert await stub.Join(map(greeting, "ab")) == pb2.Answer(message="a b")
            assert [reply.message async for reply in stub.Chat(map(greeting, "a"))] == ["speak", "Hello a"]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.SayHello(greeting("nobody"))
            assert (caught.value.code(), caught.value.details()) == (
                grpc.StatusCode.FAILED_PRECONDITION,
                "who is there?",
            )

    asyncio.run(call_all())


class Node(InThreads):
    """Stands for a node that has the service, and writes down what it is shown."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self.shown: list[dict[str, Any]] = []
        server = grpc.server(ThreadPoolExecutor(2))
        pb2_grpc.add_GreeterServicer_to_server(self, server)
        self.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        stack.callback(lambda: server.stop(0).wait())

    def SayHello(self, request: Any, context: Any) -> Any:
        self.shown.append(dict(context.invocation_metadata()))
        return super().SayHello(request, context)


def test_several_nodes_take_calls_in_turn_and_one_that_is_gone_is_passed_over() -> None:
    with ExitStack() as stack:
        nodes = [Node(stack), Node(stack)]
        proxies = ",".join(("localhost:1", *(node.address for node in nodes)))
        with sdk.grpc.insecure_channel("greeter", proxy=proxies) as channel:
            stub = pb2_grpc.GreeterStub(channel)
            for _ in range(1000):
                assert stub.SayHello(greeting("John"), timeout=30) == pb2.Answer(message="Hello John")
                if all(node.shown for node in nodes):
                    break
        assert all(node.shown for node in nodes)


def test_nodes_are_shown_the_service_and_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        node = Node(stack)
        with sdk.grpc.insecure_channel("greeter", proxy=node.address) as channel:
            pb2_grpc.GreeterStub(channel).SayHello(greeting("John"), timeout=30)
        monkeypatch.setenv("MICRO_PROXY_TOKEN", "a secret")
        with sdk.grpc.insecure_channel("greeter", proxy=node.address) as channel:
            pb2_grpc.GreeterStub(channel).SayHello(greeting("John"), timeout=30)
    without, shown = node.shown
    assert without["micro-service"] == "greeter"
    assert "proxy-authorization" not in without
    _, _, name_and_token = base64.b64decode(shown["proxy-authorization"].removeprefix("Basic ")).partition(b":")
    assert name_and_token == b"a secret"


def test_a_service_that_is_not_there_is_named(world: World) -> None:
    with sdk.grpc.insecure_channel("nobody", proxy=world.proxy) as channel, pytest.raises(grpc.RpcError) as caught:
        pb2_grpc.GreeterStub(channel).SayHello(greeting("John"), timeout=30)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert "nobody" in error.details()


@pytest.mark.parametrize(
    ("proxy", "text"),
    [
        ("", "no node is named: give proxy, or MICRO_PROXY, as host:port"),
        ("go.micro.network", "'go.micro.network' is a name in a registry: give proxy, or MICRO_PROXY"),
        ("[::1]:8081,127.0.0.1:8081", "by IPv4 or by IPv6, not by both at once"),
    ],
)
def test_what_names_no_node_is_refused(proxy: str, text: str) -> None:
    with pytest.raises(BadRequest, match=text):
        sdk.grpc.insecure_channel("greeter", proxy=proxy)


def test_a_node_that_cannot_be_found_is_named() -> None:
    with pytest.raises(Unavailable, match=r"the node nowhere\.invalid:8081 \(proxy, MICRO_PROXY\) cannot be found"):
        sdk.grpc.insecure_channel("greeter", proxy="127.0.0.1:8081,nowhere.invalid:8081")


def test_several_nodes_may_be_ipv6() -> None:
    sdk.grpc.insecure_channel("greeter", proxy="[::1]:8081,[::1]:8082").close()
