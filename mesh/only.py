"""The choices of a port behind which there is one service and nothing else."""

from collections.abc import Container

from proxy.egress import not_for_everybody
from proxy.legs import Failed, Target
from proxy.speaks import RAW
from sdk.errors import NotFound
from sdk.head import CallHead, endpoint_of
from sdk.port import Port


class Only:
    """Sends every call to the one service there is."""

    def __init__(self, service: str, port: Port, *, json: Port, writes: Container[str], what: str) -> None:
        """`json` takes calls in HTTP, and makes others of them; `writes` are the endpoints for trusted callers; `what`
        says to those who call anything else where they are."""
        self._service = service
        self._port = port
        self._json = json
        self._writes = writes
        self._what = what

    def choose(self, head: CallHead, now: float, trusted: bool = False) -> Target:
        """Raises `NotFound` for any other service and for raw connections, and `Forbidden` for what only `trusted`
        callers may do."""
        if head.service != self._service:
            raise NotFound(f"{self._what}: {head.service!r} is to be called at a node")
        if head.protocol == RAW:
            raise NotFound(f"{self._what}, and takes no raw connections")
        if not trusted and endpoint_of(head.endpoint) in self._writes:
            raise not_for_everybody(head)
        return Target(self._json if head.protocol == "http" else self._port, b"", None)

    def meant_by(self, host: str) -> str:
        """Only itself."""
        return self._service if host.lower() == self._service else ""

    def spoken_by(self, service: str) -> frozenset[str]:
        """There are no instances."""
        return frozenset()

    def again(self, head: CallHead, now: float, failed: Failed, trusted: bool = False) -> Target:
        """There is no other."""
        return self.choose(head, now, trusted)

    def extend(self, head: CallHead, hops: int, now: float) -> Target:
        """Nobody's gateway either."""
        return self.choose(head, now)

    def failed_edge(self, edge: bytes, now: float) -> None:
        """There are no links."""
