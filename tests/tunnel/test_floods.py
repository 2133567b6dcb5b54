"""Many strangers at once, on real sockets: they crowd each other, and nobody who belongs here."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from sdk.netaddress import split_address
from tests.tunnel.bench import Log, Node, node
from tests.tunnel.foreign import Alerted
from tests.tunnel.meeting import foreign_link, victim
from tunnel.admission import MAX_IN_PROGRESS, Refusal

pytestmark = pytest.mark.usefixtures("log")

FLOOD = 200


async def dial(a: Node, host: str) -> trio.SocketStream:
    """Connects from another address of this machine."""
    there, port = split_address(a.tunnel.bound[0])
    return await trio.open_tcp_stream(there, port, local_address=host)


@asynccontextmanager
async def flooded(a: Node) -> AsyncIterator[None]:
    """Strangers hold all the places there are, and take each that becomes free."""

    async def crowd(number: int) -> None:
        while True:
            async with await dial(a, f"127.0.1.{number}") as stream:
                try:
                    await stream.receive_some()
                except trio.BrokenResourceError:
                    pass

    async with trio.open_nursery() as nursery:
        for number in range(1, FLOOD + 1):
            nursery.start_soon(crowd, number)
        while a.tunnel.statistics().refused.get(Refusal.TOO_MANY, 0) < 2 * FLOOD:
            await trio.lowlevel.checkpoint()
        yield
        nursery.cancel_scope.cancel()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one loopback address")
async def test_who_linked_before_comes_back_through_a_flood_of_strangers(log: Log) -> None:
    with trio.fail_after(50):
        async with node(0, "127.0.0.1:0") as a:
            async with node(1, seeds=a.tunnel.bound) as b:
                await a.linked(b)
            await a.recorder.until(lambda: not a.tunnel.links)
            async with flooded(a):
                with trio.fail_after(30):
                    async with node(1, seeds=a.tunnel.bound, epoch=2) as b:
                        await a.linked(b)
                        await b.linked(a)
                assert a.tunnel.statistics().in_progress <= MAX_IN_PROGRESS
                # One for each address, however often it comes.
                assert 0 < len(log.lines) <= FLOOD
                reasons = {line.rpartition(": ")[2] for line in log.lines}
                # On a busy machine the flood lasts so long that strangers who hold places run out of time.
                assert reasons - {"it did not finish its handshake within 5 s"} == {"too many handshakes at once"}


async def test_handshakes_beyond_the_rate_are_refused_and_those_within_it_are_not(
    log: Log, monkeypatch: pytest.MonkeyPatch, mock_clock: MockClock
) -> None:
    monkeypatch.setattr("tunnel.admission.MAX_PER_SECOND", 10)
    async with victim() as a:
        served = []
        for _ in range(3):
            served.append(0)
            for _ in range(20):
                async with await dial(a, "127.0.0.1") as stream:
                    try:
                        await foreign_link(stream, dialled=True, token="other token").meet()
                    except Alerted:
                        served[-1] += 1
                    except (EOFError, trio.BrokenResourceError):
                        pass
            mock_clock.jump(0.5)
        assert served == [9, 5, 5]  # one was the innocent's
        assert a.tunnel.statistics().refused == {Refusal.WRONG_TOKEN: 19, Refusal.TOO_MANY: 41}
    reasons = ["token or network name differs", "too many handshakes at once"]
    assert [line.rpartition(": ")[2] for line in log.lines] == reasons
