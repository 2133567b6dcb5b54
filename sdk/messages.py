"""Messages over a stream of the mux: what the caller's and the handler's end have in common.

Waiting is done without a channel or an event: the stream calls `on_change`, and that reschedules the one task that
reads or the one that writes. A call costs two such turns of the loop, so this is where its price is decided.
"""

from collections.abc import AsyncIterator
from typing import Any

import trio

from .codec import decode_untrusted, encode
from .errors import MicroError, RemoteProtocolError, Status
from .schema import Convert, Mismatch
from .wire.message import PREFIX_SIZE, MessageReader, encode_message
from .wire.mux import MuxStream


def _nothing() -> None:
    """Stands in for `on_change` when the stream is done: it must not keep its watcher alive."""


class MessageStream:
    """Sends and receives values. One task may send and one may receive at a time."""

    __slots__ = ("_content_type", "_convert", "_reader", "_receiver", "_sender", "_sending", "_stream")

    def __init__(self, stream: MuxStream, content_type: str, convert: Convert | None) -> None:
        """`content_type` is that of the messages sent; `convert` makes the annotated type of those received."""
        self._stream = stream
        self._content_type = content_type
        self._convert = convert
        self._reader: MessageReader | None = None
        self._receiver: trio.lowlevel.Task | None = None
        self._sender: trio.lowlevel.Task | None = None
        self._sending = False
        stream.on_change = self._changed

    async def receive(self) -> Any:
        """The next message. Raises `trio.EndOfChannel` when the other end is done, `trio.ClosedResourceError` when this
        end has cut the call short, as leaving the block of `Client.stream` does."""
        if not self._stream.buffered:
            await trio.lowlevel.checkpoint_if_cancelled()
        data = await self._next_message()
        if data is None:
            self._check_end()
            raise trio.EndOfChannel
        return self._decode(self._incoming_content_type(), data)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def send(self, message: Any) -> None:
        """Sends one message; waits while the other end has not consumed what it was sent before.

        Raises `trio.BrokenResourceError` when the other end wants no more, `trio.ClosedResourceError` after this end
        was closed, `TypeError` for a message that cannot be encoded. Cancelled in the middle of a message, the call is
        cut short.
        """
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_writable()
        await self._write(encode_message(encode(self._content_type, message)))

    # Hooks of the two ends.

    def _incoming_content_type(self) -> str:
        raise NotImplementedError

    def _decode(self, content_type: str, data: bytes) -> Any:
        """A message as the annotated type."""
        try:
            value = decode_untrusted(content_type, data)
            return value if self._convert is None else self._convert(value)
        except (RemoteProtocolError, Mismatch) as error:
            raise self._malformed(str(error)) from None

    def _malformed(self, reason: str) -> MicroError:
        """What to raise for a message that cannot be read."""
        return RemoteProtocolError(reason)

    def _raise_reset(self) -> None:
        """The stream was cut short by the other end."""
        raise NotImplementedError

    def _check_end(self) -> None:
        """The other end is done: whatever it said with that."""

    # Inside.

    async def _next_message(self) -> bytes | None:
        """The bytes of the next message, or None at the end."""
        stream, reader = self._stream, self._reader
        while True:
            if stream.received:
                data = stream.take()
                if reader is None:
                    if data[0] == 0 and len(data) - PREFIX_SIZE == int.from_bytes(data[1:PREFIX_SIZE], "big"):
                        return data[PREFIX_SIZE:]  # one frame, one message: nearly always
                    reader = self._reader = MessageReader()
                reader.feed(data)
            if reader is not None:
                try:
                    message = reader.next_untrusted()
                except RemoteProtocolError as error:
                    raise self._malformed(str(error)) from None
                if message is not None:
                    if not reader.pending:
                        self._reader = None
                    return message
            if stream.received:
                continue  # it came while credit was granted: inside one process nothing is in between
            if stream.ended:
                if stream.reset_by_peer is not None:
                    self._raise_reset()
                if reader is not None and reader.pending:
                    raise self._malformed(f"the stream ended {reader.pending} bytes into a message")
                return None
            await self._wait_to_receive()

    async def _write(self, data: bytes | memoryview) -> None:
        """Sends bytes as credit comes."""
        sent = self._stream.write(data)
        if sent == len(data):
            return
        self._sending = True
        try:
            view = memoryview(data)[sent:]
            while view:
                self._check_writable()
                await self._wait_to_send()
                view = view[self._stream.write(view) :]
        except trio.Cancelled:
            self._stream.reset(Status.CANCELLED, "cancelled in the middle of a message")
            raise
        finally:
            self._sending = False

    def _check_writable(self) -> None:
        stream = self._stream
        if stream.stopped or stream.reset_by_peer is not None:
            reset = stream.reset_by_peer
            raise trio.BrokenResourceError(reset.detail if reset else "the other end takes no more messages")
        if stream.sent_end:
            raise trio.ClosedResourceError("this end of the stream was closed")

    def _changed(self) -> None:
        stream = self._stream
        task = self._receiver
        if task is not None and (stream.received or stream.ended):
            self._receiver = None
            trio.lowlevel.reschedule(task)
        task = self._sender
        if task is not None and (stream.may_send > 0 or stream.sent_end or stream.ended):
            self._sender = None
            trio.lowlevel.reschedule(task)

    async def _wait_to_receive(self) -> None:
        if self._receiver is not None:
            raise trio.BusyResourceError("another task is receiving on this stream")
        if self._stream.on_change is _nothing:
            raise trio.ClosedResourceError("the call is over")
        self._receiver = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort_receiving)

    async def _wait_to_send(self) -> None:
        self._sender = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort_sending)

    def _abort_receiving(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._receiver = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _abort_sending(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._sender = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _release(self) -> None:
        """The stream is done: lets go of it, so that the two do not wait for the garbage collector. Tasks that outlive
        the call must not wait for it."""
        self._stream.on_change = _nothing
        if self._receiver is not None:
            trio.lowlevel.reschedule(self._receiver)
            self._receiver = None
        if self._sender is not None:
            trio.lowlevel.reschedule(self._sender)
            self._sender = None
