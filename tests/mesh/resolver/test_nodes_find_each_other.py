"""Whole nodes that find one another by a name, and by a list; their links are TCP."""

from collections.abc import Awaitable, Callable, Iterator

import pytest
import trio
from trio.testing import MockClock

from mesh.resolver.lookup import PERIOD
from sdk.netaddress import split_address
from tests.mesh.network import Environment, until, world
from tests.mesh.resolver.servers import Answer, web_server
from tests.net import Hosts, kept_address

HOSTS = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]


@pytest.fixture
def port() -> Iterator[int]:
    """One that is kept for the test at every address of this machine."""
    with kept_address("0.0.0.0") as address:
        yield split_address(address)[1]


def seeds(place: Environment, *expected: str) -> Callable[[], Awaitable[bool]]:
    """Whether these are the addresses that a node dials."""

    async def look() -> bool:
        return sorted(seed["address"] for seed in (await place.ask("Network.Status"))["seeds"]) == sorted(expected)

    return look


def links(place: Environment, count: int) -> Callable[[], Awaitable[bool]]:
    """Whether a node has so many links."""

    async def look() -> bool:
        return len((await place.ask("Network.Connections"))["connections"]) == count

    return look


async def test_three_nodes_find_one_another_by_a_name_with_three_addresses(fast_clock: MockClock, port: int) -> None:
    hosts = Hosts({"nodes.example": HOSTS})
    name = f"nodes.example:{port}"
    async with world() as all_:
        places = [await all_.open(host) for host in HOSTS]
        for host, place in zip(HOSTS, places, strict=True):
            await place.start(address=f"{host}:{port}", resolver="dns", nodes=(name,))
        for place in places:
            await until(links(place, 2), within=5)
        first, _, third = places
        assert await seeds(first, f"127.0.0.2:{port}", f"127.0.0.3:{port}")()
        status = await first.ask("Network.Status")
        assert status["lookups"] == [{"name": name, "state": "current", "nodes": 3, "error": ""}]

        hosts.hosts = {"nodes.example": HOSTS[:2]}
        await trio.sleep(1.2 * PERIOD)
        assert await seeds(first, f"127.0.0.2:{port}")()
        assert await links(first, 2)()

        assert third.running is not None
        await third.running.kill()
        await until(links(first, 1), within=15)


async def test_nodes_on_a_list_are_dialled_besides_those_that_are_named(
    fast_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    async with world() as all_, web_server() as server:
        a, b, c = [await all_.open(name) for name in "abc"]
        listed = (await b.start(address="127.0.0.1:0")).ready.link[0]
        await c.start()
        server.answer = lambda _: Answer(f'{{"nodes": [{{"address": "{listed}"}}]}}'.encode())
        await a.start(resolver=f"http://john:sesame@{server.address}/nodes", nodes=("mem://c",))
        await until(links(a, 2), within=5)
        status = await a.ask("Network.Status")
        assert [seed["address"] for seed in status["seeds"]] == ["mem://c", listed]
        assert status["lookups"] == [
            {"name": f"http://{server.address}/nodes", "state": "current", "nodes": 1, "error": ""}
        ]
