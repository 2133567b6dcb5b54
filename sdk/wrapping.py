"""Wrappers: functions around calls, on the side that makes them and on the side that answers.

    async def wrapper(call, proceed):
        ...  # before
        answer = await proceed(call)
        ...  # after
        return answer

The first of several is the outermost. `proceed` may be given another call (`dataclasses.replace`), be awaited more than
once, or not at all: whatever the wrapper returns or raises is the answer. Around a stream of the client a wrapper sees
its opening, and the answer is the stream; around a streaming handler it sees all of it, and the answer is None.

They are put together once, when the client or the service gets them. Without any a call does not pass here.
"""

import dataclasses
import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import trio

from .answer import ServerStream
from .deadline import Deadline
from .directory import Target
from .handler import Handler
from .head import CallHead
from .metadata import CallMetadata
from .options import Options
from .reply import ClientStream


class Kind(enum.Enum):
    """How many messages a call is of."""

    UNARY = "unary"
    """One each way."""
    STREAM = "stream"
    """Any number, both ways."""


class Opened(NamedTuple):
    """A stream of a client, and what has to be done when it is over."""

    stream: ClientStream
    target: Target
    due: Deadline


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingCall:
    """A call that a program makes."""

    service: str
    """Who is called."""
    endpoint: str
    """What of it, such as `Greeter.Hello`."""
    kind: Kind
    """Whether it is `call` or `stream`."""
    request: Any
    """The request, or the first message of a stream (None for none)."""
    reply_type: Any
    """What the answer becomes."""
    options: Options
    """What this call was told; what the client is told for all calls is not in it."""
    idempotent: bool
    """Whether it may run more than once, by what the call or the client was told."""
    opened: list[Opened] = dataclasses.field(default_factory=list, repr=False, compare=False)
    """The streams that were opened for it: the client closes them."""

    def with_metadata(self, metadata: Mapping[str, str]) -> Self:
        """The same call, with this sent along as well."""
        both = {**(self.options.get("metadata") or {}), **metadata}
        return dataclasses.replace(self, options={**self.options, "metadata": both})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IncomingCall:
    """A call that a handler is to answer."""

    service: str
    """Who answers."""
    endpoint: str
    """What of it, such as `Greeter.Hello`."""
    kind: Kind
    """What kind of handler it is."""
    request: Any
    """What the handler is given first."""
    stream: ServerStream | None
    """What a streaming handler is given as well."""
    head: CallHead
    """The call as it came."""
    handler: Handler
    """Who answers in the end."""

    @property
    def metadata(self) -> CallMetadata:
        """What the caller sent along, by names in any case."""
        return CallMetadata(self.head.metadata)


AnyCall = OutgoingCall | IncomingCall
C = TypeVar("C", bound=AnyCall)
Proceed = Callable[[C], Awaitable[Any]]
CallWrapper = Callable[[OutgoingCall, Proceed[OutgoingCall]], Awaitable[Any]]
"""What `Client(wrappers=[...])` takes."""
HandlerWrapper = Callable[[IncomingCall, Proceed[IncomingCall]], Awaitable[Any]]
"""What `Service(wrappers=[...])` takes."""


class AnyWrapper(Protocol):
    """A wrapper for either side."""

    async def __call__(self, call: C, proceed: Proceed[C], /) -> Any:
        """Does what it is for, and the call."""


def compose(wrappers: Sequence[Callable[[C, Proceed[C]], Awaitable[Any]]], innermost: Proceed[C]) -> Proceed[C] | None:
    """All wrappers around the innermost function, the first outermost; None when there are none. Raises `TypeError` for
    one that is no function."""
    if not wrappers:
        return None
    for wrapper in reversed(wrappers):
        if not callable(wrapper):
            raise TypeError(f"a wrapper is a function of a call and of what proceeds with it, not {wrapper!r}")
        innermost = _around(wrapper, innermost)
    return innermost


def _around(wrapper: Callable[[C, Proceed[C]], Awaitable[Any]], inner: Proceed[C]) -> Proceed[C]:
    return lambda call: wrapper(call, inner)


async def answer(call: IncomingCall) -> Any:
    """Has the handler answer."""
    function = call.handler.function
    return await (function(call.request) if call.stream is None else function(call.request, call.stream))


def parted(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """What of an error ends more than the call that it was raised in, and what is the handler's own."""
    further = (trio.Cancelled, KeyboardInterrupt, GeneratorExit)
    if isinstance(error, BaseExceptionGroup):
        return error.split(further)
    return (error, None) if isinstance(error, further) else (None, error)
