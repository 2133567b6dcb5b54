"""The calling end of a call: sends requests, receives answers, and raises what the other end said at its end."""

import functools
from typing import Any

import trio

from .errors import MicroError, RemoteProtocolError, Status, error_from_status
from .head import ReplyHead, parse_reply_head_untrusted, parse_trailers_untrusted
from .messages import MessageStream
from .wire.frame import Fate

SMALL_HEAD = 64
"""Longest head that is worth remembering: those of answers that went well are the same few bytes every time."""

UNSPECIFIED = "application/grpc"
"""What grpcio answers whatever it was asked in: the messages are in what the request was in."""


class ClientStream(MessageStream):
    """An open call as its caller sees it: `send`, `send_eof`, `receive`, `async for`."""

    __slots__ = ()

    async def send_eof(self) -> None:
        """Sends nothing more; answers go on."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._stream.end()

    # What the client calls.

    async def send_rest(self) -> None:
        """Sends what of the first message did not fit into the first frame."""
        if rest := self._stream.unsent:
            self._stream.unsent = b""
            try:
                await self._write(rest)
            except trio.BrokenResourceError:
                pass  # the answer came before all of the question: it says why

    async def only_message(self) -> Any:
        """The one message of a unary answer."""
        stream = self._stream
        data = await self._next_message()
        more = None
        if data is not None and not (stream.ended and self._reader is None and not stream.received):
            more = await self._next_message()
        if more is None:
            self._check_end()
        if data is None or more is not None:
            count = "none" if data is None else "more"
            raise RemoteProtocolError(f"a unary call is answered with one message, here came {count}: use `stream`")
        return self._decode(self._incoming_content_type(), data)

    def close(self) -> None:
        """The caller is done: what is open is cut short."""
        stream = self._stream
        self._release()
        if not stream.ended:
            stream.reset(Status.CANCELLED, "the caller gave up")
        elif not stream.sent_end:
            stream.end()

    # Inside.

    def _incoming_content_type(self) -> str:
        head = self._stream.head
        said = _parse_head(head).content_type if head else ""
        return self._content_type if not said or said == UNSPECIFIED else said

    def _malformed(self, reason: str) -> MicroError:
        return RemoteProtocolError(f"the answer cannot be read: {reason}")

    def _check_end(self) -> None:
        """Raises the error that the answer ended with, if it did."""
        stream = self._stream
        if stream.reset_by_peer is not None:
            self._raise_reset()
        if stream.head_is_final and stream.head is not None:
            head = _parse_head(stream.head)
            if head.status:
                raise error_from_status(head.status, head.message)
        elif stream.trailers is not None:
            trailers = parse_trailers_untrusted(stream.trailers)
            if trailers.status:
                raise error_from_status(trailers.status, trailers.message)
        elif stream.cut:
            raise trio.ClosedResourceError("this end of the stream was closed")
        else:
            raise RemoteProtocolError("the answer ended without saying how the call went")

    def _raise_reset(self) -> None:
        reset = self._stream.reset_by_peer
        assert reset is not None
        raise error_from_status(reset.status, reset.detail, may_have_run=reset.fate != Fate.NOT_REACHED)


_remembered = functools.lru_cache(maxsize=256)(parse_reply_head_untrusted)


def _parse_head(data: bytes) -> ReplyHead:
    return _remembered(data) if len(data) <= SMALL_HEAD else parse_reply_head_untrusted(data)
