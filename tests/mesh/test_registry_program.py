from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from mesh.registry_program import RegistryConfig, RegistryProgram
from sdk import Client
from sdk.errors import BadRequest, Conflict, NotFound, Unavailable
from sdk.registry.service import ServiceRegistry
from sdk.registry.sqlite import SqliteRegistry
from sdk.types import Instance, Service, service_to_json

GREETER = Service(name="greeter", instances=(Instance(id="1", address="h:1"),))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"address": "nowhere"}, r"--address \(MICRO_SERVER_ADDRESS\)"),
        ({"store": "etcd"}, r"--store \(MICRO_REGISTRY_STORE\)"),
        ({"store_address": "/a"}, r"--store-address \(MICRO_REGISTRY_STORE_ADDRESS\)"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(values: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        RegistryConfig(**values)


async def test_a_port_that_is_taken_is_named() -> None:
    async with trio.open_nursery() as nursery:
        [address] = await nursery.start(RegistryProgram(RegistryConfig(address="127.0.0.1:0")).run)
        with pytest.raises(Conflict, match=r"--address \(MICRO_SERVER_ADDRESS\)"):
            await RegistryProgram(RegistryConfig(address=address)).run()
        nursery.cancel_scope.cancel()


async def test_a_store_that_cannot_be_opened_is_named_by_its_own_flag(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = RegistryConfig(address="127.0.0.1:0", store="sqlite", store_address=str(tmp_path / "file" / "registry.db"))
    with pytest.raises(Unavailable) as caught:
        await RegistryProgram(config).run()
    assert "--store-address (MICRO_REGISTRY_STORE_ADDRESS)" in str(caught.value)
    assert "--registry-address" not in str(caught.value)


async def test_records_in_a_file_outlive_the_registry_and_it_calls_nobody(tmp_path: Path) -> None:
    path = str(tmp_path / "registry.db")
    async with trio.open_nursery() as nursery:
        program = RegistryProgram(RegistryConfig(address="127.0.0.1:0", store="sqlite", store_address=path))
        [address] = await nursery.start(program.run)
        async with ServiceRegistry(address) as registry, Client(proxy=address) as client:
            await registry.register(GREETER)
            with pytest.raises(NotFound, match="a registry, which calls nobody"):
                await client.call("greeter", "Greeter.Hello", {})
        nursery.cancel_scope.cancel()
    async with SqliteRegistry(path) as store:
        assert await store.list() == (GREETER,)


async def test_two_in_memory_are_two(nursery: trio.Nursery) -> None:
    addresses = [(await nursery.start(RegistryProgram(RegistryConfig(address="127.0.0.1:0")).run))[0] for _ in range(2)]
    async with ServiceRegistry(addresses[0]) as one, ServiceRegistry(addresses[1]) as two:
        await one.register(GREETER)
        assert await two.list() == ()


async def test_draining_ends_the_watches_and_refuses_what_comes_later(nursery: trio.Nursery) -> None:
    program = RegistryProgram(RegistryConfig(address="127.0.0.1:0"))
    [address] = await nursery.start(program.run)
    async with Client(proxy=address) as client, client.stream("go.micro.registry", "Registry.Watch", {}) as stream:
        assert await stream.receive() == {"action": "ready"}
        with trio.fail_after(30):
            await program.drain()
            with pytest.raises(trio.EndOfChannel):
                await stream.receive()


async def test_it_is_read_by_json_over_http_and_not_written(nursery: trio.Nursery) -> None:
    program = RegistryProgram(RegistryConfig(address="127.0.0.1:0"))
    [address] = await nursery.start(program.run)
    async with httpx.AsyncClient(base_url=f"http://{address}", headers={"Host": "go.micro.registry"}) as http:
        for path in ("/Registry/Register", "/Registry/Register?x", "/go.micro.registry.Registry/Register?x"):
            refused = await http.post(path, json=service_to_json(GREETER))
            assert (refused.status_code, "changes this node" in refused.text) == (403, True)
            assert ("not done in JSON over HTTP" in refused.text) == (path == "/Registry/Register")
        listed = await http.post("/Registry/ListServices", json={})
        assert (listed.status_code, listed.json()) == (200, {"services": []})
