"""Methods of servicers as handlers: of all four kinds, on trio or in threads."""

import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any, NamedTuple

import trio

from sdk.answer import ServerStream
from sdk.errors import Cancelled

from .context import Context, ThreadContext, TrioContext

Function = Callable[[Any, ServerStream], Awaitable[None]]

_END: Any = object()


class Method(NamedTuple):
    """What a generated module says of one method."""

    behaviour: Callable[..., Any]
    """The servicer's method: `(request or requests, context)`."""
    request_streaming: bool
    response_streaming: bool
    serialize: Callable[[Any], Any]
    """Makes of an answer what the stream sends."""


def function_of(method: Method, limiter: trio.CapacityLimiter) -> Function:
    """A handler `(request, stream)` that answers with the method; `limiter` says how many threads there may be."""
    if _is_async(method.behaviour):
        return _on_trio(method)
    return _in_threads(method, limiter)


def _on_trio(method: Method) -> Function:
    async def answer(request: Any, stream: ServerStream) -> None:
        async def send(reply: Any) -> None:
            await stream.send(method.serialize(reply))

        context = TrioContext(stream, send)
        try:
            result = method.behaviour(stream if method.request_streaming else request, context)
            if not inspect.isasyncgen(result):
                reply = await result
            else:
                async with aclosing(result) as replies:
                    async for reply in replies:
                        await send(reply)
            await _end(method, stream, context, None if method.response_streaming else reply)
        except Exception as error:
            if (failure := context.failure(error)) is error:
                raise
            raise failure from None
        finally:
            context.finish()

    return answer


def _in_threads(method: Method, limiter: trio.CapacityLimiter) -> Function:
    async def call(function: Callable[..., Any], *arguments: Any) -> Any:
        # Abandoned when the caller is gone: threads cannot be cancelled, and the limiter counts it until it ends.
        return await trio.to_thread.run_sync(function, *arguments, abandon_on_cancel=True, limiter=limiter)

    async def answer(request: Any, stream: ServerStream) -> None:
        context = ThreadContext(stream)
        requests = Requests(stream)
        try:
            result = await call(method.behaviour, requests if method.request_streaming else request, context)
            if method.response_streaming:
                replies = iter(result)
                while (reply := await call(next, replies, _END)) is not _END:
                    await stream.send(method.serialize(reply))
            await _end(method, stream, context, None if method.response_streaming else result)
        except Exception as error:
            if (failure := context.failure(error)) is error:
                raise
            raise failure from None
        finally:
            requests.close()
            context.finish()

    return answer


class Requests:
    """The requests of a call for a method in a thread, which waits for each."""

    def __init__(self, stream: ServerStream) -> None:
        self._stream = stream
        self._token = trio.lowlevel.current_trio_token()
        self._waiting = trio.CancelScope()
        self._over = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        request = trio.from_thread.run(self._receive, trio_token=self._token)
        if request is _END:
            raise StopIteration
        return request

    def close(self) -> None:
        """The call is over: a thread that waits or comes later is told so."""
        self._over = True
        self._waiting.cancel()

    async def _receive(self) -> Any:
        # Runs in a task of trio's own, which nobody cancels with the call; hence the scope.
        if not self._over:
            with trio.CancelScope() as self._waiting:
                try:
                    return await self._stream.receive()
                except trio.EndOfChannel:
                    return _END
                except trio.BrokenResourceError:
                    pass
        raise Cancelled("the call is over")


async def _end(method: Method, stream: ServerStream, context: Context, reply: Any) -> None:
    """The method has returned; the end of a stream of answers is the server's to send."""
    ending = context.ending()
    if ending is not None:
        raise ending
    if not method.response_streaming:
        await stream.reply(method.serialize(reply))


def _is_async(behaviour: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(behaviour) or inspect.isasyncgenfunction(behaviour)
