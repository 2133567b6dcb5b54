from pathlib import Path

import pytest

from tests.mesh.cli.conftest import NODE
from tests.processes import run, start

SECRET = "a secret of programs"


@pytest.mark.parametrize("command", [NODE, ("micro", "router", "--address", "127.0.0.1:0"), ("micro", "tunnel")])
def test_a_token_that_cannot_be_used_is_named_by_every_command_that_listens(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    flag, file_flag = "--proxy-token (MICRO_PROXY_TOKEN)", "--proxy-token-file (MICRO_PROXY_TOKEN_FILE)"
    for env, flags, says in (
        ({"MICRO_PROXY_TOKEN": ""}, (), f"{flag} is empty"),
        ({"MICRO_PROXY_TOKEN_FILE": ""}, (), f"{file_flag} is empty"),
        ({"MICRO_PROXY_TOKEN": SECRET}, ("--proxy-token-file", str(file)), f"both {flag} and {file_flag} are given"),
        ({}, ("--proxy-token-file", str(file)), f"{file_flag}: {file} holds no token"),
        ({"MICRO_PROXY_TOKEN": SECRET * 100}, (), f"{flag}: a token is longer than 1024 bytes"),
    ):
        done = run(*command, *flags, env=env)
        assert (done.status, done.stdout) == (2, "")
        assert says in done.stderr
        assert SECRET not in done.stderr


def test_the_token_of_a_proxy_port_is_in_no_process_list_and_no_log(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(f"{SECRET}\n")
    env = {"MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db"), "MICRO_PROXY_TOKEN_FILE": str(file)}
    with start(*NODE, env=env | {"MICRO_LOG_LEVEL": "debug"}) as node:
        assert SECRET.encode() not in Path(f"/proc/{node.process.pid}/cmdline").read_bytes()
        # A program of this host needs none, shows one all the same, and does no harm with it.
        shown = run("micro", "network", "services", env=env | {"MICRO_PROXY_TOKEN": SECRET})
        assert (shown.status, shown.stdout) == (0, "go.micro.network\n")
        assert run("micro", "network", "services", env=env).status == 0
        status, stderr = node.stop()
    assert status == 0
    assert SECRET not in stderr + node.stdout
