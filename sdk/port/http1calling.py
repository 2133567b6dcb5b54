"""HTTP/1.1 towards an instance: calls become requests on its connection, one after the other.

Whoever keeps such connections asks `free` before each call and hears `on_free` after one. A call that has begun to be
written may have run, whatever becomes of the connection: an instance that closes a kept connection just as the request
comes cannot be told from one that took it.
"""

from collections.abc import Callable

from sdk.errors import RemoteProtocolError, Status, Unavailable
from sdk.head import parse_trailers_untrusted
from sdk.wire import frame
from sdk.wire.credit import PROCESS, CreditPool
from sdk.wire.frame import (
    CREDIT,
    DATA,
    END,
    HEAD,
    INTERIM,
    MAX_INTERIM,
    MAX_INTERIM_SIZE,
    MAX_PAYLOAD,
    OPEN,
    RESET,
    STOP,
    TRAILERS,
    Fate,
    Reset,
)
from sdk.wire.http1fields import trailer_lines_untrusted
from sdk.wire.http1head import CHUNKED, UNTIL_CLOSE, Malformed, head_size_untrusted
from sdk.wire.http1read import Answered, read_answer_untrusted
from sdk.wire.http1write import UNKNOWN, Asking, write_request_untrusted

from . import Sink
from .http1 import Http1Port, Reading
from .limits import DEFAULT, Limits

KEPT = 4.0
"""Seconds that a connection is kept without a call: less than the servers that close soonest (Node.js and uvicorn after
5), so that a request seldom meets a connection which is just being closed."""

_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))


def _nobody_keeps(_: "CallingHttp1Port") -> None:
    """Stands in for `on_free` where connections are not kept."""


class CallingHttp1Port(Http1Port):
    """One connection to an instance."""

    def __init__(
        self,
        sink: Sink,
        *,
        name: str,
        clock: Callable[[], float],
        on_free: Callable[["CallingHttp1Port"], None] = _nobody_keeps,
        limits: Limits = DEFAULT,
        pool: CreditPool = PROCESS,
    ) -> None:
        """`on_free` hears that a call is over and the connection can take another."""
        super().__init__(sink, name=name, clock=clock, limits=limits, pool=pool)
        self._on_free = on_free
        self._reading = Reading.NEXT
        self._asking: Asking
        self._answered: Answered
        self._handed = False
        """The request was given to the driver, at least in part."""
        self._keep = True
        """Another call may follow."""
        self._unwanted = False
        """The instance has answered without waiting for the rest of the request."""
        self._interim = 0
        self._held: list[bytes] = []
        """What came behind a request to upgrade, which only means something once that is agreed to."""

    @property
    def free(self) -> bool:
        """Whether it takes a call now."""
        return self._reading is Reading.NEXT and not self.dead and self._clock() - self._since < KEPT

    # What the switch calls.

    def next_stream(self) -> int:
        """The number of the next call; raises `Unavailable` (not run) when there is one or the connection ends."""
        if self.dead or self._reading is not Reading.NEXT:
            raise Unavailable(f"{self.name} takes no call: its connection is {'gone' if self.dead else 'taken'}")
        return self._stream + 1

    def was_sent(self, stream: int) -> bool:
        """Whether the instance may have seen the call."""
        return self._handed

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Takes one frame; on a dead port, or for a call that is over, it vanishes."""
        if self.dead:
            return
        if kind == OPEN:
            self._begin(flags, stream, payload)
        elif stream != self._stream:
            return
        elif kind == DATA:
            packed = b""
            if flags & TRAILERS:
                packed, payload = frame.split_headed_untrusted(payload)
            self._write(payload, packed, ended=flags & END != 0)
        elif kind == CREDIT:
            self._credit(payload)
        elif kind == RESET:
            self._on_reset(frame.parse_reset_untrusted(payload))
        elif kind == STOP:
            self._on_stop()

    # What the driver calls.

    def receive_data(self, data: bytes) -> None:
        """Bytes came from the connection, at most `may_read`; none are its end."""
        self.now = self._clock()
        reading = self._reading
        try:
            if not data:
                self._ended()
            elif reading is Reading.HEAD:
                self._buffer = self._buffer + data if self._buffer else data
                self._read_answer()
            elif reading is Reading.BODY:
                self._pass_body(*self._split_body(data))
            elif reading is Reading.RAW:
                self._pass_body(data, False)
            elif reading is Reading.NEXT:
                self.leave()  # RFC 9112, 9.2: it answers nothing, and must not be taken for the next call's answer
            else:
                self._keep = False
        except RemoteProtocolError as error:
            self._fail(Status.INTERNAL, f"{self.name} sent an answer that cannot be read: {error}")

    def data_to_send(self) -> list[bytes]:
        """Drains what waits to be written. Being asked again means that it was written."""
        out = super().data_to_send()
        if out:
            self._handed = True
        return out

    def next_timeout(self) -> float:
        """When to look whether the connection has been kept for too long."""
        return self._since + KEPT

    def handle_timeout(self, now: float) -> None:
        """Ends a connection that nobody has used for a while, and a call that stands still."""
        if self._reading is not Reading.NEXT:
            self._since = now
            if detail := self._standing_still(now):
                self._fail(Status.UNAVAILABLE, detail)
        elif now >= self._since + KEPT:
            self.leave()

    # The request.

    def _begin(self, flags: int, stream: int, payload: bytes) -> None:
        self._new_call(stream)
        self._handed = self._unwanted = False
        self._interim = 0
        self._held = []
        opened = frame.split_open_untrusted(payload)
        ended, body = flags & END != 0, opened.body
        try:
            asking = write_request_untrusted(opened.head)
            if ended and asking.length not in (UNKNOWN, len(body)):
                raise Malformed("the body is not as long as its Content-Length")
        except RemoteProtocolError as error:
            detail = f"the call cannot be made over HTTP: {error}"
            self._reset_call(Status.INVALID_ARGUMENT, Fate.NOT_REACHED, detail)
            self._call_over()
            return
        self._asking = asking
        self._reading = Reading.HEAD
        self._out.append(self._head(asking, body, ended=ended))
        self._write(body, b"", ended=ended)

    def _head(self, asking: Asking, body: bytes, *, ended: bool) -> bytes:
        """The request's head, and with it how its body is framed (RFC 9112, 6)."""
        lines, length, method, upgrade = asking
        framing = b""
        if upgrade:
            self._owed = UNTIL_CLOSE
        elif length != UNKNOWN:
            self._owed = length
        elif ended:
            self._owed = len(body)
            if body or method in _WITH_BODY:
                framing = b"content-length: %d\r\n" % len(body)
        else:
            self._owed = CHUNKED
            framing = b"transfer-encoding: chunked\r\n"
        return b"%b%b\r\n" % (lines, framing)

    def _write(self, body: bytes, packed: bytes, *, ended: bool) -> None:
        self._far_ended = self._far_ended or ended
        try:
            if self._asking.upgrade and self._reading is not Reading.RAW:
                if body:
                    self._held.append(body)
            elif not self._unwanted:
                self._write_body(body)
                if ended:
                    trailers = parse_trailers_untrusted(packed).metadata if packed else ()
                    self._write_end(trailer_lines_untrusted(trailers) if trailers else b"")
        except RemoteProtocolError as error:
            fate = Fate.MAY_HAVE_RUN if self._handed else Fate.NOT_REACHED
            detail = f"the call cannot be made over HTTP: {error}"
            self._reset_call(Status.INVALID_ARGUMENT, fate, detail)
            self._abort(detail)
            return
        if ended and self._reading is Reading.RAW:
            self._last = True
        elif ended and self._reading is Reading.NOTHING:
            self._call_over()
        self.wake()

    def _on_reset(self, reset: Reset) -> None:
        """The caller gave up. A request that nobody has seen is as good as not made; else the connection ends."""
        self._far_ended = True
        if self._handed or self._reading is not Reading.HEAD:
            self._abort(reset.detail)
        else:
            self._out = []
            self.queued = self._unwritten = 0
            self._call_over()

    def _on_stop(self) -> None:
        """The caller wants no more of the answer."""
        if self._reading is not Reading.NOTHING:
            self._pass_on(DATA, END, b"")
            self._abort("the caller wants no answer")

    def _abort(self, reason: str) -> None:
        self._reading, self._buffer = Reading.NOTHING, b""
        self._close_window()
        self.close(reason)

    # The answer.

    def _read_answer(self) -> None:
        if not self._handed:
            raise Malformed("it came before there was a request")
        while True:
            size = head_size_untrusted(self._buffer)
            if not size:
                return
            answered = read_answer_untrusted(self._buffer[:size], self._asking.method)
            rest, self._buffer = self._buffer[size:], b""
            if answered.status == 101:
                self._upgrade(answered, rest)
                return
            if answered.status >= 200:
                break
            self._pass_interim(answered)
            self._buffer = rest
        self._answered = answered
        self._keep = answered.keep
        self._reading = Reading.BODY
        self._begin_body(answered.framing)
        body, ended = self._split_body(rest)
        self._begin_answer(answered, body, ended=ended)

    def _pass_interim(self, answered: Answered) -> None:
        """Passes on what comes before the answer: not that the body may come, for the program's node has said so, nor
        more than may be. Some say every 20 seconds that they are at it still (WebDAV's 102)."""
        if answered.status != 100 and self._interim < MAX_INTERIM and len(answered.packed) <= MAX_INTERIM_SIZE:
            self._interim += 1
            self._pass_on(INTERIM, 0, answered.packed)

    def _begin_answer(self, answered: Answered, body: bytes, *, ended: bool) -> None:
        trailers = self._trailers() if ended else b""
        if len(answered.packed) > MAX_PAYLOAD - 2:
            raise Malformed("its head is too long for a frame")
        apart = len(answered.packed) + len(body) > MAX_PAYLOAD - 2
        final = ended and not trailers and not apart
        if ended:
            self._stop_caller()
        self._may_send -= len(body)
        payload = frame.pack_headed(answered.packed, b"" if apart else body)
        self._pass_on(HEAD, END if final else 0, payload)
        if apart:
            self._pass_on(DATA, 0, body)
        if ended:
            self._answer_over(trailers, said=final)

    def _pass_body(self, body: bytes, ended: bool) -> None:
        if body:
            self._may_send -= len(body)
            self._pass_on(DATA, 0, body)
        if ended:
            self._answer_over(self._trailers(), said=False)

    def _answer_over(self, trailers: bytes, *, said: bool) -> None:
        """The answer is complete; where that is not `said` yet, it is now."""
        if not said:
            self._pass_end(trailers)
        if self._buffer or self._out:
            self._keep = False
        self._stop_caller()
        self._reading = Reading.NOTHING
        if self._far_ended:
            self._call_over()

    def _stop_caller(self) -> None:
        """The answer is complete: what is missing of the request nobody wants. It is said before the answer, so that
        the program's node can tell it that the connection ends."""
        if not self._far_ended and not self._unwanted and not self._asking.upgrade:
            self._unwanted = True
            self._keep = False
            self._pass_on(STOP, 0, b"")

    def _upgrade(self, answered: Answered, rest: bytes) -> None:
        if not self._asking.upgrade:
            raise Malformed("it upgrades to a protocol that nobody asked for")
        self._keep = False
        self._reading = Reading.RAW
        self._begin_answer(answered, rest, ended=False)
        for early in self._held:
            self._write_body(early)
        self._held = []
        self._last = self._far_ended
        self.wake()

    def _ended(self) -> None:
        """The instance sends nothing more."""
        if self._reading is Reading.RAW:
            self._pass_on(DATA, END, b"")
        elif self._reading is Reading.BODY and self._missing == UNTIL_CLOSE:
            self._answer_over(b"", said=False)
        elif self._reading in (Reading.HEAD, Reading.BODY):
            where = "before its answer" if self._reading is Reading.HEAD else "in the middle of its answer"
            self._fail(Status.UNAVAILABLE, f"{self.name} closed the connection {where}")
        else:
            self._keep = False
            self.leave()

    def _fail(self, status: Status, detail: str) -> None:
        fate = Fate.MAY_HAVE_RUN if self._handed else Fate.NOT_REACHED
        self._reset_call(status, fate, detail)
        self._abort(detail)

    def _call_over(self) -> None:
        """Both directions of a call are over."""
        self._close_window()
        if self._keep:
            self._reading = Reading.NEXT
            self._since = self._clock()
            self._on_free(self)
        else:
            self.leave()
