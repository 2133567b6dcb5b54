"""How a command runs and ends: its event loop, its signals, its exit status, and what is said when something fails.

Exit status: 0 when it did what was asked, 1 when something outside failed, 2 when the command line cannot be used,
130 after Ctrl-C.
"""

import contextlib
import errno
import fcntl
import gc
import logging
import os
import resource
import select
import signal
import stat
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import IO, Any, Protocol, TypeVar

import click
import trio

from sdk.errors import BadRequest, MicroError
from sdk.loglines import Lines
from sdk.signals import end_at_once

from .options import settings
from .render import printable

T = TypeVar("T")

DRAIN = {signal.SIGTERM: 30.0, signal.SIGINT: 1.0}
"""Seconds that calls at work have to end, by the signal that asked. Ctrl-C is a person waiting, who gets the prompt
back within two."""

LEAVE = 0.7
"""Seconds after that for closing what is open. Then the process goes all the same."""

INTERRUPTED = 130
"""128 + SIGINT, as shells count it."""


class Failure(click.ClickException):
    """Something outside failed: its text goes to standard error as it stands, the exit status is 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Prints the text."""
        click.echo(printable(self.message), file=file, err=file is None)


class _Lines(Lines):
    """One line for each message, whatever names of services and addresses of other machines are in it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - so `logging` calls it
        record.message = printable(record.message)
        return super().formatMessage(record)


class Program(Protocol):
    """Something that runs until it is told to end."""

    async def run(self, *, task_status: Any) -> None:
        """Starts, reports through `task_status` what it is bound to, and runs."""

    async def drain(self) -> None:
        """Takes no new work and returns when the present work is done."""


def run(function: Callable[[], Awaitable[T]]) -> T:
    """Runs an async function and returns what it returns; its failure comes out as one exception, never as a group."""
    _log_to_stderr("warning")
    return _run(function)


def run_while_read(function: Callable[[], Awaitable[None]]) -> None:
    """Likewise, for a command that prints what comes: it ends as soon as nobody reads that any more, and not with the
    next line, which may never come: `micro watch | grep -m1 web` waits for a service."""

    async def both() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_wait_until_unread)
            await function()
            nursery.cancel_scope.cancel()

    run(both)


def run_until_signal(
    program: Program, ready: Callable[[Any], str], *, hangup: Callable[[], Awaitable[object]] | None = None
) -> None:
    """Runs a long-running program; `ready` makes the line printed when it has started, from what it reported.

    SIGHUP calls `hangup`, once the program has started; what that raises as a `MicroError` it has put into the log.
    SIGTERM and SIGINT drain and end it, a second signal ends the process at once. The exit status is 0, or 130 after
    SIGINT.
    """
    _log_to_stderr("info")
    _raise_file_limit()
    status = _run(lambda: _until_signal(program, ready, hangup))
    end_at_once(signal.SIGINT)
    click.get_current_context().exit(status)


def exit_status(command: click.Command, arguments: list[str] | None = None) -> int:
    """Runs the command line and says with which status to exit. No failure of the outside world shows a traceback."""
    try:
        _check_text(sys.argv[1:] if arguments is None else arguments)
        status = command.main(arguments, prog_name="micro", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BadRequest as error:
        click.echo(f"error: {printable(error)}", err=True)
        return 2
    except MicroError as error:
        click.echo(f"error: {printable(error)}", err=True)
        return 1
    except OSError as error:
        click.echo(f"error: {printable(error)}", err=True)
        return 1
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED


def _run(function: Callable[[], Awaitable[T]]) -> T:
    try:
        return trio.run(function)
    except BaseExceptionGroup as group:
        raise _most_telling(group) from None


async def _wait_until_unread() -> None:
    """Raises `BrokenPipeError` when the reader of standard output is gone, where that is a pipe and epoll tells of it:
    the writing end is readable in no other case. Who opened a named one both ways is a reader of it as well."""
    if sys.stdout is None or not hasattr(select, "epoll"):
        return
    try:
        number = sys.stdout.fileno()
    except OSError:  # it is no file
        return
    writes_only = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
    if writes_only and stat.S_ISFIFO(os.fstat(number).st_mode):
        await trio.lowlevel.wait_readable(number)
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _raise_file_limit() -> None:
    """Lets the process open as many files as the system allows it: each connection is one, and the usual 1,024 are
    meant for programs that use `select`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems say "no limit" and take no such number
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _log_to_stderr(default: str) -> None:
    level = (settings().log_level or default).upper()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


def _check_text(arguments: list[str]) -> None:
    """Raises `click.UsageError` for bytes that are no UTF-8, which Python smuggles in and no wire can carry."""
    for number, argument in enumerate(arguments, start=1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise click.UsageError(f"argument {number} is not UTF-8") from None


async def _until_signal(
    program: Program, ready: Callable[[Any], str], hangup: Callable[[], Awaitable[object]] | None
) -> int:
    status = 0
    started = trio.Event()

    async def live(nursery: trio.Nursery, *, task_status: trio.TaskStatus[Any]) -> None:
        await program.run(task_status=task_status)
        nursery.cancel_scope.cancel()

    async def end(nursery: trio.Nursery, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await program.drain()
        nursery.cancel_scope.cancel()

    async def listen(nursery: trio.Nursery, *, task_status: trio.TaskStatus[None]) -> None:
        nonlocal status
        with trio.open_signal_receiver(*DRAIN) as signals:
            task_status.started()
            number = await anext(signals)
            status = INTERRUPTED if number == signal.SIGINT else 0
            # From here on another signal ends the process without asking it, and so does the end of the time: the loop
            # may be stuck.
            end_at_once(*DRAIN)
            _leave_after(DRAIN[signal.Signals(number)] + LEAVE, status)
            if started.is_set():
                nursery.start_soon(end, nursery, DRAIN[signal.Signals(number)])
            else:
                nursery.cancel_scope.cancel()
            async for number in signals:  # it came before the handlers were changed
                os._exit(128 + number)

    async def listen_for_hangup(told: Callable[[], Awaitable[object]], *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGHUP) as signals:
            task_status.started()
            await started.wait()
            async for _ in signals:
                with contextlib.suppress(MicroError):
                    await told()

    async with trio.open_nursery() as nursery:
        await nursery.start(listen, nursery)
        if hangup is not None:
            await nursery.start(listen_for_hangup, hangup)
        bound = await nursery.start(live, nursery)
        started.set()
        # What stands now stands to the end: the collector need not look through it again. A full collection went
        # through 50,000 objects and held every call up for 25 to 45 ms; now for a tenth of that.
        gc.collect()
        gc.freeze()
        click.echo(printable(ready(bound)), err=True)
    return status


def _leave_after(seconds: float, status: int) -> None:
    """Ends the process after that time, whatever it does: a thread needs no event loop and no cancellation."""
    timer = threading.Timer(seconds, os._exit, (status,))
    timer.daemon = True
    timer.start()


def _most_telling(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Of what several tasks raised, what a person should read; the group itself when a defect of ours is among it."""
    leaves = list(_leaves(group))
    interrupts = [leaf for leaf in leaves if isinstance(leaf, KeyboardInterrupt)]
    faults = [leaf for leaf in leaves if isinstance(leaf, click.ClickException | MicroError | OSError)]
    if interrupts:
        return interrupts[0]
    return faults[0] if len(faults) == len(leaves) else group


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
