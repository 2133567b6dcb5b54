"""JSON over HTTP at a node: a service of the node itself that answers an HTTP call by making a gRPC one.

It stands beside the switch. The calls it makes go to an instance of this environment, like those that have arrived
here, so balancing and what becomes of a call that fails are the switch's.
"""

from collections.abc import Callable

from sdk.jsoncalls import JsonCalls
from sdk.port import Sink
from sdk.port.inner import InnerPort, inner_pair
from sdk.wire import frame
from sdk.wire.frame import OPEN
from sdk.wire.mux import Mux


class JsonBridge:
    """Its `port` is where the switch sends HTTP calls in JSON."""

    def __init__(self, switch: Sink, *, me: bytes, name: str, clock: Callable[[], float]) -> None:
        """`me` is the node's id, `name` what people call it in errors."""
        callees = Mux(clock=clock)
        self.calls = JsonCalls(callees, name=f"{name}: JSON over HTTP")
        callers = Mux(on_open=self.calls.on_open, clock=clock)
        self.port, inside = inner_pair(switch, callers, name=self.calls.name, clock=clock)
        callers.attach(inside)
        outward = _Outward(callees, me=me, name=self.calls.name, clock=clock)
        outward.other = InnerPort(switch, name=self.calls.name, clock=clock)
        outward.other.other = outward
        outward.other.peer = me  # its calls have a path, as those that come over a link
        callees.attach(outward)


class _Outward(InnerPort):
    """Where the calls that are made here go into the switch: each has arrived already, its path ends at this node."""

    def __init__(self, sink: Sink, *, me: bytes, name: str, clock: Callable[[], float]) -> None:
        super().__init__(sink, name=name, clock=clock)
        self._me = me

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == OPEN:
            hops, ms, path_end, _ = frame.open_layout_untrusted(payload)
            payload = frame.reroute_open(payload, hops, self._me, ms, path_end)
        super().send(kind, flags, stream, payload)
