"""The port of a link: a native port inside a cipher.

Frames that wait go out as records of up to 64 KiB, each after its length; what comes in is opened and handed to the
native port inside. It also watches the peer: any record is a sign of life, a PING asks for one, silence ends the link.

The file is longer than others: what is sealed, what waits and what is heard of the peer decide together what goes out.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sdk.errors import LocalProtocolError, RemoteProtocolError
from sdk.port import Sink
from sdk.port.native import NativePort
from sdk.wire import frame
from sdk.wire.frame import HEADER, HEADER_SIZE, OPEN

from .backlog import Backlog
from .identity import Certificate, format_id
from .meter import Loss, Rate, Segments
from .noise import MAX_MESSAGE, TAG_SIZE, Cipher
from .pacing import FIRST, Pacing
from .rtt import RoundTrip

TICK: Final = 1.0
"""Seconds between looks at the peer: an idle link is asked at each."""
BUSY_TICKS: Final = 5
"""Of a link with traffic, one look in so many asks, so that the delay stays known."""
BUSY: Final = 256
"""Bytes received within a tick that count as traffic; a PING and a PONG have 72 together."""
STALLED: Final = 0.5
"""Seconds by which a deadline was missed that mean this process did not run: then nobody's silence counts."""

LAGGING: Final = 0.1
"""Seconds by which a deadline was missed that mean that this process is slow: each stretches its patience …"""
STEP: Final = 0.5
"""… by so much of itself; a deadline that was kept takes a quarter of that back …"""
MOST_STRETCHED: Final = 3.0
"""… and it never grows beyond so many times itself."""

MAX_PIECE: Final = 16 * 1024
"""Longest piece of a control message, in bytes: no call waits for more of one."""
MAX_CONTROL: Final = 4 * 1024 * 1024
"""Longest control message, in bytes."""

SHALLOW: Final = frame.MAX_PAYLOAD + HEADER_SIZE
"""Most bytes that wait before frames take turns: one frame of any size goes as it is while nothing else waits."""

MAX_BULK: Final = 256 << 20
"""Bytes of bulk that may wait: the first windows of 4,096 connections. Beyond that nothing new is taken."""

_MAX_PLAIN: Final = MAX_MESSAGE - TAG_SIZE
_MAX_PINGS: Final = 16
_EARLY: Final = 0.01  # a timer may fire that much too soon
_pack_header = HEADER.pack
_ping = struct.Struct("!Q").pack


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatistics:
    """What went over a link so far, and how it is."""

    bytes_in: int
    """Received, as on the wire."""
    bytes_out: int
    """Sent, as on the wire."""
    records_in: int
    """Records received; each is one batch of frames."""
    records_out: int
    """Records sent."""
    srtt: float | None
    """Smoothed round trip in seconds; None before the first is measured."""
    rttvar: float
    """Smoothed deviation from it, in seconds."""
    loss: float
    """Share of what was sent lately that had to be sent again, from 0 to 1; 0 where the system does not tell."""
    rate_in: float
    """Bytes a second received, smoothed over a few seconds."""
    rate_out: float
    """Bytes a second sent, likewise."""
    queued: int
    """Bytes that wait to be sent, with those that are being handed to the connection just now."""
    streams: int
    """Streams alive."""
    state: str
    """`up`, `draining` or `down`."""


class LinkPort(NativePort):
    """A native port whose bytes are Noise records, and which knows whether its peer lives."""

    most_unearned = 64 << 20
    """Much more than of one program: many are behind a link, and none is to break off the streams of others …"""

    most_answers = 32768
    """… nor the link itself, with calls to what is not there while the line stalls. They take 3 to 30 MiB."""

    def __init__(
        self,
        sink: Sink,
        *,
        dialled: bool,
        peer: Certificate,
        ciphers: tuple[Cipher, Cipher],
        now: float,
        round_trip: RoundTrip,
        on_control: Callable[[bytes], None],
        on_lost: Callable[[str], None],
        segments: Callable[[], Segments | None] = lambda: None,
        set_depth: Callable[[int], None] = lambda size: None,
        first: bytes = b"",
    ) -> None:
        """`ciphers` are to send and to receive with; `segments` tells, once a second, what TCP has sent, or None where
        that is not known; `set_depth` says how many bytes may lie in the socket unsent; `first` is what the handshake
        still has to send, ahead of all records.

        `on_lost` is called once, before the sink hears that the port is dead: routes must change before calls are
        tried again.
        """
        super().__init__(sink, role="node", dialled=dialled, name=peer.name or format_id(peer.id), preface=False)
        self.queued = sum(map(len, self._out))  # the HELLO
        self.peer = peer.id
        self.round_trip = round_trip
        self.bytes_in = self.bytes_out = self.records_in = self.records_out = 0
        self._seal, self._open_untrusted = ciphers[0].seal, ciphers[1].open_untrusted
        self._first = first
        self._sealed = b""
        self._deliver = on_control
        self._pieces: list[bytes] = []
        self._pieces_size = 0
        self._on_lost = on_lost
        self._heard = now
        self._next_tick = now + TICK
        self._ticks_unasked = 0
        self._stretch = 1.0
        self._looked = now
        self._segments = segments
        self._loss = Loss()
        self._rate_in, self._rate_out = Rate(), Rate()
        self._leaving = 0
        self._pacing = Pacing()
        self._timing = False
        self._set_depth = set_depth
        self._backlog = Backlog()
        self._shallow = self._limit = SHALLOW
        set_depth(FIRST // 2)  # so that the second full write tells whether the first one has left
        self._pings: dict[bytes, tuple[float, Callable[[], None] | None]] = {}
        self._ping_count = 0
        self._know_delay()

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Queues one frame; on a dead port it vanishes. Where much waits, streams take turns."""
        if self.dead:
            return
        size = len(payload)
        if self.queued + size + HEADER_SIZE > self._limit and self._defer(kind, flags, stream, payload):
            return
        # As in NativePort.send; a call of that one costs a switch of calls a twentieth of its pace.
        out = self._out
        if not out:
            self.wake()
        if kind == OPEN:
            self._unsent.add(stream)
        self.queued += size + HEADER_SIZE
        out += (_pack_header(size, kind, flags, stream), payload)

    def ahead(self) -> int:
        """Bytes that a new call would wait for: not those of bulk, unless they are so many that they have to stop."""
        bulk = self._backlog.size - self._backlog.small
        return self.queued if bulk > MAX_BULK else self.queued - bulk

    def send_control(self, message: bytes) -> None:
        """Queues a message for the node at the other end; raises `LocalProtocolError` beyond 4 MiB."""
        if len(message) > MAX_CONTROL:
            raise LocalProtocolError(f"a control message of {len(message)} bytes; {MAX_CONTROL} are allowed")
        last = max(0, len(message) - 1) // MAX_PIECE * MAX_PIECE
        for start in range(0, last, MAX_PIECE):
            self.send(frame.CONTROL, 0, 0, message[start : start + MAX_PIECE])
        self.send(frame.CONTROL, frame.END, 0, message[last:])

    def probe(self, now: float, answered: Callable[[], None]) -> None:
        """Asks the peer whether it lives; `answered` is called when it says so, or when the link is lost (then `dead`
        is set)."""
        self._ask(now, answered)

    @property
    def loss(self) -> float:
        """Share of what was sent lately that had to be sent again, from 0 to 1; 0 where the system does not tell."""
        return self._loss.share

    @property
    def handed(self) -> int:
        """See `NativePort`."""
        return self.bytes_out

    def statistics(self) -> LinkStatistics:
        """Counts since the link came up."""
        return LinkStatistics(
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            records_in=self.records_in,
            records_out=self.records_out,
            srtt=self.round_trip.srtt,
            rttvar=self.round_trip.rttvar,
            loss=self.loss,
            rate_in=self._rate_in.value,
            rate_out=self._rate_out.value,
            queued=self.queued + self._leaving,
            streams=len(self.streams),
            state="down" if self.dead else "draining" if self.draining else "up",
        )

    # The machine's verbs.

    def receive_data(self, data: bytes, now: float) -> bool:
        """Opens the records that are complete and hands their frames on, as `NativePort` does."""
        if not data:
            return super().receive_data(b"", now)
        self.bytes_in += len(data)
        sealed = self._sealed + data if self._sealed else data
        start, size = 0, len(sealed)
        view = memoryview(sealed)
        opened = []
        while size - start > 2:
            stop = start + 2 + (sealed[start] << 8 | sealed[start + 1])
            if stop > size:
                break
            opened.append(self._open_untrusted(view[start + 2 : stop]))
            start = stop
        self._sealed = sealed[start:]
        if not opened:
            return False
        self.records_in += len(opened)
        self._heard = now
        return super().receive_data(opened[0] if len(opened) == 1 else b"".join(opened), now)

    def data_to_send(self, now: float) -> bytes:
        """Seals all that waits, or as much as one write may hold. Being asked again means that it has left."""
        if self._timing and self._pacing.written(now):
            self._pace()
        pieces, self._out = self._out, []
        if self._unsent:
            self._unsent = set()
        self._answers = self._pongs = 0
        self._leaving = size = self.queued - self._backlog.size
        self.queued -= size
        if self._backlog.size and size < self._pacing.budget:
            pieces += self._backlog.take(self._pacing.budget - size)
            self._leaving = size = sum(map(len, pieces))  # a frame that was cut has two headers now
            self.queued = self._backlog.size
            if not self.queued:
                self._limit = self._shallow
        if not size and not self._first:
            return b""
        self._timing = 2 * size >= self._pacing.budget
        if self._timing:
            self._pacing.writing(size, now)
        if size <= _MAX_PLAIN and not self._first:
            sealed = self._seal(b"".join(pieces))
            self.records_out += 1
            self.bytes_out += size + TAG_SIZE + 2
            return (size + TAG_SIZE).to_bytes(2, "big") + sealed
        out, self._first = [self._first], b""
        for plain in _records(pieces):
            sealed = self._seal(plain)
            out += (len(sealed).to_bytes(2, "big"), sealed)
            self.records_out += 1
        everything = b"".join(out)
        self.bytes_out += len(everything)
        return everything

    def next_timeout(self) -> float:
        """The next look at the peer, or the end of its silence, whichever is first."""
        return min(self._next_tick, self._heard + self._patience())

    def handle_timeout(self, now: float) -> None:
        """Asks a quiet peer for a sign of life; ends the link with one that was silent for too long."""
        late = now - self.next_timeout()
        if late > STALLED:
            self._heard = now
        elif late > LAGGING:
            self._stretch = min(MOST_STRETCHED, self._stretch + STEP)
        else:
            self._stretch = max(1.0, self._stretch - STEP / 4)
        if now + _EARLY >= self._heard + self._patience():
            reason = f"{self.name} was silent for {now - self._heard:.1f} s"
            self.connection_lost(reason)
            self.close(reason)
        elif now + _EARLY >= self._next_tick:
            self._next_tick = now + TICK
            busy = self._look(now) > BUSY
            self._ticks_unasked += 1
            if not busy or self._ticks_unasked >= BUSY_TICKS:
                self._ask(now, None)

    def _patience(self) -> float:
        """Seconds of silence after which the peer is dead: more while this process is slow itself, and might be the
        reason (Dadgar, Phillips and Currey, "Lifeguard", 2018)."""
        return self.round_trip.dead_after(TICK) * self._stretch

    def connection_lost(self, reason: str) -> None:
        """The link is gone; called again it does nothing."""
        if not self.dead:
            self._on_lost(reason)
            super().connection_lost(reason)
            self._sealed = self._first = b""
            self._leaving = 0
            self._backlog = Backlog()
            pings, self._pings = self._pings, {}
            for _, answered in pings.values():
                if answered is not None:
                    answered()

    # Frames that wait.

    def _defer(self, kind: int, flags: int, stream: int, payload: bytes) -> bool:
        """Whether a frame has to take turns with others; those that none may overtake, or that hold nobody up, do not.

        An OPEN goes at once, because the peer takes them in order of their numbers only, but its body does not.
        """
        if kind == frame.CREDIT or (stream == 0 and kind != frame.CONTROL):
            return False
        backlog = self._backlog
        if kind == frame.CONTROL:
            if len(payload) < MAX_PIECE and 0 not in backlog:
                return False
        elif kind == frame.RESET:
            backlog.drop(stream)
            self._count_waiting()
            return False
        elif kind == frame.OPEN:
            *_, head_end = frame.open_layout_untrusted(payload)
            if len(payload) - head_end < MAX_PIECE:
                return False
            super().send(kind, flags & ~frame.END, stream, payload[:head_end])
            kind, flags, payload = frame.DATA, flags & frame.END, payload[head_end:]
        if not self._out:
            self.wake()
        self.queued += len(payload) + HEADER_SIZE
        self._limit = 0
        backlog.push(kind, flags, stream, payload)
        return True

    def _count_waiting(self) -> None:
        waiting = self._backlog.size
        self.queued = waiting + sum(map(len, self._out))
        self._limit = 0 if waiting else self._shallow

    def _pace(self) -> None:
        """Keeps the socket, and what goes out in the order it came, as shallow as one write."""
        self._shallow = min(SHALLOW, self._pacing.budget)
        if self._limit:
            self._limit = self._shallow
        self._set_depth(self._shallow)

    # Frames that belong to the link.

    def on_pong(self, payload: bytes, now: float) -> None:
        """One round trip more is known. A PONG that nobody asked for is nothing."""
        if payload in self._pings:
            sent, answered = self._pings.pop(payload)
            self.round_trip.sample(max(0.0, now - sent))
            self._know_delay()
            if answered is not None:
                answered()

    def on_control(self, payload: bytes, flags: int) -> None:
        """A piece of a message; the last one hands it on."""
        self._pieces_size += len(payload)
        if self._pieces_size > MAX_CONTROL:
            raise RemoteProtocolError(f"{self.name} sent a control message of more than {MAX_CONTROL} bytes")
        self._pieces.append(payload)
        if flags & frame.END:
            pieces, self._pieces, self._pieces_size = self._pieces, [], 0
            self._deliver(b"".join(pieces))

    def _look(self, now: float) -> int:
        """Works out rates and loss; returns how many bytes came since the last look."""
        seconds, self._looked = now - self._looked, now
        received = self._rate_in.look(self.bytes_in, seconds)
        self._rate_out.look(self.bytes_out, seconds)
        if (total := self._segments()) is not None:
            self._loss.look(total)
        return received

    def _ask(self, now: float, answered: Callable[[], None] | None) -> None:
        self._ticks_unasked = 0
        self._ping_count += 1
        payload = _ping(self._ping_count)
        if len(self._pings) >= _MAX_PINGS:
            del self._pings[next(iter(self._pings))]
        self._pings[payload] = (now, answered)
        self.ping(payload)

    def _know_delay(self) -> None:
        self.delay_ms = round((self.round_trip.srtt or 0.0) * 500)


def _records(pieces: Sequence[bytes]) -> Iterator[bytes]:
    """The pieces, headers and payloads of frames, as long as records may be. A frame that fits one is not divided: it
    is taken apart at the other end without being put together first."""
    group: list[bytes] = []
    room = _MAX_PLAIN
    for piece in pieces:
        size = len(piece)
        if size > room and group:
            header = group.pop() if len(group[-1]) == HEADER_SIZE else b""
            if group:
                yield b"".join(group)
            group, room = ([header], _MAX_PLAIN - HEADER_SIZE) if header else ([], _MAX_PLAIN)
        if size > room:
            whole = b"".join((*group, piece))
            for start in range(0, len(whole), _MAX_PLAIN):
                yield whole[start : start + _MAX_PLAIN]
            group, room = [], _MAX_PLAIN
        else:
            group.append(piece)
            room -= size
    if group:
        yield b"".join(group)
