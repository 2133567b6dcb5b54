"""A proxy alone: what it is told, and its calls, with real services and servers in one process."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
import trio
from trio.testing import MockClock

from mesh.alone import (
    PROXY_SERVICE,
    Alone,
    BackEnd,
    parse_back_end,
    proxy_values,
    refuse_itself,
    with_back_end,
)
from mesh.config import NodeConfig
from mesh.node import Node, Ready
from sdk import Client
from sdk.errors import BadRequest, MicroError, NotFound, TooManyRequests, Unavailable
from sdk.port.limits import DEFAULT, Limits
from sdk.rawsocket import RawSocket, bound_address, listen_tcp, open_tcp
from sdk.registry.memory import MemoryRegistry
from sdk.types import Instance, Service
from sdk.wire.http2 import PREFACE, SETTINGS, pack_frame
from tests.mesh.network import greeter, until, world
from tests.net import kept_address, nobody
from tests.proxy.raw import echo, read_to_end, serve
from tests.proxy.test_grpc import GREETER, OPTIONS
from tests.proxy.test_grpc import greeter as grpc_server
from tests.proxy.web import WebServer


@pytest.mark.parametrize(
    ("text", "address", "metadata"),
    [
        ("localhost:10001", "localhost:10001", {"protocol": "grpc"}),
        ("grpc://10.0.0.1:10001", "10.0.0.1:10001", {"protocol": "grpc"}),
        ("http://[::1]:8080/", "[::1]:8080", {"protocol": "http"}),
        (" tcp://:5432 ", "127.0.0.1:5432", {"protocol": "tcp"}),
        ("micro://greeter.internal:9000", "greeter.internal:9000", {"protocol": "grpc", "native": "1"}),
    ],
)
def test_a_back_end_is_an_address_and_what_it_speaks(text: str, address: str, metadata: dict[str, str]) -> None:
    back_end = parse_back_end("web", text)
    [instance] = back_end.record.instances
    assert (back_end.record.name, instance.address, instance.metadata) == ("web", address, metadata)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("web", "nowhere", "is 'nowhere'"),
        ("web", "http://localhost", "is 'http://localhost'"),
        ("web", "http://localhost:80/path", "is 'http://localhost:80/path'"),
        ("web", "tcp://localhost:0", "port 0 is nobody's"),
        ("web", "https://localhost:443", "has https://; known are grpc, http, tcp, micro"),
        ("", "localhost:1", r"--server-name \(MICRO_SERVER_NAME\) is ''"),
        ("a\nb", "localhost:1", r"--server-name \(MICRO_SERVER_NAME\) is 'a\\nb'"),
        ("go.micro.network", "localhost:1", r"--server-name \(MICRO_SERVER_NAME\) is 'go.micro.network'"),
    ],
)
def test_what_is_no_back_end_is_refused_naming_the_flag(name: str, text: str, complaint: str) -> None:
    with pytest.raises(BadRequest, match=r"--endpoint \(MICRO_PROXY_ENDPOINT\).*" + complaint):
        parse_back_end(name, text)


@pytest.mark.parametrize(
    ("address", "bound", "itself"),
    [
        ("127.0.0.1:8081", "127.0.0.1:8081", True),
        ("localhost:8081", "127.0.0.1:8081", True),
        ("localhost:8081", "[::]:8081", True),
        ("127.0.0.1:8081", "0.0.0.0:8081", True),
        ("127.0.0.1:8082", "0.0.0.0:8081", False),
        ("127.0.0.2:8081", "127.0.0.1:8081", False),
        ("localhost:8081", "10.0.0.1:8081", False),
        ("web.internal:8081", "0.0.0.0:8081", False),
    ],
)
def test_a_proxy_does_not_stand_before_itself(address: str, bound: str, itself: bool) -> None:
    back_end = BackEnd(service="web", address=address)
    if itself:
        with pytest.raises(BadRequest, match=f"is {address}, where this proxy itself listens"):
            refuse_itself(back_end, ["[::1]:1", bound])
    else:
        refuse_itself(back_end, ["[::1]:1", bound])


def test_the_back_end_takes_the_place_of_what_the_registry_has_under_its_name() -> None:
    def service(name: str, version: str = "latest") -> Service:
        return Service(name=name, version=version, instances=(Instance(id=f"{name}-1", address="10.0.0.1:1"),))

    back_end = BackEnd(service="web", address="127.0.0.1:80")
    records = [service("web"), service("web", "2"), service("db")]
    assert with_back_end(records, back_end) == (service("db"), back_end.record)
    assert with_back_end(records, None) == tuple(records)


def test_a_proxy_alone_has_no_link_port_and_names_its_own_flags() -> None:
    config = NodeConfig(**proxy_values(back_end=None))
    assert (config.address, config.nodes, config.service, config.command) == ("", (), PROXY_SERVICE, "PROXY")
    assert config.alone == Alone()
    assert not config.policy.transit
    with pytest.raises(BadRequest, match=r"--address \(MICRO_PROXY_ADDRESS\)"):
        NodeConfig(**proxy_values(back_end=None, proxy_address="nowhere"))


# Calls.


class Proxies:
    """Proxies over one registry, and its programs."""

    def __init__(self, nursery: trio.Nursery, registry: str) -> None:
        self._nursery = nursery
        self._name = registry

    async def start(self, back_end: BackEnd | None = None, limits: Limits = DEFAULT) -> str:
        """Starts one; its address."""
        config = NodeConfig(**proxy_values(back_end=back_end, proxy_address="127.0.0.1:0", limits=limits))
        ready: Ready = await self._nursery.start(Node(config, registry=MemoryRegistry(self._name)).run)
        assert ready.link == ()
        return ready.proxy[0]


async def hello(client: Client, service: str = "greeter") -> Any:
    return await client.call(service, "Greeter.Hello", {"name": "John"})


async def connected(proxy: str, service: str) -> RawSocket:
    """A connection through a proxy port, once the service is known."""
    while True:
        program = await open_tcp(proxy)
        await program.send_all(f"CONNECT {service}:1 HTTP/1.1\r\nHost: {service}\r\n\r\n".encode())
        answer = await program.receive_some()
        if answer.startswith(b"HTTP/1.1 200 "):
            return program
        program.close()


async def answers(client: Client, service: str = "greeter") -> bool:
    try:
        return bool(await hello(client, service))
    except MicroError:
        return False


async def test_programs_find_it_in_the_registry_and_call_what_is_there(fast_clock: MockClock) -> None:
    async with world() as all_:
        place = await all_.open("here")
        await Proxies(all_.nursery, "here").start()
        await place.serve(greeter(place))
        async with Client(registry=place.registry, proxy="go.micro.proxy") as client:

            async def known() -> bool:
                return await answers(client)

            await until(known, within=5)
            with pytest.raises(NotFound, match="no service called 'nobody'"):
                await hello(client, "nobody")
            with pytest.raises(
                BadRequest,
                match=r"started without --proxy-token-file .* and --proxy-tls-cert \(MICRO_PROXY_TLS_CERT\)$",
            ):
                await client.call("go.micro.proxy", "Network.Reload", {})
            with pytest.raises(BadRequest, match="links with nobody"):
                await client.call("go.micro.proxy", "Network.Connect", {"address": "10.0.0.1:8085"})


async def test_before_a_back_end_it_is_the_service_and_never_looks_that_name_up(fast_clock: MockClock) -> None:
    async with world() as all_:
        here, apart = await all_.open("here"), await all_.open("apart")
        await apart.serve(greeter(apart))
        [hidden] = [each for each in await apart.registry.list() if each.name == "greeter"]
        back_end = BackEnd(service="greeter", address=hidden.instances[0].address, scheme="micro")
        front = await Proxies(all_.nursery, "here").start(back_end)
        [record] = [each for each in await here.registry.list() if each.name == "greeter"]
        assert [instance.address for instance in record.instances] == [front]
        async with Client(registry=here.registry) as direct, Client(proxy=front) as client:
            assert await hello(direct) == await hello(client)
            # A record of that name changes nothing; other names are looked up.
            with nobody() as address:
                wrong = Instance(id="wrong", address=address, metadata={"native": "1"})
                for name in ("greeter", "web"):
                    await here.registry.register(Service(name=name, instances=(wrong,)))

                async def looked_up() -> bool:
                    try:
                        await hello(client, "web")
                    except Unavailable:
                        return True
                    except NotFound:
                        return False
                    raise AssertionError("nobody answers there")

                await until(looked_up, within=5)
                for _ in range(10):
                    assert await hello(client)


async def test_plain_tcp_reaches_a_back_end_over_a_proxy_and_a_node(fast_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        proxies = Proxies(nursery, "plain tcp")
        address = await serve(nursery, echo)
        front = await proxies.start(BackEnd(service="echo", address=address, scheme="tcp"))
        for proxy in (front, await proxies.start()):
            async with await connected(proxy, "echo") as program:
                await program.send_all(b"hello")
                await program.send_eof()
                assert await read_to_end(program) == b"hello"
        nursery.cancel_scope.cancel()


async def test_a_proxy_that_was_told_to_stand_before_itself_does_not_start() -> None:
    with kept_address() as address:
        back_end = BackEnd(service="loop", address=address, scheme="micro")
        node = Node(
            NodeConfig(**proxy_values(back_end=back_end, proxy_address=address)), registry=MemoryRegistry("itself")
        )
        with pytest.raises(BadRequest, match="where this proxy itself listens"):
            await node.run()


# Programs that know nothing of names.


async def asked(address: str, host: str, *lines: str, path: str = "/hello") -> dict[str, Any]:
    """What the web server behind a port was asked, or the text of a refusal."""
    async with await open_tcp(address) as program:
        head = "\r\n".join((f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close", *lines, "", ""))
        await program.send_all(head.encode())
        answer = await read_to_end(program)
    head, _, body = answer.decode().partition("\r\n\r\n")
    return json.loads(body) if head.startswith("HTTP/1.1 200 ") else {"refused": body}


@pytest.mark.parametrize("host", ["localhost:8081", "127.0.0.1", "www.example.com", "helloworld"])
async def test_a_request_that_names_no_service_reaches_the_web_server_that_the_proxy_stands_before(host: str) -> None:
    async with trio.open_nursery() as nursery:
        server = WebServer()
        listeners = await listen_tcp("127.0.0.1:0")
        nursery.start_soon(trio.serve_listeners, server.serve, listeners)
        back_end = parse_back_end("helloworld", f"http://{bound_address(listeners[0])}")
        front = await Proxies(nursery, "a web server").start(back_end)
        said = await asked(front, host)
        assert (said["method"], said["target"], said["fields"][0]) == ("GET", "/hello", ["host", host])
        assert "no service called 'nobody'" in (await asked(front, host, "Micro-Service: nobody"))["refused"]
        nursery.cancel_scope.cancel()


async def test_a_host_that_names_another_service_goes_on_meaning_it() -> None:
    async with trio.open_nursery() as nursery:
        server, other = WebServer(), WebServer()
        ports = []
        for each in (server, other):
            listeners = await listen_tcp("127.0.0.1:0")
            nursery.start_soon(trio.serve_listeners, each.serve, listeners)
            ports.append(bound_address(listeners[0]))
        front = await Proxies(nursery, "two web servers").start(parse_back_end("helloworld", f"http://{ports[0]}"))
        async with MemoryRegistry("two web servers") as registry:
            instance = Instance(id="shop-1", address=ports[1], metadata={"protocol": "http"})
            await registry.register(Service(name="shop", instances=(instance,)))

            async def reached() -> bool:
                await asked(front, "shop", path="/never-mind")
                return other.answered > 0

            await until(reached, within=5)
            before = server.answered
            await asked(front, "shop")
            assert server.answered == before
            await asked(front, "no-shop")
            assert server.answered == before + 1
        nursery.cancel_scope.cancel()


async def test_a_grpc_client_that_knows_nothing_of_names_reaches_the_server_that_the_proxy_stands_before() -> None:
    def call(address: str) -> None:
        channel: Any
        with grpc.insecure_channel(address, options=OPTIONS) as channel:
            # The path names a service that nobody knows under this name, and the authority is an address.
            assert channel.unary_unary(GREETER + "Echo")(b"hi", timeout=30) == b"hi"
            assert [*channel.unary_stream(GREETER + "Count")(b"3", timeout=30)] == [b"0", b"1", b"2"]
            named = channel.unary_unary(GREETER + "Echo").future(b"", metadata=(("micro-service", "nobody"),))
            assert named.exception(timeout=30).code() is grpc.StatusCode.NOT_FOUND

    with grpc_server() as (_, address):
        async with trio.open_nursery() as nursery:
            front = await Proxies(nursery, "a grpc server").start(parse_back_end("helloworld", f"grpc://{address}"))
            await trio.to_thread.run_sync(call, front)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\x08\x04\xd2\x16\x2f", b"\x16\x03\x01\x02", b"QUIT\r\n"]
)
async def test_before_raw_tcp_every_connection_is_the_back_ends_own(first: bytes) -> None:
    async with trio.open_nursery() as nursery:
        address = await serve(nursery, echo)
        front = await Proxies(nursery, "anything").start(parse_back_end("db", f"tcp://{address}"))
        async with await open_tcp(front) as program:
            await program.send_all(first)
            await program.send_eof()
            assert await read_to_end(program) == first
        nursery.cancel_scope.cancel()


async def test_before_raw_tcp_a_program_may_wait_for_the_back_end_to_speak_first(fast_clock: MockClock) -> None:
    async def greets(stream: trio.SocketStream) -> None:
        await stream.send_all(b"220 welcome\r\n")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        address = await serve(nursery, greets)
        front = await Proxies(nursery, "who speaks first").start(parse_back_end("mail", f"tcp://{address}"))
        async with await open_tcp(front) as program:
            assert await program.receive_some() == b"220 welcome\r\n"
        nursery.cancel_scope.cancel()


# Limits, as they are told to the proxy.


@asynccontextmanager
async def web_server(limits: Limits) -> AsyncIterator[tuple[WebServer, str]]:
    """A web server, and the address of a proxy before it."""
    async with trio.open_nursery() as nursery:
        server = WebServer()
        listeners = await listen_tcp("127.0.0.1:0")
        nursery.start_soon(trio.serve_listeners, server.serve, listeners)
        back_end = parse_back_end("helloworld", f"http://{bound_address(listeners[0])}")
        yield server, await Proxies(nursery, "with limits").start(back_end, limits)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", PREFACE + pack_frame(SETTINGS, 0, 0, b"")])
async def test_a_connection_that_is_used_no_more_is_closed(first: bytes, fast_clock: MockClock) -> None:
    async with web_server(Limits(idle=30.0)) as (_, front), await open_tcp(front) as program:
        await program.send_all(first)
        began = trio.current_time()
        while await program.receive_some():
            pass
        assert 30.0 <= trio.current_time() - began < 40.0


async def test_a_program_that_reads_nothing_gives_its_instance_free(fast_clock: MockClock) -> None:
    async with web_server(Limits(stall=30.0)) as (server, front), await open_tcp(front) as program:
        await program.send_all(b"GET /bytes/100000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        began = trio.current_time()
        await server.broken.wait()
        assert 30.0 <= trio.current_time() - began < 60.0


async def test_a_call_that_brings_no_deadline_gets_the_one_that_was_set(fast_clock: MockClock) -> None:
    async with web_server(Limits(call=5.0)) as (server, front):
        began = trio.current_time()
        assert "deadline has passed" in (await asked(front, "a", path="/never"))["refused"]
        assert 5.0 <= trio.current_time() - began < 6.0
        await server.broken.wait()


async def test_bodies_are_as_long_as_they_may_be_whatever_protocol_they_come_by() -> None:
    async with web_server(Limits(max_body=10)) as (_, front), Client(proxy=front) as client:
        async with await open_tcp(front) as program:
            await program.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n12345678901")
            assert (await read_to_end(program)).startswith(b"HTTP/1.1 413 ")
        with pytest.raises(TooManyRequests, match="may have 10 bytes"):
            await client.call("helloworld", "Any.Thing", {"text": "a longer message"})
