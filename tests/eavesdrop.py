"""A relay in front of an HTTP/2 server that counts the frames which pass, so that a test sees what no client tells.

with Eavesdropper(host, port) as ear:
    ...                              # a client connects to ear.address
    ear.until(lambda: ear.sent[PING] >= 10)
"""

import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from tests.processes import PATIENCE

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = 9
"""Octets of a frame's head (RFC 9113 §4.1)."""
PING = 6
GOAWAY = 7


class Eavesdropper:
    """The relay, inside `with`."""

    def __init__(self, host: str, port: int) -> None:
        self.connections = 0
        """That clients made."""
        self.sent: Counter[int] = Counter()
        """Frames from clients, by type."""
        self.came: Counter[int] = Counter()
        """Frames from the server, by type."""
        self.octets = 0
        """That passed, both ways together."""
        self._server = (host, port)
        self._changed = threading.Condition()
        self._open = ExitStack()
        self._listener = self._open.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.address = "127.0.0.1:" + str(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._changed:
            self._open.close()

    def until(self, holds: Callable[[], bool]) -> None:
        """Waits until something holds of what passed."""
        with self._changed:
            assert self._changed.wait_for(holds, PATIENCE), f"sent {self.sent}, came {self.came}"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # the block is left
            server = socket.create_connection(self._server)
            with self._changed:
                self.connections += 1
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._open.enter_context(end)
                    self._open.callback(_hang_up, end)
            ways = ((client, server, self.sent, len(PREFACE)), (server, client, self.came, 0))
            for way in ways:
                threading.Thread(target=self._relay, args=way, daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, counts: Counter[int], skip: int) -> None:
        waiting = bytearray()
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
                waiting += data
                with self._changed:
                    self.octets += len(data)
                    # What is skipped is the preface at first, and then the rest of each frame that was counted.
                    while len(waiting) >= skip + HEAD:
                        del waiting[:skip]
                        counts[waiting[3]] += 1
                        skip = HEAD + int.from_bytes(waiting[:3], "big")
                    self._changed.notify_all()
        except OSError:
            pass  # the other end, or the block, is over
        _hang_up(sink)


def _hang_up(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has hung up
