import logging

import pytest
import trio

from sdk.hooks import STOP_SECONDS, Hooks


def noting(hooks: Hooks) -> list[str]:
    """Adds a plain hook of each kind that notes its name, and an async one behind it."""
    heard: list[str] = []
    for kind in ("before_start", "after_start", "before_stop", "after_stop"):

        async def later(kind: str = kind) -> None:
            await trio.lowlevel.checkpoint()
            heard.append(f"{kind}, async")

        getattr(hooks, kind).append(lambda kind=kind: heard.append(kind))
        getattr(hooks, kind).append(later)
    return heard


async def live(hooks: Hooks) -> None:
    async with hooks.around_life(), hooks.around_service():
        await trio.sleep(1)


async def test_hooks_run_in_pairs_and_in_the_order_they_were_added(autojump_clock: trio.testing.MockClock) -> None:
    hooks = Hooks(lambda: "greeter")
    heard = noting(hooks)
    await live(hooks)
    assert heard == [
        "before_start", "before_start, async", "after_start", "after_start, async",
        "before_stop", "before_stop, async", "after_stop", "after_stop, async",
    ]  # fmt: skip


async def test_what_a_hook_raises_at_the_start_is_raised_and_the_pair_it_belongs_to_is_not_closed() -> None:
    hooks = Hooks(lambda: "greeter")
    heard = noting(hooks)

    def fail() -> None:
        raise ValueError("no disk")

    hooks.after_start.insert(0, fail)
    with pytest.raises(ValueError, match="no disk"):
        await live(hooks)
    assert heard == ["before_start", "before_start, async", "after_stop", "after_stop, async"]


async def test_a_cancelled_service_still_has_its_hooks_run(autojump_clock: trio.testing.MockClock) -> None:
    hooks = Hooks(lambda: "greeter")
    heard = noting(hooks)
    with trio.move_on_after(0.5):
        await live(hooks)
    assert heard[4:] == ["before_stop", "before_stop, async", "after_stop", "after_stop, async"]


async def test_a_hook_that_fails_at_the_end_is_in_the_log_and_keeps_no_other_from_running(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = Hooks(lambda: "greeter")
    heard = noting(hooks)

    def fail() -> None:
        raise ValueError("no disk")

    hooks.before_stop.insert(0, fail)
    await live(hooks)
    assert len(heard) == 8
    [record] = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "greeter: a hook before_stop failed")


async def test_hooks_that_hang_at_the_end_are_left(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = Hooks(lambda: "greeter")
    heard = noting(hooks)
    hooks.before_stop.insert(0, trio.sleep_forever)
    began = trio.current_time()
    await live(hooks)
    assert trio.current_time() - began == pytest.approx(1 + STOP_SECONDS)
    assert heard[4:] == ["after_stop", "after_stop, async"]
    assert "greeter: the hooks before_stop did not end in 5 s" in caplog.text


async def test_what_the_tasks_of_a_hook_raise_as_it_is_left_ends_nothing_else(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("no tidy end")

    async def hang() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_at_the_end)
            await trio.sleep_forever()

    hooks = Hooks(lambda: "greeter")
    heard = noting(hooks)
    hooks.before_stop.insert(0, hang)
    await live(hooks)
    assert heard[4:] == ["after_stop", "after_stop, async"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
