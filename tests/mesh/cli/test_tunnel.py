"""`micro tunnel`: what its flags and variables mean, and how it refuses those that cannot be used. What it carries is
tried in tests/test_tunnel_command.py."""

import re
import socket
from pathlib import Path

import pytest

from mesh.cli import micro
from mesh.cli.tunnel import tunnel
from tests.processes import Running, run, start

TUNNEL = ("micro", "tunnel", "--proxy-address", "127.0.0.1:0")
SERVER = (*TUNNEL, "--address", "127.0.0.1:0")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment of the test's own."""
    return {"MICRO_REGISTRY": "sqlite", "MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db")}


def words(running: Running) -> dict[str, str]:
    return dict(word.split("=", 1) for word in running.ready.split() if "=" in word)


def test_it_is_a_command_of_micro() -> None:
    assert micro.commands["tunnel"] is tunnel


def test_every_flag_has_its_variable() -> None:
    of_every_node = (
        "tls_ca",
        "tls_cert",
        "tls_key",
        "via",
        "proxy_token",
        "proxy_token_file",
        "proxy_tls_cert",
        "proxy_tls_key",
    )
    assert {option.name: option.envvar for option in tunnel.params if option.name not in of_every_node} == {
        "servers": "MICRO_TUNNEL_SERVER",
        "address": "MICRO_TUNNEL_ADDRESS",
        "id": "MICRO_TUNNEL_ID",
        "token": "MICRO_TUNNEL_TOKEN",
        "token_file": "MICRO_TUNNEL_TOKEN_FILE",
        "admit": "MICRO_TUNNEL_ADMIT",
        "data_dir": "MICRO_TUNNEL_DATA_DIR",
        "proxy_address": "MICRO_TUNNEL_PROXY_ADDRESS",
        "forwards": "MICRO_TUNNEL_FORWARD",
        "exposes": "MICRO_TUNNEL_EXPOSE",
    }


def test_a_server_says_where_it_is_and_a_client_has_no_link_address(env: dict[str, str]) -> None:
    with start(*SERVER, "--id", "site", env=env) as server:
        assert server.ready.startswith("ready micro tunnel site ")
        assert words(server).keys() == {"id", "link", "proxy"}
        with start(*TUNNEL, "--server", words(server)["link"], "--id", "site", env=env) as client:
            assert client.ready.startswith(f"ready micro tunnel {socket.gethostname()} ")
            assert words(client).keys() == {"id", "proxy"}
            assert client.stop()[0] == 0
        assert server.stop()[0] == 0


def test_the_ports_that_were_opened_are_told_with_their_services(env: dict[str, str]) -> None:
    forwards = ("--forward", "0:postgres,127.0.0.1:0:web", "--forward", "localhost:0:redis")
    with start(*TUNNEL, "--server", "127.0.0.1:1", *forwards, env=env) as client:
        told = words(client)["forward"].split(",")
    assert [re.sub(r"(127.0.0.1|\[::1\]):[1-9]\d+", "HERE", each) for each in told] == [
        "HERE=postgres", "HERE=web", "HERE=redis",
    ]  # fmt: skip


def test_variables_do_for_all_flags(env: dict[str, str]) -> None:
    more = {
        "MICRO_TUNNEL_SERVER": "127.0.0.1:1, 127.0.0.1:2",
        "MICRO_TUNNEL_ADDRESS": "127.0.0.1:0",
        "MICRO_TUNNEL_TOKEN": "sesame",
        "MICRO_TUNNEL_PROXY_ADDRESS": "127.0.0.1:0",
        "MICRO_TUNNEL_FORWARD": "0:a, 0:b",
        "MICRO_TUNNEL_EXPOSE": "c=127.0.0.1:1",
    }
    with start("micro", "tunnel", env=env | more) as both:
        assert words(both).keys() == {"id", "link", "proxy", "forward"}
        assert words(both)["proxy"].startswith("127.0.0.1:")
        assert re.sub(r":\d+", "", words(both)["forward"]) == "127.0.0.1=a,127.0.0.1=b"
        assert "default" not in both.stderr
        assert both.stop()[0] == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--forward", "postgres"), "--forward (MICRO_TUNNEL_FORWARD) has 'postgres'"),
        (("--expose", "db"), "--expose (MICRO_TUNNEL_EXPOSE) has 'db'"),
        (("--server", "example.com"), "--server (MICRO_TUNNEL_SERVER): 'example.com' is no address"),
        (("--token", ""), "--token (MICRO_TUNNEL_TOKEN) is empty"),
        (("--address", "203.0.113.7:8083"), "set MICRO_TUNNEL_TOKEN (--token)"),
        (("--address", "8083"), "--address (MICRO_TUNNEL_ADDRESS)"),
    ],
)
def test_what_cannot_be_used_ends_it_with_status_2_and_the_name_of_the_flag(
    env: dict[str, str], flags: tuple[str, ...], said: str
) -> None:
    done = run(*TUNNEL, *flags, env=env)
    assert done.status == 2
    assert said in done.stderr
    assert "ready" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_ends_it_with_status_1_naming_the_port(env: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(*TUNNEL, "--server", "127.0.0.1:1", "--forward", f"{port}:db", env=env)
    assert done.status == 1
    assert f"--forward (MICRO_TUNNEL_FORWARD): port {port} is taken" in done.stderr


def test_the_first_line_of_its_log_says_what_the_default_token_means(env: dict[str, str]) -> None:
    with start(*SERVER, env=env) as server:
        assert "the token is the default one" in server.stderr.splitlines()[0]
        assert "MICRO_TUNNEL_TOKEN" in server.stderr.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--server", ""), "--server (MICRO_TUNNEL_SERVER) is empty"),
        (("--address", ""), "nobody could link"),
    ],
)
def test_what_would_link_with_nobody_is_refused(arguments: tuple[str, ...], said: str) -> None:
    result = run("micro", "tunnel", *arguments)
    assert result.status == 2
    assert said in result.stderr
