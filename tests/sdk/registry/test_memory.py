"""The memory registry, on a clock that jumps."""

import trio
import trio.testing

from sdk.registry import Action, open_registry
from sdk.registry.memory import MemoryRegistry
from sdk.types import Instance, Service

GREETER = Service(name="greeter", instances=(Instance(id="greeter-1", address="h:1"),))


async def test_a_record_lives_exactly_as_long_as_it_was_given(autojump_clock: trio.testing.MockClock) -> None:
    async with MemoryRegistry() as registry:
        await registry.register(GREETER, ttl=30)
        await trio.sleep(29)
        assert await registry.get("greeter") == (GREETER,)
        await registry.register(GREETER, ttl=30)
        await trio.sleep(29)
        assert await registry.list() == (GREETER,)
        await trio.sleep(1)
        # Nobody watches here, so nobody swept.
        assert await registry.get("greeter") == await registry.list() == ()


async def test_the_end_of_a_record_is_told_when_it_comes(autojump_clock: trio.testing.MockClock) -> None:
    async with MemoryRegistry() as registry, registry.watch() as events:
        await registry.register(GREETER, ttl=30)
        assert (await anext(events)).action is Action.CREATE
        start = trio.current_time()
        assert (await anext(events)).action is Action.DELETE
        assert trio.current_time() == start + 30


async def test_an_expired_record_that_comes_back_is_told_as_gone_and_new(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with MemoryRegistry() as registry, registry.watch() as events:
        await registry.register(GREETER, ttl=30)
        await trio.sleep(31)
        await registry.register(GREETER, ttl=30)
        actions = [(await anext(events)).action for _ in range(3)]
        assert actions == [Action.CREATE, Action.DELETE, Action.CREATE]


async def test_a_record_without_a_time_to_live_stays(autojump_clock: trio.testing.MockClock) -> None:
    async with MemoryRegistry() as registry:
        await registry.register(GREETER)
        await trio.sleep(10**9)
        assert await registry.get("greeter") == (GREETER,)


async def test_an_expired_record_is_not_part_of_what_a_new_watcher_is_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with MemoryRegistry() as registry:
        await registry.register(GREETER, ttl=30)
        await trio.sleep(30)
        async with registry.watch() as events:
            with trio.move_on_after(1) as nothing_came:
                await anext(events)
            assert nothing_came.cancelled_caught


async def test_registries_of_different_names_share_nothing() -> None:
    async with open_registry("memory") as unnamed, open_registry("memory", "a") as named:
        await named.register(GREETER)
        assert await unnamed.list() == ()
        async with open_registry("memory", "a") as again:
            assert await again.list() == (GREETER,)


def test_each_run_of_trio_begins_with_nothing() -> None:
    async def leave_one_behind() -> tuple[Service, ...]:
        async with MemoryRegistry("a") as registry:
            found = await registry.list()
            await registry.register(GREETER)
            return found

    assert [trio.run(leave_one_behind) for _ in range(2)] == [(), ()]
