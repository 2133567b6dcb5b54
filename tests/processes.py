"""Real processes for tests: the `micro` command and programs that use the SDK, as a user would start them.

    with start("micro", "network", "--address", "127.0.0.1:0", env={...}) as node:
        node.address("link")                  # what its `ready` line says
        status, stderr = node.stop()          # SIGTERM; or node.stop(signal.SIGINT)

    done = run("micro", "list", "services")   # a command that ends by itself: done.status, done.stdout, done.stderr

Nothing here waits without a bound, and every process is gone when its `with` ends.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

PATIENCE = 60.0
"""Seconds that anything may take on a machine that is busy with other tests; only what is broken takes so long."""

_MICRO = Path(sys.executable).with_name("micro")
_HOUSE = Path(__file__).parent.parent


class Done(NamedTuple):
    """How a command ended."""

    status: int
    """Its exit status; -n when signal n ended it."""
    stdout: str
    stderr: str


class Running:
    """A process that runs. `stdout` and `stderr` grow as it prints."""

    def __init__(self, command: list[str], env: Mapping[str, str]) -> None:
        self.stdout = ""
        self.stderr = ""
        self.ready = ""
        """The `ready …` line, once it was printed."""
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            command, env=env, cwd=_HOUSE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace", bufsize=1,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=("stdout", self.process.stdout), daemon=True),
            threading.Thread(target=self._read, args=("stderr", self.process.stderr), daemon=True),
        ]
        self._open = len(self._readers)
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()
        self._end()

    def address(self, kind: str = "") -> str:
        """What a node's `ready` line says of `link`, `proxy`, `id`, …; for a service, its one address."""
        if not kind:
            return self.ready.split()[-1]
        words = dict(word.split("=", 1) for word in self.ready.split() if "=" in word)
        assert kind in words, f"no {kind}= in: {self.ready}"
        return words[kind]

    def wait_for(self, text: str, *, patience: float = PATIENCE) -> str:
        """Waits until a line with this text is printed, on either output, and returns the line."""
        return self._wait_for(lambda line: text in line, repr(text), patience)

    def wait_until_ready(self) -> str:
        """Waits for the `ready …` line and returns it."""
        self.ready = self._wait_for(lambda line: line.startswith("ready "), "a ready line", PATIENCE)
        return self.ready

    def send(self, number: signal.Signals) -> None:
        """Sends a signal and goes on."""
        self.process.send_signal(number)

    def wait(self, *, patience: float = PATIENCE) -> tuple[int, str]:
        """Waits for the process to end by itself; its exit status and all of its standard error."""
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it goes on for {patience} s; stderr:\n{self.stderr}") from None
        self._end()
        return self.process.returncode, self.stderr

    def stop(self, number: signal.Signals = signal.SIGTERM, *, patience: float = PATIENCE) -> tuple[int, str]:
        """Sends a signal and waits for the end; the exit status and all of its standard error."""
        self.send(number)
        return self.wait(patience=patience)

    def _wait_for(self, fits: Callable[[str], bool], what: str, patience: float) -> str:
        line = ""

        def found() -> bool:
            nonlocal line
            # A line without its end is still being written.
            lines = [*self.stderr.splitlines(keepends=True), *self.stdout.splitlines(keepends=True)]
            line = next((each for each in lines if each.endswith("\n") and fits(each)), "")
            return bool(line) or not self._open

        with self._changed:
            self._changed.wait_for(found, patience)
        assert line, f"{what} was not printed; stdout:\n{self.stdout}\nstderr:\n{self.stderr}"
        return line.rstrip("\n")

    def _read(self, name: str, pipe: IO[str]) -> None:
        for line in pipe:
            with self._changed:
                setattr(self, name, getattr(self, name) + line)
                self._changed.notify_all()
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def _end(self) -> None:
        self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


def start(*command: str, env: Mapping[str, str] | None = None) -> Running:
    """Starts `micro` or `python` with these arguments, `env` added to the environment; waits for its `ready` line."""
    running = start_only(*command, env=env)
    try:
        running.wait_until_ready()
    except BaseException:
        running.__exit__(None, None, None)
        raise
    return running


def start_only(*command: str, env: Mapping[str, str] | None = None) -> Running:
    """Like `start`, without waiting."""
    return Running(_command(command), _environment(env))


def run_and_read_one_line(*command: str, env: Mapping[str, str] | None = None) -> Done:
    """Runs `micro` or `python` with these arguments as before `| head -1`; waits for its end."""
    with subprocess.Popen(
        _command(command), env=_environment(env), cwd=_HOUSE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stdout.readline()
            process.stdout.close()
            return Done(process.wait(PATIENCE), line, process.stderr.read())
        finally:
            process.kill()


def run(*command: str, env: Mapping[str, str] | None = None, stdin: str = "") -> Done:
    """Runs `micro` or `python` with these arguments to its end."""
    done = subprocess.run(
        _command(command), env=_environment(env), cwd=_HOUSE, input=stdin, capture_output=True, text=True,
        errors="replace", timeout=PATIENCE, check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def _command(command: tuple[str, ...]) -> list[str]:
    program = {"micro": str(_MICRO), "python": sys.executable}.get(command[0], command[0])
    return [program, *command[1:]]


def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, **(env or {})}
