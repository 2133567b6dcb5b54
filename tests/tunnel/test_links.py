import trio
from trio.testing import MockClock

from tests.tunnel.bench import node, raw_link
from tunnel.dialling import SeedState
from tunnel.transport.memory import MemoryNetwork


async def test_two_nodes_that_dial_each_other_keep_the_link_of_the_smaller_id(autojump_clock: MockClock) -> None:
    net = MemoryNetwork()
    async with (
        node(0, "mem://a", network=net, seeds=("mem://b",)) as a,
        node(1, "mem://b", network=net, seeds=("mem://a",)) as b,
    ):
        await a.linked(b)
        await trio.sleep(30)
        assert a.link(b).dialled
        assert not b.link(a).dialled
        assert [seed.state for seed in (*a.tunnel.seeds(), *b.tunnel.seeds())] == [SeedState.LINKED] * 2
        attempts = [seed.attempts for seed in (*a.tunnel.seeds(), *b.tunnel.seeds())]
        story = len(a.recorder.story), len(b.recorder.story)
        await trio.sleep(3600)
        assert attempts == [seed.attempts for seed in (*a.tunnel.seeds(), *b.tunnel.seeds())]
        assert story == (len(a.recorder.story), len(b.recorder.story))


async def test_the_smaller_id_takes_over_a_link_and_the_larger_dials_again_when_it_is_gone(
    autojump_clock: MockClock,
) -> None:
    net = MemoryNetwork()
    async with node(1, "mem://b", network=net, seeds=("mem://a",)) as b:
        async with node(0, "mem://a", network=net) as a:
            first = await a.linked(b)
            stream = first.port.next_stream()
            first.port.streams[stream] = None  # a call is going on
            a.tunnel.connect("mem://b")
            await a.recorder.until_story("up: n1", "up: n1", "down: n1: replaced by another link with n1")
            assert a.link(b).dialled
            assert not first.port.dead  # until the call had its time
            await trio.sleep(6)
            assert first.port.dead
            assert a.recorder.story[3:] == ["dead: the peer closed the connection"]
            assert b.recorder.story[:3] == ["up: n0", "up: n0", "down: n0: replaced by another link with n0"]
            assert b.tunnel.seeds()[0].state is SeedState.LINKED
            assert b.tunnel.seeds()[0].attempts == 1
        await trio.sleep(1)
        assert not b.tunnel.links
        assert b.tunnel.seeds()[0].attempts > 1


async def test_an_address_that_leads_to_a_linked_peer_rests_until_that_link_is_gone(
    autojump_clock: MockClock,
) -> None:
    net = MemoryNetwork()
    async with node(0, "mem://a", "mem://also", network=net) as a, node(1, network=net) as b:
        b.tunnel.connect("mem://a")
        link = await b.linked(a)
        b.tunnel.connect("mem://also")
        await trio.sleep(600)
        assert b.tunnel.links == {a.id: link}
        assert [(seed.state, seed.attempts) for seed in b.tunnel.seeds()] == [(SeedState.LINKED, 1)] * 2
        b.tunnel.disconnect("mem://a")
        await trio.sleep(10)
        assert b.link(a).address == "mem://also"
        assert [seed.address for seed in b.tunnel.seeds()] == ["mem://also"]


async def test_an_address_that_is_forgotten_keeps_its_link_and_is_not_dialled_again(
    autojump_clock: MockClock,
) -> None:
    net = MemoryNetwork()
    async with node(1, network=net, seeds=("mem://a", "mem://nowhere")) as b:
        async with node(0, "mem://a", network=net) as a:
            link = await b.linked(a)
            b.tunnel.forget("mem://nowhere")
            b.tunnel.forget("mem://a")
            b.tunnel.forget("mem://never known")
            await trio.sleep(600)
            assert b.tunnel.links == {a.id: link}
            assert b.tunnel.seeds() == []
        async with node(0, "mem://a", network=net, epoch=2):
            await trio.sleep(600)
            assert not b.tunnel.links
            b.tunnel.connect("mem://a")
            assert (await b.linked(a)).epoch == 2


async def test_a_peer_that_restarted_replaces_its_old_link_whoever_is_smaller(autojump_clock: MockClock) -> None:
    net = MemoryNetwork()
    # The first life of node 0 falls silent without a word, as a machine that loses its power.
    async with node(1, "mem://b", network=net) as b, raw_link(net, "mem://b", epoch=1):
        await b.recorder.until_story("up: zero")
        async with node(0, network=net, seeds=("mem://b",), epoch=2) as a:
            await a.linked(b)
            await b.recorder.until_story("up: zero", "down: zero: n0 has restarted", "dead: n0 has restarted", "up: n0")
            assert b.link(a).epoch == 2


async def test_an_older_self_of_a_peer_is_refused(autojump_clock: MockClock) -> None:
    net = MemoryNetwork()
    async with node(1, "mem://b", network=net) as b, node(0, network=net, seeds=("mem://b",), epoch=2) as a:
        await a.linked(b)
        async with raw_link(net, "mem://b", epoch=1) as stream:
            with trio.fail_after(1):
                assert await stream.receive_some() == b""
        assert b.link(a).epoch == 2


async def test_a_link_that_does_not_answer_gives_way_when_another_is_opened(autojump_clock: MockClock) -> None:
    net = MemoryNetwork()
    async with (
        node(1, "mem://b", network=net) as b,
        raw_link(net, "mem://b", epoch=1),
        node(0, "mem://a", network=net) as a,
    ):
        await b.recorder.until_story("up: zero")
        since = trio.current_time()
        b.tunnel.connect("mem://a")  # the larger id dials: the smaller's link would stay if it lived
        reason = "it did not answer while the peer opened another link"
        await b.recorder.until_story("up: zero", f"down: zero: {reason}", f"dead: {reason}", "up: n0")
        assert 1 <= trio.current_time() - since < 1.1
        assert b.link(a).dialled
        await a.linked(b)
