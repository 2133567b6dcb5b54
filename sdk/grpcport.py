"""The connection of a client to an instance that speaks gRPC and no frames."""

from collections.abc import Callable

from .port.http2 import Http2CallingPort
from .wire.mux import Mux


class GrpcPort(Http2CallingPort):
    """The port of such a connection."""

    def __init__(self, sink: Mux, address: str, on_greeted: Callable[[], object]) -> None:
        """`on_greeted` is called when the other end has said its settings."""
        super().__init__(sink, name=address, authority=address)
        self._on_greeted = on_greeted

    def on_settled(self) -> None:
        """Somebody is there."""
        self._on_greeted()
