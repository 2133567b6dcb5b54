"""Several things asked at once, and not too many."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import trio

from sdk.errors import MicroError

T = TypeVar("T")


async def at_once(job: Callable[[T], Awaitable[None]], items: Iterable[T], *, limit: int) -> None:
    """Does the job for each item, for at most `limit` at a time.

    The first `MicroError` or `trio.ClosedResourceError` cancels the others and is raised by itself, not in a group.
    """
    left = iter(items)
    failed: list[Exception] = []

    async def work() -> None:
        for item in left:
            try:
                await job(item)
            except (MicroError, trio.ClosedResourceError) as error:
                failed.append(error)
                nursery.cancel_scope.cancel()
                return

    async with trio.open_nursery() as nursery:
        for _ in range(limit):
            nursery.start_soon(work)
    if failed:
        raise failed[0]
