"""A server of a registry in a process of its own, for tests: one that can be killed, stopped and started again."""

import os
import signal
import socket
from contextlib import ExitStack
from typing import Self

from tests.processes import Running


class ProcessServer:
    """Inside its `with` it runs."""

    READY = ""
    """A part of the line it prints when it answers."""

    def __init__(self) -> None:
        super().__init__()  # what else it is
        self.command: list[str] = []
        """With the same ports each time."""
        self._ports = ExitStack()
        self._running: Running | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._running is not None:
            self.kill()
        self._ports.close()

    def hold_port(self) -> int:
        """A port that the kernel gives to nobody else as long as this lives, though the server may listen on it.

        So Linux has it where both set SO_REUSEADDR and the holder does not listen.
        """
        sock = self._ports.enter_context(socket.socket())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port

    def start(self) -> None:
        """Returns when it answers."""
        self._running = Running(self.command, dict(os.environ))
        self._running.__enter__()
        self._running.wait_for(self.READY)

    def kill(self) -> None:
        assert self._running is not None
        running, self._running = self._running, None
        running.__exit__(None, None, None)

    def hang(self) -> None:
        """Keeps every connection and says nothing, until `resume`."""
        assert self._running is not None
        self._running.send(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._running is not None
        self._running.send(signal.SIGCONT)
