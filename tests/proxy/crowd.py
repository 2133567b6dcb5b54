"""The middle one of three nodes in a line (chain.py), and one peer of it that says anything.

Whatever that peer says, it may end its own connection and nothing else: no honest peer is blamed for what was passed
on, an honest call beside it ends well, and nothing is left of the calls of a peer that is gone.
"""

from collections.abc import Sequence

from sdk.errors import RemoteProtocolError
from sdk.head import CallHead, pack_call_head
from sdk.port.native import NativePort
from sdk.wire import frame
from sdk.wire.frame import Open
from sdk.wire.mux import Mux, MuxStream

from .chain import GOOD_HEAD, GOOD_TRAILERS, A, B, C, Chain, Program, Wire


class Crowd(Chain):
    """A line of three nodes whose instances answer whatever reaches them."""

    def _on_open(self, stream: MuxStream, opened: Open) -> None:
        answer = GOOD_HEAD, opened.body[: min(stream.may_send, 1000)]

        def listen() -> None:
            stream.take()
            if stream.ended and not stream.sent_end:
                stream.send_head(*answer)
                stream.end(GOOD_TRAILERS)

        stream.on_change = listen
        listen()

    def hear(self, wire: Wire, side: int, data: bytes) -> RemoteProtocolError | None:
        """One end of a connection gets these bytes, in two pieces, and then nothing more."""
        end, fault = wire.ends[side], None
        self.pump()
        self.lose(wire, 1 - side)  # who is honest there says nothing of its own any more
        try:
            for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
                more = not end.dead and end.receive_data(piece, self.clock.now)
                while more and not end.dead:
                    more = end.receive_data(b"", self.clock.now)
                self.pump()
        except RemoteProtocolError as error:
            fault = error
        self.lose(wire, side)
        self.pump()
        self.sweep(10.0)
        self.pump()
        return fault

    def check_nothing_is_left(self) -> None:
        self.check()
        assert not list(self.legs()), "a leg is left of a peer that is gone"
        assert not any(load.pending for node in self.nodes.values() for load in node.balancer._loads.values())

    def check_an_honest_call(self, program: Program) -> None:
        """A program that did nothing wrong is served, by the same nodes."""
        if not program.wire.usable:
            program.connect()
        stream = program.mux.open(pack_call_head(CallHead("far", "A.B")), b"hello", end=True)
        self.pump()
        assert (stream.reset_by_peer, stream.ended, stream.take()) == (None, True, b"hello")
        self.pump()


def beside_a_program(data: bytes) -> object:
    """What a program says to the middle node, in frames."""
    crowd = Crowd()
    fault = crowd.hear(crowd.programs[1].wire, 1, data)
    crowd.check_an_honest_call(crowd.programs[2])
    return settle(crowd, fault)


def beside_a_node(data: bytes) -> object:
    """What a linked node says to the middle one, whose calls lead on to the third."""
    crowd = Crowd()
    fault = crowd.hear(crowd.links[A, B], 1, data)
    crowd.check_an_honest_call(crowd.programs[1])
    return settle(crowd, fault)


def beside_an_instance(data: bytes) -> object:
    """What an instance answers, in frames, while two calls wait for it that came over a link."""
    crowd = Crowd()
    program = crowd.programs[1]
    waiting = [program.mux.open(pack_call_head(CallHead("hidden", "A.B")), b"hello", end=False) for _ in range(2)]
    crowd.pump()
    [wire] = [wire for (_, address), wire in crowd._instance_wires.items() if address.startswith("hidden")]
    fault = crowd.hear(wire, 0, data)
    for stream in waiting:
        stream.reset(1, "enough")
    crowd.pump()
    crowd.check_an_honest_call(program)
    return settle(crowd, fault)


FAR = pack_call_head(CallHead("far", "A.B"))
KINDS = (
    frame.OPEN, frame.HEAD, frame.DATA, frame.RESET, frame.STOP, frame.CREDIT, frame.PING, frame.PONG, frame.GOAWAY,
    frame.REGISTER, frame.DEREGISTER, frame.CONTROL, frame.HELLO, 99,
)  # fmt: skip
PAYLOADS = (
    b"", b"hello", bytes(4), frame.pack_u32(1), frame.pack_u32(2**31), b"12345678",
    frame.pack_open(3, b"", 5000, FAR, b"hello"), frame.pack_open(2, B + C, 5000, FAR, b"hello"),
    frame.pack_open(2, B, 5000, FAR, b"hello"), frame.pack_open(2, B + A, frame.NO_DEADLINE, FAR, b""),
    frame.pack_headed(GOOD_HEAD, b"hello"), frame.pack_headed(GOOD_TRAILERS, b""),
    frame.pack_reset(frame.Reset(14, frame.Fate.NOT_REACHED, "gone", b"e" * 32)),
    frame.pack_reset(frame.Reset(1, frame.Fate.MAY_HAVE_RUN, "enough", b"")),
)  # fmt: skip


OPENED = bytes((0, 0, 1, 6, 2, 1, 1, 1, 5, 0, 1, 3))
PASSED = bytes((0, 0, 1, 7, 2, 1, 1, 1, 5, 0, 1, 3))
ANSWERED = bytes((1, 0, 1, 10, 2, 3, 1, 11, 1, 1, 3, 10))
BEGUN = bytes((6, 0, 0, 5, 8, 0, 0, 3))
"""A call of a program, one of a linked node, two answers, and what any of them may say between, for `well_formed`."""


def well_formed(data: bytes) -> bytes:
    """Frames in whatever order, each as it should be by itself: what to say is read from the bytes, four a frame."""
    said = [
        frame.pack_frame(KINDS[kind % len(KINDS)], flags % 4, stream % 8, PAYLOADS[payload % len(PAYLOADS)])
        for kind, flags, stream, payload in zip(*[iter(data)] * 4, strict=False)
    ]
    return b"".join(said)


def settle(crowd: Crowd, fault: RemoteProtocolError | None) -> object:
    crowd.check_nothing_is_left()
    if fault is not None:
        raise fault
    return crowd


def met(role: str, mux: Mux, other: Mux) -> tuple[NativePort, NativePort]:
    """A dialler and who accepted it, after their greetings."""
    port = NativePort(mux, role=role, dialled=True, name="node")
    far = NativePort(other, role="node", dialled=False, name="peer")
    mux.attach(port)
    other.attach(far)
    far.receive_data(port.data_to_send(0.0), 0.0)
    port.receive_data(far.data_to_send(0.0), 0.0)
    assert port.data_to_send(0.0) == b""
    return port, far


def say_all(mux: Mux, services: Sequence[str]) -> None:
    """Calls of every kind."""
    for number, service in enumerate(services):
        stream = mux.open(pack_call_head(CallHead(service, "A.B")), b"x" * 40 * number, end=number == 0, ms=5000)
        if number:
            stream.write(b"y" * 100)
        if number == 1:
            stream.end()
        if number == 2:
            stream.reset(1, "never mind")
        if number == 3:
            stream.stop()
        assert isinstance(mux.port, NativePort)
        mux.port.ping(b"12345678")


def said_by_program() -> bytes:
    mux = Mux()
    port, _ = met("client", mux, Mux())
    say_all(mux, ("far", "near", "hidden", "nobody"))
    return port.data_to_send(0.0)


def said_by_node() -> bytes:
    """What a says to b, whose program calls what is offered at c."""
    crowd = Crowd()
    crowd.pump()
    program, link = crowd.programs[0], crowd.links[A, B]
    say_all(program.mux, ("far",) * 4)
    program.wire.collect(0)
    program.wire.deliver(1)
    port = link.ends[0]
    port.ping(b"12345678")
    return port.data_to_send(crowd.clock.now)


def said_by_instance() -> bytes:
    """The frames of an instance that was called twice."""
    caller, opened = Mux(), list[MuxStream]()
    asking, port = met("node", caller, Mux(on_open=lambda stream, _: opened.append(stream)))
    for _ in range(2):
        caller.open(pack_call_head(CallHead("hidden", "A.B")), b"hello", end=False)
    port.receive_data(asking.data_to_send(0.0), 0.0)
    opened[0].send_head(GOOD_HEAD, b"one")
    opened[0].write(b"two" * 50)
    opened[0].end(GOOD_TRAILERS)
    opened[1].send_head(GOOD_HEAD, b"", end=True)
    return port.data_to_send(0.0)


TARGETS = (
    ("a program in frames", beside_a_program, [said_by_program()]),
    ("a program in frames of any order", lambda data: beside_a_program(well_formed(data)), [OPENED, BEGUN]),
    ("a linked node in frames", beside_a_node, [said_by_node()]),
    ("a linked node in frames of any order", lambda data: beside_a_node(well_formed(data)), [PASSED, BEGUN]),
    ("an instance in frames", beside_an_instance, [said_by_instance()]),
    ("an instance in frames of any order", lambda data: beside_an_instance(well_formed(data)), [ANSWERED, BEGUN]),
)
"""Who says something, how it is heard by a node, and what is right to say."""
