"""Real servers on free ports: those that are well, those that are not, and those that say nothing."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
import trio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from mesh.check import Check, parse_check
from mesh.probe import parse_status_untrusted, probe
from sdk.errors import RemoteProtocolError
from sdk.rawsocket import bound_address
from sdk.types import Instance
from tests.tunnel.transport.certificates import authority, believing
from tunnel.transport.tls import Tls

Handler = Callable[[trio.abc.Stream], Awaitable[None]]


def check(kind: str, address: str, timeout: str = "10s") -> Check:
    metadata = {"check": kind, "check-interval": "10s", "check-timeout": timeout}
    found = parse_check(Instance(id="1", address=address, metadata=metadata))
    assert found is not None
    return found


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, handler, listeners)
        yield bound_address(listeners[0])
        nursery.cancel_scope.cancel()


def answering(answer: bytes, host: str = "127.0.0.1") -> Handler:
    async def handle(stream: trio.abc.Stream) -> None:
        async with stream:
            request = await stream.receive_some()
            assert request.startswith(b"GET /health HTTP/1.1\r\nHost: %b:" % host.encode())
            for byte in answer:  # in as many pieces as there may be
                await stream.send_all(bytes([byte]))

    return handle


async def silent(stream: trio.abc.Stream) -> None:
    async with stream:
        await trio.sleep_forever()


async def try_(check: Check, tls: Tls | None = None) -> str:
    return await probe(check, tls or Tls())


async def test_a_port_that_accepts_is_well_and_one_that_does_not_says_why() -> None:
    async with serving(silent) as address:
        assert await try_(check("tcp", address)) == ""
    assert "127.0.0.1:1" in await try_(check("tcp", "127.0.0.1:1"))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.0 204\n", ""),
        (b"HTTP/1.1 302 Found\r\n\r\n", ""),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "/health answers with status 503"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "status 404"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "this is no HTTP"),
        (b"", "this is no HTTP"),
    ],
)
async def test_the_status_of_http_says_how_it_is(answer: bytes, says: str) -> None:
    async with serving(answering(answer)) as address:
        found = await try_(check("/health", address))
        assert says in found
        assert bool(says) == bool(found)


@pytest.mark.parametrize("kind", ["/health", "grpc"])
async def test_a_server_that_says_nothing_is_given_up(kind: str) -> None:
    async with serving(silent) as address:
        assert await try_(check(kind, address, "100ms")) == "no answer in 0.1 s"


async def test_https_is_believed_by_the_authorities_that_links_are_and_by_the_name_of_the_host(tmp_path: Path) -> None:
    async def handle(stream: trio.abc.Stream) -> None:
        secured = trio.SSLStream(stream, shown, server_side=True, https_compatible=True)
        try:
            await answering(b"HTTP/1.1 204 No Content\r\n\r\n", host)(secured)
        except trio.BrokenResourceError:
            pass  # whoever does not believe it leaves

    async def plain(stream: trio.abc.Stream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority("trusted").issue_cert("localhost").configure_cert(shown)
    believes = Tls(believing(tmp_path))
    host = "localhost"
    async with serving(handle) as address:
        port = address.rpartition(":")[2]
        url = f"https://localhost:{port}/health"
        assert await try_(check(url, "localhost:1"), believes) == ""
        assert "certificate" in await try_(check(url, "localhost:1"))
        assert "certificate" in await try_(check(f"https://127.0.0.1:{port}/health", "127.0.0.1:1"), believes)
    async with serving(plain) as address:
        assert "does not speak TLS" in await try_(check(f"https://{address}/health", address), believes)


@pytest.mark.parametrize("kind", ["tcp", "/health", "https://a..b/health", "grpc"])
async def test_a_name_that_no_host_can_have_is_a_failure_like_any_other(kind: str) -> None:
    assert "no name of a host" in await try_(check(kind, "a..b:80"))


@pytest.mark.parametrize("line", [b"", b"HTTP/1.1", b"HTTP/1.1 2000", b"HTTP/1.1 2x0", b"HTTP/2 200", b"x" * 5000])
def test_a_line_that_is_no_status_is_refused(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="no HTTP"):
        parse_status_untrusted(line)


async def test_grpc_is_asked_for_its_health_where_it_has_it() -> None:
    servicer = health.HealthServicer()
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            assert await try_(check("grpc", f"127.0.0.1:{port}")) == ""
            servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
            assert await try_(check("grpc", f"127.0.0.1:{port}")) == "it says that it does not serve"
        finally:
            server.stop(None).wait()
    assert await try_(check("grpc", f"127.0.0.1:{port}")) != ""


async def test_grpc_without_the_health_protocol_has_to_answer_and_no_more() -> None:
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            assert await try_(check("grpc", f"127.0.0.1:{port}")) == ""
        finally:
            server.stop(None).wait()
