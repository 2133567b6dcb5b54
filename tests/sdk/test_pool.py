from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from sdk.errors import Status
from sdk.pool import Connection, Pool
from sdk.registry.memory import MemoryRegistry
from sdk.wire.frame import Fate
from sdk.wire.mux import MuxStream
from tests.sdk.living import offering, running


@asynccontextmanager
async def pool() -> AsyncIterator[Pool]:
    async with trio.open_nursery() as nursery:
        yield Pool(nursery)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """An address that takes connections and says nothing."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        yield f"127.0.0.1:{listener.socket.getsockname()[1]}"


async def broken(stream: MuxStream) -> None:
    while stream.reset_by_peer is None:
        await trio.lowlevel.checkpoint()


async def test_one_address_has_one_connection() -> None:
    async with silent() as address, pool() as connections:
        assert connections.connection_to(address) is connections.connection_to(address)


async def test_frames_are_taken_before_the_socket_is_there() -> None:
    async with MemoryRegistry() as registry, running(offering(registry, {})) as address, pool() as connections:
        connection = connections.connection_to(address)
        stream = connection.mux.open(b"\x97", end=True)
        assert not connection.settled.is_set()
        await connection.settled.wait()
        assert connection.usable
        assert stream.reset_by_peer is None


async def test_where_nobody_listens_every_call_is_known_as_not_reached() -> None:
    async with silent() as address:
        pass
    async with pool() as connections:
        connection = connections.connection_to(address)
        stream = connection.mux.open(b"", end=True)
        await connection.settled.wait()
        assert stream.reset_by_peer is not None
        assert stream.reset_by_peer.fate is Fate.NOT_REACHED
        assert stream.reset_by_peer.detail == f"{address}: cannot connect: connection refused"
        assert not connection.usable
        assert connections.connection_to(address) is not connection


async def test_an_address_that_does_not_answer_is_given_up(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(address: str) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr("sdk.pool.open_tcp", hang)
    async with pool() as connections:
        connection = connections.connection_to("h:1")
        stream = connection.mux.open(b"", end=True)
        await connection.settled.wait()
        assert stream.reset_by_peer is not None
        assert stream.reset_by_peer.detail == "h:1: cannot connect: no answer in 5 s"


async def test_a_draining_connection_is_replaced_and_its_calls_go_on() -> None:
    async with silent() as address, pool() as connections:
        connection = connections.connection_to(address)
        stream = connection.mux.open(b"", end=True)
        connection.port.draining = True
        assert connections.connection_to(address) is not connection
        assert stream.reset_by_peer is None


async def test_streams_whose_deadline_passed_are_broken_off_and_the_others_go_on(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(address: str) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr("sdk.pool.open_tcp", never)
    async with pool() as connections:
        connection: Connection = connections.connection_to("h:1")
        await trio.testing.wait_all_tasks_blocked()
        short, long, endless = (connection.mux.open(b"", end=True) for _ in range(3))
        short.deadline, long.deadline = trio.current_time() + 1, trio.current_time() + 2
        connections.sweep()
        connections.sweep()
        await trio.sleep(1.1)
        assert short.reset_by_peer is not None
        assert short.reset_by_peer.status == Status.DEADLINE_EXCEEDED
        assert long.reset_by_peer is None
        await trio.sleep(1)
        assert long.reset_by_peer is not None
        assert endless.reset_by_peer is None
        assert not connections._sweeping
