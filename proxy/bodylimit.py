"""How long the bodies of requests may be that programs send in frames; of HTTP its ports see to that.

It stands between a program's port and the switch, and only where there is a limit: counting costs every frame
something.
"""

from sdk.errors import Status
from sdk.port import Port, Sink
from sdk.wire import frame
from sdk.wire.frame import DATA, OPEN, RESET, Fate, Reset


class BodyLimit:
    """Counts the bytes of each request of one port."""

    def __init__(self, sink: Sink, most: int) -> None:
        """`sink` takes what is within the limit of `most` bytes."""
        self._sink = sink
        self._most = most
        self._sizes: dict[int, int] = {}

    def on_frame(self, port: Port, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Passes a frame on; the call whose request gets too long ends here, and at its instance."""
        if kind == OPEN:
            # Streams that are over are forgotten when there are twice as many of them as of others.
            if len(self._sizes) > 64 + 2 * len(port.streams):
                self._sizes = {number: size for number, size in self._sizes.items() if number in port.streams}
            size = len(payload) - frame.open_layout_untrusted(payload)[3]
        elif kind == DATA and stream in self._sizes:
            size = self._sizes[stream] + frame.body_size_untrusted(kind, flags, payload)
        else:
            size = 0
        if size > self._most:
            detail = f"the body of a request may have {self._most} bytes here and no more"
            fate = Fate.NOT_REACHED if kind == OPEN else Fate.MAY_HAVE_RUN
            if kind != OPEN:
                cancelled = Reset(Status.CANCELLED, fate, detail)
                self._sink.on_frame(port, RESET, 0, stream, frame.pack_reset(cancelled))
            self._sizes.pop(stream, None)
            port.send(RESET, 0, stream, frame.pack_reset(Reset(Status.RESOURCE_EXHAUSTED, fate, detail)))
            return
        if kind == OPEN or (
            kind == DATA and stream in self._sizes
        ):  # other streams carry answers, of attached services
            self._sizes[stream] = size
        self._sink.on_frame(port, kind, flags, stream, payload)

    def on_dead(self, port: Port, reason: str) -> None:
        """The port is gone."""
        self._sink.on_dead(port, reason)
