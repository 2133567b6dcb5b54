"""The end of a turn: what is asked for there happens before the loop waits, and nothing that it wakes has to wait."""

import trio

from sdk.turn import ROUNDS, Turn, current_turn


async def test_a_run_has_one_turn() -> None:
    assert current_turn() is current_turn()


async def test_what_is_to_be_done_at_the_end_is_done_after_the_tasks_of_the_turn_and_before_those_of_the_next() -> None:
    order: list[str] = []

    async def task(name: str, turn: Turn) -> None:
        turn.at_end(lambda: order.append(f"end of {name}"))
        order.append(name)
        await trio.lowlevel.checkpoint()
        order.append("next")

    async with trio.open_nursery() as nursery:
        for name in ("one", "two", "three"):
            nursery.start_soon(task, name, current_turn())
    assert {*order[:3]} == {"one", "two", "three"}
    assert order[3:6] == [f"end of {name}" for name in order[:3]]
    assert order[6:] == ["next"] * 3


async def test_a_task_that_is_woken_at_the_end_of_a_turn_runs_although_nothing_else_happens() -> None:
    turn, event = current_turn(), trio.Event()
    with trio.move_on_after(30) as scope:
        turn.at_end(event.set)
        await event.wait()
    assert trio.current_time() < scope.deadline  # which else is what would have woken it


async def test_what_is_asked_for_at_the_end_of_a_turn_is_done_at_that_end() -> None:
    turn, event = current_turn(), trio.Event()
    with trio.move_on_after(30) as scope:
        turn.at_end(lambda: turn.at_end(event.set))
        await event.wait()
    assert trio.current_time() < scope.deadline


async def test_a_chain_without_end_lets_others_run(nursery: trio.Nursery) -> None:
    turn, links = current_turn(), 0

    def link() -> None:
        nonlocal links
        links += 1
        if links < 10 * ROUNDS:
            turn.at_end(link)

    turn.at_end(link)
    await trio.lowlevel.checkpoint()
    assert links <= ROUNDS
    with trio.fail_after(30):
        while links < 10 * ROUNDS:
            await trio.lowlevel.checkpoint()
