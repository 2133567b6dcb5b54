"""What a servicer's method is given as `context`: one for methods that run on trio, one for those that run in threads.

All that grpcio has is there. Compression is a hint in gRPC, and here there is none. Who calls is known as grpcio knows
it: the other end of the connection, which is a node for calls that came through one; there are no identities, as with
any port without certificates.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import grpc
import trio

from sdk.answer import ServerStream
from sdk.errors import LocalProtocolError, MicroError, Status, error_from_status

from .fields import Field, Value, fields_of, metadata_of

_log = logging.getLogger(__name__)

Fields = Iterable[tuple[str, Value]]


class StatusError(MicroError):
    """What a servicer answers instead of a message: a status and a text, told to the caller as they are."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.grpc = Status(code.value[0])
        self.code = error_from_status(self.grpc, details).code

    def to_json(self) -> str:
        """The text: callers written for gRPC compare it."""
        return self.detail


class Context:
    """What both have in common."""

    def __init__(self, stream: ServerStream) -> None:
        self._stream = stream
        self._code: grpc.StatusCode | None = None
        self._details = ""
        self._trailing: tuple[Field, ...] = ()
        self._aborted: StatusError | None = None
        self._over = False

    def invocation_metadata(self) -> tuple[Field, ...]:
        """What the caller sent along."""
        return fields_of(self._stream.head.metadata)

    def peer(self) -> str:
        """The other end of the connection."""
        return self._stream.peer

    def peer_identities(self) -> None:
        """None are known."""

    def peer_identity_key(self) -> None:
        """None are known."""

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Nothing."""
        return {}

    def set_code(self, code: grpc.StatusCode) -> None:
        """What the call ends with, if the method returns or raises."""
        self._code = code

    def set_details(self, details: str) -> None:
        """The text beside the code."""
        self._details = details

    def code(self) -> grpc.StatusCode | None:
        """The code that was set."""
        return self._code

    def details(self) -> str:
        """The text that was set."""
        return self._details

    def set_trailing_metadata(self, trailing_metadata: Fields) -> None:
        """What goes behind the answer."""
        self._trailing = tuple(Field(key, value) for key, value in trailing_metadata)
        self._stream.trailing = metadata_of(self._trailing)

    def trailing_metadata(self) -> tuple[Field, ...]:
        """What was set to go behind the answer."""
        return self._trailing

    def set_compression(self, compression: grpc.Compression) -> None:
        """Does nothing: messages are not compressed."""

    def disable_next_message_compression(self) -> None:
        """Does nothing: messages are not compressed."""

    # What the method's runner calls.

    def ending(self) -> StatusError | None:
        """What the call ends with instead of an answer, when the method has returned."""
        if self._aborted is not None or self._code is None or self._code is grpc.StatusCode.OK:
            return self._aborted
        return StatusError(self._code, self._details)

    def failure(self, error: Exception) -> Exception:
        """What the call ends with when the method has raised."""
        ending = self.ending()
        if ending is None:
            return error
        if not isinstance(error, NotImplementedError | MicroError):
            head = self._stream.head
            _log.error("%s %s raised", head.service, head.endpoint, exc_info=error)
        return ending

    # Inside.

    def _abort(self, code: grpc.StatusCode, details: str, trailing_metadata: Fields | None) -> NoReturn:
        if trailing_metadata is not None:
            self.set_trailing_metadata(trailing_metadata)
        if code is grpc.StatusCode.OK:  # as grpcio has it
            code = grpc.StatusCode.UNKNOWN
        self._aborted = StatusError(code, details)
        raise self._aborted

    def _remaining(self, now: float) -> float | None:
        deadline = self._stream.scope.deadline
        return None if deadline == math.inf else max(deadline - now, 0.0)

    def _begin(self, initial_metadata: Fields) -> None:
        try:
            self._stream.begin(metadata_of(initial_metadata))
        except LocalProtocolError:
            raise ValueError("initial metadata was sent already, or an answer was") from None


class TrioContext(Context):
    """As `grpc.aio.ServicerContext`: what waits is awaited."""

    def __init__(self, stream: ServerStream, send: Callable[[Any], Any]) -> None:
        super().__init__(stream)
        self._send = send
        self._callbacks: list[Callable[[Any], object]] = []

    async def read(self) -> Any:
        """The next request, or `grpc.aio.EOF`."""
        try:
            return await self._stream.receive()
        except trio.EndOfChannel:
            return grpc.aio.EOF

    async def write(self, message: Any) -> None:
        """Sends an answer."""
        await self._send(message)

    async def send_initial_metadata(self, initial_metadata: Fields) -> None:
        """Sends what goes ahead of the answer. Raises `ValueError` where that has begun."""
        await trio.lowlevel.checkpoint()
        self._begin(initial_metadata)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Fields | None = None
    ) -> NoReturn:
        """Ends the call with this status, by an exception."""
        self._abort(code, details, trailing_metadata)

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """Likewise, with what `grpc_status.rpc_status.to_status` makes."""
        self._abort(status.code, status.details, status.trailing_metadata)

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline, None where it has none."""
        return self._remaining(trio.current_time())

    def cancelled(self) -> bool:
        """Whether the caller is gone, or its deadline has passed."""
        return self._stream.scope.cancel_called

    def done(self) -> bool:
        """Whether the call is over."""
        return self._over

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Calls `callback(context)` when the call is over."""
        self._callbacks.append(callback)

    def finish(self) -> None:
        """The call is over."""
        self._over = True
        for callback in self._callbacks:
            try:
                callback(self)
            except Exception:
                _log.exception("a callback at the end of a call raised")


class ThreadContext(Context):
    """As `grpc.ServicerContext`: may be used from any thread."""

    def __init__(self, stream: ServerStream) -> None:
        super().__init__(stream)
        self._token = trio.lowlevel.current_trio_token()
        self._callbacks: list[Callable[[], object]] = []

    def send_initial_metadata(self, initial_metadata: Fields) -> None:
        """Sends what goes ahead of the answer. Raises `ValueError` where that has begun."""
        trio.from_thread.run_sync(self._begin, initial_metadata, trio_token=self._token)

    def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        """Ends the call with this status, by an exception."""
        self._abort(code, details, None)

    def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """Likewise, with what `grpc_status.rpc_status.to_status` makes."""
        self._abort(status.code, status.details, status.trailing_metadata)

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline, None where it has none."""
        return self._remaining(trio.from_thread.run_sync(trio.current_time, trio_token=self._token))

    def is_active(self) -> bool:
        """Whether the caller still waits."""
        return not self._over and trio.from_thread.run_sync(self._waited_for, trio_token=self._token)

    def cancel(self) -> None:
        """Ends the call: the caller sees that it was cancelled."""
        trio.from_thread.run_sync(self._cancel, trio_token=self._token)

    def add_callback(self, callback: Callable[[], object]) -> bool:
        """Calls `callback()` in a thread of its own when the call is over; False where it is over already."""
        return trio.from_thread.run_sync(self._add, callback, trio_token=self._token)

    def finish(self) -> None:
        """The call is over."""
        self._over = True
        for callback in self._callbacks:
            trio.lowlevel.start_thread_soon(callback, _log_failure)

    # Inside.

    def _cancel(self) -> None:
        self._stream.fail(StatusError(grpc.StatusCode.CANCELLED, "the servicer cancelled the call"))
        self._stream.scope.cancel()

    def _waited_for(self) -> bool:
        return not self._stream.scope.cancel_called

    def _add(self, callback: Callable[[], object]) -> bool:
        if not self._over:
            self._callbacks.append(callback)
        return not self._over


def _log_failure(outcome: Any) -> None:
    try:
        outcome.unwrap()
    except Exception:
        _log.exception("a callback at the end of a call raised")
