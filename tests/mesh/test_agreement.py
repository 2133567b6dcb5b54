"""Each way in which nodes may disagree is named. That `converged` waits for all of them is tried in test_testing.py."""

from collections.abc import Mapping
from dataclasses import replace

import trio
from trio.testing import MockClock

from mesh.agreement import differences
from mesh.testing import Network

SOON = 0.5
"""Seconds in which nodes know everything, and in which no silent line is found dead."""


async def answer(request: object) -> None: ...


async def a_line(net: Network) -> None:
    """Nodes a, b and c in a line, which agree; c offers tea."""
    for before, name in zip(["", "a", "b"], "abc", strict=True):
        await net.node(name, nodes=[before] if before else [])
    await net.offer("c", "tea", {"Tea.Pour": answer})
    await net.converged()


def found(
    net: Network,
    *,
    lines: Mapping[tuple[str, str], bool] | None = None,
    offered: Mapping[str, set[str]] | None = None,
    without: str = "",
) -> list[str]:
    nodes = {name: node for name, node in net.running().items() if name != without}
    names: dict[str, set[str]] = {"a": set(), "b": set(), "c": {"tea"}, **(offered or {})}
    return list(differences(nodes, lines=lines or {}, offered=names))


async def test_nodes_that_agree_differ_in_nothing(autojump_clock: MockClock) -> None:
    async with Network() as net:
        await a_line(net)
        assert found(net, lines={("b", "a"): True, ("c", "b"): True, ("a", "c"): False}) == []


async def test_a_link_too_few_or_too_many(autojump_clock: MockClock) -> None:
    async with Network() as net:
        await a_line(net)
        assert found(net, lines={("a", "c"): True}) == ["a and c are not linked"]
        assert found(net, lines={("a", "b"): False}) == ["a and b are still linked"]


async def test_a_node_that_is_gone(autojump_clock: MockClock) -> None:
    async with Network() as net:
        await a_line(net)
        assert found(net, without="c") == [f"{name} takes an earlier c for reachable, which is gone" for name in "ab"]


async def test_links_that_not_everybody_knows(autojump_clock: MockClock) -> None:
    async with Network() as net:
        await a_line(net)
        a, b = net.running()["a"].gossip, net.running()["b"].gossip
        b.link_down(a.me, trio.current_time())
        differ = [line for line in found(net) if "different" in line]
        assert differ == [f"{pair} know different links of b" for pair in ("a and b", "b and c", "c and b")]


async def test_services_that_not_everybody_knows(autojump_clock: MockClock) -> None:
    async with Network() as net:
        await a_line(net)
        net.cut("a", "b")
        await net.offer("c", "cake", {"Cake.Cut": answer})
        await trio.sleep(SOON)
        both = {"c": {"cake", "tea"}}
        assert found(net, offered=both) == ["a does not know what c offers: cake is missing"]
        await net.withdraw("c", "tea")
        await trio.sleep(SOON)
        differ = "a does not know what c offers: cake is missing and tea is still there"
        assert found(net, offered={"c": {"cake"}}) == [differ]


async def test_services_that_are_known_as_they_were(autojump_clock: MockClock) -> None:
    async with Network() as net:
        await a_line(net)
        net.cut("a", "b")
        c = net.running()["c"]
        c._neighbours.set_services([replace(entry, weight=7) for entry in c.table.local_entries])
        await trio.sleep(SOON)
        assert found(net) == ["a does not know what c offers: the same names, in an older state"]


async def test_services_need_not_be_known_where_they_are_not_told(autojump_clock: MockClock) -> None:
    async with Network() as net:
        await net.node("a")
        await net.node("b", nodes=["a"])
        await net.node("c", nodes=["b"], advertise_strategy="local")
        await net.offer("c", "tea", {"Tea.Pour": answer})
        await net.converged()
        assert net.running()["a"].gossip.services_root(net.running()["c"].gossip.me) is None
        assert found(net) == []


async def test_services_of_a_nodes_own_that_it_does_not_know_or_has_not_told(autojump_clock: MockClock) -> None:
    async with Network() as net:
        await a_line(net)
        assert found(net, offered={"b": {"cake"}}) == ["b does not know its own services: cake is missing"]
        c = net.running()["c"].gossip
        c.set_services([], trio.current_time())
        assert "c has not told what it offers: tea is missing" in found(net)


async def test_paths_that_are_not_chosen_yet(autojump_clock: MockClock) -> None:
    async with Network() as net:
        await a_line(net)
        a, b = net.running()["a"].gossip, net.running()["b"].gossip
        b.link_down(a.me, trio.current_time())
        assert "b has not chosen its paths" in found(net)
