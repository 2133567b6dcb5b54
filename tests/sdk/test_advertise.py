import socket

import pytest
import trio

from sdk import Client, advertise
from sdk.advertise import advertised, own_host
from sdk.rawsocket import listen_tcp
from sdk.registry.memory import MemoryRegistry
from tests.sdk.living import echo, offering, running


@pytest.fixture
def no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose networks lead nowhere: such destinations are refused without asking the network."""
    monkeypatch.setattr(advertise, "_WAYS_OUT", {socket.AF_INET: "255.255.255.255", socket.AF_INET6: "ff02::1%0"})


async def close(listeners: list[trio.SocketListener]) -> None:
    for listener in listeners:
        await listener.aclose()


async def test_what_listens_everywhere_tells_an_address_that_can_be_reached() -> None:
    listeners = await listen_tcp(":0")
    told = advertised("", listeners)
    host, _, port = told.rpartition(":")
    assert host == own_host([socket.AF_INET])
    with socket.create_connection((host, int(port))):
        pass
    await close(listeners)


@pytest.mark.parametrize(
    ("advertise", "told"),
    [
        ("greeter.example", "greeter.example:{port}"),
        ("greeter.example:80", "greeter.example:80"),
        ("greeter.example:0", "greeter.example:{port}"),
        (":80", "127.0.0.1:80"),
        ("[::1]", "[::1]:{port}"),
        ("2001:db8::7", "[2001:db8::7]:{port}"),
        ("[2001:db8::7]:80", "[2001:db8::7]:80"),
        ("", "127.0.0.1:{port}"),
    ],
)
async def test_what_is_advertised_is_filled_up_with_what_is_bound(advertise: str, told: str) -> None:
    listeners = await listen_tcp("127.0.0.1:0")
    port = listeners[0].socket.getsockname()[1]
    assert advertised(advertise, listeners) == told.format(port=port)
    await close(listeners)


async def test_a_host_without_a_way_out_tells_loopback(no_way_out: None) -> None:
    listeners = await listen_tcp(":0")
    assert advertised("", listeners).startswith("127.0.0.1:")
    await close(listeners)


async def test_the_family_with_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advertise, "_way_out", lambda family: "2001:db8::7" if family == socket.AF_INET6 else "")
    listeners = await listen_tcp(":0")
    if len(listeners) < 2:
        pytest.skip("this host has no IPv6")
    port = listeners[0].socket.getsockname()[1]
    assert advertised("", listeners) == f"[2001:db8::7]:{port}"
    await close(listeners)


async def test_where_both_families_lead_out_ipv4_is_told_because_more_programs_can_dial_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ways = {socket.AF_INET: "192.0.2.7", socket.AF_INET6: "2001:db8::7"}
    monkeypatch.setattr(advertise, "_way_out", lambda family: ways[family])
    listeners = await listen_tcp(":0")
    port = listeners[0].socket.getsockname()[1]
    assert advertised("", listeners) == advertised("", listeners[::-1]) == f"192.0.2.7:{port}"
    await close(listeners)


async def test_a_service_on_ipv6_is_called_at_the_address_it_tells() -> None:
    async with MemoryRegistry() as registry:
        service = offering(registry, {"G.Echo": echo}, address="[::1]:0")
        async with running(service) as address, Client(registry=registry) as client:
            [record] = await registry.get("greeter")
            assert record.instances[0].address == address
            assert address.startswith("[::1]:")
            assert await client.call("greeter", "G.Echo", 1) == 1


async def test_a_service_on_every_ipv6_interface_tells_an_address_of_that_family() -> None:
    listeners = await listen_tcp("[::]:0")
    told = advertised("", listeners)
    assert told.startswith("[")
    host, _, port = told.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port))):
        pass
    await close(listeners)
