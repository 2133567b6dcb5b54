import logging
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from mesh import checks as checks_module
from mesh.checks import Checks
from sdk.rawsocket import bound_address
from sdk.registry.memory import MemoryRegistry
from sdk.types import Instance, Service
from tests.mesh.network import until, world
from tunnel.transport.tls import Tls


def service(address: str, *, id: str = "1", name: str = "greeter", **metadata: str) -> Service:
    marked = {key.replace("_", "-"): value for key, value in metadata.items()}
    return Service(name=name, instances=(Instance(id=id, address=address, metadata=marked),))


class Server:
    """A port that accepts, and can be closed and opened again at the same address."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.address = "127.0.0.1:0"
        self._scope = trio.CancelScope()

    async def open(self) -> None:
        port = int(self.address.rpartition(":")[2])
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        self.address, self._scope = bound_address(listeners[0]), trio.CancelScope()
        await self._nursery.start(self._serve, listeners)

    def close(self) -> None:
        self._scope.cancel()

    async def _serve(self, listeners: list[trio.SocketListener], *, task_status: Any) -> None:
        with self._scope:
            await trio.serve_listeners(lambda stream: stream.aclose(), listeners, task_status=task_status)


def following(nursery: trio.Nursery) -> tuple[Checks, list[None]]:
    changes: list[None] = []
    checks = Checks(random=Random(1), changed=lambda: changes.append(None), tls=Tls)
    nursery.start_soon(checks.run)
    return checks, changes


def state(checks: Checks) -> list[str]:
    return [record["state"] for record in checks.records(trio.current_time())]


async def eventually(true: Callable[[], bool]) -> None:
    async def ask() -> bool:
        return true()

    await until(ask, within=60)


async def test_a_dead_instance_is_withdrawn_after_some_failures_and_taken_back_after_some_successes(
    fast_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mesh.checks")
    async with trio.open_nursery() as nursery:
        server = Server(nursery)
        await server.open()
        checks, changes = following(nursery)
        [only] = services = (service(server.address, check="tcp", check_interval="2s"),)
        checks.follow_all(services)
        await trio.sleep(10)
        assert (state(checks), checks.alive(services), changes) == (["up"], services, [])
        server.close()
        died = trio.current_time()
        await eventually(lambda: state(checks) == ["down"])
        assert 2 * 1.8 <= trio.current_time() - died <= 3 * 2.2 + 1
        assert (checks.alive(services), len(changes)) == ((), 1)
        [record] = checks.records(trio.current_time())
        assert (record["service"], record["instance"], record["check"]) == ("greeter", "1", f"tcp://{server.address}")
        assert server.address in record["error"]
        await server.open()
        await eventually(lambda: state(checks) == ["up"])
        assert (checks.alive(services), len(changes)) == ((only,), 2)
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
        nursery.cancel_scope.cancel()


async def test_one_failure_among_successes_withdraws_nothing(fast_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        server = Server(nursery)
        await server.open()
        checks, changes = following(nursery)
        checks.follow_all([service(server.address, check="tcp", check_interval="4s")])
        for _ in range(5):
            await trio.sleep(8)
            server.close()
            await eventually(lambda: checks.records(0.0)[0]["error"] != "")
            await server.open()
            await eventually(lambda: checks.records(0.0)[0]["error"] == "")
        assert (state(checks), changes) == (["up"], [])
        nursery.cancel_scope.cancel()


async def test_the_living_instances_of_a_service_stay_and_what_is_not_checked_too(fast_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        checks, _ = following(nursery)
        dead = service("127.0.0.1:1", check="tcp", check_interval="1s")
        other = Instance(id="2", address="127.0.0.1:2")
        both = Service(name="greeter", instances=(*dead.instances, other))
        checks.follow_all([both])
        await eventually(lambda: state(checks) == ["down"])
        assert checks.alive([both]) == (Service(name="greeter", instances=(other,)),)
        nursery.cancel_scope.cancel()


async def test_what_leaves_the_registry_is_checked_no_more_and_what_moves_begins_anew(fast_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        checks, _ = following(nursery)
        checks.follow_all([service("127.0.0.1:1", check="tcp", check_interval="1s")])
        await eventually(lambda: state(checks) == ["down"])
        checks.follow_all([service("127.0.0.1:1", check="tcp", check_interval="2s")])
        assert state(checks) == ["down"]  # it is as dead as before
        checks.follow_all([service("127.0.0.1:2", check="tcp", check_interval="2s")])
        assert state(checks) == ["up"]
        checks.follow("greeter", "latest", ())
        await trio.testing.wait_all_tasks_blocked()
        assert (state(checks), len(nursery.child_tasks)) == ([], 1)
        [runner] = nursery.child_tasks
        assert not [task for each in runner.child_nurseries for task in each.child_tasks]
        nursery.cancel_scope.cancel()


async def test_a_check_that_makes_no_sense_and_one_too_many_are_named_once(
    fast_clock: MockClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks_module, "MAX_CHECKED", 1)
    async with trio.open_nursery() as nursery:
        checks, _ = following(nursery)
        services = (
            service("127.0.0.1:1", name="a", check="tcp"),
            service("127.0.0.1:1", name="b", check="tcp"),
            service("127.0.0.1:1", name="c", check="smoke"),
        )
        for _ in range(3):
            checks.follow_all(services)
        assert state(checks) == ["up", "unchecked", "unchecked"]
        assert checks.alive(services) == services
        b, c = (record.getMessage() for record in caplog.records)
        assert b == "b 1 is not checked: this node checks 1 instances already"
        assert c.startswith("c 1 is not checked: check is 'smoke'")
        checks.follow_all(services[1:])
        assert state(checks) == ["up", "unchecked"]  # there is room now
        nursery.cancel_scope.cancel()


async def test_one_too_many_is_checked_as_soon_as_another_has_gone(
    fast_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks_module, "MAX_CHECKED", 2)
    async with trio.open_nursery() as nursery:
        checks, _ = following(nursery)
        for name in "abcd":
            checks.follow(name, "latest", service("127.0.0.1:1", name=name, check="tcp", check_interval="1s").instances)
        assert state(checks) == ["up", "up", "unchecked", "unchecked"]
        checks.follow("c", "latest", ())
        assert state(checks) == ["up", "up", "unchecked"], "it was not checked itself"
        checks.follow("a", "latest", ())
        assert state(checks) == ["up", "up"]
        await eventually(lambda: state(checks) == ["down", "down"])
        nursery.cancel_scope.cancel()


async def test_a_node_withdraws_the_route_of_a_dead_instance_and_says_so_in_its_status(fast_clock: MockClock) -> None:
    async with world() as all_:
        place = await all_.open("here")
        await place.start()
        server = Server(all_.nursery)
        await server.open()
        record = service(server.address, name="alien", check="tcp", check_interval="1s", protocol="http")
        async with MemoryRegistry("here") as registry:
            await registry.register(record)

        async def offered() -> bool:
            return "alien" in await place.services()

        async def withdrawn() -> bool:
            return not await offered()

        await until(offered, within=10)
        server.close()
        await until(withdrawn, within=30)
        [told] = (await place.ask("Network.Status"))["checks"]
        assert (told["service"], told["state"]) == ("alien", "down")
        await server.open()
        await until(offered, within=30)
        [told] = (await place.ask("Network.Status"))["checks"]
        assert (told["state"], told["error"]) == ("up", "")
