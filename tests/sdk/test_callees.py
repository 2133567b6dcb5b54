from random import Random

import pytest
import trio

from sdk.callees import MOST_FIXED, Callees
from sdk.config import ClientConfig
from sdk.errors import BadRequest, NotFound, Unavailable
from sdk.options import Options, Way, way_of
from sdk.registry.memory import MemoryRegistry
from sdk.types import Instance, Service
from tests.net import nobody


def callees(store: MemoryRegistry | None = None, *, token: str = "", registry: str = "") -> Callees:
    return Callees(ClientConfig(proxy_token=token, registry=registry), store, Random(1))


def way(of: Callees, options: Options | None = None) -> Way:
    return way_of({}, options or {}, of.at)


def test_targets_at_addresses_keep_what_is_known_of_them_and_are_not_kept_for_ever() -> None:
    found = callees()
    assert found.at("h:1") is found.at("h:1")
    for n in range(2 * MOST_FIXED):
        found.at(f"h:{n + 1}")
    assert len(found._fixed) <= MOST_FIXED


def test_a_registry_is_opened_only_where_names_are_looked_up() -> None:
    found = callees(registry="nowhere")
    assert found.choose_registry(way(found, {"address": "h:1"})) is None
    with pytest.raises(BadRequest, match="nowhere"):
        found.choose_registry(way(found))
    own = MemoryRegistry()
    assert callees(own).choose_registry(way(found, {"address": "h:1"})) is own


async def test_the_token_is_for_nodes() -> None:
    async with trio.open_nursery() as nursery:
        found = callees(token="s3cret")
        found.enter(nursery, None)
        assert found.pool_for(way(found, {"proxy": "h:1"}))._token == b"s3cret"
        for options in (Options(), Options(address="h:1"), Options(address="h:1", proxy="h:2")):
            assert found.pool_for(way(found, options))._token == b""
        plain = callees()
        plain.enter(nursery, None)
        assert plain.nodes is plain.instances


async def test_what_is_known_is_found_without_asking_and_filtered() -> None:
    async with MemoryRegistry() as registry, trio.open_nursery() as nursery:
        found = callees(registry)
        found.enter(nursery, registry)
        instance = Instance(id="i", address="h:1", metadata={"native": "1"})
        await registry.register(Service(name="greeter", version="1", instances=(instance,)))
        plain, other = way(found), way(found, {"version": "2"})
        assert found.known("greeter", plain, None) is None
        targets = await found.find("greeter", plain, None)
        assert found.known("greeter", plain, None) is targets
        assert found.known("greeter", other, other.filter) is None
        with pytest.raises(NotFound, match="greeter is in the registry, but no instance of version '2'"):
            await found.find("greeter", other, other.filter)
        with pytest.raises(Unavailable, match=r"no node to call through.*micro network"):
            await found.find("greeter", way(found, {"proxy": "go.micro.network"}), None)
        nursery.cancel_scope.cancel()


async def test_a_connection_is_looked_for_at_all_targets_before_it_is_given_up() -> None:
    with nobody() as dead:
        async with trio.open_nursery() as nursery:
            found = callees()
            found.enter(nursery, None)
            with pytest.raises(Unavailable, match=rf"greeter: no connection to (.*{dead}.*, .*|.*, .*{dead}.*)"):
                await found.connect("greeter", way(found, {"address": f"{dead},127.0.0.1:1"}), None)
