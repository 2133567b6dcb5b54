"""Whole nodes joined by a bad line, on a virtual clock: what lives stays linked, what was cut links up by itself."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from mesh.testing import Network
from sdk.codec import MSGPACK
from sdk.errors import NotFound, Unavailable
from sdk.head import CallHead, pack_call_head
from sdk.reply import ClientStream
from sdk.wire.mux import Mux

GIVEN_UP = 10.0
"""Seconds of silence after which any peer is given up."""
LINKED_AGAIN = 35.0
"""Seconds after the healing: the longest pause between two tries, and the longest handshake."""
MEGABIT = 125_000
"""Bytes per second."""
ROUGH = {"delay": 0.2, "jitter": 0.05, "loss": 0.05, "rate": MEGABIT}
MESSAGE = bytes(32 * 1024)
STREAMS = 4
"""Enough to fill the line: one begins with a credit of 64 KiB, half a second of it, which is about the round trip."""


class Downs(logging.Handler):
    """Which links went down, as the log says it."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if " is down: " in record.getMessage():
            self.lines.append(f"{trio.current_time():.1f}: {record.getMessage()}")


@pytest.fixture
def downs() -> Iterator[Downs]:
    downs, logger = Downs(), logging.getLogger("tunnel.links")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(downs)
    yield downs
    logger.removeHandler(downs)
    logger.setLevel(level)


class Bulk:
    """Bytes from one node to another, as fast as they go: a stream, and the next one when it breaks."""

    def __init__(self) -> None:
        self.received = 0
        self.streams = 0

    async def take(self, _: Any, stream: Any) -> None:
        """The endpoint."""
        async for message in stream:
            self.received += len(message)

    async def send(self, net: Network, name: str) -> None:
        """Sends from a node, until cancelled."""
        while True:
            program = Mux()
            net.running()[name].attach(program, "a program")
            head = pack_call_head(CallHead("bulk", "Bulk.Take", "rpc", 0, MSGPACK, ()))
            stream = ClientStream(program.open(head, end=False), MSGPACK, None)
            self.streams += 1
            try:
                while True:
                    await stream.send(MESSAGE)
            except (Unavailable, trio.BrokenResourceError):
                await trio.sleep(1)
            finally:
                stream.close()


async def hello(_: Any) -> str:
    return "Hello"


@pytest.mark.parametrize("seed", range(3))
async def test_a_far_bad_and_busy_link_goes_down_at_most_once_in_ten_minutes(
    seed: int, downs: Downs, autojump_clock: MockClock
) -> None:
    bulk = Bulk()
    sender, taker = ("a", "b") if seed % 2 else ("b", "a")
    async with Network(seed=seed, **ROUGH) as net:
        await net.node("a")
        await net.node("b", nodes=["a"])
        await net.offer(taker, "bulk", {"Bulk.Take": bulk.take})
        await net.converged()
        downs.lines.clear()
        async with trio.open_nursery() as nursery:
            for _ in range(STREAMS):
                nursery.start_soon(bulk.send, net, sender)
            await trio.sleep(600)
            nursery.cancel_scope.cancel()
    assert len(downs.lines) <= 2, "each of the two nodes says it once"
    assert 600 * MEGABIT * 0.8 < bulk.received < 600 * MEGABIT
    assert bulk.streams <= 2 * STREAMS


@pytest.mark.parametrize("line", [{}, ROUGH], ids=["smooth", "rough"])
@pytest.mark.parametrize("seed", range(2))
async def test_a_link_that_was_cut_for_ten_minutes_comes_back_by_itself(
    seed: int, line: dict[str, float], downs: Downs, autojump_clock: MockClock
) -> None:
    async with Network(seed=seed, **line) as net:
        await net.node("a")
        await net.node("b", nodes=["a"])
        await net.offer("a", "greeter", {"Greeter.Hello": hello})
        await net.converged()
        downs.lines.clear()
        net.cut("a", "b")
        await trio.sleep(GIVEN_UP)
        assert len(downs.lines) == 2
        await trio.sleep(600 - GIVEN_UP)
        with pytest.raises((NotFound, Unavailable)):
            await net.call("b", "greeter", "Greeter.Hello")
        net.heal("a", "b")
        await net.converged(within=LINKED_AGAIN)
        assert await net.call("b", "greeter", "Greeter.Hello") == "Hello"
