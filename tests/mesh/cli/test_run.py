"""Commands end as they should: status, signals, and no traceback for what is nobody's defect."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import click
import pytest
import trio
from click.testing import CliRunner
from trio.testing import wait_all_tasks_blocked

from mesh.cli.options import Command
from mesh.cli.run import DRAIN, INTERRUPTED, LEAVE, Failure, exit_status, run, run_while_read
from sdk.errors import BadRequest, Conflict, Unavailable
from tests.processes import Running, start, start_only

PROGRAM = """
    import sys
    import click, trio
    from mesh.cli.options import Command
    from mesh.cli.run import exit_status, run_until_signal

    class Program:
        async def run(self, *, task_status):
            {before}
            task_status.started("port=7")
            try:
                await trio.sleep_forever()
            finally:
                print("closed", flush=True)

        async def drain(self):
            print("draining", flush=True)
            {drain}
            print("drained", flush=True)

    @click.command(cls=Command)
    def command():
        run_until_signal(Program(), lambda bound: "ready " + bound)

    sys.exit(exit_status(command, []))
"""


def program(*, before: str = "pass", drain: str = "pass") -> tuple[str, str, str]:
    return "python", "-c", textwrap.dedent(PROGRAM.format(before=before, drain=drain))


def said(running: Running, *words: str) -> bool:
    return running.stdout.split() == list(words)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, INTERRUPTED)])
def test_a_signal_drains_the_program_and_ends_it(number: signal.Signals, status: int) -> None:
    with start(*program()) as running:
        assert running.address("port") == "7"
        assert running.stop(number) == (status, "ready port=7\n")
        assert said(running, "draining", "drained", "closed")


def test_ctrl_c_does_not_wait_for_what_takes_longer_than_two_seconds() -> None:
    assert DRAIN[signal.SIGINT] + LEAVE < 2
    with start(*program(drain="await trio.sleep_forever()")) as running:
        assert running.stop(signal.SIGINT) == (INTERRUPTED, "ready port=7\n")
        assert said(running, "draining", "closed")


def test_a_stuck_loop_does_not_outlive_ctrl_c_either() -> None:
    with start(*program(drain="exec('while True: pass')")) as running:
        assert running.stop(signal.SIGINT) == (INTERRUPTED, "ready port=7\n")
        assert said(running, "draining")


@pytest.mark.parametrize("stuck", ["await trio.sleep_forever()", "exec('while True: pass')"])
def test_a_second_signal_ends_it_at_once(stuck: str) -> None:
    with start(*program(drain=stuck)) as running:
        running.send(signal.SIGTERM)
        running.wait_for("draining")
        status, stderr = running.stop(signal.SIGINT)
        assert status in {-signal.SIGINT, INTERRUPTED}
        assert stderr == "ready port=7\n"
        assert said(running, "draining")


def test_a_signal_before_it_is_ready_ends_it() -> None:
    with start_only(*program(before='print("starting", flush=True); await trio.sleep_forever()')) as running:
        running.wait_for("starting")
        assert running.stop(signal.SIGTERM) == (0, "")
        assert said(running, "starting")


def test_a_system_that_has_no_number_for_all_files_keeps_it_from_nothing() -> None:
    """As macOS does where the hard limit is infinite."""
    name, option, text = program()
    refuse = "import resource; resource.setrlimit = lambda *_: int('current limit exceeds maximum limit')"
    with start(name, option, text.replace("import click, trio", f"import click, trio; {refuse}")) as running:
        assert running.stop(signal.SIGTERM)[0] == 0


def test_it_may_open_as_many_files_as_the_system_lets_it() -> None:
    look = "import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE), flush=True)"
    less = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128)); {look}"
    name, option, text = program(before=look)
    text = text.replace("import click, trio", f"import click, trio; {less}")
    with start(name, option, text) as running:
        running.address("port")
        running.stop(signal.SIGINT)
        assert running.stdout.split()[:4] == ["64", "128", "128", "128"]


def test_what_fails_at_the_start_is_one_line() -> None:
    fails = 'from sdk.errors import Conflict; raise Conflict("port 7 is taken")'
    with start_only(*program(before=fails)) as running:
        assert running.wait() == (1, "error: port 7 is taken\n")


def status_of(error: BaseException) -> int:
    @click.command(cls=Command)
    def fails() -> None:
        async def fail() -> None:
            async with trio.open_nursery():
                raise error

        run(fail)

    return exit_status(fails, [])


def test_an_error_of_the_outside_world_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for error, status in (
        (Unavailable("no answer\x1b[2J"), 1),
        (Conflict("port 1 is taken"), 1),
        (BadRequest("--name is too long"), 2),
        (PermissionError(13, "Permission denied", "registry.db"), 1),
        (Failure("error calling x"), 1),
        (click.UsageError("no such thing"), 2),
        (KeyboardInterrupt(), INTERRUPTED),
    ):
        assert status_of(error) == status
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        assert "\x1b" not in err
        assert str(error).replace("\x1b", "\\x1b") in err


def test_a_defect_of_ours_is_not_hidden() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        status_of(ExceptionGroup("two", [ZeroDivisionError(), Unavailable("gone")]))
    assert caught.group_contains(ZeroDivisionError)


def test_of_several_failures_the_first_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(ExceptionGroup("two", [Unavailable("first"), Unavailable("second")])) == 1
    assert capsys.readouterr().err == "error: first\n"


def test_a_result_comes_back() -> None:
    async def seven() -> int:
        return 7

    with click.Context(Command("counts")):
        assert run(seven) == 7


def test_the_log_level_is_obeyed() -> None:
    script = """
        import logging, sys, click
        from mesh.cli.options import Command
        from mesh.cli.run import exit_status, run
        async def talk():
            logging.getLogger("sdk").info("details")
            logging.getLogger("sdk").warning("trouble")
        @click.command(cls=Command)
        def command(): run(talk)
        sys.exit(exit_status(command))
    """

    def stderr(*arguments: str) -> str:
        command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr

    assert "trouble" in stderr()
    assert "details" not in stderr()
    assert "WARNING sdk: trouble" in stderr("--log-level", "debug")
    assert "INFO sdk: details" in stderr("--log-level", "debug")
    assert stderr("--log-level", "error") == ""


def test_a_failure_shows_its_text_only() -> None:
    @click.command()
    def fails() -> None:
        raise Failure("error calling a.B: no")

    result = CliRunner().invoke(fails)
    assert (result.exit_code, result.output) == (1, "error calling a.B: no\n")


def test_nobody_writes_lines_of_their_own_into_the_log_and_no_terminal_obeys_it() -> None:
    log = r'__import__("logging").getLogger("x").warning("from %s", "a\nERROR x: a lie \x1b[31m")'
    with start(*program(before=log)) as running:
        _, printed = running.stop()
    [line] = [line for line in printed.splitlines() if not line.startswith("ready ")]
    assert line.endswith(r"WARNING x: from a\nERROR x: a lie \x1b[31m")


def test_what_is_printed_into_a_named_pipe_that_is_open_both_ways_is_not_taken_for_the_end_of_its_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    said: list[str] = []

    async def say() -> None:
        for word in ("one", "two"):
            click.echo(word)
            await wait_all_tasks_blocked(0.01)
            said.append(word)

    # A shell's `exec 3<>pipe`, by which a pipe outlasts its readers.
    with os.fdopen(os.open(path, os.O_RDWR), "w") as pipe, click.Context(click.Command("watch")):
        monkeypatch.setattr(sys, "stdout", pipe)
        run_while_read(say)
    assert said == ["one", "two"]
