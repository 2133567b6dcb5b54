"""Bodies of requests that come in frames: a program, the limit, and a switch that only notes."""

from proxy.bodylimit import BodyLimit
from sdk.errors import Status
from sdk.head import CallHead, Trailers, pack_call_head, pack_trailers
from sdk.port import Port
from sdk.port.native import NativePort
from sdk.wire import frame
from sdk.wire.frame import CREDIT, DATA, END, OPEN, RESET, TRAILERS, Fate
from sdk.wire.mux import Mux


class Behind:
    """What came through."""

    def __init__(self) -> None:
        self.kinds: list[int] = []
        self.dead: list[str] = []
        self.last = b""

    def on_frame(self, port: Port, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.kinds.append(kind)
        self.last = payload

    def on_dead(self, port: Port, reason: str) -> None:
        self.dead.append(reason)


class Program(NativePort):
    """A program's port, which notes what the program hears."""

    def __init__(self) -> None:
        super().__init__(Mux(), role="node", dialled=False, name="program")
        self.heard: list[frame.Reset] = []

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        assert kind == RESET
        self.heard.append(frame.parse_reset_untrusted(payload))


def opening(body: bytes) -> bytes:
    return frame.pack_open(3, b"", frame.NO_DEADLINE, pack_call_head(CallHead("x", "y")), body)


def test_a_body_within_the_limit_passes_whatever_else_comes() -> None:
    behind, program = Behind(), Program()
    limit = BodyLimit(behind, 10)
    for stream in (1, 3):
        limit.on_frame(program, OPEN, 0, stream, opening(b"1234"))
        limit.on_frame(program, CREDIT, 0, stream, frame.pack_u32(100))
        limit.on_frame(program, DATA, 0, stream, b"123456")
        ended = frame.pack_headed(pack_trailers(Trailers(0, "a long message")), b"")
        limit.on_frame(program, DATA, END | TRAILERS, stream, ended)
    assert behind.kinds == [OPEN, CREDIT, DATA, DATA] * 2
    assert not program.heard
    limit.on_dead(program, "bye")
    assert behind.dead == ["bye"]


def test_one_byte_more_ends_the_call_on_both_sides() -> None:
    behind, program = Behind(), Program()
    limit = BodyLimit(behind, 10)
    limit.on_frame(program, OPEN, 0, 1, opening(b"1234"))
    limit.on_frame(program, DATA, 0, 1, b"1234567")
    assert behind.kinds == [OPEN, RESET]
    assert frame.parse_reset_untrusted(behind.last).status == Status.CANCELLED
    [reset] = program.heard
    assert (reset.status, reset.fate) == (Status.RESOURCE_EXHAUSTED, Fate.MAY_HAVE_RUN)
    assert "10 bytes" in reset.detail


def test_a_request_that_is_too_long_at_once_reaches_nobody() -> None:
    behind, program = Behind(), Program()
    BodyLimit(behind, 10).on_frame(program, OPEN, END, 1, opening(bytes(11)))
    assert not behind.kinds
    assert program.heard[0].fate == Fate.NOT_REACHED


def test_calls_that_are_over_are_forgotten() -> None:
    behind, program = Behind(), Program()
    limit = BodyLimit(behind, 10)
    for stream in range(1, 10_001, 2):
        limit.on_frame(program, OPEN, END, stream, opening(b""))
    assert len(limit._sizes) < 100


def test_the_answers_of_a_service_that_is_attached_may_be_of_any_length() -> None:
    behind, program = Behind(), Program()
    limit = BodyLimit(behind, 10)
    for _ in range(10):
        limit.on_frame(program, DATA, 0, 2, b"12345678")
    assert behind.kinds == [DATA] * 10
