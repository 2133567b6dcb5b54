"""What nodes tell, believe and carry for others, as they are configured to."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sdk.errors import NotFound, Unavailable
from tests.mesh.network import Environment, World, greeter, until, world

HELLO = ("Greeter.Hello", {"name": "John"})


async def settled(*places: Environment) -> None:
    """Waits until all these nodes know of each other, and for what they have to tell then."""

    async def met() -> bool:
        return all([len((await place.ask("Network.Nodes"))["nodes"]) == len(places) for place in places])

    await until(met, within=5)
    await trio.sleep(5)


async def call(place: Environment, service: str = "greeter") -> str:
    """Who answers a call made here."""
    async with place.client() as client:
        reply = await client.call(service, *HELLO)
    return str(reply["msg"]).rpartition(" ")[2]


async def chain(all_: World, **config: Any) -> list[Environment]:
    """Environments in a line, each with its own configuration, each with a service named after it."""
    places = [await all_.open(name) for name in config]
    for before, place in zip([None, *places], places, strict=False):
        await place.start(nodes=(f"mem://{before.name}",) if before else (), **config[place.name])
        await place.serve(greeter(place, f"of.{place.name}"))
    await settled(*places)
    return places


@pytest.mark.parametrize("strategy", ["all", "best"])
async def test_by_default_a_node_tells_everything_and_carries_for_others(fast_clock: MockClock, strategy: str) -> None:
    async with world() as all_:
        a, b, c, d = await chain(all_, **{name: {"advertise_strategy": strategy} for name in "abcd"})
        for place in (a, b, c, d):
            assert await place.services() == ["of.a", "of.b", "of.c", "of.d"]
        assert await call(a, "of.d") == "d"
        assert await call(c, "of.a") == "a"


async def test_a_local_node_tells_direct_neighbours_only_and_carries_nothing(fast_clock: MockClock) -> None:
    async with world() as all_:
        a, b, c, d = await chain(all_, a={}, b={"advertise_strategy": "local"}, c={}, d={})
        assert await a.services() == ["of.a", "of.b"]
        assert await b.services() == ["of.a", "of.b", "of.c", "of.d"]
        assert await c.services() == ["of.b", "of.c", "of.d"]
        assert await d.services() == ["of.c", "of.d"]
        assert await call(a, "of.b") == "b"
        assert await call(b, "of.d") == "d"
        with pytest.raises(Unavailable, match=r"of\.c"):
            await call(a, "of.c")
        with pytest.raises(NotFound, match=r"of\.b"):
            await call(d, "of.b")


async def test_a_node_that_tells_nothing_can_still_call(fast_clock: MockClock) -> None:
    async with world() as all_:
        a, b, c = await chain(all_, a={}, b={"advertise_strategy": "none"}, c={})
        assert await a.services() == ["of.a"]
        assert await b.services() == ["of.a", "of.b", "of.c"]
        assert await call(b, "of.a") == "a"
        assert await call(b, "of.c") == "c"
        with pytest.raises(NotFound):
            await call(a, "of.b")
        with pytest.raises(Unavailable):
            await call(c, "of.a")


async def test_only_what_is_exported_is_told(fast_clock: MockClock) -> None:
    async with world() as all_:
        a, b = await chain(all_, a={"exports": ("public.*", "!public.draft")}, b={})
        for name in ("public.x", "public.draft", "private"):
            await a.serve(greeter(a, name))
        await trio.sleep(2)
        assert await b.services() == ["of.b", "public.x"]
        assert await a.services() == ["of.a", "of.b", "private", "public.draft", "public.x"]
        assert await call(b, "public.x") == "a"
        assert await call(a, "private") == "a"
        with pytest.raises(NotFound):
            await call(b, "private")


async def test_only_what_is_imported_can_be_called_but_it_is_carried_for_others(fast_clock: MockClock) -> None:
    async with world() as all_:
        a, b, c = await chain(all_, a={}, b={"imports": ("public.*",)}, c={})
        await a.serve(greeter(a, "public.x"))
        await trio.sleep(2)
        assert await b.services() == ["of.b", "public.x"]
        assert await call(b, "public.x") == "a"
        with pytest.raises(NotFound):
            await call(b, "of.a")
        assert await c.services() == ["of.a", "of.b", "of.c", "public.x"]
        assert await call(c, "of.a") == "a"


async def test_a_gateway_answers_what_nobody_tells_of(fast_clock: MockClock) -> None:
    async with world() as all_:
        a, _, c, _ = await chain(
            all_, a={"gateway": "c"}, b={}, c={"exports": ("!*",), "gateway": "a"}, d={"advertise_strategy": "local"}
        )
        assert await a.services() == ["of.a", "of.b"]
        assert await call(a, "of.c") == "c"
        assert await call(a, "of.d") == "d"  # the gateway extends the path
        for place in (a, c):  # each is the other's gateway, and nothing goes round in circles
            with pytest.raises(NotFound):
                await call(place, "of.nobody")


async def test_a_gateway_may_be_named_by_its_id(fast_clock: MockClock) -> None:
    async with world() as all_:
        a, b = await all_.open("a"), await all_.open("b")
        there = await a.start(exports=("!*",))
        await b.start(nodes=("mem://a",), gateway=there.ready.id)
        await a.serve(greeter(a))
        await settled(a, b)
        assert await call(b) == "a"


@pytest.mark.parametrize(("priced", "other"), [("b", "c"), ("c", "b")])
@pytest.mark.parametrize("at", ["caller", "far end"])
async def test_the_price_of_a_link_moves_calls_to_another_path(
    fast_clock: MockClock, priced: str, other: str, at: str
) -> None:
    async with world() as all_:
        a, b, c, d = [await all_.open(name) for name in "abcd"]
        await b.start()
        await c.start()
        prices = ((priced, 5), ("*", 2))
        await a.start(nodes=("mem://b", "mem://c"), link_prices=prices if at == "caller" else ())
        await d.start(nodes=("mem://b", "mem://c"), link_prices=prices if at == "far end" else ())
        await d.serve(greeter(d))
        await settled(a, b, c, d)
        nodes = {node["name"]: node["id"] for node in (await a.ask("Network.Nodes"))["nodes"]}
        [route] = (await a.ask("Network.Routes", {"service": "greeter"}))["routes"]
        assert (route["gateway"], route["metric"]) == (nodes[other], 4)
        assert await call(a) == "d"


async def test_networks_of_different_names_stay_apart_even_with_one_token_and_one_registry(
    fast_clock: MockClock,
) -> None:
    async with world() as all_:
        a, b = await all_.open("a"), await all_.open("b")
        await a.start(network="one")
        await b.start(network="two", nodes=("mem://a",))
        await b.serve(greeter(b))
        await trio.sleep(20)
        assert await a.services() == []
        for place in (a, b):
            assert len((await place.ask("Network.Nodes"))["nodes"]) == 1
        [seed] = (await b.ask("Network.Status"))["seeds"]
        assert "network name differs" in seed["error"]

        second = await a.start(address="mem://second", name="second", network="two", nodes=("mem://b",))
        await settled(a, b)
        assert second.ready.id in [node["id"] for node in (await b.ask("Network.Nodes"))["nodes"]]
        routes = (await a.ask("Network.Routes", {"service": "greeter"}))["routes"]
        assert [(route["network"], route["link"]) for route in routes] == [("two", "network")]
