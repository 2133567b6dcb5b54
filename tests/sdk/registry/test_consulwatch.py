"""How a Consul is followed: how often it is looked at, and what becomes of errors."""

from collections.abc import Sequence

import pytest
import trio

from sdk.errors import Unavailable
from sdk.registry.consulagents import ConsulAgents
from sdk.registry.consulwatch import ConsulWatch, together
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


async def test_the_first_error_ends_all_and_comes_alone(autojump_clock: trio.testing.MockClock) -> None:
    async def fail() -> None:
        await trio.sleep(1)
        raise Unavailable("this one")

    with pytest.raises(Unavailable, match="this one"):
        await together([trio.sleep_forever, fail])


async def test_all_are_waited_for_or_the_first_that_ends(autojump_clock: trio.testing.MockClock) -> None:
    ended: list[str] = []

    async def end() -> None:
        await trio.sleep(1)
        ended.append("")

    await together([end, end])
    assert len(ended) == 2
    await together([end, trio.sleep_forever], until_one_ends=True)
