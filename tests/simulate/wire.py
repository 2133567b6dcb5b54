"""A connection between two nodes, as TCP would have it: bytes come in order, late, or not any more."""

from typing import TYPE_CHECKING

from sdk.errors import RemoteProtocolError
from tunnel.linkport import LinkPort

from .engine import Action, Engine

if TYPE_CHECKING:
    from .node import SimNode


class Line:
    """What lies between two nodes, whichever connections run over it."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        """Seconds one way."""
        self.loss = 0.0
        """Share of writes that are lost once, and so are late, with all behind them."""
        self.severed = False
        """Nothing gets through, and nobody is told."""
        self.wires: list[Wire] = []

    def sever(self) -> None:
        self.severed = True

    def heal(self) -> None:
        """What was written meanwhile arrives; who closed meanwhile is heard."""
        self.severed = False
        for wire in list(self.wires):
            wire.go_on()


class Wire:
    """One connection: two ports and the bytes between them."""

    def __init__(self, engine: Engine, line: Line, ports: tuple[LinkPort, LinkPort],
                 nodes: tuple["SimNode", "SimNode"]) -> None:  # fmt: skip
        self.ports = ports
        self.nodes = nodes
        self._engine = engine
        self._line = line
        self._flushing = [False, False]
        self._arrival = [0.0, 0.0]
        self._held: list[list[bytes]] = [[], []]
        self._over: list[str | None] = [None, None]
        line.wires.append(self)
        for side in (0, 1):
            ports[side].wake = lambda side=side: self._wake(side)  # type: ignore[misc]
            ports[side].close = lambda reason, side=side: self.close(side, reason)  # type: ignore[misc]
            self._wake(side)
            self._watch(side)

    def close(self, side: int, reason: str) -> None:
        """One end is done; the other hears of it as soon as it can."""
        if self._over[side] is None:
            self._over[side] = reason
            self.ports[side].connection_lost(reason)
            self._tell(1 - side)

    def go_on(self) -> None:
        """The line is whole again: TCP sends once more what was not acknowledged."""
        for side in (0, 1):
            held, self._held[side] = self._held[side], []
            for data in held:
                self._send(side, data)
            if self._over[1 - side] is not None:
                self._tell(side)

    def _tell(self, side: int) -> None:
        if not self._line.severed and self._over[side] is None:
            at = max(self._engine.now + self._line.delay, self._arrival[side])
            self._do(side, at, "end", lambda: self.close(side, "the other end closed the connection"))
        elif self._over[side] is not None and self in self._line.wires:
            self._line.wires.remove(self)

    def _wake(self, side: int) -> None:
        if not self._flushing[side]:
            self._flushing[side] = True
            self.nodes[side].to_flush.append(lambda: self._flush(side))

    def _flush(self, side: int) -> None:
        self._flushing[side] = False
        if self._over[side] is None:
            self._send(1 - side, self.ports[side].data_to_send(self._engine.now))

    def _send(self, to: int, data: bytes) -> None:
        if not data or self._over[to] is not None:
            return
        if self._line.severed:
            self._held[to].append(data)
            return
        late = self._line.delay
        while self._line.loss and self._engine.random.random() < self._line.loss:
            late += max(0.2, 4 * self._line.delay)
        self._arrival[to] = max(self._arrival[to], self._engine.now + late)
        self._do(to, self._arrival[to], "bytes", lambda: self._receive(to, data))

    def _receive(self, side: int, data: bytes) -> None:
        port = self.ports[side]
        if self._over[side] is not None:
            return
        try:
            more = port.receive_data(data, self._engine.now)
            while more:
                more = port.receive_data(b"", self._engine.now)
        except RemoteProtocolError as error:
            raise AssertionError(f"{port.name} was blamed: {error}") from error

    def _watch(self, side: int) -> None:
        """The port's deadline, which mostly has moved by the time it comes."""
        port = self.ports[side]
        if self._over[side] is not None:
            return
        due = port.next_timeout()
        if due <= self._engine.now:
            port.handle_timeout(self._engine.now)
            due = max(port.next_timeout(), self._engine.now + 0.01)
        self._do(side, due, "deadline", lambda: self._watch(side))

    def _do(self, side: int, at: float, what: str, action: Action) -> None:
        node = self.nodes[side]
        self._engine.at(at, f"{what} {node.name}", lambda: node.do(action, timer=what == "deadline"))
