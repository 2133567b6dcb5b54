"""How a Consul is followed: how often it is looked at, and what becomes of errors."""

from collections.abc import Sequence

import pytest
import trio

from sdk.errors import Unavailable
from sdk.registry.consulagents import ConsulAgents
from sdk.registry.consulwatch import ConsulWatch
from sdk.registry.url import parse_url
from sdk.types import Service
from tests.sdk.registry.test_registry import a


class Restless(ConsulAgents):
    """Something changes all the time."""

    async def until_moved(self, path: str, index: int) -> int:
        await trio.lowlevel.checkpoint()
        return index + 1


async def test_half_of_the_time_is_left_to_others_where_something_changes_all_the_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    began: list[float] = []

    async def everything() -> Sequence[Service]:
        began.append(trio.current_time())
        await trio.sleep(1)
        return [a(str(len(began)))]

    watch = ConsulWatch(Restless(parse_url("", scheme="consul", port=8500)), everything)
    for _ in range(5):
        await anext(watch)
    assert began == [0.0, 2.0, 4.0]


class Broken(Restless):
    """Breaks where one waits for checks; nothing happens where one waits for services."""

    async def until_moved(self, path: str, index: int) -> int:
        if not index:
            return await super().until_moved(path, index)
        if path == "/v1/catalog/services":
            await trio.sleep_forever()
        raise Unavailable("this one")


async def test_an_error_ends_the_wait_comes_alone_and_another_may_follow(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def everything() -> Sequence[Service]:
        await trio.lowlevel.checkpoint()
        return [a("1")]

    watch = ConsulWatch(Broken(parse_url("", scheme="consul", port=8500)), everything)
    await anext(watch)
    for _ in range(2):
        with pytest.raises(Unavailable, match="this one"):
            await anext(watch)
