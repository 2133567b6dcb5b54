"""JSON over HTTP for services that speak gRPC or frames: `POST /Greeter/Hello` with JSON is a call of that method.

An HTTP call is answered by making a gRPC one, and everything else is as ever: balancing, credit, cancellation,
deadlines and the fate of a call that fails are those of the call that is made. There is one message each way; both have
to be whole before they go on, so both are bounded.
"""

import json
from collections.abc import Callable
from http import HTTPStatus

from .codec import JSON
from .errors import MicroError, Status, error_from_status
from .head import (
    CallHead,
    Metadata,
    ReplyHead,
    Trailers,
    pack_call_head,
    pack_reply_head,
    parse_call_head_untrusted,
    parse_reply_head_untrusted,
    parse_trailers_untrusted,
)
from .wire import frame
from .wire.frame import MAX_PAYLOAD, Open
from .wire.http1fields import HOP_BY_HOP
from .wire.message import PREFIX_SIZE, MessageReader, encode_message
from .wire.mux import Mux, MuxStream

MAX_ENTITY = 4 << 20
"""Longest body, in bytes, each way: gRPC's own default for a message."""

MAX_HELD = 64 << 20
"""Bytes of bodies, of all calls together, that may wait here to be whole."""

GRPC_JSON = "application/grpc+json"

_ANSWERS = frozenset((JSON, GRPC_JSON, "application/grpc"))
"""The last where a server does not say what its messages are in, though it was asked in JSON: grpcio."""

_NOT_PASSED = HOP_BY_HOP | {
    "accept", "accept-encoding", "content-encoding", "content-length", "content-type", "expect", "host", "via",
}  # fmt: skip


class JsonCalls:
    """Answers HTTP calls in JSON by gRPC calls."""

    def __init__(self, callees: Mux, *, name: str, listing: Callable[[], bytes] | None = None) -> None:
        """On `callees` the calls are made; `name` is whom errors of this end are said to be of; `listing` is the answer
        to `GET /`, where there is one."""
        self.callees = callees
        self.name = name
        self.listing = listing
        self.held = 0
        """Bytes that wait here."""

    def on_open(self, stream: MuxStream, opened: Open) -> None:
        """Takes an HTTP call; raises `RemoteProtocolError` for a head that cannot be read."""
        _Conversion(self, stream, opened).begin(opened.head)


class _Refused(Exception):
    """The call cannot be made; a status and why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class _Conversion:
    """One call. It looks at its streams whenever something happened to one of them."""

    def __init__(self, calls: JsonCalls, caller: MuxStream, opened: Open) -> None:
        self._calls = calls
        self._caller = caller
        self._callee: MuxStream
        self._ms = opened.ms
        self._head: CallHead
        self._entity: list[bytes] = []
        self._size = 0
        self._unsent = memoryview(b"")

    def begin(self, packed: bytes) -> None:
        """Takes the request, as far as it has come."""
        try:
            head = parse_call_head_untrusted(packed)
            if self._calls.listing is not None and head.endpoint == "/" and head.metadata[:2] == (":method", "GET"):
                self._caller.stop()
                self._respond(200, self._calls.listing())
                return
            self._head = _grpc_head(head)
        except _Refused as refused:
            self._refuse(refused)
            return
        self._caller.on_change = self._on_request
        self._on_request()

    # The request.

    def _on_request(self) -> None:
        caller = self._caller
        if caller.cut:
            self._forget()
            return
        try:
            self._gather(caller.take(), MAX_ENTITY, 413, "the body")
        except _Refused as refused:
            self._refuse(refused)
            return
        if caller.ended:
            self._call(encode_message(self._whole() or b"{}"))

    def _call(self, message: bytes) -> None:
        try:
            callee = self._calls.callees.open(pack_call_head(self._head), message, end=True, ms=self._ms)
        except MicroError as error:
            self._refuse(_Refused(error.code, error.detail))
            return
        self._callee = callee
        self._unsent = memoryview(callee.unsent)
        self._caller.on_change = self._on_caller
        callee.on_change = self._on_answer
        self._on_answer()

    def _on_caller(self) -> None:
        """The caller has sent all it has; it can only give up."""
        if self._caller.reset_by_peer is not None:
            self._leave_callee(self._caller.reset_by_peer.detail)
            self._forget()

    def _leave_callee(self, reason: str) -> None:
        """Wants nothing more of the callee; where the call is not over, it is given up."""
        self._callee.on_change = _ignore
        self._callee.reset(Status.CANCELLED, reason)

    # The answer.

    def _on_answer(self) -> None:
        callee = self._callee
        if self._unsent:
            self._unsent = self._unsent[callee.write(self._unsent) :]
            if not self._unsent:
                callee.end()
        reset = callee.reset_by_peer
        if reset is not None:
            self._forget()
            self._caller.reset(reset.status, reset.detail, frame.Fate(reset.fate))
            return
        try:
            self._gather(callee.take(), MAX_ENTITY + PREFIX_SIZE, 502, "the answer")
            if callee.ended:
                self._leave_callee("it is answered")
                self._answer(callee)
        except _Refused as refused:
            self._leave_callee(str(refused))
            self._refuse(refused)

    def _answer(self, callee: MuxStream) -> None:
        try:
            reply = parse_reply_head_untrusted(callee.head) if callee.head is not None else ReplyHead()
            ending = Trailers(reply.status, reply.message, reply.trailers)
            if not callee.head_is_final:
                ending = Trailers() if callee.trailers is None else parse_trailers_untrusted(callee.trailers)
            if ending.status:
                error = error_from_status(ending.status, ending.message)
                self._respond(error.code, error.to_json().encode(), _passed(reply.metadata + ending.metadata))
            else:
                content_type = reply.content_type.partition(";")[0].strip().lower()
                if content_type not in _ANSWERS:
                    raise _Refused(502, f"the service answered with {content_type or 'nothing'}, not with JSON")
                self._respond(200, _only_message(self._whole()), _passed(reply.metadata + ending.metadata))
        except MicroError as error:
            raise _Refused(502, f"the answer cannot be read: {error}") from None

    def _refuse(self, refused: _Refused) -> None:
        phrase = HTTPStatus(refused.status).phrase
        error = {"id": self._calls.name, "code": refused.status, "detail": str(refused), "status": phrase}
        self._forget()
        self._caller.stop()
        self._respond(refused.status, json.dumps(error).encode())

    def _respond(self, status: int, body: bytes, metadata: Metadata = ()) -> None:
        """Answers the caller; what its credit does not allow yet follows."""
        self._forget()
        caller = self._caller
        size = str(len(body))
        packed = pack_reply_head(ReplyHead(JSON, (":status", str(status), "content-length", size, *metadata)))
        room = MAX_PAYLOAD - 2 - len(packed)
        if room < 0:
            caller.reset(Status.INTERNAL, "the metadata of the answer is too long for a frame")
            return
        first = body[: min(room, caller.may_send)]
        self._unsent = memoryview(body)[len(first) :]
        caller.send_head(packed, first, end=not self._unsent)
        if self._unsent:
            caller.on_change = self._on_credit
            self._on_credit()

    def _on_credit(self) -> None:
        self._unsent = self._unsent[self._caller.write(self._unsent) :]
        if not self._unsent:
            self._caller.end()

    # Bodies.

    def _gather(self, data: bytes, limit: int, status: int, what: str) -> None:
        if not data:
            return
        self._entity.append(data)
        self._size += len(data)
        self._calls.held += len(data)
        if self._size > limit:
            raise _Refused(status, f"{what} has more than {MAX_ENTITY >> 20} MiB")
        if self._calls.held > MAX_HELD:
            raise _Refused(503, f"more than {MAX_HELD >> 20} MiB of bodies wait to be whole")

    def _whole(self) -> bytes:
        whole = b"".join(self._entity)
        self._release()
        return whole

    def _release(self) -> None:
        self._calls.held -= self._size
        self._entity, self._size = [], 0

    def _forget(self) -> None:
        self._release()
        self._caller.on_change = _ignore


def _ignore() -> None:
    """Stands in for `on_change` where nothing that happens matters."""


def _grpc_head(head: CallHead) -> CallHead:
    """The call that an HTTP call stands for."""
    fields = dict(zip(head.metadata[::2], head.metadata[1::2], strict=True))
    if fields.get(":method") != "POST":
        raise _Refused(405, f"{head.service} is called with POST /Handler/Method")
    content_type = head.content_type.partition(";")[0].strip().lower()
    if content_type not in (JSON, GRPC_JSON):
        raise _Refused(415, f"{head.service} takes {JSON} over HTTP, not {content_type or 'an unknown type'}")
    if fields.get("content-encoding", "identity").lower() != "identity":
        raise _Refused(415, f"{head.service} takes {JSON} over HTTP without a content coding")
    handler, slash, method = head.endpoint.partition("?")[0].removeprefix("/").partition("/")
    if not handler or not slash or not method or "/" in method:
        raise _Refused(404, f"{head.service} is called with POST /Handler/Method")
    if "." not in handler:
        handler = f"{head.service}.{handler}"
    return CallHead(head.service, f"/{handler}/{method}", "grpc", 0, GRPC_JSON, _passed(head.metadata), head.call_id)


def _passed(metadata: Metadata) -> Metadata:
    """What of HTTP's fields is gRPC's metadata too, and back: not what is about bodies, nor what gRPC says itself."""
    return tuple(
        part
        for name, value in zip(metadata[::2], metadata[1::2], strict=True)
        if name not in _NOT_PASSED and not name.startswith((":", "grpc-")) and value.isascii()
        for part in (name, value)
    )


def _only_message(body: bytes) -> bytes:
    """The one message of an answer."""
    reader = MessageReader()
    reader.feed(body)
    message = reader.next_untrusted()
    if message is None or reader.pending:
        raise _Refused(502, "the method does not answer with one message: JSON over HTTP calls unary methods only")
    return message
