"""HTTP/1.1 towards a program that calls: its requests become calls, one after the other.

A request behind one that is not answered yet (pipelining) waits: up to 16 KiB of them are read, which shows whether the
program is still there, and the rest stays in the socket. Answers are never out of order.

A program that leaves before its answer has come, or ends its side of the connection, gives its call up: most programs
that do so are gone, and a call that nobody waits for should not run on (nginx, Envoy and Go see it so too).

The file is longer than others: request and answer of a connection take turns, and each looks at where the other is.
"""

import enum
import math
from collections.abc import Callable

from sdk.errors import RemoteProtocolError, Status, Unavailable
from sdk.head import Metadata, parse_trailers_untrusted
from sdk.wire import frame
from sdk.wire.credit import PROCESS, CreditPool
from sdk.wire.frame import CREDIT, DATA, END, HEAD, INTERIM, MAX_OPEN, OPEN, RESET, STOP, TRAILERS, Fate, Reset
from sdk.wire.http1fields import trailer_lines_untrusted
from sdk.wire.http1head import CHUNKED, UNTIL_CLOSE, Malformed, head_size_untrusted
from sdk.wire.http1read import Asked, read_request_untrusted
from sdk.wire.http1write import UNKNOWN, Answering, write_answer_untrusted, write_interim_untrusted

from . import Sink
from .http1 import Http1Port, Reading
from .limits import DEFAULT, HEAD_WITHIN, LOOK, Limits
from .refusal import complaint, refusal, refusal_bytes

MAX_PIPELINED = 16384
"""Bytes of requests that are read before their turn has come."""

MAX_UNREAD = 65536
"""Bytes of answers that may wait to be written before the next request is looked at."""

MAX_WAITING = 64
"""Pieces of answers likewise."""

STOPPING = "this end is stopping: another one takes the call"
"""What a program is told that asks too late."""

_OF_A_PAGE = (
    "this node has no service called {!r}, so that name may be a web page's, which leads here without its visitor "
    "knowing: call the node by its address or localhost; a front end in between has to say `Via`, or show the node's "
    "token in `Proxy-Authorization`"
)

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class _Answer(enum.Enum):
    """How far the answer to the request at hand is."""

    NONE = enum.auto()
    """There is no request at hand."""
    AWAITED = enum.auto()
    BEGUN = enum.auto()
    OVER = enum.auto()
    """It is complete, and the request is not."""


def _nobody_objects(_: bytes) -> str:
    """Stands in for `objection` where everybody may call."""
    return ""


class ServingHttp1Port(Http1Port):
    """The connection of one program."""

    def __init__(
        self,
        sink: Sink,
        *,
        name: str,
        clock: Callable[[], float],
        forwarded: bytes,
        call_ids: bytes,
        objection: Callable[[bytes], str] = _nobody_objects,
        otherwise: str = "",
        meant_by: Callable[[str], str] = str,
        limits: Limits = DEFAULT,
        pins: Metadata = (),
        pool: CreditPool = PROCESS,
    ) -> None:
        """`forwarded` is what `sdk.wire.http1fields.forwarded_by` says of the program; `call_ids` are eight bytes that
        the ids of its calls begin with, and of no other connection's; `objection` says why a request that shows this
        token is not let in, or nothing. `meant_by` says which service the name of a host means, or nothing, and
        `otherwise` is the one that requests mean which name none in `Micro-Service`, nor by their host. `pins` is
        metadata that every call has besides."""
        super().__init__(sink, name=name, clock=clock, limits=limits, pool=pool)
        self._look_at = self.now
        self._begun = self.now
        """When the first byte came of the head at hand."""
        self._idle = limits.idle or math.inf
        self._max_body = limits.max_body or math.inf
        self._taken = 0
        """Bytes of the body at hand that have come."""
        self._forwarded = forwarded
        self._call_ids = call_ids
        self._objection = objection
        self._otherwise = otherwise
        self._meant_by = meant_by
        self._pins = pins
        self._asked: Asked
        """The request that is being answered, or was last."""
        self._answer = _Answer.NONE
        self._keep = True
        """Another request may follow."""
        self._draining = False
        self._refusing = False
        self._parsing = False
        self._unread = 0
        """Bytes given to the driver, or waiting for it, since it last had written everything."""

    # What the switch calls.

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Takes one frame; on a dead port, or for a call that is over, it vanishes."""
        if self.dead or stream != self._stream or self._answer is _Answer.NONE:
            return
        if kind == HEAD:
            packed, body = frame.split_headed_untrusted(payload)
            self._begin_answer(packed, body, ended=flags & END != 0)
        elif kind == DATA:
            packed = b""
            if flags & TRAILERS:
                packed, payload = frame.split_headed_untrusted(payload)
            self._answer_body(payload, packed, ended=flags & END != 0)
        elif kind == CREDIT:
            self._credit(payload)
        elif kind == RESET:
            self._on_reset(frame.parse_reset_untrusted(payload))
        elif kind == STOP:
            self._on_stop()
        elif kind == INTERIM:
            self._on_interim(payload)

    def next_stream(self) -> int:
        """Never: raises `Unavailable` (not run), for a program is not called."""
        raise Unavailable(f"{self.name} speaks HTTP to this node and takes no calls")

    def was_sent(self, stream: int) -> bool:
        """No call is sent here."""
        return False

    def go_away(self) -> None:
        """Takes no more requests after the next one whose answer can say so.

        A connection is not ended before: a program that was told to keep it may be sending a request in this moment,
        and where that meets the end nobody can tell whether it was read (RFC 9112, 9.3.1 and 9.6).
        """
        self._draining = True
        if self._answer is _Answer.AWAITED:
            self._keep = False

    def refuse(self) -> None:
        """Refuses as not reached what is asked from now on."""
        self._refusing = True
        self.go_away()

    def take_leave(self) -> None:
        """Ends a connection that waits for a request, and says so in an answer that none was read for (RFC 9110,
        15.5.9). A program whose request is on its way takes it for the answer to that one, and knows that it may ask
        elsewhere; others see a connection that is over.
        """
        if self._reading is Reading.HEAD:
            leaving = Reset(Status.UNAVAILABLE, Fate.NOT_REACHED, STOPPING)
            self._out.append(refusal_bytes(refusal(leaving, special=408), close=True))
            self.leave()

    @property
    def refusing(self) -> bool:
        """Whether it takes no more requests, and the program knows or will be told in time."""
        return self._refusing or self._last or (self._draining and not self._keep)

    # What the driver calls.

    @property
    def may_read(self) -> int:
        """Bytes that may be read from the connection now."""
        if self._reading is Reading.NEXT:
            return max(0, MAX_PIPELINED - len(self._buffer))
        if self._reading is Reading.HEAD and self._is_backed_up():
            return 0
        return super().may_read

    def receive_data(self, data: bytes) -> None:
        """Bytes came from the connection, at most `may_read`; none are its end."""
        self.now = self._clock()
        reading = self._reading
        if not data:
            self._ended()
        elif reading is Reading.HEAD:
            if self._buffer:
                self._buffer += data
            else:
                self._buffer, self._begun = data, self.now
            self._read_requests()
        elif reading is Reading.BODY:
            self._read_body(data)
        elif reading is Reading.NEXT:
            self._buffer += data
        elif reading is Reading.RAW:
            self._may_send -= len(data)
            self._pass_on(DATA, 0, data)

    def data_to_send(self) -> list[bytes]:
        """Drains what waits to be written. Being asked again means that it was written."""
        if self._unread and not self._out:
            self._unread = 0
            if self._reading is Reading.HEAD:
                if self._buffer:
                    self._begun = self._clock()
                    self._read_requests()
                self.wake()
        out = super().data_to_send()
        for piece in out:
            self._unread += len(piece)
        return out

    def next_timeout(self) -> float:
        """When to look at the clocks that `limits` tells of."""
        return self._look_at

    def handle_timeout(self, now: float) -> None:
        """Ends a connection without a call, or with one that stands still; a request that did not come whole is told
        so."""
        self._look_at = now + LOOK
        if detail := self._standing_still(now):
            self._give_up(detail)
            if self._reading is Reading.BODY and self._answer is _Answer.AWAITED:
                self._complain(Malformed(detail, 408))
            else:
                self.close(detail)
        elif self._reading is not Reading.HEAD or self._unread or self._out:
            pass
        elif self._buffer:
            if now - self._begun >= HEAD_WITHIN:
                self._complain(Malformed(f"the head of the request did not come within {HEAD_WITHIN:g} s", 408))
        elif now - self._since >= self._idle:
            self.leave()

    # Requests.

    def _read_requests(self) -> None:
        """Reads what has come, as far as it is one request's turn after the other's."""
        if self._parsing:
            return
        self._parsing = True
        try:
            while self._reading is Reading.HEAD and not self._is_backed_up() and self._read_request():
                pass
        except RemoteProtocolError as error:
            self._complain(error)
        finally:
            self._parsing = False

    def _is_backed_up(self) -> bool:
        """Whether the program has to read before it is answered anything else."""
        return self._unread > MAX_UNREAD or self.queued > MAX_UNREAD or len(self._out) > MAX_WAITING

    def _read_request(self) -> bool:
        """Reads one request and opens its call; False where it has not come."""
        buffer, start = self._buffer, 0
        while buffer.startswith(b"\r\n", start):  # RFC 9112, 2.2: some programs send one line end too many
            start += 2
        if start:
            self._buffer = buffer = buffer[start:]
        size = head_size_untrusted(buffer) if buffer else 0
        if not size:
            return False
        asked = read_request_untrusted(buffer[:size], self._forwarded, self._otherwise.encode(), self._pins)
        objection = self._objection(asked.token)
        if objection:
            raise Malformed(objection, 407)
        if asked.site and not self._meant_by(asked.site):
            raise Malformed(_OF_A_PAGE.format(asked.site), 421)
        packed = self._packed(asked)
        if len(packed) + 16 > MAX_OPEN:
            raise Malformed("the head of the request is too long for a call", 431)
        if self._refusing:
            stopping = Reset(Status.UNAVAILABLE, Fate.NOT_REACHED, STOPPING)
            self._out.append(refusal_bytes(refusal(stopping), close=True, body=asked.method != "HEAD"))
            self.leave()
            return False
        self._begin_body(asked.framing)
        self._buffer = b""
        body, ended = self._split_body(buffer[size:])
        self._taken = max(len(body), asked.framing)
        if self._taken > self._max_body:
            raise self._too_long()
        self._open(asked, packed, body, self._trailers() if ended else b"", ended=ended)
        return True

    def _packed(self, asked: Asked) -> bytes:
        """The head of the call, but for its id."""
        if not asked.hosted:
            return asked.packed
        meant = self._meant_by(asked.service) or self._otherwise or asked.service
        return asked.packed if meant == asked.service else asked.to(meant)

    def _open(self, asked: Asked, packed: bytes, body: bytes, trailers: bytes, *, ended: bool) -> None:
        stream = self._stream + 1
        self._new_call(stream)
        self._asked, self._answer = asked, _Answer.AWAITED
        self._keep = asked.keep and not self._draining
        self._reading = Reading.NEXT if ended else Reading.BODY
        final = ended and not trailers and not asked.upgrade
        head = b"%b%b%b" % (packed, self._call_ids, stream.to_bytes(8, "big"))
        room = MAX_OPEN - len(head)
        rest = body[room:]
        if rest:
            body, final = body[:room], False
        self._may_send -= len(body)
        payload = frame.pack_open(frame.MAX_HOPS, b"", asked.ms, head, body)
        self.sink.on_frame(self, OPEN, END if final else 0, stream, payload)
        if rest:
            self._may_send -= len(rest)
            self._pass_on(DATA, 0, rest)
        if ended and not final and not asked.upgrade:
            self._pass_end(trailers)
        if asked.expects and self._reading is Reading.BODY and self._answer is _Answer.AWAITED:
            self._out.append(_CONTINUE)
            self.wake()

    def _read_body(self, data: bytes) -> None:
        try:
            body, ended = self._split_body(data)
            if self._missing == CHUNKED:
                self._taken += len(body)
                if self._taken > self._max_body:
                    raise self._too_long()
            trailers = self._trailers() if ended else b""
        except RemoteProtocolError as error:
            self._give_up(f"{self.name} sent a body that cannot be taken: {error}")
            self._complain(error)
            return
        if body:
            self._may_send -= len(body)
            self._pass_on(DATA, 0, body)
        if ended and self._reading is Reading.BODY:
            self._reading = Reading.NEXT
            self._pass_end(trailers)
            if self._answer is _Answer.OVER:
                self._next()

    def _too_long(self) -> Malformed:
        return Malformed(f"the body of a request may have {self._max_body} bytes here and no more", 413)

    def _ended(self) -> None:
        """The program sends nothing more."""
        if self._reading is Reading.RAW:
            self._pass_on(DATA, END, b"")
            return
        self._give_up(f"{self.name} closed its connection")
        self.leave()

    def _give_up(self, detail: str) -> None:
        self._reset_call(Status.CANCELLED, Fate.MAY_HAVE_RUN, detail)

    def _complain(self, error: RemoteProtocolError) -> None:
        """Says what is wrong with a request, where its answer has not begun, and ends the connection."""
        if self._answer in (_Answer.NONE, _Answer.AWAITED):
            status = error.status if isinstance(error, Malformed) else 400
            fate = Fate.MAY_HAVE_RUN if self._answer is _Answer.AWAITED else Fate.NOT_REACHED
            self._out.append(refusal_bytes(complaint(status, error.detail, fate), close=True))
        self._answer = _Answer.NONE
        self.leave()

    # Answers.

    def _begin_answer(self, packed: bytes, body: bytes, *, ended: bool) -> None:
        asked = self._asked
        try:
            if self._answer is not _Answer.AWAITED:
                raise RemoteProtocolError("the answer has two heads")
            answering = write_answer_untrusted(packed)
            if answering.status == 101 and not asked.upgrade:
                raise RemoteProtocolError("the answer upgrades to a protocol that nobody asked for")
            self._out.append(self._head(asked, answering, body, ended=ended))
        except RemoteProtocolError as error:
            self._break_off(error)
            return
        self._answer = _Answer.BEGUN
        if answering.status == 101:
            self._upgrade()
        elif asked.upgrade:
            self._pass_on(DATA, END, b"")
        self._answer_body(body, b"", ended=ended, trailers=answering.trailers)

    def _on_interim(self, packed: bytes) -> None:
        """Something comes before the answer. HTTP/1.0 knows nothing of that (RFC 9110, 15.2)."""
        if self._answer is not _Answer.AWAITED or not self._asked.minor:
            return
        try:
            self._out.append(write_interim_untrusted(packed))
        except RemoteProtocolError as error:
            self._break_off(error)
        self.wake()

    def _head(self, asked: Asked, answering: Answering, body: bytes, *, ended: bool) -> bytes:
        """The answer's head, and with it how its body is framed (RFC 9112, 6)."""
        lines, length, status, trailers = answering
        framing = b""
        if status == 101:
            self._owed = UNTIL_CLOSE
            return lines + b"\r\n"
        if asked.method == "HEAD" or status in (204, 304):
            self._owed = 0
        elif length != UNKNOWN:
            self._owed = length
        elif ended and not trailers:
            self._owed = len(body)
            framing = b"content-length: %d\r\n" % len(body)
        elif asked.minor:
            self._owed = CHUNKED
            framing = b"transfer-encoding: chunked\r\n"
        else:
            self._owed = UNTIL_CLOSE
            self._keep = False
        if not self._keep:
            framing += b"connection: close\r\n"
        elif not asked.minor:
            framing += b"connection: keep-alive\r\n"
        return b"%b%b\r\n" % (lines, framing)

    def _answer_body(self, body: bytes, packed: bytes, *, ended: bool, trailers: Metadata = ()) -> None:
        self._far_ended = self._far_ended or ended
        try:
            if self._answer is not _Answer.BEGUN:
                raise RemoteProtocolError("the answer has no head")
            self._write_body(body)
            if packed:
                trailers = parse_trailers_untrusted(packed).metadata
            if ended:
                self._write_end(trailer_lines_untrusted(trailers) if trailers else b"")
        except RemoteProtocolError as error:
            self._break_off(error)
            return
        if ended:
            if self._owed == UNTIL_CLOSE:
                self._last = True
            if self._reading is not Reading.RAW:
                self._answer_over()
        self.wake()

    def _answer_over(self) -> None:
        self._answer = _Answer.OVER
        if self._reading is Reading.NOTHING:
            self.leave()
        elif self._reading is not Reading.BODY:  # a body that goes on is read to its end: whoever answered wants it
            self._next()

    def _next(self) -> None:
        """The call is over in both directions: the next may begin."""
        if not self._keep:
            self.leave()
            return
        self._reading, self._answer = Reading.HEAD, _Answer.NONE
        self._since = self._begun = self.now = self._clock()
        self._close_window()
        if self._buffer:
            self._read_requests()
        self.wake()

    def _upgrade(self) -> None:
        """From here on the connection carries whatever was agreed upon; what came early is the first of it."""
        self._reading = Reading.RAW
        early, self._buffer = self._buffer, b""
        if early:
            self._may_send -= len(early)
            self._pass_on(DATA, 0, early)

    def _on_reset(self, reset: Reset) -> None:
        if self._answer is not _Answer.AWAITED:
            self._cut(reset)
            return
        if self._reading is not Reading.NEXT:
            self._keep = False
        self._out.append(refusal_bytes(refusal(reset), close=not self._keep, body=self._asked.method != "HEAD"))
        if self._reading is Reading.BODY:
            self._reading = Reading.NOTHING
        self._answer_over()
        self.wake()

    def _on_stop(self) -> None:
        """Nobody wants what the program sends: it is read and dropped, and the connection ends with the answer."""
        if self._reading in (Reading.BODY, Reading.RAW):
            self._keep = False
            self._reading = Reading.NOTHING
            self._pass_on(DATA, END, b"")
            if self._answer is _Answer.OVER:
                self.leave()
            self.wake()

    def _break_off(self, error: RemoteProtocolError) -> None:
        """The answer breaks the rules: whoever sent it is told, and the program gets no more of it."""
        detail = f"the answer cannot be passed on: {error}"
        self._reset_call(Status.INTERNAL, Fate.MAY_HAVE_RUN, detail)
        self._on_reset(Reset(Status.INTERNAL, Fate.MAY_HAVE_RUN, detail))

    def _cut(self, reset: Reset) -> None:
        """Ends the connection in the middle of an answer, so that nobody takes it for the whole."""
        if self._answer is _Answer.BEGUN and self._owed == UNTIL_CLOSE:
            self.reset = reset
        self._answer = _Answer.NONE
        self.leave()
