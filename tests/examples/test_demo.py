"""What `make demo` runs works, and leaves nothing behind however it ends."""

import json
import re
import signal
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import run, start, start_only

MISLED = """
    import sys
    sys.path.insert(0, "examples")
    import demo

    def show(self, command, variables=None, show=demo.Environment._show):
        show(self, command, variables)
        if command[0] == "python":
            demo.PATIENCE = 3.0

    demo.Environment._show = show
    demo.COMMANDS["python"] = {program!r}
    sys.exit(demo.main())
"""
"""The demo with another program in the place of Python, which runs the greeter, and less patience with that."""


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment in which the demo's files and processes can be told from others; afterwards none may be there."""
    folder = tmp_path / "only-for-this-demo"
    folder.mkdir()
    yield {"TMPDIR": str(folder)}
    assert not list(folder.iterdir())
    assert not list(processes_of(str(folder)))


def processes_of(mark: str) -> Iterator[str]:
    """The command lines of processes that have this text in their environment, where the system tells."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                yield (process / "cmdline").read_text()
        except OSError:  # it is somebody else's, or ended just now
            pass


def program(folder: Path, script: str) -> str:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_calls_go_over_two_links(env: dict[str, str]) -> None:
    done = run("python", "examples/demo.py", env=env)
    assert (done.status, done.stderr) == (0, "")
    ids = dict(re.findall(r"^ready micro network (\w) id=(\w+)", done.stdout, re.MULTILINE))
    assert re.search(rf"^a +{ids['a']} .*\n +b +{ids['b']} .*\n +c +{ids['c']} ", done.stdout, re.MULTILINE)
    assert re.search(rf"^greeter +{ids['c']} +{ids['b']} +{ids['c']} ", done.stdout, re.MULTILINE)
    assert "caller.py\nHello John\n0\n1\n2\n" in done.stdout
    assert re.search(r"latency.py\n200 calls, one after another: p50 [\d.]+ ms", done.stdout)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_demo_takes_everything_with_it(env: dict[str, str], number: signal.Signals) -> None:
    with start_only("python", "examples/demo.py", env=env) as demo:
        demo.wait_for("ready micro network a")
        assert len(list(processes_of(env["TMPDIR"]))) > 1
        assert demo.stop(number) == (128 + number, "")


def test_a_program_that_ends_is_told_with_what_it_said(env: dict[str, str], tmp_path: Path) -> None:
    script = textwrap.dedent(MISLED.format(program=program(tmp_path, "echo no luck today; exit 3")))
    done = run("python", "-c", script, env=env)
    assert done.status == 1
    assert "The demo failed: python examples/greeter.py in c ended with status 3\nno luck today\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_program_that_never_gets_ready_is_told_too(env: dict[str, str], tmp_path: Path) -> None:
    script = textwrap.dedent(MISLED.format(program=program(tmp_path, "echo still thinking; exec sleep 1000")))
    done = run("python", "-c", script, env=env)
    assert done.status == 1
    assert "python examples/greeter.py in c was not ready after 3 s\nstill thinking\n" in done.stderr


def test_the_parts_can_be_run_by_hand_without_a_node(tmp_path: Path) -> None:
    env = {"MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db")}
    with start("python", "examples/greeter.py", env=env) as greeter:
        assert run("python", "examples/caller.py", env=env).stdout == "Hello John\n0\n1\n2\n"
        assert "p50" in run("python", "examples/latency.py", env=env).stdout
        reply = run("micro", "call", "greeter", "Greeter.Hello", '{"name": "Ann"}', env=env).stdout
        assert json.loads(reply) == {"msg": "Hello Ann"}
        assert greeter.stop()[0] == 0
