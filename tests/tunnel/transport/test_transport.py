import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from sdk.connection import Transport
from sdk.errors import BadRequest, Unavailable
from sdk.rawsocket import bound_address, listen_tcp, take_over
from tunnel import transport
from tunnel.handshake import PREFACE
from tunnel.transport.memory import MemoryNetwork


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("host:1", ("tcp", "host:1")),
        ("tcp://host:1", ("tcp", "host:1")),
        ("ws://host:1/path", ("ws", "host:1/path")),
        ("mem://name", ("mem", "name")),
    ],
)
def test_an_address_without_a_scheme_is_tcp(address: str, parts: tuple[str, str]) -> None:
    assert transport.split_scheme(address) == parts


def test_an_unknown_scheme_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadRequest, match=r"'quic://host:1'.*tcp, ws, mem"):
        transport.split_scheme("quic://host:1")


@asynccontextmanager
async def closing(transport: Transport) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await transport.aclose()


@pytest.mark.parametrize("scheme", ["tcp", "ws"])
async def test_what_is_dialled_is_recognised(scheme: str) -> None:
    network = MemoryNetwork()
    [listener] = await listen_tcp("127.0.0.1:0")
    async with listener, trio.open_nursery() as nursery:
        address = f"{scheme}://{bound_address(listener)}"

        async def dial() -> None:
            here = await transport.dial(address, nursery, network)
            assert (here.kind, here.address, here.first) == (scheme, address, b"")
            async with closing(here.transport):
                before = here.segments()
                await here.transport.send_all(PREFACE)
                after = here.segments()
                if sys.platform == "linux":
                    assert before is not None
                    assert after == (before.sent + 1, 0)

        nursery.start_soon(dial)
        there = await transport.accept(take_over(await listener.accept()), nursery)
        assert there.kind == scheme
        assert there.address.startswith("127.0.0.1:")
        async with closing(there.transport):
            first = there.first
            while len(first) < len(PREFACE):
                first += await there.transport.receive_some()
            assert first == PREFACE
        nursery.cancel_scope.cancel()


async def test_memory_needs_no_first_bytes() -> None:
    network = MemoryNetwork()
    async with network.listen("a") as listener, trio.open_nursery() as nursery:
        here = await transport.dial("mem://a", nursery, network)
        there = await transport.accept(await listener.accept(), nursery)
        assert (here.kind, there.kind) == ("mem", "mem")
        assert here.address == "mem://a"
        assert here.segments() is None


async def test_nobody_there_is_unavailable_by_any_transport() -> None:
    [listener] = await listen_tcp("127.0.0.1:0")
    address = bound_address(listener)
    await listener.aclose()
    async with trio.open_nursery() as nursery:
        for scheme in ("tcp://", "ws://", "mem://", ""):
            with pytest.raises(Unavailable, match="cannot connect to"):
                await transport.dial(scheme + address, nursery, MemoryNetwork())
