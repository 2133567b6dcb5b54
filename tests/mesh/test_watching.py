from typing import Any

import trio
from trio.testing import MockClock

from mesh.watching import Watching
from router.route import Query
from router.table import RoutingTable
from router.watch import MAX_WAITING
from sdk.types import Instance, Service
from tests.router.network import Key, gossip


class Caller:
    """Takes what is sent; while it is `slow`, nothing."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.reading = trio.Event()
        self.reading.set()

    async def send(self, message: Any) -> None:
        if not self.reading.is_set():  # as with a stream that has credit: nothing waits, nobody else runs
            await self.reading.wait()
        self.got.append(message)

    def changes(self) -> list[tuple[str, str]]:
        got, self.got = self.got, []
        return [(each["change"], each["route"]["service"] if each["route"] else "") for each in got]


def services(*names: str) -> list[Service]:
    return [Service(name=name, instances=(Instance(id=name, address=f"{name}:1"),)) for name in names]


async def test_a_caller_gets_what_there_is_and_then_what_changes(autojump_clock: MockClock) -> None:
    table, caller = RoutingTable(gossip=gossip(Key("a")), format_id=bytes.hex), Caller()
    table.set_local(services("x", "y"), 0.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Watching(table).tell, Query(), caller)
        await trio.sleep(1)
        assert caller.changes() == [("create", "x"), ("create", "y")]
        table.set_local(services("y", "z"), 1.0)
        await trio.sleep(1)
        assert caller.changes() == [("delete", "x"), ("create", "z")]
        nursery.cancel_scope.cancel()
    table.set_local([], 2.0)
    assert not table._watches.listening, "it left"


async def test_a_caller_that_is_too_slow_gets_everything_anew(autojump_clock: MockClock) -> None:
    table, caller = RoutingTable(gossip=gossip(Key("a")), format_id=bytes.hex), Caller()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Watching(table).tell, Query(), caller)
        await trio.sleep(1)
        caller.reading = trio.Event()
        table.set_local(services("first"), 1.0)
        await trio.sleep(1)
        for number in range(MAX_WAITING + 1):
            table.set_local(services(f"s{number}"), 1.0)
        caller.reading.set()
        await trio.sleep(1)
        assert caller.changes() == [("create", "first"), ("resync", ""), ("create", f"s{MAX_WAITING}")]
        table.set_local([], 2.0)
        await trio.sleep(1)
        assert caller.changes() == [("delete", f"s{MAX_WAITING}")]
        nursery.cancel_scope.cancel()


async def test_who_stops_tells_nobody_any_more(autojump_clock: MockClock) -> None:
    table, caller, slow = RoutingTable(gossip=gossip(Key("a")), format_id=bytes.hex), Caller(), Caller()
    table.set_local(services("x"), 0.0)
    slow.reading = trio.Event()
    watching = Watching(table)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watching.tell, Query(), caller)
            nursery.start_soon(watching.tell, Query(), slow)
            await trio.sleep(1)
            watching.end()
        await watching.tell(Query(), slow)
    assert caller.changes() == [("create", "x")]
    assert slow.changes() == []
    assert not table._watches.listening


async def test_who_is_told_of_many_routes_lets_others_run(autojump_clock: MockClock) -> None:
    table, caller = RoutingTable(gossip=gossip(Key("a")), format_id=bytes.hex), Caller()
    table.set_local(services(*(f"s{number}" for number in range(50))), 0.0)
    most = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Watching(table).tell, Query(), caller)
        while len(caller.got) < 50:
            before = len(caller.got)
            await trio.lowlevel.checkpoint()
            most = max(most, len(caller.got) - before)
        nursery.cancel_scope.cancel()
    assert most < 5
