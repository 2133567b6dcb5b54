"""A service as a program: its flags, its `ready` line, its signals, its exit status.

Exit status: 0 after SIGTERM, 130 after Ctrl-C, 1 when the service could not start, 2 for a command line that makes no
sense. A second signal ends the process at once.
"""

import logging
import os
import signal
import sys
import threading
from typing import Any

import click
import trio

from .config import SERVICE_SETTINGS
from .errors import BadRequest, MicroError
from .service import DRAIN_SECONDS, Service

GRACE_SECONDS = {signal.SIGTERM: DRAIN_SECONDS, signal.SIGINT: 0.8}
"""How long open calls may go on, by the signal that asked. Ctrl-C is a person waiting for the prompt."""

LEAVE_SECONDS = 1.0
"""Time after that for deregistering and closing. Then the process goes, whatever a handler does to the loop."""

LOG_LEVELS = ("debug", "info", "warning", "error")


def run(service: Service) -> None:
    """See `Service.run`."""
    command = click.Command(
        service.name,
        callback=lambda **options: _run(service, options),
        params=_options(),
        help=f"Runs the service {service.name} until SIGTERM or Ctrl-C.",
        context_settings={"token_normalize_func": lambda name: name.replace("_", "-")},
    )
    try:
        command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except (MicroError, OSError) as error:
        click.echo(f"{service.name}: {error}", err=True)
        raise SystemExit(2 if isinstance(error, BadRequest) else 1) from None


def _options() -> list[click.Parameter]:
    options: list[click.Parameter] = [
        click.Option(
            [*setting.flags, setting.variable.lower()],
            help=setting.help,
            envvar=setting.variable,
            show_envvar=True,
        )
        for setting in SERVICE_SETTINGS
    ]
    level = click.Option(
        ["--log-level", "micro_log_level"],
        type=click.Choice(LOG_LEVELS, case_sensitive=False),
        help="How much is logged to standard error.",
        envvar="MICRO_LOG_LEVEL",
        show_envvar=True,
        default="info",
    )
    return [*options, level]


def _run(service: Service, options: dict[str, Any]) -> None:
    """Flags become variables: the clients that handlers make then look into the same registry."""
    os.environ.update({name.upper(): text for name, text in options.items() if text is not None})
    level = options["micro_log_level"].upper()
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        ended_by = trio.run(_until_signal, service)
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1 and isinstance(group.exceptions[0], MicroError | OSError):
            raise group.exceptions[0] from None
        raise
    if ended_by is signal.SIGINT:
        raise SystemExit(130)


async def _until_signal(service: Service) -> signal.Signals:
    """Serves until the first signal and its consequences; returns which one it was."""
    came = signal.SIGTERM

    async def listen(*, task_status: trio.TaskStatus[None]) -> None:
        nonlocal came
        with trio.open_signal_receiver(*GRACE_SECONDS) as signals:
            task_status.started()
            came = signal.Signals(await anext(signals))
            # From here on a signal ends the process without asking it.
            for each in GRACE_SECONDS:
                signal.signal(each, signal.SIG_DFL)
            _leave_after(GRACE_SECONDS[came] + LEAVE_SECONDS, 130 if came is signal.SIGINT else 0)
            service.stop(GRACE_SECONDS[came])
            async for number in signals:  # it came before the handlers were changed
                os._exit(128 + number)

    async with trio.open_nursery() as nursery:
        await nursery.start(listen)
        await service.serve(task_status=_Ready(service))
        nursery.cancel_scope.cancel()
    return came


class _Ready:
    """Prints the `ready` line when the service reports that it has started; a signal may come before that."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def started(self, value: str = "") -> None:
        """Called once, with the address."""
        click.echo(f"ready {self._service.name} {value}", err=True)


def _leave_after(seconds: float, status: int) -> None:
    """Ends the process after that time: a thread needs no event loop and no cancellation."""
    timer = threading.Timer(seconds, os._exit, (status,))
    timer.daemon = True
    timer.start()
