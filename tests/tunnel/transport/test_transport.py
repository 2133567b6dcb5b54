import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from sdk.connection import Transport
from sdk.errors import BadRequest, MicroError, RemoteProtocolError, Unavailable
from sdk.rawsocket import bound_address, listen_tcp, take_over
from tests.net import nobody
from tests.tunnel.transport.certificates import believing, ca_file, files
from tunnel import transport
from tunnel.handshake import PREFACE
from tunnel.transport import Ways
from tunnel.transport.memory import MemoryNetwork
from tunnel.transport.tls import Tls, TlsConfig


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("host:1", ("tcp", "host:1")),
        ("tcp://host:1", ("tcp", "host:1")),
        ("ws://host:1/path", ("ws", "host:1/path")),
        ("wss://host:1/path", ("wss", "host:1/path")),
        ("mem://name", ("mem", "name")),
    ],
)
def test_an_address_without_a_scheme_is_tcp(address: str, parts: tuple[str, str]) -> None:
    assert transport.split_scheme(address) == parts


def test_an_unknown_scheme_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadRequest, match=r"'quic://host:1'.*tcp, ws, wss, mem"):
        transport.split_scheme("quic://host:1")


@asynccontextmanager
async def closing(transport: Transport) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await transport.aclose()


@pytest.mark.parametrize("scheme", ["tcp", "ws", "wss"])
async def test_what_is_dialled_is_recognised(scheme: str, tmp_path: Path) -> None:
    ways = Ways(tls=Tls(files(tmp_path, ca="trusted")))
    [listener] = await listen_tcp("127.0.0.1:0")
    async with listener, trio.open_nursery() as nursery:
        address = f"{scheme}://{bound_address(listener)}"

        async def dial() -> None:
            here = await transport.dial(address, ways)
            assert (here.kind, here.address, here.first) == (scheme, address, b"")
            async with closing(here.transport):
                before = here.segments()
                await here.transport.send_all(PREFACE)
                after = here.segments()
                if sys.platform == "linux":
                    assert before is not None
                    assert after is not None
                    assert after.sent > before.sent

        nursery.start_soon(dial)
        there = await transport.accept(take_over(await listener.accept()), ways)
        assert there.kind == scheme
        assert there.address.startswith("127.0.0.1:")
        async with closing(there.transport):
            first = there.first
            while len(first) < len(PREFACE):
                first += await there.transport.receive_some()
            assert first == PREFACE
        nursery.cancel_scope.cancel()


async def test_memory_needs_no_first_bytes() -> None:
    ways = Ways(network=MemoryNetwork())
    async with ways.network.listen("a") as listener:
        here = await transport.dial("mem://a", ways)
        there = await transport.accept(await listener.accept(), ways)
        assert (here.kind, there.kind) == ("mem", "mem")
        assert here.address == "mem://a"
        assert here.segments() is None


async def test_nobody_there_is_unavailable_by_any_transport() -> None:
    with nobody() as address:
        for scheme in ("tcp://", "ws://", "wss://", "mem://", ""):
            with pytest.raises(Unavailable, match="cannot connect to"):
                await transport.dial(scheme + address, Ways(network=MemoryNetwork()))


async def dialled(address: str, ways: Ways) -> str:
    """What comes of dialling it: the kind of connection, or the reason."""
    async with trio.open_nursery() as nursery:
        try:
            there = await transport.dial(address, ways)
            async with closing(there.transport):
                if there.kind == "tcp":
                    await there.transport.send_all(PREFACE)
                return there.kind
        except MicroError as error:
            return str(error)
        finally:
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def accepting(config: TlsConfig) -> AsyncIterator[tuple[str, list[str]]]:
    """A listener, its address, and what it found out of who came."""
    found: list[str] = []
    ways = Ways(tls=Tls(config))

    async def serve(stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery, take_over(stream) as there:
            try:
                found.append((await transport.accept(there, ways)).kind)
            except (MicroError, trio.BrokenResourceError) as error:
                found.append(str(error))
            nursery.cancel_scope.cancel()

    [listener] = await listen_tcp("127.0.0.1:0")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        with trio.fail_after(30):
            yield bound_address(listener), found
        nursery.cancel_scope.cancel()


async def test_a_name_is_verified_as_well_as_an_address(tmp_path: Path) -> None:
    ways = Ways(tls=Tls(believing(tmp_path)))
    async with accepting(files(tmp_path, "localhost")) as (address, _):
        port = address.rpartition(":")[2]
        assert await dialled(f"wss://localhost:{port}/x", ways) == "wss"
        assert await dialled(f"wss://:{port}/x", ways) == "wss"
        assert await dialled(f"wss://127.0.0.1:{port}/x", ways) == (
            f"cannot connect to wss://127.0.0.1:{port}/x: certificate verify failed: "
            "IP address mismatch, certificate is not valid for '127.0.0.1'"
        )


async def test_by_default_the_systems_cas_decide(tmp_path: Path) -> None:
    async with accepting(files(tmp_path)) as (address, found):
        said = await dialled(f"wss://{address}/", Ways())
        assert said.startswith(f"cannot connect to wss://{address}/: certificate verify failed: ")
        while not found:
            await trio.lowlevel.checkpoint()
        assert found == ["it does not believe the CA of the certificate it was shown"]


async def test_a_client_certificate_that_is_missing_is_said_to_who_dials(tmp_path: Path) -> None:
    async with accepting(files(tmp_path, ca="trusted")) as (address, _):
        assert await dialled(f"wss://{address}/", Ways(tls=Tls(believing(tmp_path)))) == (
            f"cannot connect to wss://{address}/: it demands a client certificate: "
            "give --tls-cert (MICRO_TLS_CERT) and --tls-key (MICRO_TLS_KEY)"
        )
        shown = files(tmp_path, "client.example", ca="trusted")
        assert await dialled(f"wss://{address}/", Ways(tls=Tls(shown))) == "wss"


async def test_a_node_is_recognised_inside_tls_without_a_websocket(tmp_path: Path) -> None:
    async with accepting(files(tmp_path)) as (address, found):
        context = ssl.create_default_context(cafile=ca_file(tmp_path))
        host, _, port = address.rpartition(":")
        stream = await trio.open_ssl_over_tcp_stream(host, int(port), ssl_context=context)
        async with stream:
            await stream.send_all(PREFACE)
            while not found:
                await trio.lowlevel.checkpoint()
    assert found == ["tls"]


async def test_a_node_without_a_certificate_says_that_it_accepts_no_tls(tmp_path: Path) -> None:
    [listener] = await listen_tcp("127.0.0.1:0")
    async with listener, trio.open_nursery() as nursery:
        nursery.start_soon(dialled, f"wss://{bound_address(listener)}/", Ways())
        async with take_over(await listener.accept()) as there:
            with pytest.raises(RemoteProtocolError, match=r"it speaks TLS, and this node has no --tls-cert"):
                await transport.accept(there, Ways())


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_an_address_of_version_6_is_dialled_and_verified(tmp_path: Path) -> None:
    ways = Ways(tls=Tls(files(tmp_path, "::1", ca="trusted")))
    [listener] = await listen_tcp("[::1]:0")
    async with listener, trio.open_nursery() as nursery:
        for scheme in ("tcp", "ws", "wss"):
            nursery.start_soon(dialled, f"{scheme}://{bound_address(listener)}", ways)
            async with take_over(await listener.accept()) as there:
                assert (await transport.accept(there, ways)).kind == scheme
        nursery.cancel_scope.cancel()
