"""A service as a program: its flags, its `ready` line, its signals, its exit status.

Exit status: 0 after SIGTERM, 130 after Ctrl-C, 1 when the service could not start, 2 for a command line that makes no
sense. A second signal ends the process at once.
"""

import gc
import logging
import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, Self

import click
import trio

from .config import SERVICE_SETTINGS
from .errors import BadRequest, MicroError
from .loglines import Lines
from .service import DRAIN_SECONDS, Service
from .signals import end_at_once

GRACE_SECONDS = {signal.SIGTERM: DRAIN_SECONDS, signal.SIGINT: 0.8}
"""How long open calls may go on, by the signal that asked. Ctrl-C is a person waiting for the prompt."""

LEAVE_SECONDS = 1.0
"""Time after that for deregistering and closing. Then the process goes, whatever a handler does to the loop."""

LOG_LEVELS = ("debug", "info", "warning", "error")

_log = logging.getLogger(__name__)


def run(service: Service) -> None:
    """See `Service.run`."""
    if trio.lowlevel.in_trio_run():
        raise RuntimeError(
            f"{service.name}: run() starts an event loop, and one runs here: inside it a service is started with "
            "`await nursery.start(service.serve)`"
        )
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            f"{service.name}: run() reads signals, which only the main thread can: in others use "
            "`trio.run(service.serve)`"
        )
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
        if setting.flags
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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    with _Signals(service) as signals:
        trio.run(_serve, service, signals)
    if signals.came is signal.SIGINT:
        raise SystemExit(130)


async def _serve(service: Service, signals: "_Signals") -> None:
    signals.begin()
    await service.serve(task_status=_Ready(service))


class _Ready:
    """Prints the `ready` line when the service reports that it has started; a signal may come before that."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def started(self, value: str = "") -> None:
        """Called once, with the address."""
        gc.collect()
        gc.freeze()  # what stands now stands to the end: the collector need not hold calls up to look through it
        click.echo(f"ready {self._service.name} {value}", err=True)


class _Signals:
    """Stops the service at the first signal, and has the second one end the process.

    The handler does all that matters itself, because the event loop may be stuck in a handler of the service: trio's
    `open_signal_receiver` would only tell the loop, and would make two signals one.
    """

    def __init__(self, service: Service) -> None:
        self.came: signal.Signals | None = None
        self._service = service
        self._token: trio.lowlevel.TrioToken | None = None
        self._previous: dict[signal.Signals, Any] = {}
        self._leave: threading.Timer | None = None

    def __enter__(self) -> Self:
        for each in GRACE_SECONDS:
            self._previous[each] = signal.signal(each, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._leave is not None:
            self._leave.cancel()
        for each, handler in self._previous.items():
            signal.signal(each, handler)

    def begin(self) -> None:
        """The event loop runs."""
        self._token = trio.lowlevel.current_trio_token()
        if self.came is not None:
            self._service.stop()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.came = signal.Signals(number)
        end_at_once(*GRACE_SECONDS)
        grace = GRACE_SECONDS[self.came]
        status = 130 if self.came is signal.SIGINT else 0
        self._leave = threading.Timer(grace + LEAVE_SECONDS, os._exit, (status,))
        self._leave.daemon = True
        self._leave.start()
        if self._token is not None:
            self._token.run_sync_soon(self._stop, self.came.name, grace)

    def _stop(self, name: str, grace: float) -> None:
        _log.info("%s: %s stops; open calls have %g s", name, self._service.name, grace)
        self._service.stop(grace)
