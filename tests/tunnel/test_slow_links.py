"""Small calls beside a bulk transfer on a slow line, on a virtual clock: the bulk holds them up by little."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from mesh.testing import Network
from sdk.codec import MSGPACK
from sdk.head import CallHead, pack_call_head
from sdk.reply import ClientStream
from sdk.wire.mux import Mux

RATE = 1_250_000
"""Bytes per second: 10 Mbit/s."""
SECONDS = 5.0
EVERY = 0.02
"""Seconds from one small call to the next."""
SMALL, LARGE = bytes(128), bytes(32 * 1024)
ADDED = 0.06
"""Seconds that a bulk transfer may add to the 99th percentile."""


class Bulk:
    """Bytes between a program and a service, as fast as they go."""

    def __init__(self) -> None:
        self.received = 0

    async def take(self, _: Any, stream: Any) -> None:
        """The endpoint that takes them."""
        async for message in stream:
            self.received += len(message)

    async def give(self, _: Any, stream: Any) -> None:
        """The endpoint that gives them."""
        while True:
            await stream.send(LARGE)

    async def run(self, net: Network, place: str, endpoint: str) -> None:
        """The program, until cancelled."""
        program = Mux(clock=trio.current_time)
        net.running()[place].attach(program, "a program")
        head = pack_call_head(CallHead("bulk", endpoint, "rpc", 0, MSGPACK, ()))
        stream = ClientStream(program.open(head, end=False), MSGPACK, None)
        try:
            await stream.send(LARGE)
            while endpoint == "Bulk.Take":
                await stream.send(LARGE)
            await stream.send_eof()
            async for message in stream:
                self.received += len(message)
        finally:
            stream.close()


async def echo(request: Any) -> Any:
    return request


async def p99(net: Network) -> float:
    """Seconds that small calls from a take, one every 20 ms whether or not those before are answered."""
    took: list[float] = []

    async def call() -> None:
        began = trio.current_time()
        assert await net.call("a", "echo", "Echo.Echo", SMALL) == SMALL
        took.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        began = trio.current_time()
        for number in range(int(SECONDS / EVERY)):
            await trio.sleep_until(began + number * EVERY)
            nursery.start_soon(call)
    return sorted(took)[len(took) * 99 // 100]


@pytest.mark.parametrize("endpoint", ["Bulk.Take", "Bulk.Give"])
@pytest.mark.parametrize("nodes", ["ab", "abc"], ids=["next to each other", "with one between"])
async def test_bulk_on_a_slow_line_holds_up_small_calls_by_less_than_60_ms(
    nodes: str, endpoint: str, autojump_clock: MockClock
) -> None:
    bulk, far = Bulk(), nodes[-1]
    async with Network(delay=0.01, rate=RATE) as net:
        for before, name in zip(["", *nodes], nodes, strict=False):
            await net.node(name, nodes=[before] if before else [])
        await net.offer(far, "bulk", {"Bulk.Take": bulk.take, "Bulk.Give": bulk.give})
        await net.offer(far, "echo", {"Echo.Echo": echo})
        await net.converged()
        alone = await p99(net)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bulk.run, net, "a", endpoint)
            await trio.sleep(2)
            before = bulk.received
            beside = await p99(net)
            carried = bulk.received - before
            nursery.cancel_scope.cancel()
    assert alone < 0.06
    assert beside - alone < ADDED
    assert carried > 0.85 * RATE * SECONDS
