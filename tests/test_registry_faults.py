"""Whole nodes whose registry is killed, hangs, or loses what it held: calls go on, and then the truth is known."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import trio

from sdk import Client
from tests.processes import PATIENCE
from tests.troubled import TTL, Called, Consul, Etcd, Sqlite, Trouble, World, Written

pytestmark = pytest.mark.timeout(120)


ETCD = pytest.param("etcd", marks=pytest.mark.peers)


@pytest.fixture(params=[ETCD, "consul", "service"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Trouble | Sqlite]:
    find: Callable[[str], str] = request.getfixturevalue("require")
    kinds: dict[str, Callable[[], AbstractContextManager[Trouble | Sqlite]]] = {
        "etcd": lambda: Etcd(find("etcd"), tmp_path),
        "consul": Consul,
        "service": Called,
        "sqlite": lambda: Sqlite(tmp_path / "registry.db"),
    }
    with kinds[request.param]() as registry:
        yield registry


@pytest.fixture
def world(registry: Trouble | Sqlite) -> Iterator[World]:
    with World(registry.env) as world:
        yield world


async def test_calls_and_routes_outlive_the_registry_and_when_it_is_back_the_truth_is_known(
    registry: Trouble, world: World
) -> None:
    for service in ("stays", "goes"):
        await registry.offer(service)
    await world.until_there_are("greeter", "stays", "goes")
    async with world.calls():
        await trio.to_thread.run_sync(registry.kill)
        known = await world.until_it_is("stale", longer_than=1.5 * TTL)
        assert known["error"]
        assert await world.services() == {"greeter", "stays", "goes"}
        await trio.to_thread.run_sync(registry.start)
        await registry.withdraw("goes")
        for service in ("stays", "came"):
            await registry.offer(service)
        await world.until_there_are("greeter", "stays", "came")
        assert (await world.registry())["state"] == "current"


@pytest.mark.parametrize("registry", [ETCD, "service"], indirect=True)  # it takes 20 s of waiting
async def test_calls_and_routes_outlive_a_registry_that_hangs(registry: Trouble, world: World) -> None:
    await registry.offer("goes")
    await world.until_there_are("greeter", "goes")
    async with world.calls():
        registry.hang()
        try:
            await world.until_it_is("stale", longer_than=1.5 * TTL)
        finally:
            registry.resume()
        await registry.withdraw("goes")
        await registry.offer("came")
        await world.until_there_are("greeter", "came")


@pytest.mark.parametrize("registry", [ETCD, "consul", "service", "sqlite"], indirect=True)
async def test_a_record_that_somebody_removed_is_there_again_with_the_next_renewal(
    registry: Written, world: World
) -> None:
    async with Client(proxy=world.proxy) as client, client.stream("greeter", "Greeter.Chat", {}) as stream:
        await world.until_there_are("greeter")
        await registry.lose("greeter")
        with trio.fail_after(PATIENCE):
            while not await registry.has("greeter"):  # noqa: ASYNC110 - no event
                await trio.sleep(0.05)
        await world.until_there_are("greeter")
        assert await client.call("greeter", "Greeter.Hello", {"n": 1}) == {"n": 1}
        await stream.send({"n": 2})
        assert await stream.receive() == {"n": 2}
        assert world.instance.process.poll() is None
