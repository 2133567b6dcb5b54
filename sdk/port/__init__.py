"""What a port is: one protocol on one connection, seen as frames.

A port turns bytes of its protocol into frames, which it hands to `on_frame`, and frames it is sent into bytes. It knows
nothing of where a call goes; whoever takes its frames (the switch of a node, the mux of a program) knows nothing of
bytes.
"""

from collections.abc import Callable
from typing import Any, Protocol


class Port(Protocol):
    """One end of the switch. Nothing here blocks, and nothing raises because the peer misbehaved."""

    streams: dict[int, Any]
    """Streams alive on this port, written by whoever takes its frames: what it remembers of each."""
    queued: int
    """Bytes that wait to be written."""
    dead: bool
    """Whether the connection is gone: what is sent to a dead port vanishes."""
    peer: bytes
    """Id of the node at the other end of a link; empty where a program is."""
    delay_ms: int
    """Milliseconds a frame takes to get here: taken off the deadline of calls that come this way."""
    trusted: bool
    """Whether the program at the other end may change the node: it is on this host, or has shown the proxy token."""
    name: str
    """What a person calls the other end: an address or a node."""

    @property
    def now(self) -> float:
        """When the frame at hand came, on the clock of the machine's driver."""

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Queues one frame."""

    def next_stream(self) -> int:
        """A number for a stream to be opened on this port; raises `Unavailable` (not run) when it takes no more."""

    def close(self, reason: str) -> None:
        """Ends the connection from this side."""

    def ahead(self) -> int:
        """Bytes that a new call would wait for here."""

    def was_sent(self, stream: int) -> bool:
        """Whether the OPEN of a stream has gone, at least in part, to the connection."""


class Sink(Protocol):
    """Whoever takes a port's frames."""

    def on_frame(self, port: Port, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """One frame of a stream. May raise `RemoteProtocolError`, which ends the port it came from."""

    def on_dead(self, port: Port, reason: str) -> None:
        """The port is gone, with every stream on it; called once, outside of any batch of frames."""


Wake = Callable[[], None]
"""What a machine calls when its output goes from empty to something."""
