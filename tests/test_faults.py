"""What calls are promised, kept while nodes and instances die, hang, fail and get slow, and while nodes are replaced.

There are two ways everywhere (`tests.sixnodes`). The handlers keep a ledger of what ran (`tests.ledger`). A load of
unary and streaming calls goes on all the time (`tests.load`): of programs with the SDK, with grpcio and with httpx. In
the end each call must have done what its caller was told.
"""

import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest
import trio

from sdk import Client
from tests.ledger import NAME, runs_in
from tests.load import Call, Outcome, broken_promises, summary, those
from tests.sixnodes import NODES, WORK, World

pytestmark = pytest.mark.timeout(300)  # ten processes are started for each test

LONG = 20.0
"""Seconds that calls have where none should need them."""

SHORT = 8.0
"""Seconds that calls have where an instance never answers; all others need less, also where the machine is busy."""

SHARE_OF_THE_SLOW = 0.1
"""Of all calls, at most, to one of three instances that is ten times slower: as many as it can do without more calls
waiting for it than for the others are a twentieth."""

NOT_RUN = 0.01
"""Of all calls, at most, that nobody took although somebody could."""

RETRIES_PER_CALL = 0.2
RETRIES_PER_SECOND = 10
"""What a node may spend on trying again; of what it did not, ten seconds' worth is kept."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, stack)


def show(what: str, calls: list[Call]) -> None:
    took = max(call.ended for call in calls) - min(call.ended for call in calls)
    print(f"\n{what}: {summary(calls)} in {took:.1f} s")  # noqa: T201 - to be seen with -s


async def test_every_call_did_what_its_caller_was_told_when_nodes_and_an_instance_were_killed(world: World) -> None:
    await world.settled()
    began = trio.current_time()
    async with world.load(LONG) as load:
        for name in ("t1", "t2", "c1", "an instance"):
            seen, in_flight = len(load.calls), load.in_flight
            victim = world.instances[0] if name == "an instance" else world[name]
            victim.send(signal.SIGKILL)
            await load.progress(200)
            if name in NODES:
                await world.restart(name)
            await load.progress(100)
            hit = load.calls[seen:]
            show(f"kill -9 of {name} with {in_flight} calls in flight", hit)
            may_have_run = those(hit, Outcome.MAY_HAVE_RUN)
            assert len(may_have_run) <= in_flight
            assert not [call for call in may_have_run if call.idempotent]  # there was somebody else to try
        calls, retried = await world.retried()
        took = trio.current_time() - began
    assert 0 < retried <= RETRIES_PER_CALL * calls + 2 * RETRIES_PER_SECOND * (took + 10)
    assert not those(load.calls, Outcome.LATE)
    assert not those(load.calls, Outcome.FAILED)
    assert len(those(load.calls, Outcome.NOT_RUN)) <= NOT_RUN * len(load.calls)
    assert not broken_promises(load.calls, runs_in(world.ledger), deadline=LONG)


async def test_sick_instances_get_few_calls_and_their_own_errors_are_never_tried_again(world: World) -> None:
    await world.settled()
    async with world.load(SHORT) as load:
        # It hangs: calls that were sent to it end by their deadline, and those that come later go elsewhere.
        seen, in_flight = len(load.calls), load.in_flight
        hung = world.instances[0]
        hung.send(signal.SIGSTOP)
        stopped = trio.current_time()
        await trio.sleep_until(stopped + SHORT)
        await load.progress(300)
        hit = load.calls[seen:]
        show(f"an instance hangs with {in_flight} calls in flight", hit)
        assert len(those(hit, Outcome.LATE)) <= 2 * in_flight
        assert not [call for call in those(hit, Outcome.LATE) if call.began > stopped + SHORT]

        # It goes on, and is replaced by one that answers with errors.
        seen = len(load.calls)
        hung.send(signal.SIGCONT)
        await trio.to_thread.run_sync(hung.stop)
        failing = world.instance(LEDGER_FAILS="1")
        await trio.to_thread.run_sync(failing.wait_until_ready)
        await load.progress(600)
        await trio.to_thread.run_sync(failing.stop)
        show("an instance fails", load.calls[seen:])

        # It is slow.
        seen = len(load.calls)
        slow = world.instance(LEDGER_WORK=f"{WORK}0")
        await trio.to_thread.run_sync(slow.wait_until_ready)
        await load.progress(200)
        assert world.runs(slow)
        shares: list[float] = []
        # While the machine is busy with other things none of them is fast, and it is hardly slower than they are.
        while not shares or (shares[-1] > SHARE_OF_THE_SLOW and len(shares) < 5):
            before, before_all = world.runs(slow), runs_in(world.ledger).total()
            await load.progress(1000)
            shares.append((world.runs(slow) - before) / (runs_in(world.ledger).total() - before_all))
            show(f"an instance that is ten times slower gets {shares[-1]:.1%}", load.calls[seen:])
        assert min(shares) <= SHARE_OF_THE_SLOW, shares
    assert not those(load.calls[seen:], Outcome.LATE)
    assert not those(load.calls, Outcome.MAY_HAVE_RUN)
    assert len(those(load.calls, Outcome.NOT_RUN)) <= NOT_RUN * len(load.calls)
    assert len(those(load.calls, Outcome.FAILED)) == world.runs(failing) > 0
    assert not broken_promises(load.calls, runs_in(world.ledger), deadline=SHORT)


async def test_a_rolling_restart_of_every_node_loses_no_call(world: World) -> None:
    await world.settled()
    async with world.load(LONG) as load:
        for name in NODES:
            seen = len(load.calls)
            await world.stop(name)
            await world.restart(name)
            await load.progress(50)
            show(f"{name} was replaced", load.calls[seen:])
    lost = [call for call in load.calls if call.outcome is not Outcome.ANSWERED]
    assert not lost, "\n".join(map(str, lost[:10]))
    assert not broken_promises(load.calls, runs_in(world.ledger), deadline=LONG)


async def test_a_node_that_is_told_to_end_finishes_the_calls_that_are_on_their_way(world: World) -> None:
    await world.settled()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(proxy=world["a1"].address("proxy")))
        streams = []
        for n in range(40):
            stream = await stack.enter_async_context(client.stream(NAME, "Ledger.Talk", {"id": str(n)}))
            assert await stream.receive() == {"id": str(n)}
            streams.append(stream)
        held = {name: await world.open_calls(name) for name in ("c1", "c2")}
        assert sum(held.values()) == len(streams)
        leaving = max(held, key=held.__getitem__)  # on a busy machine a way may seem so slow that nothing goes there
        world[leaving].send(signal.SIGTERM)
        await world.withdrawn()  # nothing new goes there
        for stream in streams:
            await stream.send({"late": True})
            assert await stream.receive() == {"late": True}
        assert world[leaving].process.poll() is None
        for stream in streams:
            await stream.send_eof()
            assert [message async for message in stream] == []
        status, stderr = await trio.to_thread.run_sync(world[leaving].wait)
        assert status == 0, stderr
    assert set(runs_in(world.ledger).values()) == {1}
