"""What makes a node an end of a tunnel, and two such ends in one process."""

import socket
from dataclasses import replace

import pytest
from trio.testing import MockClock

from mesh.config import NodeConfig, PublicAddress
from mesh.local_ports import Forward
from mesh.point_to_point import Expose, PointToPoint, parse_expose, parse_forward, tunnel_values, with_exposed
from sdk.errors import BadRequest
from sdk.types import Instance, Service

from .network import world


@pytest.mark.parametrize(
    ("text", "address", "service"),
    [
        ("15432:postgres", "127.0.0.1:15432", "postgres"),
        (":15432:postgres", "127.0.0.1:15432", "postgres"),
        ("0.0.0.0:15432:postgres", "0.0.0.0:15432", "postgres"),
        ("localhost:0:go.micro.db", "localhost:0", "go.micro.db"),
        ("[::1]:15432:postgres", "[::1]:15432", "postgres"),
    ],
)
def test_a_forward_is_a_port_here_and_a_service_over_there(text: str, address: str, service: str) -> None:
    assert parse_forward(text) == Forward(address=address, service=service)


@pytest.mark.parametrize("text", ["", "postgres", "15432", "15432:", ":postgres", "postgres:15432", "99999:x", "-1:x"])
def test_what_is_no_forward_is_refused_naming_the_flag(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_forward(text)
    assert f"--forward (MICRO_TUNNEL_FORWARD) has {text!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("db=127.0.0.1:5432", "db", "127.0.0.1:5432"),
        (" db = 127.0.0.1:5432 ", "db", "127.0.0.1:5432"),
        ("db=:5432", "db", "127.0.0.1:5432"),
        ("db=[::1]:5432", "db", "[::1]:5432"),
        ("db=postgres.internal:5432", "db", "postgres.internal:5432"),
    ],
)
def test_an_exposed_address_has_a_name(text: str, name: str, address: str) -> None:
    assert parse_expose(text) == Expose(name=name, address=address)


@pytest.mark.parametrize("text", ["", "db", "db=", "=127.0.0.1:5432", "db=127.0.0.1", "db=127.0.0.1:0", "db=a:99999"])
def test_what_is_no_exposed_address_is_refused_naming_the_flag(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_expose(text)
    assert f"--expose (MICRO_TUNNEL_EXPOSE) has {text!r}" in str(caught.value)


def test_a_name_that_every_node_has_of_its_own_is_not_offered() -> None:
    """It would be told to nobody, and nothing would say so."""
    with pytest.raises(BadRequest, match=r"--expose .* go.micro.router is every node's own name"):
        parse_expose("go.micro.router=127.0.0.1:1")


def test_a_local_port_leads_to_one_service() -> None:
    two = [Forward(address="127.0.0.1:15432", service=service) for service in ("a", "b")]
    with pytest.raises(BadRequest, match=r"--forward \(MICRO_TUNNEL_FORWARD\) has 127.0.0.1:15432 2 times"):
        PointToPoint(forwards=tuple(two))
    PointToPoint(forwards=tuple(replace(each, address="127.0.0.1:0") for each in two))


async def test_an_end_answers_by_the_name_it_stands_in_the_registry_with(fast_clock: MockClock) -> None:
    async with world() as all_:
        end = await all_.open("end")
        await end.start(point_to_point=PointToPoint(), token="a secret of ours")
        async with end.client() as client:
            for name in ("go.micro.tunnel", "go.micro.network"):
                assert (await client.call(name, "Network.Status"))["name"] == "end"


@pytest.mark.parametrize("text", [f"{'x' * 256}=127.0.0.1:1", "a\nb=127.0.0.1:1"])
def test_a_name_that_no_service_can_have_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="--expose"):
        parse_expose(text)
    with pytest.raises(BadRequest, match="--forward"):
        parse_forward(f"1:{text.partition('=')[0]}")


def test_exposed_addresses_are_services_beside_those_of_the_registry() -> None:
    web = Service(name="web", instances=(Instance(id="web-1", address="10.0.0.1:80"),))
    found = with_exposed([web], [Expose(name="db", address="127.0.0.1:5432")])
    db = Instance(id="db-127.0.0.1:5432", address="127.0.0.1:5432", metadata={"protocol": "tcp"})
    assert found == (web, Service(name="db", instances=(db,)))


def test_several_addresses_of_one_name_are_its_instances() -> None:
    exposes = [Expose(name="db", address=f"127.0.0.1:{port}") for port in (1, 2)]
    [db] = with_exposed([], exposes)
    assert [instance.address for instance in db.instances] == ["127.0.0.1:1", "127.0.0.1:2"]


def test_an_address_exposed_under_the_name_of_a_service_joins_its_instances() -> None:
    old = Service(name="db", version="1", instances=(Instance(id="db-old", address="10.0.0.1:5432"),))
    new = replace(old, version="latest")
    merged = with_exposed([old, new], [Expose(name="db", address="127.0.0.1:5432")])
    assert merged[0] == old
    assert [instance.address for instance in merged[1].instances] == ["10.0.0.1:5432", "127.0.0.1:5432"]
    assert with_exposed([old, new], []) == (old, new)


def test_a_server_listens_and_a_client_only_dials() -> None:
    server = NodeConfig(**tunnel_values(servers=(), address=None, id="site"))
    client = NodeConfig(**tunnel_values(servers=("10.0.0.1:8083",), address=None, id="site"))
    assert (server.address, server.nodes, server.name) == (":8083", (), "site")
    assert (client.address, client.nodes, client.name) == ("", ("10.0.0.1:8083",), socket.gethostname())
    for config, pin in ((server, ""), (client, "site")):
        assert config.point_to_point == PointToPoint(pin=pin)
        assert (config.network, config.resolver, config.proxy_address) == ("go.micro.tunnel", "static", ":0")
        assert (config.service, config.tokens) == ("go.micro.tunnel", ("micro",))
        assert not config.policy.transit
        assert config.default_token


def test_a_client_listens_where_it_is_told_to() -> None:
    values = tunnel_values(servers=("10.0.0.1:8083",), address="127.0.0.1:0", id="", proxy_address="127.0.0.1:0")
    config = NodeConfig(**values)
    assert (config.address, config.proxy_address) == ("127.0.0.1:0", "127.0.0.1:0")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"servers": ("10.0.0.1",)}, "--server (MICRO_TUNNEL_SERVER)"),
        ({"address": "8083"}, "--address (MICRO_TUNNEL_ADDRESS)"),
        ({"token": ""}, "--token (MICRO_TUNNEL_TOKEN)"),
        ({"token": "a", "token_file": "b"}, "--token-file (MICRO_TUNNEL_TOKEN_FILE)"),
        ({"token_file": "/nowhere/to be found"}, "--token-file (MICRO_TUNNEL_TOKEN_FILE)"),
        ({"proxy_address": "here"}, "--proxy-address (MICRO_TUNNEL_PROXY_ADDRESS)"),
        ({"proxy_address": "mem://here"}, "--proxy-address (MICRO_TUNNEL_PROXY_ADDRESS)"),
        ({"id": "x" * 256}, "--id (MICRO_TUNNEL_ID)"),
        ({"servers": ("10.0.0.1:8083",), "id": "x" * 256}, "--id (MICRO_TUNNEL_ID)"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_naming_the_flag_of_the_tunnel(
    values: dict[str, object], said: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        NodeConfig(**tunnel_values(**{"servers": (), "address": None, "id": "", **values}))  # type: ignore[arg-type]
    assert said in str(caught.value)


@pytest.mark.parametrize("token", [None, "micro", "go.micro.tunnel"])
def test_a_token_that_everybody_knows_is_not_for_a_public_address(token: str | None) -> None:
    values = tunnel_values(servers=(), address="203.0.113.1:8083", id="", token=token)
    with pytest.raises(PublicAddress, match="MICRO_TUNNEL_TOKEN") as caught:
        NodeConfig(**values)
    assert "MICRO_NETWORK" not in str(caught.value)
    NodeConfig(**{**values, "token": "a secret"})
