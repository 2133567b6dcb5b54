"""What ends a process at once when a signal comes, also where nothing does by itself: in a container."""

import os
import signal
from types import FrameType


def end_at_once(*signals: signal.Signals) -> None:
    """From now on each of these signals ends the process without asking it.

    That is their default action, and it needs no event loop and no interpreter. The first process of a PID namespace,
    as a container's is, gets no signal that has no handler (pid_namespaces(7)); it has one that ends it.
    """
    for each in signals:
        signal.signal(each, _end if os.getpid() == 1 else signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)
