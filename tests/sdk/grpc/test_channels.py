"""Channels of grpcio to a service of the network: existing programs, through real nodes, to a servicer in a service."""

import asyncio  # noqa: TID251 - grpc.aio runs on it
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

import sdk.grpc
from sdk.errors import BadRequest, Unavailable
from tests.sdk.grpc.greetings import greeting, pb2, pb2_grpc
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


def test_several_nodes_take_calls_in_turn_and_for_one_another(world: World) -> None:
    proxies = f"{world.proxy},localhost:{world.far.address('proxy').rpartition(':')[2]},127.0.0.1:1"
    with sdk.grpc.insecure_channel("on-trio", proxy=proxies) as channel:
        stub = pb2_grpc.GreeterStub(channel)
        for _ in range(10):
            assert stub.SayHello(greeting("John"), timeout=10) == pb2.Answer(message="Hello John")


def test_a_service_that_is_not_there_is_named(world: World) -> None:
    with sdk.grpc.insecure_channel("nobody", proxy=world.proxy) as channel, pytest.raises(grpc.RpcError) as caught:
        pb2_grpc.GreeterStub(channel).SayHello(greeting("John"), timeout=10)
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
