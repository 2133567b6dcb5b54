"""Whole nodes whose registry is killed, hangs, or loses what it held: calls go on, and then the truth is known."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import trio

from sdk import Client
from sdk.reply import ClientStream
from tests.net import kept_address
from tests.processes import PATIENCE, run, start
from tests.sdk.registry.consulserver import ConsulServer
from tests.sdk.registry.etcdserver import EtcdServer
from tests.sdk.registry.test_etcdclient import with_users
from tests.troubled import TTL, Called, Consul, Dns, Etcd, Kubernetes, Sqlite, Trouble, World, Written

ETCD = pytest.param("etcd", marks=pytest.mark.peers)


@pytest.fixture(params=[ETCD, "consul", "service", "kubernetes", "dns"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Trouble | Sqlite]:
    find: Callable[[str], str] = request.getfixturevalue("require")
    kinds: dict[str, Callable[[], AbstractContextManager[Trouble | Sqlite]]] = {
        "etcd": lambda: Etcd(find("etcd"), tmp_path),
        "consul": Consul,
        "service": Called,
        "kubernetes": lambda: Kubernetes(tmp_path),
        "dns": lambda: Dns(tmp_path, "greeter", "stays", "goes", "came"),
        "sqlite": lambda: Sqlite(tmp_path / "registry.db"),
    }
    with kinds[request.param]() as registry:
        yield registry


@pytest.fixture
def world(registry: Trouble | Sqlite) -> Iterator[World]:
    with World(registry) as world:
        yield world


async def talk(stream: ClientStream) -> None:
    """Sends a message over a stream and gets it back."""
    await stream.send({"a": "word"})
    assert await stream.receive() == {"a": "word"}


async def test_calls_and_routes_outlive_the_registry_and_when_it_is_back_the_truth_is_known(
    registry: Trouble, world: World
) -> None:
    if registry.instance_env != registry.env:
        await registry.offer("greeter", world.instance.address())
    for service in ("stays", "goes"):
        await registry.offer(service)
    await world.until_there_are("greeter", "stays", "goes")
    async with world.calls():
        await trio.to_thread.run_sync(registry.kill)
        # With one of them it is tried for as long as is promised; with each, for longer than a record lives.
        known = await world.until_it_is("stale", longer_than=10 if isinstance(registry, Etcd) else 1.5 * TTL)
        assert known["error"]
        assert await world.services() == {"greeter", "stays", "goes"}
        await trio.to_thread.run_sync(registry.start)
        await registry.withdraw("goes")
        for service in ("stays", "came"):
            await registry.offer(service)
        await world.until_there_are("greeter", "stays", "came")
        assert (await world.registry())["state"] == "current"


@pytest.mark.parametrize("registry", [ETCD, "service"], indirect=True)  # it takes 20 s of waiting
async def test_calls_and_routes_outlive_a_registry_that_hangs(registry: Etcd | Called, world: World) -> None:
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
    await world.until_there_are("greeter")
    async with Client(proxy=world.proxy) as client, client.stream("greeter", "Greeter.Chat", {}) as stream:
        await talk(stream)
        await registry.lose("greeter")
        with trio.fail_after(PATIENCE):
            while not await registry.has("greeter"):  # noqa: ASYNC110 - no event
                await trio.sleep(0.05)
        await world.until_there_are("greeter")
        assert await client.call("greeter", "Greeter.Hello", {"n": 1}) == {"n": 1}
        await talk(stream)
        assert world.instance.process.poll() is None


@pytest.mark.parametrize("registry", [ETCD, "sqlite"], indirect=True)
async def test_of_records_that_are_half_garbage_the_good_are_called_and_the_bad_are_named_once(
    registry: Etcd | Sqlite, world: World
) -> None:
    bad = [f"bad-{n}" for n in range(5)]
    for n in range(5):
        await registry.offer(f"good-{n}")
        registry.spoil(bad[n])
    await world.until_there_are("greeter", *(f"good-{n}" for n in range(5)))
    async with world.calls() as calls:
        await calls.progress(3)
        for service in bad:
            registry.spoil(service)
        await registry.offer("last")
        await world.until_there_are("greeter", "last", *(f"good-{n}" for n in range(5)))
    for service in bad:
        assert world.node.stderr.count(service) == 1, world.node.stderr


@pytest.mark.parametrize("registry", [ETCD], indirect=True)
async def test_leases_that_are_lost_are_taken_anew_and_a_compacted_store_is_followed_on(
    registry: Etcd, world: World
) -> None:
    await world.until_there_are("greeter")
    async with Client(proxy=world.proxy) as client, client.stream("greeter", "Greeter.Chat", {}) as stream:
        await talk(stream)
        lost = registry.leases()
        assert len(lost) == 2  # the node's own and that of the instance
        for lease in lost:
            registry.ask("/v3/lease/revoke", {"ID": str(lease)})
        registry.compact()
        with trio.fail_after(PATIENCE):
            while len(set(registry.leases()) - set(lost)) < 2:  # noqa: ASYNC110 - no event
                await trio.sleep(0.05)
        await world.until_there_are("greeter")
        registry.compact()
        await registry.offer("came")
        await world.until_there_are("greeter", "came")
        await talk(stream)


@pytest.mark.parametrize("registry", ["sqlite"], indirect=True)
async def test_calls_and_routes_outlive_a_file_that_is_locked_and_then_removed(registry: Sqlite, world: World) -> None:
    await registry.offer("goes")
    await world.until_there_are("greeter", "goes")
    async with world.calls():
        with registry.locked():
            known = await world.until_it_is("stale", longer_than=1.5 * TTL)
            assert "locked by another process" in known["error"]
        await world.until_it_is("current")
        assert await world.services() == {"greeter", "goes"}
        for file in registry.path.parent.glob("registry.db*"):
            file.unlink()
        await registry.offer("came")
        await world.until_there_are("greeter", "came")
        assert "was removed" in world.node.stderr


@pytest.mark.parametrize(
    ("registry", "ahead"),
    [pytest.param("etcd", -1000, marks=pytest.mark.peers), ("sqlite", 1000)],
    indirect=["registry"],
)
async def test_a_clock_that_is_wrong_neither_shortens_a_record_s_life_nor_makes_it_longer(
    registry: Etcd | Sqlite, ahead: int
) -> None:
    with World(registry, ahead=ahead) as world:
        await world.until_there_are("greeter")
        async with world.calls() as calls:
            await calls.progress(10)
        world.instance.send(signal.SIGKILL)
        await world.until_there_are()


def test_a_node_starts_without_its_registry_and_offers_what_is_there_when_it_comes() -> None:
    with kept_address() as address:
        env = {"MICRO_REGISTRY": f"service://{address}"}
        flags = ("--address", "127.0.0.1:0", "--proxy-address", "127.0.0.1:0", "--resolver", "static")
        with start("micro", "network", *flags, env=env) as node:
            asked = ("micro", "network", "status", "--proxy-address", node.address("proxy"))
            line = next(line for line in run(*asked).stdout.splitlines() if line.startswith("registry"))
            assert f"kind=service address={address} state=away for_s=" in line
            assert "start `micro registry` there" in line
            with start("micro", "registry", "--address", address):
                node.wait_for("the registry is back")
                known = json.loads(run(*asked, "--output", "json").stdout)["registry"]
                assert (known["state"], known["error"]) == ("current", "")


def test_a_registry_that_wants_another_token_ends_a_node_that_starts_with_what_to_do() -> None:
    with ConsulServer(token="good") as server:
        env = {"MICRO_REGISTRY": f"consul://127.0.0.1:{server.port}", "MICRO_REGISTRY_TOKEN": "a secret"}
        done = run("micro", "network", "--address", "127.0.0.1:0", "--proxy-address", "127.0.0.1:0", env=env)
    assert done.status == 1
    assert "give a token of Consul" in done.stderr
    assert "MICRO_REGISTRY_TOKEN" in done.stderr
    assert "a secret" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.peers
def test_a_registry_that_wants_another_password_ends_a_node_that_starts_with_what_to_do(
    require: Callable[[str], str], tmp_path: Path
) -> None:
    with EtcdServer(require("etcd"), tmp_path) as server:
        with_users(server)
        env = {"MICRO_REGISTRY": f"etcd://root:secret@127.0.0.1:{server.port}"}
        done = run("micro", "network", "--address", "127.0.0.1:0", "--proxy-address", "127.0.0.1:0", env=env)
    assert done.status == 1
    assert "authentication failed" in done.stderr
    assert "--registry-address (MICRO_REGISTRY_ADDRESS)" in done.stderr
    assert "secret" not in done.stderr
