"""What calls are promised, kept while nodes and instances die, hang, fail and get slow, and while nodes are replaced.

    program ┬ a1 ┬ t1 ┬ c1 ┬ three instances
            └ a2 ┴ t2 ┴ c2 ┘

Six real nodes in two environments: a program knows two nodes of its own one, and two nodes are there where the service
is. Each `a` and each `c` is linked to each `t`. The handlers keep a ledger of what ran (`tests.ledger`). A load of
unary and streaming calls goes on all the time (`tests.load`): of programs with the SDK, with grpcio and with httpx. In
the end each call must have done what its caller was told.
"""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import trio

from sdk import Client
from sdk.config import ClientConfig
from sdk.errors import MicroError
from tests.callers import Grpc, Native, Web
from tests.ledger import NAME, runs_in, runs_of
from tests.ledgerpeers import GRPC, WEB
from tests.load import Call, Caller, Load, Outcome, broken_promises, summary, those
from tests.net import kept_address
from tests.processes import PATIENCE, Running, start_only

NODE = ("micro", "network", "--resolver", "static")
NODES = {"t1": "between 1", "t2": "between 2", "a1": "home", "a2": "home", "c1": "there", "c2": "there"}
"""The environment of each node."""
LINKS = {"t1": 4, "t2": 4, "a1": 2, "a2": 2, "c1": 2, "c2": 2}
"""How many each has when all are there."""

pytestmark = pytest.mark.timeout(300)  # ten processes are started for each test

INSTANCES = 3
PROGRAMS = 2
"""Of each sort."""

BALANCED = (("grpc.lb_policy_name", "round_robin"), ("grpc.max_reconnect_backoff_ms", 200))
"""So grpcio uses every node that it knows, and soon comes back to one that was away."""

LONG = 20.0
"""Seconds that calls have where none should need them."""

SHORT = 3.0
"""Seconds that calls have where an instance never answers."""

WORK = "10"
"""Milliseconds that a handler takes."""

SHARE_OF_THE_SLOW = 0.1
"""Of all calls, at most, to one of three instances that is ten times slower: as many as it can do without more calls
waiting for it than for the others are a twentieth."""

NOT_RUN = 0.01
"""Of all calls, at most, that nobody took although somebody could."""

RETRIES_PER_CALL = 0.2
RETRIES_PER_SECOND = 10
"""What a node may spend on trying again; of what it did not, ten seconds' worth is kept."""


class World:
    """The nodes and the instances."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.ledger = folder / "ledger"
        self.ledger.mkdir()
        self.instances: list[Running] = []
        self._folder = folder
        self._stack = stack
        self._nodes: dict[str, Running] = {}
        self._links = {name: stack.enter_context(kept_address()) for name in NODES}
        self._proxies = {name: stack.enter_context(kept_address()) for name in NODES}
        for name in NODES:
            self.begin(name)
        self.instances = [self.instance() for _ in range(INSTANCES)]
        for running in [*self._nodes.values(), *self.instances]:
            running.wait_until_ready()

    def __getitem__(self, name: str) -> Running:
        return self._nodes[name]

    def begin(self, name: str) -> None:
        """Starts a node, where others knew it before."""
        dialled = ",".join(self._links[each] for each in ("t1", "t2")) if name[0] != "t" else ""
        flags = ("--name", name, "--address", self._links[name], "--proxy-address", self._proxies[name])
        self._nodes[name] = self._start(NODES[name], *NODE, *flags, *(("--nodes", dialled) if dialled else ()))

    def instance(self, **how: str) -> Running:
        """Starts an instance of the service."""
        how = {"LEDGER": str(self.ledger), "LEDGER_WORK": WORK, **how}
        return self._start("there", "python", "-m", "tests.ledger", **how)

    def runs(self, instance: Running) -> int:
        """Calls that an instance ran so far."""
        return runs_of(self.ledger, instance.process.pid).total()

    async def settled(self) -> None:
        """Waits until every node has all its links and knows of both places where the service is."""
        async with AsyncExitStack() as stack:
            clients = {
                name: await stack.enter_async_context(Client(proxy=node.address("proxy")))
                for name, node in self._nodes.items()
            }
            with trio.fail_after(PATIENCE):
                while not all([await _is_settled(name, client) for name, client in clients.items()]):  # noqa: ASYNC110 - no event
                    await trio.sleep(0.02)

    async def restart(self, name: str) -> None:
        """Starts a node that has ended, and waits until all is as it was."""
        self.begin(name)
        await trio.to_thread.run_sync(self._nodes[name].wait_until_ready)
        await self.settled()

    async def stop(self, name: str) -> None:
        """Ends a node as one does that is replaced, and waits until it has."""
        status, stderr = await trio.to_thread.run_sync(self._nodes[name].stop)
        assert status == 0, stderr

    async def retried(self) -> tuple[int, int]:
        """How many calls were opened at the nodes of the programs so far, and how many were tried again."""
        calls = retried = 0
        for name in ("a1", "a2"):
            async with Client(proxy=self[name].address("proxy")) as client:
                counts: dict[str, int] = (await client.call("go.micro.network", "Network.Status"))["calls"]
            calls += counts["calls"]
            retried += counts.get("retried", 0)
        return calls, retried

    async def open_calls(self, name: str) -> int:
        """Calls that are open at a node, besides the one that asks."""
        async with Client(proxy=self[name].address("proxy")) as client:
            counts: dict[str, int] = (await client.call("go.micro.network", "Network.Status"))["calls"]
        return counts["open"] - 1

    async def withdrawn(self) -> None:
        """Waits until the first node of a program knows of one place only where the service is."""
        async with Client(proxy=self["a1"].address("proxy")) as client:
            with trio.fail_after(PATIENCE):
                while len(await _routes(client)) != 1:  # noqa: ASYNC110 - what is asked has no event
                    await trio.sleep(0.02)

    @asynccontextmanager
    async def load(self, deadline: float) -> AsyncIterator[Load]:
        """Programs of the first environment that know both of its nodes, and call all the time. Those with the SDK
        find them by name."""
        config = ClientConfig(
            proxy="go.micro.network", registry_address=str(self._folder / "home.db"), request_timeout=deadline
        )
        homes = [self._proxies[name] for name in ("a1", "a2")]
        async with AsyncExitStack() as stack:
            callers: list[Caller] = []
            for _ in range(PROGRAMS):
                client = await stack.enter_async_context(Client(config))
                channel = stack.enter_context(grpc.insecure_channel(f"ipv4:{','.join(homes)}", options=BALANCED))
                web = await stack.enter_async_context(httpx.AsyncClient(timeout=None))
                callers += (
                    Native(client, deadline=deadline),
                    Grpc(channel, deadline=deadline),
                    Web(web, homes, deadline=deadline),
                )
                homes.reverse()
            async with Load(callers) as load:
                await load.progress(100)
                yield load
        answered = {(call.program, call.kind) for call in those(load.calls, Outcome.ANSWERED)}
        assert answered == {(type(caller).__name__, kind) for caller in callers for kind in caller.tasks}

    def _start(self, place: str, *command: str, **env: str) -> Running:
        env |= {"MICRO_REGISTRY_ADDRESS": str(self._folder / f"{place}.db"), "MICRO_NETWORK_TOKEN": "sesame"}
        return self._stack.enter_context(start_only(*command, env=env))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, stack)


async def _is_settled(name: str, client: Client) -> bool:
    try:
        connections = (await client.call("go.micro.network", "Network.Connections"))["connections"]
        routes = [await _routes(client, service) for service in (NAME, GRPC, WEB)]
    except MicroError:
        return False
    places = INSTANCES if name[0] == "c" else 2
    return len(connections) == LINKS[name] and all(len(each) >= places for each in routes)


async def _routes(client: Client, service: str = NAME) -> list[dict[str, Any]]:
    answer = await client.call("go.micro.network", "Network.Routes", {"service": service})
    routes: list[dict[str, Any]] = answer["routes"]
    return routes


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
        before, before_all = world.runs(slow), runs_in(world.ledger).total()
        await load.progress(1000)
        share = (world.runs(slow) - before) / (runs_in(world.ledger).total() - before_all)
        show(f"an instance that is ten times slower gets {share:.1%}", load.calls[seen:])
        assert before
        assert share <= SHARE_OF_THE_SLOW
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
        held = [await world.open_calls(name) for name in ("c1", "c2")]
        assert sum(held) == len(streams)
        assert all(held)
        world["c1"].send(signal.SIGTERM)
        await world.withdrawn()  # nothing new goes there
        for stream in streams:
            await stream.send({"late": True})
            assert await stream.receive() == {"late": True}
        assert world["c1"].process.poll() is None
        for stream in streams:
            await stream.send_eof()
            assert [message async for message in stream] == []
        status, stderr = await trio.to_thread.run_sync(world["c1"].wait)
        assert status == 0, stderr
    assert set(runs_in(world.ledger).values()) == {1}
