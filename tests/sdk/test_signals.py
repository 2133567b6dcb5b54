"""Signals that end a process at once, also as the first one of a container."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import Running, run

MICRO = str(Path(sys.executable).with_name("micro"))

ENDS = """
import os, signal
from sdk.signals import end_at_once
{before}
end_at_once(signal.SIGTERM)
signal.raise_signal(signal.SIGTERM)
"""


@pytest.mark.parametrize(
    ("before", "status"), [("", -signal.SIGTERM), ("os.getpid = lambda: 1", 128 + signal.SIGTERM)], ids=["any", "first"]
)
def test_a_process_ends_by_the_default_action_and_the_first_of_a_container_by_a_handler(
    before: str, status: int
) -> None:
    assert run("python", "-c", ENDS.format(before=before)).status == status


@pytest.fixture
def container(require: Callable[[str], str]) -> list[str]:
    """What stands before a command that is to be the first process of its namespace."""
    before = [require("unshare"), "--pid", "--fork", "--kill-child"]
    if subprocess.run([*before, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this user may make no PID namespace")
    return before


SERVICE = """
from sdk import Service
service = Service("stuck")
@service.before_stop
async def stuck():
    print("now it hangs", flush=True)
    while True:
        pass
service.run()
"""

PROGRAM = """
import trio
from mesh.cli.options import Command
from mesh.cli.run import exit_status, run_until_signal
class Program:
    async def run(self, *, task_status):
        task_status.started(None)
        await trio.sleep_forever()
    async def drain(self):
        print("now it hangs", flush=True)
        await trio.sleep_forever()
exit_status(Command("program", callback=lambda: run_until_signal(Program(), lambda _: "ready now")), [])
"""


@pytest.mark.peers
@pytest.mark.parametrize("program", [SERVICE, PROGRAM], ids=["service", "command"])
def test_a_second_signal_ends_the_first_process_of_a_container(container: list[str], program: str) -> None:
    env = {**os.environ, "MICRO_REGISTRY": "memory"}
    with Running([*container, sys.executable, "-c", program], env) as running:
        running.wait_until_ready()
        first = _child(running)
        os.kill(first, signal.SIGTERM)
        running.wait_for("now it hangs")
        os.kill(first, signal.SIGTERM)
        assert running.process.wait(30) == 128 + signal.SIGTERM


@pytest.mark.peers
def test_a_command_that_goes_on_ends_as_the_first_process_of_a_container(container: list[str], tmp_path: Path) -> None:
    env = {**os.environ, "MICRO_REGISTRY": "sqlite", "MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db")}
    record = '{"name": "web", "nodes": [{"id": "web-1", "address": "127.0.0.1:80"}]}'
    assert run("micro", "register", "service", record, env=env).status == 0
    with Running([*container, MICRO, "watch"], env) as running:
        running.wait_for("web-1")
        os.kill(_child(running), signal.SIGTERM)
        assert running.process.wait(30) == 128 + signal.SIGTERM


def _child(running: Running) -> int:
    pid = running.process.pid
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
