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
        await await_return(lacking, lambda key: given_up.append((key[2], trio.current_time() - began)))
    assert [id for id, when in given_up if when < GRACE] in (["ended", "nowhere"], ["nowhere", "ended"])
    assert ("runs", GRACE) in given_up
