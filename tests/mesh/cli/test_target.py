"""Whom a command asks, when nobody or somebody was named."""

import pytest
from click.testing import CliRunner

from mesh.cli import micro
from mesh.cli.target import reachable
from sdk.errors import BadRequest


@pytest.mark.parametrize(
    ("listens", "dial"),
    [
        ("staging:8081", "staging:8081"),
        (":8081", "127.0.0.1:8081"),
        ("0.0.0.0:8081", "127.0.0.1:8081"),
        ("[::]:8081", "127.0.0.1:8081"),
        ("[::1]:8081", "[::1]:8081"),
        ("127.0.0.1:0", None),
        ("", None),
        (None, None),
    ],
)
def test_the_address_a_node_listens_on_says_where_to_ask_it(listens: str | None, dial: str | None) -> None:
    assert reachable(listens) == dial


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(BadRequest, match="staging"):
        reachable("staging")


@pytest.mark.parametrize("command", ["network nodes", "call a A.B", "list services", "health a"])
def test_an_address_that_is_none_is_named_with_flag_and_variable(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MICRO_PROXY_ADDRESS", raising=False)
    monkeypatch.setenv("MICRO_REGISTRY", "memory")
    for flags, variable, named in (
        ("--proxy-address staging", "", "--proxy-address (MICRO_PROXY_ADDRESS): 'staging' is no address"),
        ("", "http://staging:8081", "MICRO_PROXY: 'http://staging:8081' is no address"),
        ("", "staging:8081,here", "MICRO_PROXY: 'here' is no address"),
    ):
        monkeypatch.setenv("MICRO_PROXY", variable)
        done = CliRunner().invoke(micro, [*command.split(), *flags.split()])
        assert (done.exit_code, done.stdout) == (2, ""), done
        assert named in done.stderr
