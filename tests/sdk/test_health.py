import trio

from sdk.health import CHECK_SECONDS, results


async def fine() -> None:
    await trio.lowlevel.checkpoint()


async def broken() -> None:
    raise ConnectionError("the database is away")


def empty() -> None:
    raise KeyError


async def test_a_check_is_ok_unless_it_raises_or_says_false() -> None:
    checks = {"fine": fine, "plain": lambda: True, "broken": broken, "empty": empty, "false": lambda: False}
    assert await results(checks) == {
        "fine": "ok",
        "plain": "ok",
        "broken": "ConnectionError: the database is away",
        "empty": "KeyError",
        "false": "it said False",
    }


async def test_checks_that_hang_are_given_up_all_at_once(autojump_clock: trio.testing.MockClock) -> None:
    began = trio.current_time()
    found = await results({"a": trio.sleep_forever, "b": trio.sleep_forever, "fine": fine})
    assert found == {"a": "no answer in 2 s", "b": "no answer in 2 s", "fine": "ok"}
    assert trio.current_time() - began == CHECK_SECONDS


async def test_a_check_whose_tasks_fail_as_they_are_given_up_is_told_of(autojump_clock: trio.testing.MockClock) -> None:
    async def fail_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ConnectionError("no tidy end")

    async def check() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_at_the_end)
            await trio.sleep_forever()

    [said] = (await results({"database": check})).values()
    assert said.startswith("ExceptionGroup")
