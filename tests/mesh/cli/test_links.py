"""The flags that say how links are made: `micro network` and `micro tunnel` have them alike."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mesh.cli.links import link_flags, link_values
from mesh.cli.network import network
from mesh.cli.tunnel import tunnel
from sdk.errors import BadRequest
from tests.tunnel.transport.certificates import files
from tunnel.transport.proxies import HttpProxy, Proxies
from tunnel.transport.tls import TlsConfig

PROXY = "http://user:pass@proxy.example:3128"
FLAGS = {"tls_ca": "MICRO_TLS_CA", "tls_cert": "MICRO_TLS_CERT", "tls_key": "MICRO_TLS_KEY", "via": "MICRO_VIA"}


def values(*arguments: str, **env: str) -> dict[str, Any]:
    """What a command with these flags and another of its own gets."""
    got: list[dict[str, Any]] = []

    @click.command
    @click.option("--other", default="x")
    @link_flags
    def command(**flags: Any) -> None:
        got.append(link_values(flags))
        assert flags == {"other": "x"}

    done = CliRunner().invoke(command, arguments, env={"HTTPS_PROXY": None, "https_proxy": None, **env})
    if done.exception is not None:
        raise done.exception
    return got[0]


@pytest.mark.parametrize("command", [network, tunnel])
def test_each_command_that_runs_a_node_has_them(command: click.Command) -> None:
    found = {option.name: (option.envvar, option.default) for option in command.params if option.name in FLAGS}
    assert found == {name: (variable, "") for name, variable in FLAGS.items()}


def test_without_them_links_are_made_directly_and_by_the_systems_cas() -> None:
    assert values() == {"tls": TlsConfig(), "proxies": Proxies()}


def test_flags_and_variables_arrive(tmp_path: Path) -> None:
    tls = files(tmp_path, ca="trusted")
    told = {"tls_ca": tls.ca, "tls_cert": tls.cert, "tls_key": tls.key, "via": PROXY}
    by_flags = values(*(f"--{name.replace('_', '-')}={value}" for name, value in told.items()))
    by_variables = values(**{FLAGS[name]: value for name, value in told.items()})
    assert by_flags == by_variables
    assert by_flags["tls"] == tls
    proxy = by_flags["proxies"].proxy
    assert proxy == HttpProxy(address="proxy.example:3128", authorization="Basic dXNlcjpwYXNz")


def test_the_environments_proxy_counts_without_via() -> None:
    env = {"HTTPS_PROXY": "proxy.example:1", "NO_PROXY": "near.example"}
    proxies = values(**env)["proxies"]
    assert proxies.between("far.example", 1) == HttpProxy(address="proxy.example:1")
    assert proxies.between("near.example", 1) is None
    assert values("--via", "http://other.example:2", **env)["proxies"].between("near.example", 1) == HttpProxy(
        address="other.example:2"
    )


def test_what_cannot_be_used_is_said_with_its_flag() -> None:
    with pytest.raises(BadRequest, match=r"--via \(MICRO_VIA\)"):
        values("--via", "socks5://proxy.example:1080")
    with pytest.raises(BadRequest, match=r"--tls-key \(MICRO_TLS_KEY\)"):
        values("--tls-key", "node.key")
