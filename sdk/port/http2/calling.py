"""The port of an instance that speaks HTTP/2: a gRPC server, or a plain one, with all its calls on one connection.

An answer that comes in one read, head, message and status, goes on as one frame. An rpc call reaches a gRPC server as a
gRPC call, for their bodies are the same. A call that the instance has provably not looked at is said to be not reached:
it was refused, or is beyond the last one that a GOAWAY counts.

The file is longer than others: the two directions of an exchange share its state, and end each other.
"""

import math
from typing import Final

from sdk.errors import RemoteProtocolError, Status, Unavailable
from sdk.port import Sink
from sdk.port.limits import DEFAULT, Limits
from sdk.wire import frame
from sdk.wire.credit import PROCESS, CreditPool
from sdk.wire.frame import (
    BLAMELESS,
    CREDIT,
    DATA,
    END,
    HEAD,
    INTERIM,
    MAX_INTERIM,
    MAX_INTERIM_SIZE,
    NO_DEADLINE,
    OPEN,
    RESET,
    STOP,
    TRAILERS,
    Fate,
    Reset,
)
from sdk.wire.hpack import MAX_LIST, Headers
from sdk.wire.http2 import (
    ENABLE_PUSH,
    INITIAL_WINDOW_SIZE,
    MAX_HEADER_LIST_SIZE,
    MAX_STREAM,
    PING,
    PREFACE,
    ErrorCode,
    StreamFault,
)
from sdk.wire.timeout import format_timeout

from .answers import (
    NOT_GRPC,
    OK,
    Begun,
    pack_ended,
    pack_head,
    read_answer_untrusted,
    read_trailers_untrusted,
    write_trailers_untrusted,
)
from .connection import Connection
from .exchange import Exchange
from .fields import malformed
from .limits import BEFORE_SETTINGS, MAX_STREAMS
from .requests import write_request_untrusted

SILENCE: Final = 10.0
"""Seconds in which an instance that has calls open may say nothing before it is asked whether it is there."""

ANSWER_WITHIN: Final = 20.0
"""Seconds that it has for an answer: gRPC's default, too."""

ASK_AGAIN: Final = 301.0
"""Seconds between such questions, unless it has sent something on a stream meanwhile: gRPC servers end a connection
whose client asks more often than every five minutes."""

_HELD: Final = 16384
"""Most body bytes that are held back for the frame that ends their answer."""

_ONE_FRAME: Final = frame.MAX_PAYLOAD - 6
"""Bytes of head, trailers and body that fit into one HEAD."""

DRAINED: Final = "its last call has ended, and it takes no more"
"""Why a connection is closed that is of no more use."""

_STATUS: Final[dict[int, Status]] = {
    ErrorCode.REFUSED_STREAM: Status.UNAVAILABLE,
    ErrorCode.CANCEL: Status.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: Status.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: Status.PERMISSION_DENIED,
}
"""What an instance means by breaking off a stream ("gRPC over HTTP2", Errors); anything else is an INTERNAL error."""


class Http2CallingPort(Connection):
    """HTTP/2 to an instance. Implements `Port`."""

    def __init__(
        self,
        sink: Sink,
        *,
        name: str,
        authority: str,
        limits: Limits = DEFAULT,
        at_first: int = BEFORE_SETTINGS,
        pool: CreditPool = PROCESS,
    ) -> None:
        """`authority` is what calls give as such where they bring none of their own: the address that is dialled.
        `at_first` is how many calls it takes until the instance has said how many it does."""
        settings = {
            ENABLE_PUSH: 0,
            INITIAL_WINDOW_SIZE: frame.INITIAL_CREDIT,
            MAX_HEADER_LIST_SIZE: MAX_LIST,
        }
        super().__init__(sink, name=name, pool=pool, settings=settings, limits=limits, serving=False)
        self._out.insert(0, PREFACE)
        self._authority = authority
        self._at_first = at_first
        self.aside = False
        """Calls go elsewhere: it ends with its last one."""
        self._next = 1
        self._unsent: set[int] = set()
        self._holding: dict[int, Exchange] = {}  # answers that are held back until the end of the read
        self._heard_at = -math.inf
        self._asked_at = -math.inf
        self._told_since = True  # something came on a stream since it was asked
        self._asking = False

    @property
    def full(self) -> bool:
        """Whether it takes no more calls just now, or never again: another connection would."""
        limit = min(MAX_STREAMS, self._max_streams) if self._settled else self._at_first
        return self.dead or self.draining or len(self._exchanges) >= limit or self._next > MAX_STREAM

    @property
    def takes(self) -> int:
        """Calls that another connection to the same instance can be expected to take, before it has said so."""
        return max(1, int(min(BEFORE_SETTINGS, self._max_streams))) if self._settled else self._at_first

    # What the switch calls.

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Takes one frame of a request; on a dead port, or a stream that is over, it vanishes."""
        if kind == OPEN:
            if not self.dead:
                self._send_open_untrusted(stream, flags, payload)
            return
        exchange = self._exchanges.get(stream)
        if exchange is None:
            return
        if kind == DATA:
            trailers: Headers = ()
            if flags & TRAILERS:
                packed, payload = frame.split_headed_untrusted(payload)
                trailers = () if exchange.grpc else write_trailers_untrusted(packed, grpc=False)
            self._write_body(stream, exchange, payload, flags & END != 0, trailers)
        elif kind == CREDIT:
            self._open_room(stream, exchange, frame.parse_u32_untrusted(payload))
        elif kind == RESET:
            self._cancel(stream, exchange)
        elif kind == STOP:
            self._cancel(stream, exchange)
            self._pass_on(DATA, END, stream, b"")

    def next_stream(self) -> int:
        """The number of a stream to be opened from here; raises `Unavailable` (not run) when the instance, or this
        connection, takes no more."""
        if self.full:
            if self._next > MAX_STREAM:
                self.draining = True
            why = "gone" if self.dead else "draining" if self.draining else f"at its limit of {len(self._exchanges)}"
            raise Unavailable(f"{self.name} takes no more calls: its connection is {why}")
        self._last = number = self._next
        self._next = number + 2
        return number

    def was_sent(self, stream: int) -> bool:
        """Whether the request may have reached the instance."""
        return stream not in self._unsent

    def go_away(self) -> None:
        """Opens nothing new; what is open goes on."""
        if not self.draining and not self.dead:
            self.draining = True
            self._write_go_away(0, ErrorCode.NO_ERROR)

    def stand_aside(self) -> None:
        """Ends with its last call, unless it is used again before. One that has no call takes none at all just now, and
        opens nothing new."""
        self.aside = True
        if not self._exchanges:
            self.go_away()

    # The machine's verbs.

    def data_to_send(self, now: float) -> bytes:
        """All that waits, in one piece. Being asked again means that what was given last has been written."""
        if self._unsent:
            self._unsent = set()
        return super().data_to_send(now)

    def handle_timeout(self, now: float) -> None:
        """Asks an instance that has calls open and says nothing; gives one up that does not answer, and calls that
        stand still."""
        super().handle_timeout(now)
        if self._asking and now - self._asked_at >= ANSWER_WITHIN:
            self.close(f"it has not answered a PING for {ANSWER_WITHIN:g} s")
        elif self._exchanges and not self._asking and self._settled and now - self._heard_at >= SILENCE:
            if self._told_since or now - self._asked_at >= ASK_AGAIN:
                self._asking, self._told_since, self._asked_at = True, False, now
                self._write(PING, 0, 0, b"there?  ")

    def receive_data(self, data: bytes, now: float) -> bool:
        """Takes bytes of the instance, as `Connection` does."""
        self._heard_at = now
        self._asking = False
        return super().receive_data(data, now)

    # Requests.

    def _send_open_untrusted(self, stream: int, flags: int, payload: bytes) -> None:
        _, ms, path_end, head_end = frame.open_layout_untrusted(payload)
        body = payload[head_end:]
        end = flags & END != 0
        try:
            headers, grpc = write_request_untrusted(payload[path_end + 6 : head_end], self._authority)
        except RemoteProtocolError as error:
            self._pass_reset(stream, Status.UNIMPLEMENTED, Fate.NOT_REACHED, f"{self.name}: {error.detail}")
            return
        exchange = self._exchanges[stream] = Exchange(self._first_window, grpc=grpc)
        self._unsent.add(stream)
        if grpc and ms != NO_DEADLINE:
            text = format_timeout(ms).encode()
            timeout = b"\0\x0cgrpc-timeout%c%b" % (len(text), text)  # as HPACK has it, in no table
            self._write_headers(stream, headers, end and not body, timeout)
        else:
            self._write_headers(stream, headers, end and not body)
        if body:
            self._write_body(stream, exchange, body, end)
        elif end:
            exchange.sent_end = True

    def _cancel(self, stream: int, exchange: Exchange) -> None:
        """Nobody waits for the answer any more."""
        self._holding.pop(stream, None)
        self._forget(stream, exchange)
        self._write_reset(stream, ErrorCode.CANCEL)

    def _sent_all(self, stream: int, exchange: Exchange) -> None:
        if exchange.got_end:
            self._forget(stream, exchange)

    # Answers.

    def _on_block(self, stream: int, block: bytes, end: bool) -> None:
        exchange = self._exchanges.get(stream)
        self._told_since = True
        if exchange is None:
            self._decode_untrusted(block)
            self._stray(stream)
            return
        if exchange.got_end:
            self._decode_untrusted(block)
            raise StreamFault(ErrorCode.STREAM_CLOSED, f"{self.name} sent headers after the end of its answer")
        decoder = self._decoder
        if not exchange.began:
            begun = (decoder.recall(block, Begun) if exchange.grpc else None) or self._read_untrusted(block, exchange)
            self._on_begun(stream, exchange, begun, end)
            return
        ended = (decoder.recall(block, bytes) if exchange.grpc else None) or self._read_trailers_untrusted(
            block, exchange
        )
        if not end:
            raise malformed(f"{self.name} sent trailers that end nothing")
        if exchange.expected > 0:
            raise malformed(f"{self.name} sent a body that is shorter than it said")
        self._on_ended(stream, exchange, ended)

    def _read_untrusted(self, block: bytes, exchange: Exchange) -> Begun:
        begun = read_answer_untrusted(self._decode_untrusted(block), grpc=exchange.grpc)
        if exchange.grpc:
            self._decoder.remember(block, begun)
        return begun

    def _read_trailers_untrusted(self, block: bytes, exchange: Exchange) -> bytes:
        ended = read_trailers_untrusted(self._decode_untrusted(block), grpc=exchange.grpc)
        if exchange.grpc:
            self._decoder.remember(block, ended)
        return ended

    def _on_begun(self, stream: int, exchange: Exchange, begun: Begun, end: bool) -> None:
        """The first header list of an answer."""
        if begun.status < 200:
            if end:
                raise malformed(f"{self.name} ended an answer that had not begun")
            self._pass_interim(stream, exchange, begun)
            return
        if exchange.grpc and not begun.grpc:
            self._forget(stream, exchange)
            self._write_reset(stream, ErrorCode.CANCEL)
            status = NOT_GRPC.get(begun.status, Status.UNKNOWN)
            detail = f"{self.name} answered with HTTP status {begun.status}, and not as a gRPC server does"
            self._pass_reset(stream, status, Fate.MAY_HAVE_RUN, detail)
            return
        exchange.began = True
        exchange.call = begun.packed
        if end:
            self._on_ended(stream, exchange, begun.ended or (b"" if exchange.grpc else OK))
            return
        exchange.expected = begun.length
        self._holding[stream] = exchange

    def _pass_interim(self, stream: int, exchange: Exchange, begun: Begun) -> None:
        """Passes on what comes before an answer of HTTP: not that the body may come, for the program's node has said
        so, nor more than may be."""
        count, packed = getattr(exchange, "interim", 0), pack_head(begun.packed)
        if not exchange.grpc and begun.status != 100 and count < MAX_INTERIM and len(packed) <= MAX_INTERIM_SIZE:
            exchange.interim = count + 1
            self._pass_on(INTERIM, 0, stream, packed)

    def _on_body(self, stream: int, exchange: Exchange, body: bytes, end: bool) -> None:
        self._told_since = True
        if not exchange.began:
            raise malformed(f"{self.name} sent a body before its headers")
        if exchange.call is None and not end:
            self._pass_on(DATA, 0, stream, body)
            return
        if exchange.call is not None:
            exchange.body = body = exchange.body + body if exchange.body else body
            if end:
                self._on_ended(stream, exchange, b"" if exchange.grpc else OK)
            elif len(body) > _HELD:
                self._begin(stream, exchange)
        elif exchange.grpc:
            self._on_ended(stream, exchange, b"")
        else:
            exchange.got_end = True
            self._pass_on(DATA, END, stream, body)
            self._answered(stream, exchange)

    def _on_ended(self, stream: int, exchange: Exchange, ended: bytes) -> None:
        """The end of an answer: the items of its trailers, or nothing where gRPC's status is missing."""
        exchange.got_end = True
        if not ended:
            self._holding.pop(stream, None)
            self._forget(stream, exchange)
            self._write_reset(stream, ErrorCode.CANCEL)
            detail = f"{self.name} ended its answer without a status"
            self._pass_reset(stream, Status.INTERNAL, Fate.MAY_HAVE_RUN, detail)
            return
        begun, body = exchange.call, exchange.body
        if begun is not None and len(begun) + len(ended) + len(body) > _ONE_FRAME:
            self._begin(stream, exchange)
            begun = None
        if begun is None:
            self._pass_on(DATA, END | TRAILERS, stream, frame.pack_headed(pack_ended(ended), b""))
        else:
            self._holding.pop(stream, None)
            self._pass_on(HEAD, END, stream, frame.pack_headed(pack_head(begun, ended), body))
        self._answered(stream, exchange)

    def _answered(self, stream: int, exchange: Exchange) -> None:
        """The answer is complete. What is left of a request is of no use to a gRPC server, but to another one it may
        be."""
        if stream not in self._exchanges:
            return
        if exchange.sent_end and exchange.pending is None:
            self._forget(stream, exchange)
        elif exchange.grpc:
            self._cancel(stream, exchange)
            self._pass_on(STOP, 0, stream, b"")

    def _begin(self, stream: int, exchange: Exchange) -> None:
        """Passes on the beginning of an answer that was held back."""
        self._holding.pop(stream, None)
        begun, exchange.call = exchange.call or b"", None
        body, exchange.body = exchange.body, b""
        if len(begun) + len(body) <= _ONE_FRAME:
            self._pass_on(HEAD, 0, stream, frame.pack_headed(pack_head(begun), body))
        else:
            self._pass_on(HEAD, 0, stream, frame.pack_headed(pack_head(begun), b""))
            self._pass_on(DATA, 0, stream, body)

    def _end_of_read(self) -> None:
        for stream, exchange in list(self._holding.items()):
            if stream in self._holding:
                self._begin(stream, exchange)

    # How a call ends otherwise.

    def _on_reset(self, stream: int, exchange: Exchange, error: int) -> None:
        self._holding.pop(stream, None)
        if exchange.got_end:  # 8.1: it has answered, and wants no more of the request
            self._pass_on(STOP, 0, stream, b"")
            return
        known = error in ErrorCode.__members__.values()
        detail = f"{self.name} broke the call off: {ErrorCode(error).name if known else error}"
        refused = error == ErrorCode.REFUSED_STREAM
        fate = Fate.NOT_REACHED if refused else Fate.MAY_HAVE_RUN
        # It was sent before the limit was known.
        flags = BLAMELESS if refused and len(self._exchanges) >= self._max_streams else 0
        self._pass_reset(stream, _STATUS.get(error, Status.INTERNAL), fate, detail, flags)

    def _on_standstill(self, stream: int, exchange: Exchange, detail: str) -> None:
        self._cancel(stream, exchange)
        if exchange.got_end:
            self._pass_on(STOP, 0, stream, b"")
        else:
            self._pass_reset(stream, Status.UNAVAILABLE, Fate.MAY_HAVE_RUN, detail)

    def _on_fault(self, stream: int, exchange: Exchange, fault: RemoteProtocolError) -> None:
        self._holding.pop(stream, None)
        self._pass_reset(stream, Status.INTERNAL, Fate.MAY_HAVE_RUN, fault.detail)

    def _on_go_away(self, last: int, error: int, detail: str) -> None:
        self.draining = True
        # Servers end connections after so many calls, or so much time. One that took none is about to go.
        flags = BLAMELESS if last and error == ErrorCode.NO_ERROR else 0
        said = f": {detail!r}" if detail else ""
        text = f"{self.name} takes no more calls on this connection, nor did it take this one{said}"
        for stream, exchange in list(self._exchanges.items()):
            if stream > last and stream in self._exchanges:
                self._holding.pop(stream, None)
                self._forget(stream, exchange)
                self._pass_reset(stream, Status.UNAVAILABLE, Fate.NOT_REACHED, text, flags)
        if not self._exchanges:
            self.close(DRAINED)

    def _on_pong(self, payload: bytes) -> None:
        """Anything that came was the answer."""

    def _forget(self, stream: int, exchange: Exchange) -> None:
        super()._forget(stream, exchange)
        if (self.draining or self.aside) and not self._exchanges:
            self.go_away()
            self.close(DRAINED)

    def _pass_on(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.sink.on_frame(self, kind, flags, stream, payload)

    def _pass_reset(self, stream: int, status: Status, fate: Fate, detail: str, flags: int = 0) -> None:
        self._pass_on(RESET, flags, stream, frame.pack_reset(Reset(status, fate, detail)))
