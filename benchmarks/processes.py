"""Processes that a benchmark starts: they die with it, and what they used is read from /proc."""

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal a process gets when its parent dies."""

_LIBC = ctypes.CDLL(None)


def _die_with_parent() -> None:
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def running(command: list[str], log: Path, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process, until the block ends, in a group of its own, so that Ctrl-C stops the benchmark first.

    What it prints, on either stream, goes to the end of `log`.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - no thread runs here
        )
    try:
        yield process
    finally:
        children = family([process])
        process.kill()
        process.wait()
        # sshd starts a session for each client, in a process group of its own.
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def family(processes: Iterable[subprocess.Popen[bytes]]) -> list[int]:
    """The ids of the processes and of all that descend from them."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            parent = int(path.read_text().rsplit(")", 1)[1].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found = [process.pid for process in processes]
    for each in found:
        found += children.get(each, [])  # the loop goes on with what it adds
    return found


def cpu_seconds(processes: Iterable[subprocess.Popen[bytes]]) -> float:
    """User and system time that the processes and their descendants have used, in steps of 10 ms."""
    ticks = 0
    for each in family(processes):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += sum(map(int, fields[11:15]))  # its own, and that of children that ended
    return ticks / os.sysconf("SC_CLK_TCK")


def resident(processes: Iterable[subprocess.Popen[bytes]]) -> int:
    """Bytes of memory that the processes and their descendants hold."""
    pages = 0
    for each in family(processes):
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{each}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
