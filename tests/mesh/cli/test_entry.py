"""The flags that say who may link: `micro network` and `micro tunnel` have them alike, each with its own variables."""

import signal
from pathlib import Path

import click
import pytest

from mesh.cli.network import network
from mesh.cli.tunnel import tunnel
from tests.processes import run, start
from tests.tunnel.transport.certificates import files

TOKEN = "open-sesame-1234"
LOCAL = ("--address", "127.0.0.1:0", "--proxy-address", "127.0.0.1:0")
NODE = {"NETWORK": ("micro", "network", *LOCAL, "--resolver", "static"), "TUNNEL": ("micro", "tunnel", *LOCAL)}
DATA_DIR = {"NETWORK": "MICRO_DATA_DIR", "TUNNEL": "MICRO_TUNNEL_DATA_DIR"}
PEERS = {"NETWORK": "--nodes", "TUNNEL": "--server"}

pytestmark = pytest.mark.parametrize("command", ["NETWORK", "TUNNEL"])


@pytest.fixture
def env(tmp_path: Path, command: str) -> dict[str, str]:
    """An environment of the test's own."""
    return {"MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db"), f"MICRO_{command}_TOKEN": TOKEN}


def test_each_command_that_runs_a_node_has_them_with_its_own_variables(command: str) -> None:
    made: click.Command = {"NETWORK": network, "TUNNEL": tunnel}[command]
    found = {option.name: option.envvar for option in made.params}
    for name in ("token", "token_file", "admit"):
        assert found[name] == f"MICRO_{command}_{name.upper()}"
    assert found["data_dir"] == DATA_DIR[command]


@pytest.mark.parametrize("by_file", [False, True])
def test_a_token_from_variable_or_file_is_in_no_process_list_and_no_log(
    command: str, env: dict[str, str], tmp_path: Path, by_file: bool
) -> None:
    if by_file:
        file = tmp_path / "tokens"
        file.touch(mode=0o600)
        file.write_text(f"{TOKEN}\n")
        del env[f"MICRO_{command}_TOKEN"]
        env[f"MICRO_{command}_TOKEN_FILE"] = str(file)
    with start(*NODE[command], env=env | {"MICRO_LOG_LEVEL": "debug"}) as node:
        assert TOKEN.encode() not in Path(f"/proc/{node.process.pid}/cmdline").read_bytes()
        assert (TOKEN.encode() in Path(f"/proc/{node.process.pid}/environ").read_bytes()) != by_file
        status, stderr = node.stop()
        assert status == 0
        assert TOKEN not in stderr + node.stdout
        assert "default" not in stderr


@pytest.mark.parametrize("empty", ["TOKEN", "TOKEN_FILE"])
def test_a_secret_that_failed_to_arrive_is_no_default(command: str, env: dict[str, str], empty: str) -> None:
    del env[f"MICRO_{command}_TOKEN"]
    done = run(*NODE[command], env=env | {f"MICRO_{command}_{empty}": ""})
    assert done.status == 2
    assert f"(MICRO_{command}_{empty}) is empty" in done.stderr


def test_token_and_token_file_exclude_each_other(command: str, env: dict[str, str], tmp_path: Path) -> None:
    done = run(*NODE[command], "--token-file", str(tmp_path / "tokens"), env=env)
    assert done.status == 2
    both = f"both --token (MICRO_{command}_TOKEN) and --token-file (MICRO_{command}_TOKEN_FILE) are given"
    assert both in done.stderr
    assert TOKEN not in done.stderr


def test_a_node_with_a_data_directory_keeps_its_id_and_shares_it_with_nobody(
    command: str, env: dict[str, str], tmp_path: Path
) -> None:
    env[DATA_DIR[command]] = str(tmp_path / "data")
    ids = set()
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        with start(*NODE[command], env=env) as node:
            ids.add(node.address("id"))
            second = run(*NODE[command], env=env)
            assert second.status == 1
            assert f"--data-dir ({DATA_DIR[command]}): another node uses" in second.stderr
            node.stop(number)
    assert len(ids) == 1


def test_a_data_directory_that_cannot_be_used_is_named_with_its_flag(
    command: str, env: dict[str, str], tmp_path: Path
) -> None:
    for name in ("node.key", "epoch"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).touch(mode=0o600)
        done = run(*NODE[command], "--data-dir", str(folder), env=env)
        assert done.status == 2
        assert f"--data-dir ({DATA_DIR[command]}): {folder / name} " in done.stderr


def test_only_nodes_that_are_admitted_link_and_both_sides_say_so(
    command: str, env: dict[str, str], tmp_path: Path
) -> None:
    friend, stranger = str(tmp_path / "friend"), str(tmp_path / "stranger")
    with start(*NODE[command], "--data-dir", friend, env=env) as node:
        id = node.address("id")
    with start(*NODE[command], "--admit", id, env=env) as node:
        peer = (PEERS[command], node.address("link"))
        with start(*NODE[command], *peer, "--data-dir", friend, env=env) as other:
            other.wait_for("link with")
        with start(*NODE[command], *peer, "--data-dir", stranger, env=env) as other:
            refused = f"the id {other.address('id')} is not among those admitted there"
            assert "no link with" in other.wait_for(refused)
            node.wait_for(f"its id {other.address('id')} is not among those admitted here")
        assert node.stop()[0] == 0


def test_an_id_that_is_none_is_refused_with_the_place_where_ids_are(command: str, env: dict[str, str]) -> None:
    done = run(*NODE[command], env=env | {f"MICRO_{command}_ADMIT": "nobody"})
    assert done.status == 2
    assert f"--admit (MICRO_{command}_ADMIT): " in done.stderr
    assert "in the ready line of each" in done.stderr
    assert ("micro network" in done.stderr) == (command == "NETWORK")


@pytest.mark.parametrize("flags", [["--admit="], ["--admit", " ,"]])
def test_a_list_of_admitted_nodes_with_nobody_in_it_is_refused(
    command: str, env: dict[str, str], flags: list[str]
) -> None:
    for done in (run(*NODE[command], *flags, env=env), run(*NODE[command], env=env | {f"MICRO_{command}_ADMIT": ""})):
        assert done.status == 2
        assert f"--admit (MICRO_{command}_ADMIT) is empty" in done.stderr


def test_sighup_changes_the_tokens_and_drops_no_link(command: str, env: dict[str, str], tmp_path: Path) -> None:
    del env[f"MICRO_{command}_TOKEN"]
    secrets = [tmp_path / "one", tmp_path / "two"]
    for file in secrets:
        file.touch(mode=0o600)
        file.write_text(f"{TOKEN}\n")
    flags = [("--token-file", str(file)) for file in secrets]
    with (
        start(*NODE[command], *flags[0], env=env) as node,
        start(*NODE[command], *flags[1], PEERS[command], node.address("link"), env=env) as other,
    ):
        for each in (node, other):
            each.wait_for("link with")
        for file, each in zip(secrets, (node, other), strict=True):
            file.write_text("a-new-secret\n")
            each.send(signal.SIGHUP)
            each.wait_for("reloaded: the number of tokens accepted is 1")
        # Who has the old one is refused, and who has the new one is let in.
        peer = (PEERS[command], node.address("link"))
        with start(*NODE[command], *peer, env=env | {f"MICRO_{command}_TOKEN": TOKEN}) as late:
            late.wait_for("token or network name differs")
        with start(*NODE[command], *peer, env=env | {f"MICRO_{command}_TOKEN": "a-new-secret"}) as late:
            late.wait_for("link with")
        # The link of the two was there all the time: on its end the log would have a line.
        assert other.stderr.count("link with") == 1
        stderr = node.stop()[1] + other.stop()[1]
    assert TOKEN not in stderr
    assert "a-new-secret" not in stderr


def test_sighup_reads_the_file_of_the_proxy_port_and_the_certificates_too(
    command: str, env: dict[str, str], tmp_path: Path
) -> None:
    tls, shown = files(tmp_path), tmp_path / "shown"
    shown.touch(mode=0o600)
    shown.write_text("one\ntwo\n")
    flags = ("--proxy-token-file", str(shown), "--tls-cert", tls.cert, "--tls-key", tls.key)
    with start(*NODE[command], *flags, env=env) as node:
        node.send(signal.SIGHUP)
        read = f"the number of proxy tokens accepted is 2; certificates and keys are those in {tls.cert}, {tls.key}"
        node.wait_for(f"reloaded: {read}")
        Path(tls.key).write_text("nonsense")
        node.send(signal.SIGHUP)
        node.wait_for("nothing was reloaded, all stays as it was: --tls-key (MICRO_TLS_KEY)")
