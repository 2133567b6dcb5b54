import trio
from trio.testing import MockClock

from mesh.joining import LONGEST
from sdk import Client
from sdk.errors import Unavailable
from tests.mesh.network import greeter, until, world
from tests.net import kept_address


async def test_a_node_can_be_found_when_it_knows_what_its_neighbours_know(fast_clock: MockClock) -> None:
    async with world() as all_:
        a, b = await all_.line("a", "b")
        await a.serve(greeter(a))

        async def known() -> bool:
            return "greeter" in await b.services()

        await until(known, within=2)
        c = await all_.open("c")
        found: list[bool] = []

        async def look() -> None:
            while not await c.registry.get("go.micro.network"):  # noqa: ASYNC110 - the very moment counts
                await trio.sleep(0.001)
            assert c.running is not None
            found.append("greeter" in c.running.node.table.services())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await c.start(nodes=("mem://b",))
        assert found == [True]


async def test_a_node_that_links_with_nobody_can_be_found_at_once(fast_clock: MockClock) -> None:
    async with world() as all_:
        alone, wrong = await all_.open("alone"), await all_.open("wrong")
        began = trio.current_time()
        await alone.start()
        await wrong.start(nodes=("mem://nobody",))
        assert trio.current_time() - began < LONGEST / 2
        for place in (alone, wrong):
            assert await place.registry.get("go.micro.network")


async def test_a_node_whose_neighbour_never_answers_can_be_found_after_a_while(fast_clock: MockClock) -> None:
    [silent] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with silent, world() as all_:
        place = await all_.open("place")
        began = trio.current_time()
        await place.start(nodes=(f"127.0.0.1:{silent.socket.getsockname()[1]}",))
        assert LONGEST <= trio.current_time() - began < LONGEST + 1
        assert await place.registry.get("go.micro.network")


async def test_a_program_that_knows_the_address_is_answered_when_the_node_can_be_found(fast_clock: MockClock) -> None:
    [silent] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    with kept_address() as address:
        async with silent, world() as all_, trio.open_nursery() as nursery:
            place = await all_.open("place")
            answered: list[float] = []

            async def ask() -> None:
                async with Client(proxy=address) as client:
                    while not answered:
                        try:
                            await client.call("go.micro.network", "Network.Status")
                        except Unavailable:
                            await trio.sleep(0.01)  # it does not listen yet
                        else:
                            answered.append(trio.current_time())

            nursery.start_soon(ask)
            began = trio.current_time()
            await place.start(nodes=(f"127.0.0.1:{silent.socket.getsockname()[1]}",), proxy_address=address)
        assert LONGEST <= answered[0] - began < LONGEST + 1
