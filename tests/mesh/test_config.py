import dataclasses
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.addresses import is_public
from mesh.config import NodeConfig, PublicAddress
from router.policy import Policy, Strategy
from sdk.errors import BadRequest
from sdk.netaddress import is_private
from sdk.port.limits import Limits
from tunnel.identity import DEFAULT_TOKEN, format_id


def test_the_defaults_are_a_configuration_that_runs() -> None:
    config = NodeConfig()
    assert (config.address, config.proxy_address, config.network) == (":8085", ":8081", "go.micro")
    assert config.default_token


@pytest.mark.parametrize(
    ("field", "value", "flag", "variable"),
    [
        ("address", "8085", "--address", "MICRO_NETWORK_ADDRESS"),
        ("address", ":65536", "--address", "MICRO_NETWORK_ADDRESS"),
        ("address", "tcp://127.0.0.1:8085", "--address", "MICRO_NETWORK_ADDRESS"),
        ("advertise", "example.com", "--advertise", "MICRO_NETWORK_ADVERTISE"),
        ("advertise", "example.com:0", "--advertise", "MICRO_NETWORK_ADVERTISE"),
        ("nodes", ("10.0.0.1:8085", ":8085"), "--nodes", "MICRO_NETWORK_NODES"),
        ("nodes", ("http://10.0.0.1:8085",), "--nodes", "MICRO_NETWORK_NODES"),
        ("nodes", ("10.0.0.1:٨٠",), "--nodes", "MICRO_NETWORK_NODES"),
        ("token", "", "--token", "MICRO_NETWORK_TOKEN"),
        ("admit", ("a" * 26, "b"), "--admit", "MICRO_NETWORK_ADMIT"),
        ("network", "", "--network", "MICRO_NETWORK"),
        ("network", "a\nb", "--network", "MICRO_NETWORK"),
        ("name", "x" * 256, "--name", "MICRO_NETWORK_NAME"),
        ("resolver", "oracle", "--resolver", "MICRO_NETWORK_RESOLVER"),
        ("advertise_strategy", "some", "--advertise-strategy", "MICRO_NETWORK_ADVERTISE_STRATEGY"),
        ("exports", ("public.*", ""), "--export", "MICRO_NETWORK_EXPORT"),
        ("imports", ("a\nb",), "--import", "MICRO_NETWORK_IMPORT"),
        ("gateway", "x" * 256, "--gateway", "MICRO_NETWORK_GATEWAY"),
        ("gateway", "a\nb", "--gateway", "MICRO_NETWORK_GATEWAY"),
        ("max_calls", -1, "--max-calls", "MICRO_NETWORK_MAX_CALLS"),
        ("limits", Limits(idle=-1), "--idle-timeout", "MICRO_NETWORK_IDLE_TIMEOUT"),
        ("limits", Limits(stall=float("nan")), "--stall-timeout", "MICRO_NETWORK_STALL_TIMEOUT"),
        ("limits", Limits(call=float("inf")), "--call-timeout", "MICRO_NETWORK_CALL_TIMEOUT"),
        ("limits", Limits(max_body=-1), "--max-body", "MICRO_NETWORK_MAX_BODY"),
        ("link_prices", (("far", 10_001),), "--link-price", "MICRO_NETWORK_LINK_PRICE"),
        ("link_prices", (("*", 1), ("far", -1)), "--link-price", "MICRO_NETWORK_LINK_PRICE"),
        ("link_prices", (("", 1),), "--link-price", "MICRO_NETWORK_LINK_PRICE"),
        ("proxy_address", "here", "--proxy-address", "MICRO_PROXY_ADDRESS"),
        ("proxy_address", "mem://here", "--proxy-address", "MICRO_PROXY_ADDRESS"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_naming_flag_and_variable(
    field: str, value: object, flag: str, variable: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        dataclasses.replace(NodeConfig(), **{field: value})  # type: ignore[arg-type]
    assert f"{flag} ({variable})" in str(caught.value)


def test_the_policy_is_what_was_configured() -> None:
    assert NodeConfig().policy == Policy()
    config = NodeConfig(advertise_strategy="local", exports=("public.*",), imports=("!public.*",))
    assert config.policy == Policy(strategy=Strategy.LOCAL, exports=("public.*",), imports=("!public.*",))


@pytest.mark.parametrize("address", ["8.8.8.8:8085", "[2001:4860:4860::8888]:8085", "[::ffff:8.8.8.8]:8085"])
def test_the_default_token_is_refused_on_an_explicit_public_address(address: str) -> None:
    with pytest.raises(PublicAddress, match="MICRO_NETWORK_TOKEN"):
        NodeConfig(address=address)
    assert not NodeConfig(address=address, token="a secret").default_token


@pytest.mark.parametrize("address", [":8085", "0.0.0.0:0", "[::]:0", "127.0.0.1:0", "10.1.2.3:8085", "localhost:1"])
def test_the_default_token_is_allowed_where_no_public_address_is_asked_for(address: str) -> None:
    assert NodeConfig(address=address).default_token


def test_the_token_is_in_no_repr_and_in_no_error() -> None:
    assert "sesame" not in repr(NodeConfig(token="sesame"))
    with pytest.raises(BadRequest) as caught:
        NodeConfig(token="sesame", resolver="what")
    assert "sesame" not in str(caught.value)


def test_with_dns_nodes_may_be_names_without_port_and_there_must_be_one() -> None:
    nodes = ("a.example:8085", "a.example", "_micro._tcp.a.example", "10.0.0.1:8085", "tcp://b:1", "mem://c")
    for resolver in ("dns", "dns://127.0.0.1:53"):
        assert NodeConfig(nodes=nodes, resolver=resolver).nodes == nodes
        with pytest.raises(BadRequest, match=r"--nodes \(MICRO_NETWORK_NODES\) has no name"):
            NodeConfig(resolver=resolver)
        for node in ("a b", "10.0.0.1", "_micro._tcp.a.example:1", "a.example:0", ":8085", "[::1]", "mem://"):
            with pytest.raises(BadRequest, match=r"^--nodes \(MICRO_NETWORK_NODES\)"):
                NodeConfig(resolver=resolver, nodes=(node,))


def test_the_url_of_a_list_may_hold_a_password_which_is_in_no_repr() -> None:
    config = NodeConfig(resolver="https://john:sesame@a.example/nodes")
    assert config.choice.url == "https://john:sesame@a.example/nodes"
    assert "sesame" not in repr(config)


def test_each_form_of_a_node_address_is_understood() -> None:
    nodes = (
        "10.0.0.1:8085",
        "tcp://b.example:1",
        "ws://b.example:1/a",
        "wss://b.example:1/a/b",
        "[::1]:8085",
        "mem://b",
    )
    assert NodeConfig(nodes=nodes, address="mem://a").nodes == nodes


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.9.9.9", "10.0.0.1", "172.31.0.1", "192.168.1.1", "::1", "fe80::1%eth0", "fd00::1",
             "::ffff:10.0.0.1", "169.254.1.1"]
)  # fmt: skip
def test_loopback_and_private_hosts_are_private(host: str) -> None:
    assert is_private(host)
    assert not is_public(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "172.32.0.1", "203.0.113.7", "2001:db8::1", "::ffff:8.8.8.8"])
def test_every_other_host_is_public(host: str) -> None:
    assert is_public(host)
    assert not is_private(host)


@given(st.ip_addresses())
def test_an_address_is_private_public_or_every_interface(address: ipaddress.IPv4Address) -> None:
    host = str(address)
    assert [is_private(host), is_public(host), address.is_unspecified].count(True) == 1


def test_the_default_token_is_told_from_any_other() -> None:
    assert NodeConfig(token=DEFAULT_TOKEN).default_token


def test_the_nodes_that_are_admitted_are_known_by_their_ids() -> None:
    assert NodeConfig().admitted is None
    ids = (bytes(16), b"\xff" * 16)
    assert NodeConfig(admit=(format_id(ids[0]), format_id(ids[1]).upper())).admitted == frozenset(ids)
