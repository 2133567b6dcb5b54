"""The answering end of a call: what a handler is given as `stream`, and how an answer becomes frames.

A small answer is one frame, head, message and status together; a longer one is a head, messages as credit comes, and
trailers.
"""

import functools
from typing import Any

import trio

from .codec import BYTES, MSGPACK, content_type_of, encode
from .errors import BadRequest, LocalProtocolError, MicroError, Status
from .head import CallHead, Metadata, ReplyHead, Trailers, endpoint_of, metadata_to_dict, pack_reply_head, pack_trailers
from .messages import MessageStream
from .schema import Convert
from .wire.frame import MAX_PAYLOAD
from .wire.message import encode_message
from .wire.mux import MuxStream

MAX_DETAIL = 8192
"""Most characters of an error that are told to the caller: its head has 64 KiB, and JSON may need six bytes for one."""


class ServerStream(MessageStream):
    """A call as its handler sees it: receives what the caller sends after the first message, sends the answers."""

    __slots__ = ("_head_sent", "head", "scope", "trailing")

    def __init__(self, stream: MuxStream, head: CallHead, convert: Convert | None, deadline: float) -> None:
        super().__init__(stream, head.content_type or MSGPACK, convert)
        self.head = head
        """Who is called, and how."""
        self.scope = trio.CancelScope(deadline=deadline)
        self.trailing: Metadata = ()
        """What goes behind the answer; gRPC's callers can read it."""
        self._head_sent = False

    @property
    def metadata(self) -> dict[str, str]:
        """What the caller sent along; keys are in lower case."""
        return metadata_to_dict(self.head.metadata)

    @property
    def peer(self) -> str:
        """The other end of the connection that the call came over: the caller, or a node."""
        return self._stream.mux.port.name

    @property
    def stopped(self) -> bool:
        """Whether the caller takes no more answers."""
        return self._stream.stopped or self._stream.reset_by_peer is not None

    # What the server calls.

    async def first_message(self) -> Any:
        """The first message as the handler's `request`; None where the caller closed without one."""
        data = await self._next_message()
        if data is not None:
            return self._decode(self._incoming_content_type(), data)
        if self._convert is None:
            return None
        raise BadRequest(f"{self._whom()}: the request is missing")

    async def reply(self, value: Any) -> None:
        """Answers with one message and ends."""
        stream = self._stream
        data = self._encode(value)
        head = _good_head(self._content_type)
        fits = len(data) <= stream.may_send and len(data) + len(head) + 2 <= MAX_PAYLOAD
        if fits and not self._head_sent and not self.trailing:
            self._head_sent = True
            stream.send_head(head, data, end=True)
        else:
            await self._write(data)
            stream.end(self._good_trailers())

    def begin(self, metadata: Metadata) -> None:
        """Sends metadata ahead of the answer, which then is not one frame any more. Raises `LocalProtocolError` where
        the answer has begun."""
        if self._head_sent:
            raise LocalProtocolError("metadata goes ahead of the answer, which has begun")
        self._head_sent = True
        self._stream.send_head(pack_reply_head(ReplyHead(self._content_type, metadata)))

    async def end(self) -> None:
        """Ends an answer of any number of messages."""
        if self._head_sent:
            self._stream.end(self._good_trailers())
        else:
            self._head_sent = True
            head = pack_reply_head(ReplyHead(self._content_type, trailers=self.trailing))
            self._stream.send_head(head if self.trailing else _good_head(self._content_type), end=True)

    async def send(self, message: Any) -> None:
        """See `MessageStream.send`."""
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_writable()
        await self._write(self._encode(message))

    def fail(self, error: MicroError) -> None:
        """Ends the answer with an error. Whatever it raises for one that cannot be said, nothing was sent then."""
        error.detail = error.detail[:MAX_DETAIL]
        status = int(error.grpc) or Status.UNKNOWN  # it is an error, whatever it says
        if self._head_sent:
            self._stream.end(pack_trailers(Trailers(status, error.to_json(), self.trailing)))
        else:
            head = ReplyHead("", (), status, error.to_json(), self.trailing)
            self._stream.send_head(pack_reply_head(head), end=True)
            self._head_sent = True
        self.finish()

    def expire(self, detail: str) -> bool:
        """The scope was cancelled: by the deadline, which is the answer then (True), or by a caller that is gone."""
        if self._stream.reset_by_peer is not None:
            return False
        self._stream.reset(Status.DEADLINE_EXCEEDED, detail)
        return True

    def finish(self) -> None:
        """The answer is over: what the caller still sends is not wanted."""
        if not self._stream.ended:
            self._stream.stop()
        self._release()

    # Inside.

    def _incoming_content_type(self) -> str:
        return self.head.content_type or MSGPACK

    def _encode(self, value: Any) -> bytes:
        if not self._head_sent and self._content_type in _RAW and not isinstance(value, bytes | bytearray | memoryview):
            self._content_type = content_type_of(value)  # bytes were sent, something else is answered
        return encode_message(encode(self._content_type, value))

    def _good_trailers(self) -> bytes:
        return pack_trailers(Trailers(metadata=self.trailing)) if self.trailing else _good_trailers

    async def _write(self, data: bytes | memoryview) -> None:
        if not self._head_sent:
            self._head_sent = True
            self._stream.send_head(_good_head(self._content_type))
        await super()._write(data)

    def _malformed(self, reason: str) -> MicroError:
        return BadRequest(f"{self._whom()}: the request cannot be read: {reason}")

    def _whom(self) -> str:
        return f"{self.head.service} {endpoint_of(self.head.endpoint)}"

    def _changed(self) -> None:
        if self._stream.reset_by_peer is not None:
            self.scope.cancel()
        super()._changed()

    def _raise_reset(self) -> None:
        """The scope is cancelled with the stream, so the handler never gets here; a shielded one does."""
        raise trio.BrokenResourceError("the caller is gone")


_RAW = frozenset({BYTES, "application/grpc+bytes"})

_good_trailers = pack_trailers(Trailers())


@functools.lru_cache(maxsize=64)
def _good_head(content_type: str) -> bytes:
    """The packed head of an answer that went well: the same few bytes every time."""
    return pack_reply_head(ReplyHead(content_type))
