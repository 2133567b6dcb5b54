from collections.abc import Iterable

import trio

from mesh.returning import GRACE, await_return
from sdk.rawsocket import bound_address
from sdk.registry.records import Key
from sdk.types import Instance


async def test_what_nobody_listens_for_is_given_up_at_once_and_the_rest_when_the_time_is_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    given_up: list[tuple[str, float]] = []
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        lacking: dict[Key, Instance] = {
            ("greeter", "1", "runs"): Instance(id="runs", address=bound_address(listener)),
            ("greeter", "1", "ended"): Instance(id="ended", address="127.0.0.1:1"),
            ("greeter", "1", "nowhere"): Instance(id="nowhere", address="no address"),
        }
        began = trio.current_time()

        def give_up(keys: Iterable[Key]) -> None:
            given_up.extend((key[2], trio.current_time() - began) for key in keys)

        await await_return(lacking, give_up)
    assert [id for id, when in given_up if when < GRACE] in (["ended", "nowhere"], ["nowhere", "ended"])
    assert ("runs", GRACE) in given_up


async def test_of_thousands_that_have_ended_many_are_told_at_once(autojump_clock: trio.testing.MockClock) -> None:
    portions: list[list[Key]] = []
    lacking = {("greeter", "1", str(n)): Instance(id=str(n), address="127.0.0.1:1") for n in range(1001)}
    await await_return(lacking, lambda keys: portions.append(list(keys)))
    assert list(map(len, portions)) == [50] * 20 + [1, 1001]
