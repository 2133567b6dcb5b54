"""What `Client.stream` gives: a stream that is opened by entering a block, and closed by leaving it."""

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import NoReturn

from .reply import ClientStream

HINT = (
    "a stream is opened by a block: `async with client.stream(...) as stream:`, "
    "and in it `async for message in stream:`"
)


class Opening(AbstractAsyncContextManager[ClientStream]):
    """A stream that is not open yet. What other libraries would have one do with it is answered in words."""

    __slots__ = ("_inner",)

    def __init__(self, inner: AbstractAsyncContextManager[ClientStream]) -> None:
        self._inner = inner

    async def __aenter__(self) -> ClientStream:
        return await self._inner.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._inner.__aexit__(kind, error, traceback)

    def __aiter__(self) -> NoReturn:
        raise TypeError(HINT)

    def __await__(self) -> NoReturn:
        raise TypeError(HINT)
