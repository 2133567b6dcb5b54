"""One switch on a bench: a program, two links and an instance around it, that keep what they are sent.

The test says what comes from each, and who is chosen.
"""

from collections.abc import Callable
from typing import Any

from proxy.legs import Failed, Target
from proxy.switch import Switch
from sdk.errors import NotFound, Unavailable
from sdk.head import DEFAULT, CallHead, pack_call_head
from sdk.port import Port
from sdk.selector import Load
from sdk.wire import frame
from sdk.wire.frame import NO_DEADLINE, OPEN, RESET, Reset

ME = b"m" * 16
NEXT = b"n" * 16
PREVIOUS = b"p" * 16
CALL_HEAD = pack_call_head(CallHead("greeter", "Greeter.Hello"))
SENT_TO_GATEWAY = pack_call_head(CallHead("greeter", "Greeter.Hello", flags=DEFAULT))


class FakePort:
    """A port whose frames are kept."""

    def __init__(self, name: str, peer: bytes = b"") -> None:
        self.streams: dict[int, Any] = {}
        self.queued = 0
        self.bulk = 0
        self.dead = False
        self.peer = peer
        self.delay_ms = 0
        self.trusted = False
        self.name = name
        self.now = 100.0
        self.sent: list[tuple[int, int, int, bytes]] = []
        self.unsent: set[int] = set()
        self.full = False
        self.on_send: Callable[[int, int], None] = lambda kind, stream: None
        self._next = 1

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.sent.append((kind, flags, stream, payload))
        self.on_send(kind, stream)

    def ahead(self) -> int:
        return self.queued - self.bulk

    def next_stream(self) -> int:
        if self.full:
            raise Unavailable(f"{self.name} takes no more calls")
        number, self._next = self._next, self._next + 2
        return number

    def close(self, reason: str) -> None:
        pass

    def was_sent(self, stream: int) -> bool:
        return stream not in self.unsent

    @property
    def resets(self) -> list[Reset]:
        return [frame.parse_reset_untrusted(payload) for kind, _, _, payload in self.sent if kind == RESET]


class FakeChooser:
    """Always the same target, or error."""

    def __init__(self, answer: Target | Exception) -> None:
        self.answer = answer
        self.extended: list[int] = []
        """With how many hops left each call came that was to be extended."""
        self.failed: list[tuple[bytes, float]] = []
        self.others: list[Target] = []
        """Where a call that has failed may go, in order."""
        self.asked_again: list[list[Load | Port]] = []
        """Who had failed, each time that another was asked for."""

    def choose(self, head: CallHead, now: float, trusted: bool = False) -> Target:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def again(self, head: CallHead, now: float, failed: Failed, trusted: bool = False) -> Target:
        self.asked_again.append(list(failed))
        if not self.others:
            raise NotFound("nobody else")
        return self.others.pop(0)

    def meant_by(self, host: str) -> str:
        return host

    def spoken_by(self, service: str) -> frozenset[str]:
        return frozenset()

    def extend(self, head: CallHead, hops: int, now: float) -> Target:
        self.extended.append(hops)
        target = self.choose(head, now)
        if len(target.path) > hops * frame.ID_SIZE:
            raise Unavailable("nobody is so near")
        return target

    def failed_edge(self, edge: bytes, now: float) -> None:
        self.failed.append((edge, now))


class Bench:
    """A switch with a program, two links, and an instance, which answers what arrives."""

    def __init__(self, *, transit: bool = True, call_time: float = 0.0) -> None:
        self.program = FakePort("program")
        self.previous = FakePort("previous", PREVIOUS)
        self.next = FakePort("next", NEXT)
        self.instance = FakePort("instance")
        self.load = Load()
        self.switch = Switch(me=ME, name="me", transit=transit, call_time=call_time)
        self.switch.link_up(PREVIOUS, self.previous)
        self.switch.link_up(NEXT, self.next)
        self.ingress = FakeChooser(Target(self.next, NEXT, self.load))
        self.egress = FakeChooser(Target(self.instance, b"", self.load))
        self.switch.ingress, self.switch.egress = self.ingress, self.egress

    def open(
        self,
        port: FakePort,
        *,
        path: bytes = b"",
        hops: int = 3,
        ms: int = NO_DEADLINE,
        body: bytes = b"",
        stream: int = 1,
        flags: int = 0,
        head: bytes = CALL_HEAD,
    ) -> None:
        self.switch.on_frame(port, OPEN, flags, stream, frame.pack_open(hops, path, ms, head, body))

    def answer(self, port: FakePort, kind: int, payload: bytes = b"", flags: int = 0, stream: int = 1) -> None:
        self.switch.on_frame(port, kind, flags, stream, payload)

    @property
    def legs(self) -> int:
        return sum(len(port.streams) for port in (self.program, self.previous, self.next, self.instance))

    def only_reset(self, port: FakePort) -> Reset:
        """The one answer that went to a port."""
        [reset] = port.resets
        assert len(port.sent) == 1
        assert not self.legs
        assert not self.load.pending
        return reset
