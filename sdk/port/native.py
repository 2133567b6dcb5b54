"""The native port: frames as they are, behind a preface and a HELLO each way.

Programs, nodes and services speak it to each other; the link of two nodes is this port inside a cipher. What is
settled here, and not by whoever takes the frames, belongs to the connection and not to a stream: the handshake of
versions, the numbers of new streams, pings, draining, and whether credit was earned.

The file is longer than others: each of these decides which of the next bytes are taken, and links are made of it.
"""

import math
from collections.abc import Callable

from sdk.errors import RemoteProtocolError, Status, Unavailable
from sdk.wire import frame
from sdk.wire.frame import CREDIT, END, HEADER, MAX_CREDIT, MAX_PAYLOAD, OPEN, Fate, Hello, Reset

from . import Sink, Wake

MAX_FRAMES = 32
"""Frames handed on in one go. Then others have their turn: a hot connection does not hold up the rest of the loop, and
the next process begins with these while this one goes on. With 64 calls in flight through four processes on two
cores, 32 gave at least 1.2 times the calls of 256, for a fifth more CPU per call; 24 gave no more."""

MAX_ANSWERS = 1000
"""Answers to PINGs and broken streams that may wait for a peer to read them; beyond that it floods us (nghttp2 and Go's
HTTP/2 draw the same line, after CVE-2019-9512)."""

MAX_BACKLOG = 16 << 20
"""Bytes that may wait for a peer to read them before streams it opens are refused: without it, one that opens calls and
never reads an answer would fill the memory. 16 MiB are the first credit of 256 answers."""

MAX_GROWTH = 4
"""How many times what it was given a peer may have granted credit for. Who reads three eighths of a window grants
those, and as much again as the window had (`sdk.wire.credit`): eleven thirds."""

MAX_UNREAD = 1 << 30
"""Bytes that may be granted at once by a peer which begins to read: the first credit of 10,000 streams and a pool are
700 MiB. What it read long ago earns it no more."""

LAST_CALL = b"lastcall"
"""What the PING behind a GOAWAY says."""

_pack_header, _unpack_header = HEADER.pack, HEADER.unpack_from

_FAR = 0x40000000
"""Added to the number of a stream: later than all that the peer may have opened, with as much room for those before."""

_FIRST_LENGTH = 4096
"""Longest HELLO, in bytes."""


def _nobody(*_: object) -> None:
    """Stands in for `wake` and `close` until a driver takes the port."""


class NativePort:
    """Frames ↔ bytes on one connection. Implements `Port` and the machine's verbs."""

    most_unearned = 1 << 20
    """Bytes of credit that the peer may grant beyond what it can have read."""

    most_answers = MAX_ANSWERS
    """Answers to calls, and to what else it said of streams, that may wait for the peer to read them."""

    def __init__(
        self,
        sink: Sink,
        *,
        role: str,
        dialled: bool,
        name: str,
        max_streams: int = 10_000,
        preface: bool = True,
        token: bytes = b"",
    ) -> None:
        """`role` is ours in the HELLO; `dialled` tells whether we opened the connection (then our streams are the odd
        ones); `token` is shown to the peer, in clear."""
        self.sink = sink
        self.name = name
        self.streams: dict[int, object] = {}
        self.queued = 0
        self.dead = False
        self.draining = False
        """Either side said GOAWAY: nothing new is opened from here."""
        self.refusing = False
        """This side takes no streams any more that the peer opens."""
        self.peer = b""
        """Id of the node at the other end of a link; empty where a program is."""
        self.trusted = False
        self.now = -math.inf
        """When the frames at hand came."""
        self.delay_ms = 0
        """Milliseconds a frame takes to get here, as far as known: taken off the deadline of calls that come this
        way."""
        self.hello: Hello | None = None
        """What the peer said first; None until it came."""
        self.wake: Wake = _nobody
        self.close: Callable[[str], None] = _nobody
        """Ends the connection from this side; set, like `wake`, by the driver."""
        self._out: list[bytes] = []
        self._buffer = b""
        self._dialled = dialled
        self._max_streams = max_streams
        self._next = 1 if dialled else 2
        self._accepted = 0
        self._unsent: set[int] = set()
        self._answers = self._pongs = 0
        self._handed = 0
        self._granted = 0
        self._last_call = False
        self._preface_size = len(frame.PREFACE) if preface else 0
        hello = frame.pack_hello(Hello(frame.VERSION, role, max_streams, token))
        greeting = (frame.PREFACE if preface else b"") + frame.pack_frame(frame.HELLO, 0, 0, hello)
        # A listener that is being closed resets connections that it has not accepted: what was sent on them may have
        # run, for all the dialler knows. So it sends nothing more until somebody has said HELLO.
        self._held = preface and dialled
        self._greeting = greeting if self._held else b""
        if not self._held:
            self._out.append(greeting)

    # What the switch or a mux calls.

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Queues one frame; on a dead port it vanishes."""
        if self.dead:
            return
        out = self._out
        if not out:
            self.wake()
        if kind == OPEN:
            self._unsent.add(stream)
        size = len(payload)
        self.queued += size + 10
        out += (_pack_header(size, kind, flags, stream), payload)

    def next_stream(self) -> int:
        """The number of a stream to be opened from here, above all before it and past those alive after a wrap."""
        if self.dead or self.draining:
            raise Unavailable(f"{self.name} takes no more calls: it is {'gone' if self.dead else 'draining'}")
        limit = self.hello.max_streams if self.hello else self._max_streams
        streams = self.streams
        if len(streams) >= limit:
            raise Unavailable(f"{self.name} has its limit of {limit} streams open")
        number = self._next
        while number in streams:
            number = (number + 2) & 0xFFFFFFFF or 2
        self._next = (number + 2) & 0xFFFFFFFF or 2
        return number

    def ahead(self) -> int:
        """Bytes that a new call would wait for: all that wait."""
        return self.queued

    def was_sent(self, stream: int) -> bool:
        """Whether the OPEN of a stream may have reached the peer."""
        return stream not in self._unsent

    def ping(self, payload: bytes) -> None:
        """Sends a PING of eight bytes; `on_pong` gets them back."""
        self.send(frame.PING, 0, 0, payload)

    def go_away(self) -> None:
        """Tells the peer to open nothing new here; what is open goes on, and so does what it opens before it has heard
        of it. When a PING behind the GOAWAY has come back, streams are refused.

        That is how RFC 9113, section 6.8, has a server shut down: a first GOAWAY that leaves nothing out, and after a
        round trip one that says how far it went.
        """
        if not self._last_call and not self.refusing:
            self.draining = self._last_call = True
            self.send(frame.GOAWAY, 0, 0, frame.pack_u32((self._accepted + _FAR) & 0xFFFFFFFF))
            self.ping(LAST_CALL)

    def refuse(self) -> None:
        """Tells the peer to open nothing new here, and refuses from now on what it opens all the same, as not
        reached."""
        if not self.refusing:
            self.draining = self.refusing = True
            self.send(frame.GOAWAY, 0, 0, frame.pack_u32(self._accepted))

    # What a subclass may do with frames of stream 0.

    def on_hello(self, hello: Hello) -> None:
        """The peer's first frame, before any other is taken."""

    def on_control(self, payload: bytes, flags: int) -> None:
        """A CONTROL frame; only links know what to do with one."""
        raise RemoteProtocolError(f"{self.name} sent CONTROL on a connection that is no link")

    def on_registration(self, kind: int, payload: bytes) -> None:
        """A REGISTER or DEREGISTER; only a node and the services attached to it know what to do with one."""

    def on_pong(self, payload: bytes, now: float) -> None:
        """The answer to a PING of ours."""

    # The machine's verbs.

    def receive_data(self, data: bytes, now: float) -> bool:
        """Takes bytes of the peer and hands at most 32 frames on; True when more frames wait: call again with
        nothing."""
        if self.dead:  # bytes that were read when the connection was given up: nobody would clean up after them
            return False
        self.now = now
        buffer = self._buffer + data if self._buffer else data
        start, size = 0, len(buffer)
        if self.hello is None:
            start = self._begin(buffer)
            if not start:
                self._buffer = buffer
                return False
        on_frame, streams, unpack = self.sink.on_frame, self.streams, _unpack_header
        budget = MAX_FRAMES
        while size - start >= 10:
            length, kind, flags, stream = unpack(buffer, start)
            if length > MAX_PAYLOAD:
                raise RemoteProtocolError(f"{self.name} sent a frame of {length} bytes; {MAX_PAYLOAD} are allowed")
            stop = start + 10 + length
            if stop > size:
                break
            if not budget:
                self._buffer = buffer[start:]
                return True
            budget -= 1
            payload = buffer[start + 10 : stop]
            start = stop
            if stream in streams:
                if kind == CREDIT:
                    if not self._earned(stream, payload):
                        continue
                elif kind == OPEN:
                    raise RemoteProtocolError(f"{self.name} opened stream {stream}, which is alive")
                on_frame(self, kind, flags, stream, payload)
            elif kind == OPEN:
                if self._admit(stream):
                    on_frame(self, kind, flags, stream, payload)
                    if stream not in streams:
                        self._count_answer()
            elif stream == 0:
                self._on_connection_frame(kind, flags, payload, now)
        self._buffer = buffer[start:] if start < size else b""
        return False

    def data_to_send(self, now: float) -> bytes:
        """All that may go out now, in one piece."""
        if self._held:
            greeting, self._greeting = self._greeting, b""
            return greeting
        out, self._out = self._out, []
        self._handed += self.queued
        self.queued = 0
        if self._unsent:
            self._unsent = set()
        self._answers = self._pongs = 0
        return b"".join(out)

    def next_timeout(self) -> float:
        """Never: a program's connection to its node has no clock. A link has."""
        return math.inf

    def handle_timeout(self, now: float) -> None:
        """Nothing to do."""

    def connection_lost(self, reason: str) -> None:
        """The connection is gone: what is queued goes with it, and the sink learns of it, once."""
        if not self.dead:
            self.dead = True
            self._out, self._buffer, self.queued = [], b"", 0
            self.sink.on_dead(self, reason)

    @property
    def handed(self) -> int:
        """Bytes that the driver was given to write."""
        return self._handed

    # Inside.

    def _earned(self, stream: int, payload: bytes) -> bool:
        """Counts credit; whether the peer can have read what it grants credit for.

        Where it cannot, the stream is broken off at both sides. Credit of 8 MiB a stream may well be granted, but only
        in steps by who reads: a peer that grants and does not read would have all of its streams' answers wait here.
        """
        granted = frame.parse_u32_untrusted(payload)
        earned = MAX_GROWTH * self.handed + self.most_unearned
        total = max(self._granted, earned - MAX_UNREAD) + granted
        if total <= earned:
            self._granted = total
            return True
        if granted > MAX_CREDIT:
            return True  # on no stream so much may be granted, as whoever takes the frame knows
        detail = f"{self.name} granted credit for {granted} bytes before it can have read what was sent to it"
        reset = frame.pack_reset(Reset(Status.RESOURCE_EXHAUSTED, Fate.MAY_HAVE_RUN, detail))
        self.sink.on_frame(self, frame.RESET, 0, stream, reset)
        self._count_answer()
        self.send(frame.RESET, 0, stream, reset)
        return False

    def _begin(self, buffer: bytes) -> int:
        """Takes the preface and the HELLO, which come first; returns where the frames after them begin, or 0 when they
        are not complete."""
        start = self._preface_size
        if start:
            if len(buffer) < start and frame.PREFACE.startswith(buffer[:6]):
                return 0
            self._check_preface(buffer)
        if len(buffer) < start + frame.HEADER_SIZE:
            return 0
        length: int
        length, kind, _, stream = HEADER.unpack_from(buffer, start)
        if kind != frame.HELLO or stream:
            raise RemoteProtocolError(f"{self.name} began with a frame of type {kind} instead of HELLO")
        if length > _FIRST_LENGTH:
            raise RemoteProtocolError(f"{self.name} sent a HELLO of {length} bytes; {_FIRST_LENGTH} are allowed")
        start += frame.HEADER_SIZE
        if len(buffer) < start + length:
            return 0
        self.hello = frame.parse_hello_untrusted(buffer[start : start + length])
        self._let_go()
        self.on_hello(self.hello)
        return start + length

    def _let_go(self) -> None:
        """Somebody is there: what was held back may go out."""
        if self._held:
            self._held = False
            if self._greeting:
                self._out.insert(0, self._greeting)
            if self._out:
                self.wake()

    def _check_preface(self, buffer: bytes) -> None:
        magic = frame.PREFACE[:6]
        if buffer[:6] != magic:
            raise RemoteProtocolError(f"{self.name} does not speak frames: it began with {buffer[:8]!r}")
        lowest, highest = buffer[6], buffer[7]
        if not lowest <= frame.VERSION <= highest:
            raise RemoteProtocolError(
                f"{self.name} speaks versions {lowest} to {highest} of the protocol, we speak {frame.VERSION}"
            )

    def _admit(self, stream: int) -> bool:
        """Whether a stream the peer opens may be; one too many is refused, a wrong number ends the connection."""
        if stream == 0 or stream % 2 == self._dialled:
            raise RemoteProtocolError(f"{self.name} opened stream {stream}, a number that is ours to give")
        if not 0 < (stream - self._accepted) & 0xFFFFFFFF < 0x80000000:
            raise RemoteProtocolError(f"{self.name} opened stream {stream} after {self._accepted}")
        if self.refusing:
            self._refuse(stream, f"{self.name} is told to open nothing new here: this end is draining")
        elif len(self.streams) >= self._max_streams:
            self._refuse(stream, f"the limit of {self._max_streams} streams on one connection is reached")
        elif self.queued > MAX_BACKLOG and self.ahead() > MAX_BACKLOG:
            self._refuse(stream, f"more than {MAX_BACKLOG >> 20} MiB wait for {self.name} to read them")
        else:
            self._accepted = stream
            return True
        return False

    def _refuse(self, stream: int, detail: str, status: Status = Status.UNAVAILABLE) -> None:
        self._count_answer()
        self.send(frame.RESET, 0, stream, frame.pack_reset(Reset(status, Fate.NOT_REACHED, detail)))

    def _count_answer(self) -> None:
        """Counts what the peer provoked, but for PONGs: the answer to a call that was over as soon as it came, say. One
        that provokes more than it reads is a flood. (Answers that take a while are bounded by streams and backlog.)"""
        self._answers += 1
        if self._answers > self.most_answers:
            raise self._flood(self.most_answers)

    def _flood(self, most: int) -> RemoteProtocolError:
        return RemoteProtocolError(f"{self.name} lets more than {most} answers pile up")

    def _on_connection_frame(self, kind: int, flags: int, payload: bytes, now: float) -> None:
        if kind == frame.PING:
            if len(payload) != 8:
                raise RemoteProtocolError(f"{self.name} sent a PING of {len(payload)} bytes; it has 8")
            self._pongs += 1
            if self._pongs > MAX_ANSWERS:
                raise self._flood(MAX_ANSWERS)
            self.send(frame.PONG, 0, 0, payload)
        elif kind == frame.PONG:
            if payload == LAST_CALL and self._last_call:
                self.refuse()
            else:
                self.on_pong(payload, now)
        elif kind == frame.CONTROL:
            self.on_control(payload, flags)
        elif kind == frame.GOAWAY:
            self._on_go_away(frame.parse_u32_untrusted(payload))
        elif kind in (frame.REGISTER, frame.DEREGISTER):
            self.on_registration(kind, payload)

    def _on_go_away(self, last: int) -> None:
        """Streams of ours above the last one accepted were not reached; the sink hears it as if each had been reset."""
        self.draining = True
        ours = 1 if self._dialled else 0
        # Told by how long ago they were opened: the number of a stream that has been open for a week may lie half the
        # circle behind the last one, from where it would look like one that is still to come.
        since = (self._next - last) & 0xFFFFFFFF
        missed = [
            stream
            for stream in self.streams
            if stream % 2 == ours and (self._next - stream) & 0xFFFFFFFF < since < 0x80000000
        ]
        detail = f"{self.name} is draining and did not take the call"
        payload = frame.pack_reset(Reset(Status.UNAVAILABLE, Fate.NOT_REACHED, detail))
        for stream in missed:
            self.sink.on_frame(self, frame.RESET, END, stream, payload)
