"""The prompt: commands as at a shell, but JSON as it comes."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from mesh.cli.prompt import split
from tests.processes import run, start

HOUSE = Path(__file__).parents[3]
MICRO = str(Path(sys.executable).with_name("micro"))


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"MICRO_REGISTRY": "sqlite", "MICRO_REGISTRY_ADDRESS": str(tmp_path / "registry.db")}


def cli(lines: str, env: dict[str, str], *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MICRO, *flags, "cli"], input=lines, env={**os.environ, **env}, cwd=HOUSE,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("  list   services ", ["list", "services"]),
        ('call greeter Greeter.Hello {"name": "John"}', ["call", "greeter", "Greeter.Hello", '{"name": "John"}']),
        ("""call g G.H '{"name": "John"}'""", ["call", "g", "G.H", '{"name": "John"}']),
        ('call g G.H {"a": [1, "}"]} --output json', ["call", "g", "G.H", '{"a": [1, "}"]}', "--output", "json"]),
        ("call g G.H [1,2]", ["call", "g", "G.H", "[1,2]"]),
        ("call g G.H {broken", ["call", "g", "G.H", "{broken"]),
        ('stream "a b" c\\ d # no comment', ["stream", "a b", "c d", "#", "no", "comment"]),
        ('get service ""', ["get", "service", ""]),
    ],
)
def test_a_line_is_words_and_json(line: str, words: list[str]) -> None:
    assert split(line) == words


def test_a_quote_that_does_not_end_is_told() -> None:
    with pytest.raises(ValueError, match="no closing quotation"):
        split("call 'greeter")


def test_lines_from_a_pipe_are_run_one_after_the_other(env: dict[str, str]) -> None:
    with start("python", "examples/greeter.py", env=env):
        done = cli(
            'ls\n\ncall greeter Greeter.Hello {"name": "John"}\nquit\ncall nobody A.B\n', env, "--output", "json"
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert '"greeter"' in done.stdout
    assert '"msg": "Hello John"' in done.stdout


def test_flags_before_it_hold_for_every_line(env: dict[str, str], tmp_path: Path) -> None:
    with start("python", "examples/greeter.py", env=env):
        done = cli("list services\n", {"MICRO_REGISTRY_ADDRESS": str(tmp_path / "other.db")}, "--registry", "sqlite")
        assert (done.returncode, done.stdout) == (0, "")
        done = cli("list services\n", {}, "--registry", "sqlite", "--registry-address", env["MICRO_REGISTRY_ADDRESS"])
        assert (done.returncode, done.stdout) == (0, "greeter\n")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("call nobody A.B", "nobody"),
        ("carrier pigeon", "carrier"),
        ("call 'greeter", "no closing quotation"),
        ("network", "a terminal of its own"),
        ("network --address 127.0.0.1:0 --proxy-address 127.0.0.1:0", "a terminal of its own"),
        ("registry --address 127.0.0.1:0", "a terminal of its own"),
        ("cli", "a terminal of its own"),
    ],
)
def test_a_line_that_fails_is_told_and_the_next_is_run(line: str, says: str, env: dict[str, str]) -> None:
    done = cli(f"{line}\nhelp\n", env)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Commands:" in done.stdout


def test_a_closed_standard_input_has_no_lines_and_no_json() -> None:
    for line, status, says in (("cli", 0, ""), ("register service -", 2, "standard input is closed")):
        done = run("sh", "-c", f"exec {MICRO} {line} <&-", env={"MICRO_REGISTRY": "memory"})
        assert (done.status, done.stdout) == (status, ""), done
        assert says in done.stderr
        assert "Traceback" not in done.stderr


def test_help_tells_of_one_command(env: dict[str, str]) -> None:
    done = cli("help call\n", env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "SERVICE ENDPOINT [JSON]" in done.stdout


def test_a_person_is_asked_until_they_leave(env: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [MICRO, "cli"], stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, **env, "TERM": "dumb"}, cwd=HOUSE
    )
    os.close(theirs)
    shown = b""
    try:
        while b"micro> " not in shown:
            shown += os.read(ours, 4096)
        os.write(ours, b"no such command\nexit\n")
        assert process.wait(30) == 0  # what went wrong was seen
        while b"No such command" not in shown:
            shown += os.read(ours, 4096)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
