"""`micro registry` as people use it: real processes, on an environment that has no other registry."""

import json
import signal
from pathlib import Path

import pytest

from tests.processes import run, start

RECORD = json.dumps({"name": "hello", "nodes": [{"id": "hello-1", "address": "10.0.0.7", "port": 9090}]})


@pytest.mark.parametrize("store", [(), ("--store", "sqlite", "--store-address", "{}/kept.db")])
def test_services_find_each_other_by_a_registry_that_is_called(tmp_path: Path, store: tuple[str, ...]) -> None:
    arguments = ("--address", "127.0.0.1:0", *(each.format(tmp_path) for each in store))
    with start("micro", "registry", *arguments) as registry:
        address = registry.address("address")
        env = {"MICRO_REGISTRY": f"service://{address}"}
        with start("python", "examples/greeter.py", env=env) as greeter:
            called = run("micro", "call", "greeter", "Greeter.Hello", '{"name": "John"}', env=env)
            assert "John" in called.stdout, called
            assert run("micro", "register", "service", RECORD, env=env).stdout == "ok\n"
            assert run("micro", "list", "services", env=env).stdout == "greeter\nhello\n"
            greeter.stop()
        spelled = ("--registry", "service", "--registry-address", f"127.0.0.1:1,{address}")
        assert run("micro", "list", "services", *spelled).stdout == "hello\n"
        assert "10.0.0.7:9090" in run("micro", "get", "service", "hello", env=env).stdout
        assert registry.stop(signal.SIGTERM)[0] == 0
    done = run("micro", "list", "services", env=env)
    assert done.status == 1
    assert "start `micro registry` there" in done.stderr


def test_commands_work_on_the_registry_of_a_node_and_on_the_one_a_flag_names(tmp_path: Path) -> None:
    own, other = ({"MICRO_REGISTRY_ADDRESS": str(tmp_path / name)} for name in ("own.db", "other.db"))
    with start("micro", "proxy", "--address", "127.0.0.1:0", env=own) as proxy:
        address = proxy.address("proxy")
        far = {**other, "MICRO_PROXY_ADDRESS": address}
        assert run("micro", "register", "service", RECORD, env=far).stdout == "ok\n"
        assert "hello\n" in run("micro", "list", "services", env=own).stdout
        assert "hello\n" in run("micro", "list", "services", env={**other, "MICRO_PROXY": address}).stdout
        assert run("micro", "list", "services", env=other).stdout == ""
        path = other["MICRO_REGISTRY_ADDRESS"]
        assert run("micro", "list", "services", "--registry-address", path, env=far).stdout == ""
        both = ("--registry-address", path, "--proxy-address", address)
        assert "hello\n" in run("micro", "list", "services", *both, env=other).stdout
        missing = run("micro", "get", "service", "nothing", env=far)
        assert f"in the registry of the node at {address};" in missing.stderr
    for command in (("list", "services"), ("watch",)):
        gone = run("micro", *command, env=far)
        assert (gone.status, gone.stdout) == (1, "")
        assert f"error: the registry of the node at {address} is asked, as --proxy-address" in gone.stderr


@pytest.mark.parametrize("program", ["registry", "router"])
def test_sighup_reads_the_tokens_of_programs_again(program: str, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    shown.touch(mode=0o600)
    shown.write_text("one\n")
    env = {"MICRO_REGISTRY": "memory", "MICRO_PROXY_TOKEN_FILE": str(shown)}
    with start("micro", program, "--address", "127.0.0.1:0", env=env) as running:
        shown.write_text("one\ntwo\n")
        running.send(signal.SIGHUP)
        running.wait_for("reloaded: the number of proxy tokens accepted is 2")
        shown.write_text("")
        running.send(signal.SIGHUP)
        running.wait_for("nothing was reloaded, all stays as it was: --proxy-token-file (MICRO_PROXY_TOKEN_FILE)")
        assert running.stop()[0] == 0


def test_an_address_that_cannot_be_used_is_named() -> None:
    done = run("micro", "registry", "--address", "nowhere")
    assert done.status == 2
    assert "--address (MICRO_SERVER_ADDRESS)" in done.stderr
