"""The port between a node's switch and the services the node itself offers: no socket, no bytes, only frames.

It has two sides. The switch holds one and opens streams on it, the mux of the node's own services holds the other; what
is sent to one side comes out as a frame of the other.
"""

from collections.abc import Callable
from typing import Any

from sdk.errors import Unavailable

from . import Sink


class InnerPort:
    """One side."""

    def __init__(self, sink: Sink, *, name: str, clock: Callable[[], float]) -> None:
        """`sink` takes what the other side sends."""
        self.streams: dict[int, Any] = {}
        self.queued = 0
        self.dead = False
        self.peer = b""
        self.delay_ms = 0
        self.trusted = True  # whoever calls from inside is this process
        self.name = name
        self.sink = sink
        self.other: InnerPort = self
        self._clock = clock
        self._next = 1

    @property
    def now(self) -> float:
        """The time: frames come the moment they are sent."""
        return self._clock()

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Hands a frame to the sink of the other side."""
        if not self.dead:
            self.other.sink.on_frame(self.other, kind, flags, stream, payload)

    def next_stream(self) -> int:
        """The next odd number: only the switch opens streams here."""
        if self.dead:
            raise Unavailable(f"{self.name} is stopping")
        number, self._next = self._next, self._next + 2
        return number

    def ahead(self) -> int:
        """Nothing waits here."""
        return 0

    def was_sent(self, stream: int) -> bool:
        """Whatever was sent has arrived."""
        return True

    def close(self, reason: str) -> None:
        """Ends both sides."""
        if not self.dead:
            self.dead = self.other.dead = True
            self.sink.on_dead(self, reason)
            self.other.sink.on_dead(self.other, reason)


def inner_pair(switch: Sink, services: Sink, *, name: str, clock: Callable[[], float]) -> tuple[InnerPort, InnerPort]:
    """The two sides: the first for the switch, the second for the mux of the services."""
    near = InnerPort(switch, name=name, clock=clock)
    far = InnerPort(services, name=name, clock=clock)
    near.other, far.other = far, near
    return near, far
