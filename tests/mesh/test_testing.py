"""The bench that tests stand on, tried itself: it must say so when a network does not agree."""

import textwrap
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import mesh.testing
from mesh.testing import Network
from sdk.errors import BadRequest, MicroError, NotFound, Timeout, Unavailable


async def hello(request: dict[str, str]) -> dict[str, str]:
    return {"msg": f"Hello {request['name']}"}


async def line(net: Network, *names: str) -> None:
    for before, name in zip(("", *names), names, strict=False):
        await net.node(name, nodes=[before] if before else [])


async def test_the_example_in_the_documentation_works(autojump_clock: MockClock) -> None:
    documented = mesh.testing.__doc__ or ""
    example = documented[documented.index("    async def") : documented.index("`autojump_clock`")]
    scope: dict[str, Any] = {"Network": Network, "hello": hello}
    exec(textwrap.dedent(example), scope)
    await scope["test_greeter_is_found_two_clouds_away"](autojump_clock)


async def test_the_example_of_the_guide_works(autojump_clock: MockClock) -> None:
    guide = (Path(__file__).parent.parent.parent / "docs" / "testing.md").read_text()
    scope: dict[str, Any] = {}
    exec(guide.partition("```python\n")[2].partition("```")[0], scope)
    await scope["test_greeter_survives_a_cut"](autojump_clock)


async def test_a_cut_line_is_silent_and_calls_work_again_when_it_is_healed(autojump_clock: MockClock) -> None:
    async with Network() as net:
        await line(net, "a", "b")
        await net.offer("b", "greeter", {"Greeter.Hello": hello})
        await net.converged()
        net.cut("a", "b")
        with pytest.raises((Timeout, Unavailable)):
            await net.call("a", "greeter", "Greeter.Hello", {"name": "John"})
        assert await net.converged() < 10
        with pytest.raises(Unavailable, match="offered at b"):
            await net.call("a", "greeter", "Greeter.Hello", {"name": "John"})
        net.heal("a", "b")
        await net.converged()
        assert await net.call("a", "greeter", "Greeter.Hello", {"name": "John"}) == {"msg": "Hello John"}


async def test_a_node_that_dies_behind_cut_lines_is_missed_in_silence(autojump_clock: MockClock) -> None:
    async with Network() as net:
        await line(net, "a", "b")
        await net.converged()
        net.cut("a", "b")
        await net.kill("b")
        assert 1 < await net.converged() < 10
        net.heal("a", "b")
        await net.restart("b")
        await net.converged()


async def test_a_reset_is_known_at_both_ends_at_once_and_mended(autojump_clock: MockClock) -> None:
    async with Network() as net:
        await line(net, "a", "b")
        await net.offer("b", "greeter", {"Greeter.Hello": hello})
        await net.converged()
        net.reset("b", "a")
        await trio.sleep(0.01)
        with pytest.raises(AssertionError, match="not linked"):
            await net.converged(within=0)
        assert await net.converged() < 5
        assert await net.call("a", "greeter", "Greeter.Hello", {"name": "John"}) == {"msg": "Hello John"}


async def test_a_node_is_configured_as_outside(autojump_clock: MockClock) -> None:
    async with Network() as net:
        await net.node("a")
        await net.node("b", nodes=["a"])
        await net.node("c", nodes=["b"], advertise_strategy="local", exports=("public.*",))
        for service in ("public.greeter", "private.greeter"):
            await net.offer("c", service, {"Greeter.Hello": hello})
        await net.converged()
        assert await net.call("b", "public.greeter", "Greeter.Hello", {"name": "John"}) == {"msg": "Hello John"}
        for name, service in (("b", "private.greeter"), ("a", "public.greeter")):
            with pytest.raises(NotFound):
                await net.call(name, service, "Greeter.Hello", {"name": "John"})


async def test_a_call_ends_in_five_seconds_or_when_the_caller_says(autojump_clock: MockClock) -> None:
    ended = []

    async def sleep(request: float) -> None:
        try:
            await trio.sleep(request)
        finally:
            ended.append(trio.current_time())

    async with Network() as net:
        await net.node("a")
        await net.offer("a", "sloth", {"Sloth.Sleep": sleep})
        await net.converged()
        began = trio.current_time()
        with pytest.raises(Timeout):
            await net.call("a", "sloth", "Sloth.Sleep", 60)
        assert trio.current_time() - began == pytest.approx(5, abs=0.1)
        with trio.move_on_after(2) as scope:
            await net.call("a", "sloth", "Sloth.Sleep", 60)
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(net.call, "a", "sloth", "Sloth.Sleep", 60)
            await trio.sleep(2)
            nursery.cancel_scope.cancel()
        await trio.sleep(0.1)
        assert [at - began for at in ended] == pytest.approx([5, 7, 9], abs=0.1), "whoever answers is told"


async def test_what_is_offered_again_answers_anew(autojump_clock: MockClock) -> None:
    async def one(request: None) -> int:
        return 1

    async def two(request: None) -> int:
        return 2

    async with Network() as net:
        await line(net, "a", "b")
        for number, answer in ((1, one), (2, two)):
            await net.offer("b", "greeter", {"Greeter.Count": answer})
            await net.converged()
            assert await net.call("a", "greeter", "Greeter.Count") == number
        await net.withdraw("b", "greeter")
        await net.offer("b", "greeter", {"Greeter.Count": one})
        await net.converged()
        assert await net.call("a", "greeter", "Greeter.Count") == 1


async def test_a_killed_node_is_gone_and_a_restarted_one_is_another(autojump_clock: MockClock) -> None:
    async with Network() as net:
        await line(net, "a", "b", "c")
        await net.offer("c", "greeter", {"Greeter.Hello": hello})
        await net.converged()
        before = net.running()["b"].id
        await net.kill("b")
        assert set(net.running()) == {"a", "c"}
        with pytest.raises(BadRequest, match="'b' does not run"):
            await net.call("b", "greeter", "Greeter.Hello", {"name": "John"})
        await net.converged()
        with pytest.raises(Unavailable):
            await net.call("a", "greeter", "Greeter.Hello", {"name": "John"})
        assert (await net.restart("b")).id != before
        with pytest.raises(BadRequest, match="'b' runs"):
            await net.restart("b")
        await net.converged()
        assert await net.call("a", "greeter", "Greeter.Hello", {"name": "John"}) == {"msg": "Hello John"}


async def test_what_is_withdrawn_is_gone_everywhere_and_its_errors_are_those_of_calls(
    autojump_clock: MockClock,
) -> None:
    async def fails(request: Any) -> None:
        raise NotFound("no such tea")

    async with Network() as net:
        await line(net, "a", "b")
        await net.offer("b", "pot", {"Pot.Pour": fails})
        await net.converged()
        with pytest.raises(NotFound, match="no such tea"):
            await net.call("a", "pot", "Pot.Pour")
        await net.withdraw("b", "pot")
        await net.converged()
        with pytest.raises(NotFound, match="no service called 'pot'"):
            await net.call("a", "pot", "Pot.Pour")


async def test_lines_are_as_rough_as_the_test_says(autojump_clock: MockClock) -> None:
    async def seconds(size: int, **line: Any) -> list[float]:
        async with Network(delay=0.5, **line) as net:
            await net.node("a")
            await net.node("b", nodes=["a"])
            await net.offer("b", "greeter", {"Greeter.Hello": hello})
            await net.converged()
            took = []
            for _ in range(20):
                began = trio.current_time()
                await net.call("a", "greeter", "Greeter.Hello", {"name": "x" * size})
                took.append(trio.current_time() - began)
            return took

    there_and_back = pytest.approx(1.0, abs=0.01)
    assert await seconds(100) == [there_and_back] * 20
    unsteady = await seconds(100, jitter=0.2)
    assert 0.6 < min(unsteady) < 0.95
    assert 1.05 < max(unsteady) < 1.42
    lossy = await seconds(100, loss=0.1)
    assert 2 < sum(time == there_and_back for time in lossy) < 20
    assert min(lossy) == there_and_back
    assert max(lossy) > 1.9, "what was lost is sent again"
    slow = await seconds(10_000, rate=10_000)
    assert min(slow) > 3.0, "a second for the question and one for the answer"


async def test_a_delay_is_one_of_virtual_time(autojump_clock: MockClock) -> None:
    async with Network(delay=0.5) as net:
        await line(net, "a", "b")
        await net.offer("b", "greeter", {"Greeter.Hello": hello})
        await net.converged()
        began = trio.current_time()
        await net.call("a", "greeter", "Greeter.Hello", {"name": "John"})
        assert trio.current_time() - began == pytest.approx(1.0, abs=0.01)
        net.line("a", "b").delay = 0.001
        await trio.sleep(1)  # what was sent before is under way still
        began = trio.current_time()
        await net.call("a", "greeter", "Greeter.Hello", {"name": "John"})
        assert trio.current_time() - began < 0.1


async def test_long_messages_pass(autojump_clock: MockClock) -> None:
    async def size(request: bytes) -> int:
        return len(request)

    async with Network() as net:
        await line(net, "a", "b")
        await net.offer("b", "scales", {"Scales.Weigh": size})
        await net.converged()
        assert await net.call("a", "scales", "Scales.Weigh", b"x" * 500_000) == 500_000


async def test_nodes_that_do_not_agree_are_named(autojump_clock: MockClock) -> None:
    async with Network() as net:
        await line(net, "a", "b")
        await net.converged()
        net.running()["b"].gossip.link_down(net.running()["a"].gossip.me, trio.current_time())
        with pytest.raises(AssertionError, match=r"do not agree after 3 s: b and a are not linked"):
            await net.converged(within=3)


async def test_a_name_is_given_once(autojump_clock: MockClock) -> None:
    async with Network() as net:
        await net.node("a")
        with pytest.raises(BadRequest, match="'a' already"):
            await net.node("a")


async def test_two_networks_with_the_same_names_know_nothing_of_each_other(autojump_clock: MockClock) -> None:
    async with Network() as one, Network() as other:
        for net in (one, other):
            await line(net, "a", "b")
        await one.offer("b", "greeter", {"Greeter.Hello": hello})
        await one.converged()
        await other.converged()
        with pytest.raises(MicroError):
            await other.call("a", "greeter", "Greeter.Hello", {"name": "John"})
