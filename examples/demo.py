"""Three environments, a service in one, a caller in another: what `make demo` runs.

    a ------- b ------- c          each with its own registry; a and c know nothing but b
    caller              greeter

Each part is a command that a reader can run by hand; the commands are printed as they run. The demo takes free ports,
keeps its registries in a temporary folder, and leaves nothing behind, however it ends.
"""

import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import trio

EXAMPLES = Path(__file__).parent
COMMANDS = {"micro": str(Path(sys.executable).with_name("micro")), "python": sys.executable}
PATIENCE = 30.0
"""Seconds a step may take before the demo says that it failed; on an idle machine all take about five."""


class Failed(Exception):
    """A step did not work: what it was, and what the program had to say."""


class Environment:
    """A cloud, for the demo: a registry of its own, and the token that all of them share."""

    def __init__(self, name: str, folder: Path, token: str) -> None:
        self.name = name
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("MICRO_")}
        self.variables = inherited | {
            "MICRO_REGISTRY": "sqlite",
            "MICRO_REGISTRY_ADDRESS": str(folder / f"{name}.db"),
            "MICRO_NETWORK_TOKEN": token,
        }

    async def start(self, nursery: trio.Nursery, *command: str) -> str:
        """Starts a program that runs until the demo is over; returns its `ready` line."""
        self._show(command)
        output = bytearray()
        with trio.move_on_after(PATIENCE):
            ready: str = await nursery.start(self._keep, command, output)
            print(ready, flush=True)
            return ready
        raise self._failed(command, f"was not ready after {PATIENCE:.0f} s", output)

    async def run(self, *command: str, quiet: bool = False, variables: Mapping[str, str] | None = None) -> str:
        """Runs a command to its end; returns what it printed."""
        if not quiet:
            self._show(command, variables or {})
        with trio.move_on_after(PATIENCE):
            done = await trio.run_process(
                [COMMANDS[command[0]], *command[1:]], env=self.variables | dict(variables or {}),
                capture_stdout=True, stderr=subprocess.STDOUT, check=False, cwd=EXAMPLES.parent,
            )  # fmt: skip
            if done.returncode:
                raise self._failed(command, f"ended with status {done.returncode}", done.stdout)
            output = done.stdout.decode(errors="replace")
            if not quiet:
                print(output, flush=True)
            return output
        raise self._failed(command, f"did not end within {PATIENCE:.0f} s", b"")

    async def _keep(self, command: tuple[str, ...], output: bytearray, *, task_status: trio.TaskStatus[str]) -> None:
        """Runs the program while the demo lasts; that it ends earlier is a failure, told with all it printed."""
        process = await trio.lowlevel.open_process(
            [COMMANDS[command[0]], *command[1:]], env=self.variables, cwd=EXAMPLES.parent,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        ready = False
        try:
            assert process.stdout is not None
            async for data in process.stdout:
                output += data
                for line in () if ready else output.decode(errors="replace").splitlines(keepends=True):
                    if line.startswith("ready ") and line.endswith("\n"):
                        ready = True
                        task_status.started(line.rstrip())
            raise self._failed(command, f"ended with status {await process.wait()}", output)
        finally:
            with trio.CancelScope(shield=True):
                await _end(process)

    def _failed(self, command: tuple[str, ...], what: str, output: bytes | bytearray) -> Failed:
        return Failed(f"{shlex.join(command)} in {self.name} {what}\n{output.decode(errors='replace')}".rstrip())

    def _show(self, command: tuple[str, ...], variables: Mapping[str, str] | None = None) -> None:
        words = [*(f"{key}={value}" for key, value in (variables or {}).items()), shlex.join(command)]
        print(f"{self.name} $ {' '.join(words)}", flush=True)


async def _end(process: trio.Process) -> None:
    """SIGTERM, and SIGKILL for what does not go."""
    process.terminate()
    with trio.move_on_after(3):
        await process.wait()
    process.kill()
    await process.wait()
    if process.stdout is not None:
        await process.stdout.aclose()


def word(line: str, name: str) -> str:
    """The value of `name=…` in a ready line."""
    return next(word.removeprefix(name + "=") for word in line.split() if word.startswith(name + "="))


async def demo(folder: Path) -> None:
    """The whole story."""
    token = secrets.token_hex()
    a, b, c = (Environment(name, folder, token) for name in "abc")
    node = ("micro", "network", "--address", "127.0.0.1:0", "--proxy-address", "127.0.0.1:0", "--resolver", "static")
    async with trio.open_nursery() as nursery:
        print("Three environments. Each has its own MICRO_REGISTRY_ADDRESS, and all share one MICRO_NETWORK_TOKEN.")
        print("Three nodes, linked in a line, and a greeter that registers in c only:\n")
        link = word(await b.start(nursery, *node, "--name", "b"), "link")
        await a.start(nursery, *node, "--name", "a", "--nodes", link)
        await c.start(nursery, *node, "--name", "c", "--nodes", link)
        await c.start(nursery, "python", "examples/greeter.py")
        await _until_known(a, "greeter")

        print("\nWhat a knows:\n")
        await a.run("micro", "network", "graph")
        await a.run("micro", "network", "routes")
        print("A program in a calls it, over two links:\n")
        proxy = {"MICRO_PROXY": "go.micro.network"}
        await a.run("python", "examples/caller.py", variables=proxy)
        await a.run("python", "examples/latency.py", variables=proxy)
        nursery.cancel_scope.cancel()


async def _until_known(environment: Environment, service: str) -> None:
    with trio.move_on_after(PATIENCE):
        while True:
            known = await environment.run("micro", "network", "services", "--output", "json", quiet=True)
            if service in json.loads(known)["services"]:
                return
            await trio.sleep(0.05)
    status = await environment.run("micro", "network", "status", quiet=True)
    raise Failed(f"{environment.name} does not know {service} after {PATIENCE:.0f} s:\n{status}")


async def until_signal(folder: Path) -> int:
    """Runs the demo; Ctrl-C and SIGTERM end it, and what it started, in good order."""
    status = 0

    async def listen(nursery: trio.Nursery) -> None:
        nonlocal status
        # Ctrl-C reaches the demo alone, for each program has a session of its own: it is the demo that ends them.
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            status = 128 + await anext(signals)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen, nursery)
        await demo(folder)
        nursery.cancel_scope.cancel()
    return status


def main() -> int:
    """The exit status: 0, 1 when a step failed, 128 + the signal that ended it."""
    with tempfile.TemporaryDirectory(prefix="micro-demo-") as folder:
        try:
            return trio.run(until_signal, Path(folder))
        except* Failed as failures:
            failure: BaseException = failures
            while isinstance(failure, BaseExceptionGroup):
                failure = failure.exceptions[0]
            print(f"\nThe demo failed: {failure}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
