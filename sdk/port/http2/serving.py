"""The port of a program that speaks HTTP/2 to its node: gRPC, or plain HTTP, told apart by the content type.

A request whose body ends in the same read becomes one frame. Once an answer to a gRPC call is complete the call is
over, whatever of the request is still to come; the body of an HTTP request is read on, unless nobody wants it.

The file is longer than others: the two directions of an exchange share its state, and end each other.
"""

import math
from collections.abc import Callable
from typing import Final

from sdk.errors import RemoteProtocolError, Status, Unavailable
from sdk.head import Metadata
from sdk.port import Sink
from sdk.port.limits import DEFAULT, HEAD_WITHIN, LOOK, Limits
from sdk.port.standstill import Standstill
from sdk.wire import frame
from sdk.wire.credit import PROCESS, CreditPool
from sdk.wire.frame import CREDIT, DATA, END, HEAD, INTERIM, OPEN, RESET, STOP, TRAILERS, Fate, Reset
from sdk.wire.hpack import MAX_LIST, Headers
from sdk.wire.http2 import (
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_HEADER_LIST_SIZE,
    MAX_STREAM,
    PING,
    ErrorCode,
    StreamFault,
)

from .answers import (
    OK,
    pack_ended,
    read_trailers_untrusted,
    write_answer_untrusted,
    write_interim_untrusted,
    write_trailers_untrusted,
)
from .connection import Connection, TooLong
from .exchange import Exchange
from .fields import GRPC, escape, malformed
from .limits import MAX_BACKLOG, MAX_STREAMS
from .refusal import refusal
from .requests import MAX_OPENED, Request, read_request_untrusted

NAMELESS: Final = (
    "the request names no service: give its name in `micro-service`, as the authority, or in the path of a gRPC call"
)

_LAST_WORD: Final = b"drained."
"""The PING behind the first GOAWAY: when it comes back, the program has read that."""

_HELD: Final = 16384
"""Most body bytes that are held back for their OPEN: with more of them, a frame of their own costs nothing."""

_HEADERS: Final = b"\x01"
"""The type of such a frame, its fourth byte."""

_UNCOUNTED: Final = -(1 << 62)
"""Bytes that have come of a tunnel: no number of them is too many."""

_CONTINUE: Final = (":status", "100")
_BARE: Final = ((":status", "200"), (":status", "200", "content-type", GRPC))
_NO_STATUS: Final = ("grpc-status", str(int(Status.UNKNOWN)), "grpc-message", "the answer ended without a status")


def _likeliest(request: Request) -> str:
    return request.names[-1]


class Http2ServingPort(Connection):
    """HTTP/2 of a program that connected. Implements `Port`."""

    def __init__(
        self,
        sink: Sink,
        *,
        name: str,
        ids: Callable[[], bytes],
        service_of: Callable[[Request], str] = _likeliest,
        objection: Callable[[str], str] | None = None,
        forwarded: str = "",
        otherwise: str = "",
        limits: Limits = DEFAULT,
        pins: Metadata = (),
        tunnels: bool = False,
        max_streams: int = MAX_STREAMS,
        pool: CreditPool = PROCESS,
    ) -> None:
        """`ids` gives each call the 16 bytes that no other call has. `service_of` says which service a request means
        that does not say it in so many words. `objection` is asked, where it is given, what there is to say against a
        request that shows these credentials (`Proxy-Authorization`, or nothing). `forwarded` is what `Forwarded` says
        of the program. `otherwise` is the service that all requests may mean but those that name one in
        `micro-service`, and the likeliest. `pins` is metadata that every call has besides. With `tunnels` CONNECT is
        taken: a raw call (8.5)."""
        settings = {
            MAX_CONCURRENT_STREAMS: max_streams,
            INITIAL_WINDOW_SIZE: frame.INITIAL_CREDIT,
            MAX_HEADER_LIST_SIZE: MAX_LIST,
        }
        super().__init__(sink, name=name, pool=pool, settings=settings, limits=limits, serving=True)
        self._idle = limits.idle or math.inf
        self._max_body = limits.max_body
        self._unused = Standstill()
        self._unfinished = Standstill()
        self._ids = ids
        self._service_of = service_of
        self._objection = objection
        self._accepted: str | None = None  # credentials that were good: who is in once stays in
        self._forwarded = forwarded
        self._otherwise = otherwise
        self._pins = pins
        self._tunnels = tunnels
        self._limit = max_streams
        self.refusing = False
        """It takes no more requests."""
        self._opening: dict[int, Exchange] = {}  # requests that are held back until the end of the read

    # What the switch calls.

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Takes one frame of an answer; on a dead port, or a stream that is over, it vanishes."""
        exchange = self._exchanges.get(stream)
        if exchange is None:
            return
        try:
            if kind == HEAD:
                self._send_head_untrusted(stream, exchange, flags, payload)
            elif kind == DATA:
                self._send_data_untrusted(stream, exchange, flags, payload)
            elif kind == CREDIT:
                self._open_room(stream, exchange, frame.parse_u32_untrusted(payload))
            elif kind == RESET:
                self._send_reset(stream, exchange, frame.parse_reset_untrusted(payload))
            elif kind == STOP and exchange.wanted:
                exchange.wanted = False
                self._pass_on(DATA, END, stream, b"")
            elif kind == INTERIM and not exchange.began and not exchange.grpc:
                self._write_headers(stream, write_interim_untrusted(payload), False)
        except RemoteProtocolError as error:  # of whoever answers, far away: it breaks this call and no more
            reset = Reset(Status.INTERNAL, Fate.MAY_HAVE_RUN, f"the answer cannot be passed on: {error.detail}")
            self._pass_on(RESET, 0, stream, frame.pack_reset(reset))
            self._send_reset(stream, exchange, reset)

    def next_stream(self) -> int:
        """Programs are not called over HTTP/2: raises `Unavailable`."""
        raise Unavailable(f"{self.name} cannot be called")

    def was_sent(self, stream: int) -> bool:
        """Nothing is opened here."""
        return True

    def go_away(self) -> None:
        """Tells the program to open nothing new here (6.8): at first only that, and once it must have read it, up to
        where its requests were taken; what it opens after that is refused."""
        if not self.draining and not self.dead:
            self.draining = True
            self._write_go_away(MAX_STREAM, ErrorCode.NO_ERROR)
            self._write(PING, 0, 0, _LAST_WORD)

    def refuse(self) -> None:
        """Tells the program up to where its requests were taken, and refuses from now on what it opens all the same."""
        if not self.refusing and not self.dead:
            self.draining = self.refusing = True
            self._write_go_away(self._last, ErrorCode.NO_ERROR)

    # The machine's verbs.

    def handle_timeout(self, now: float) -> None:
        """Ends a connection without a call, one whose preface or request does not come to its end, and what stands
        still."""
        super().handle_timeout(now)
        if self._unfinished.lasts(self._unfinished_head(), now) >= HEAD_WITHIN:
            detail = f"{self.name} did not send a head within {HEAD_WITHIN:g} s"
            self._write_go_away(self._last, ErrorCode.ENHANCE_YOUR_CALM, detail)
            self.close(detail)
            return
        unused = self._unused.lasts(None if self._exchanges else (self._last, self.draining), now)
        if self.draining and unused >= LOOK:  # it has had the time to read so
            self.refuse()
            self.close(f"{self.name} has no call open")
        elif unused >= self._idle:
            self.go_away()

    def _unfinished_head(self) -> object:
        """What has begun and has to come to its end: preface and settings, a header block, or one of its frames."""
        if not self._settled:
            return self._settled
        if self._special:
            return self._block_stream
        return self._buffer[:9] if self._buffer[3:4] == _HEADERS else None

    # Answers.

    def _send_head_untrusted(self, stream: int, exchange: Exchange, flags: int, payload: bytes) -> None:
        """The answer's beginning, or all of it."""
        packed, body = frame.split_headed_untrusted(payload)
        end = flags & END != 0
        answer = write_answer_untrusted(packed, grpc=exchange.grpc, whole=end, empty=not body)
        exchange.began = True
        alone = end and not body and not answer.trailers
        self._write_headers(stream, answer.headers, alone)
        if alone:
            exchange.sent_end = True
            self._sent_all(stream, exchange)
        elif end or body:
            self._write_body(stream, exchange, body, end, answer.trailers)

    def _send_data_untrusted(self, stream: int, exchange: Exchange, flags: int, payload: bytes) -> None:
        """More of the answer, or its end."""
        trailers: Headers = ()
        end = flags & END != 0
        if flags & TRAILERS:
            packed, payload = frame.split_headed_untrusted(payload)
            trailers = write_trailers_untrusted(packed, grpc=exchange.grpc)
        elif end and exchange.grpc:
            trailers = _NO_STATUS
        if not exchange.began:
            exchange.began = True
            self._write_headers(stream, _BARE[exchange.grpc], False)
        self._write_body(stream, exchange, payload, end, trailers)

    def _send_reset(self, stream: int, exchange: Exchange, reset: Reset, number: int = 0) -> None:
        """The call is over without an answer, or without all of it."""
        exchange.wanted = False
        if exchange.sent_end:  # the answer is complete; only nobody wants the rest of the request
            if exchange.pending is None:
                self._sent_all(stream, exchange)
            return
        if exchange.pending is not None:
            self._unblock(stream, exchange)
        if exchange.grpc:
            fate = "not-reached" if reset.fate == Fate.NOT_REACHED else "may-have-run"
            trailers: Headers = (
                "grpc-status",
                str(reset.status),
                "grpc-message",
                escape(reset.detail),
                "micro-fate",
                fate,
            )
            if not exchange.began:
                trailers = (*_BARE[True], *trailers)
            exchange.sent_end = True
            self._write_headers(stream, trailers, True)
            self._sent_all(stream, exchange)
        elif not exchange.began:
            headers, text = refusal(reset, number)
            self._write_headers(stream, headers, False)
            self._write_body(stream, exchange, text, True)
        else:  # 8.1: so the program sees that this is not all
            self._forget(stream, exchange)
            self._write_reset(stream, ErrorCode.INTERNAL_ERROR)

    def _sent_all(self, stream: int, exchange: Exchange) -> None:
        if not exchange.got_end:
            if exchange.wanted and not exchange.grpc:
                return
            self._write_reset(stream, ErrorCode.NO_ERROR)  # 8.1: a request need not be sent to its end
        self._forget(stream, exchange)
        if not exchange.got_end and exchange.wanted and stream in self.streams:  # whoever wanted no more has had it
            self._pass_on(DATA, END, stream, b"")

    # Requests.

    def _on_block(self, stream: int, block: bytes, end: bool) -> None:
        exchange = self._exchanges.get(stream)
        if exchange is not None:
            self._on_trailers_untrusted(stream, exchange, block, end)
            return
        if not stream & 1 or stream <= self._last:
            self._decode_untrusted(block)
            self._stray(stream)
            return
        self._last = stream
        try:
            request = self._decoder.recall(block, Request) or self._read_request_untrusted(block)
        except TooLong as error:
            exchange = Exchange(self._first_window, grpc=False)
            self._turn_down(stream, exchange, end, Status.RESOURCE_EXHAUSTED, error.detail, 431)
            return
        if self.refusing or len(self._exchanges) >= self._limit or self.queued + self.held > MAX_BACKLOG:
            self._write_reset(stream, ErrorCode.REFUSED_STREAM, provoked=True)
        else:
            self._on_request(stream, request, end)

    def _on_request(self, stream: int, request: Request, end: bool) -> None:
        """A new request; it goes on at once when it has no body, else with what of it comes in the same read."""
        exchange = Exchange(self._first_window, grpc=request.grpc)
        exchange.expected = request.length
        if end and request.length > 0:
            raise malformed(f"{self.name} sent no body, and said that it has {request.length} bytes")
        if self._objection is not None and request.credentials != self._accepted:
            if objection := self._objection(request.credentials):
                self._turn_down(stream, exchange, end, Status.UNAUTHENTICATED, objection)
                return
            self._accepted = request.credentials
        if 0 < self._max_body < request.length:
            self._turn_down(stream, exchange, end, Status.RESOURCE_EXHAUSTED, self._too_long(), 413)
            return
        if request.raw:
            if not self._tunnels:
                raise malformed(f"{self.name} asks for a tunnel, and none begins here")
            exchange.taken = _UNCOUNTED
        names = request.names
        if not names:
            self._turn_down(stream, exchange, end, Status.NOT_FOUND, NAMELESS)
            return
        certain = len(names) == 1 and not request.hosted
        opened = request.opened(names[0] if certain else self._service_of(request))
        if not opened:
            detail = f"the request's head does not fit into the {frame.MAX_OPEN} bytes that a call's may have"
            self._turn_down(stream, exchange, end, Status.RESOURCE_EXHAUSTED, detail, 431)
            return
        exchange.got_end = end
        self._exchanges[stream] = exchange
        if end:
            self._pass_on(OPEN, END, stream, opened + self._ids())
            return
        exchange.call = opened + self._ids()
        self._opening[stream] = exchange
        if request.expects:
            self._write_headers(stream, _CONTINUE, False)

    def _turn_down(
        self, stream: int, exchange: Exchange, end: bool, status: Status, detail: str, number: int = 0
    ) -> None:
        """Answers a request that goes no further; `number` is the HTTP status, where it is a special one."""
        self._exchanges[stream] = exchange
        exchange.got_end = end
        self._send_reset(stream, exchange, Reset(status, Fate.NOT_REACHED, detail), number)

    def _read_request_untrusted(self, block: bytes) -> Request:
        request = read_request_untrusted(self._decode_untrusted(block), self._forwarded, self._otherwise, self._pins)
        self._decoder.remember(block, request)
        return request

    def _on_body(self, stream: int, exchange: Exchange, body: bytes, end: bool) -> None:
        if end:
            exchange.got_end = True
        if self._max_body:
            exchange.taken += len(body)
            if exchange.taken > self._max_body:
                self._give_up(stream, exchange, Status.RESOURCE_EXHAUSTED, self._too_long(), 413)
                return
        held = exchange.call
        if held is not None:
            exchange.body = body = exchange.body + body if exchange.body else body
            if end and len(held) + len(body) <= MAX_OPENED:
                del self._opening[stream]
                exchange.call = None
                self._pass_on(OPEN, END, stream, held + body)
            elif end or len(body) > _HELD:
                self._open(stream, exchange)
        elif exchange.wanted:
            self._pass_on(DATA, END if end else 0, stream, body)
        elif not end:
            self._open_room(stream, exchange, len(body))
        if end and exchange.sent_end and exchange.pending is None and stream in self._exchanges:
            self._forget(stream, exchange)

    def _too_long(self) -> str:
        return f"the body of a request may have {self._max_body} bytes here and no more"

    def _give_up(self, stream: int, exchange: Exchange, status: Status, detail: str, number: int) -> None:
        """Ends a call because of what the program does, or does not; `number` is the status that says so in HTTP."""
        if self._opening.pop(stream, None) is None:
            cancelled = Reset(Status.CANCELLED, Fate.MAY_HAVE_RUN, detail)
            self._pass_on(RESET, 0, stream, frame.pack_reset(cancelled))
            fate = Fate.MAY_HAVE_RUN
        else:
            fate = Fate.NOT_REACHED
        if exchange.sent_end:
            self._forget(stream, exchange)
            self._write_reset(stream, ErrorCode.CANCEL)
        else:
            self._send_reset(stream, exchange, Reset(status, fate, detail), number)

    def _on_standstill(self, stream: int, exchange: Exchange, detail: str) -> None:
        self._give_up(stream, exchange, Status.DEADLINE_EXCEEDED, detail, 408)

    def _open(self, stream: int, exchange: Exchange) -> None:
        """Opens the call of a request that was held back, and passes on what came of its body."""
        del self._opening[stream]
        held, exchange.call = exchange.call or b"", None
        body, exchange.body = exchange.body, b""
        room = MAX_OPENED - len(held)
        self._pass_on(OPEN, 0, stream, held + body[:room])
        if len(body) > room or exchange.got_end:
            self._pass_on(DATA, END if exchange.got_end else 0, stream, body[room:])

    def _end_of_read(self) -> None:
        for stream, exchange in list(self._opening.items()):
            if stream in self._opening:
                self._open(stream, exchange)

    def _on_trailers_untrusted(self, stream: int, exchange: Exchange, block: bytes, end: bool) -> None:
        """What ends a request: to gRPC it means no more than that."""
        headers = self._decode_untrusted(block)
        if exchange.got_end:
            raise StreamFault(ErrorCode.STREAM_CLOSED, f"{self.name} sent trailers after the end of a request")
        if not end:
            raise malformed(f"{self.name} sent trailers that end nothing")
        packed = read_trailers_untrusted(headers, grpc=False)
        if exchange.expected > 0:
            raise malformed(f"{self.name} sent a body that is shorter than it said")
        if exchange.grpc or packed == OK or not exchange.wanted:
            self._on_body(stream, exchange, b"", True)
            return
        if exchange.call is not None:
            self._open(stream, exchange)
        exchange.got_end = True
        self._pass_on(DATA, END | TRAILERS, stream, frame.pack_headed(pack_ended(packed), b""))
        if exchange.sent_end and exchange.pending is None and stream in self._exchanges:
            self._forget(stream, exchange)

    def _on_reset(self, stream: int, exchange: Exchange, error: int) -> None:
        if not exchange.began:
            self._patience.lose(self.now, "take requests back")
        if self._opening.pop(stream, None) is None:
            reset = Reset(Status.CANCELLED, Fate.MAY_HAVE_RUN, f"{self.name} took its request back")
            self._pass_on(RESET, 0, stream, frame.pack_reset(reset))

    def _on_fault(self, stream: int, exchange: Exchange, fault: RemoteProtocolError) -> None:
        if self._opening.pop(stream, None) is None:
            reset = Reset(Status.CANCELLED, Fate.MAY_HAVE_RUN, f"{self.name} broke a rule: {fault.detail}")
            self._pass_on(RESET, 0, stream, frame.pack_reset(reset))

    def _on_go_away(self, last: int, error: int, detail: str) -> None:
        """A client takes no pushed streams, and there are none."""

    def _on_pong(self, payload: bytes) -> None:
        if payload == _LAST_WORD and self.draining:
            self.refuse()

    def _pass_on(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.sink.on_frame(self, kind, flags, stream, payload)
