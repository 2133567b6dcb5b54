import logging
from collections.abc import Callable
from random import Random

import pytest
import trio
from trio.testing import MockClock

from mesh.neighbours import Neighbours
from mesh.steps import Steps
from proxy.switch import Switch
from router.gossip import Gossip
from router.linkstate import LinkTerms
from router.metric import PERIOD
from router.services import ServiceEntry
from router.table import RoutingTable
from sdk.timers import Timers
from tests.tunnel.bench import KEYS, NETWORK, TOKEN
from tunnel.identity import NodeKey, format_id, network_key, node_id, verify
from tunnel.transport.memory import MemoryNetwork
from tunnel.tunnel import Tunnel, TunnelConfig

network_key(TOKEN, NETWORK)  # slow, and kept: no clock shall jump meanwhile


def entry(service: str) -> ServiceEntry:
    return ServiceEntry(service=service, version="latest", protocols=("grpc",), instances=1, weight=1, labels=())


class End:
    """As much of a node as it takes to gossip."""

    def __init__(
        self,
        key: NodeKey,
        network: MemoryNetwork,
        *,
        name: str = "",
        epoch: int = 1,
        prices: tuple[tuple[str, int], ...] = (),
    ) -> None:
        self.key = key
        self.timers = Timers()
        self.switch = Switch(me=key.id, name="test")
        self.neighbours = Neighbours(self.switch, self.timers, prices)
        self.gossip = Gossip(
            me=key.id,
            public=key.public,
            name=name,
            network=NETWORK,
            addresses=(),
            epoch=epoch,
            sign=key.sign,
            verify=verify,
            node_id=node_id,
            random=Random(1),
            wake=lambda: None,
        )
        self.table = RoutingTable(gossip=self.gossip, format_id=format_id)
        self.address = f"mem://{key.id.hex()}.{epoch}"
        config = TunnelConfig(listen=(self.address,), tokens=(TOKEN,), network=NETWORK, name=name)
        self.tunnel = Tunnel(config, key, epoch, self.switch, self.neighbours, self.timers, Random(1), network=network)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.timers.run)
            await nursery.start(self.tunnel.run)
            steps = Steps(self.table)
            nursery.start_soon(steps.run)
            self.neighbours.attach(self.gossip, steps)
            task_status.started()

    def knows(self, other: "End") -> list[str]:
        """The services it has heard of from the other."""
        view = self.gossip.origins.get(other.key.id)
        return sorted(view.services) if view else []

    def sees(self, other: "End") -> bool:
        """Whether both ends agree on their edge."""
        return other.key.id in self.gossip.edges.get(self.key.id, {})


async def until(holds: Callable[[], bool]) -> None:
    with trio.fail_after(60):
        while not holds():  # noqa: ASYNC110 - machines have no events
            await trio.sleep(0.001)


async def test_a_link_brings_an_edge_and_what_the_neighbour_offers_and_takes_the_edge_with_it(
    autojump_clock: MockClock,
) -> None:
    network = MemoryNetwork()
    one, two = End(KEYS[0], network), End(KEYS[1], network)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await nursery.start(two.run)
        two.neighbours.set_services([entry("greeter")])
        one.tunnel.connect(two.address)
        await until(lambda: one.sees(two) and two.sees(one) and one.knows(two) == ["greeter"])
        assert list(one.switch.links) == [two.key.id]

        one.tunnel.disconnect(two.address)
        await until(lambda: not one.switch.links)
        assert not one.sees(two)
        nursery.cancel_scope.cancel()


async def test_a_withdrawal_is_told_in_the_same_turn(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    one, two = End(KEYS[0], network), End(KEYS[1], network)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await nursery.start(two.run)
        two.neighbours.set_services([entry("greeter"), entry("other")])
        one.tunnel.connect(two.address)
        await until(lambda: one.knows(two) == ["greeter", "other"])
        now = trio.current_time()
        two.neighbours.set_services([entry("other")])
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        assert one.knows(two) == ["other"]
        assert trio.current_time() == now
        nursery.cancel_scope.cancel()


async def test_what_is_new_is_told_when_gossips_own_time_comes(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    one, two = End(KEYS[0], network), End(KEYS[1], network)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await nursery.start(two.run)
        one.tunnel.connect(two.address)
        await until(lambda: one.sees(two))
        began = trio.current_time()
        for number in range(3):
            two.neighbours.set_services([entry(f"service-{n}") for n in range(number + 1)])
        await until(lambda: len(one.knows(two)) == 3)
        assert trio.current_time() - began < 1.1
        nursery.cancel_scope.cancel()


async def test_a_neighbour_that_makes_no_sense_loses_its_link(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    network = MemoryNetwork()
    one, two = End(KEYS[0], network), End(KEYS[1], network)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await nursery.start(two.run)
        one.tunnel.connect(two.address)
        await until(lambda: one.sees(two) and two.sees(one))
        link = one.tunnel.links[two.key.id]
        link.send_control(b"\xc1 is no msgpack")
        await until(lambda: link.port.dead)
        assert any("is down" in message for message in caplog.messages)
        await until(lambda: one.sees(two) and two.sees(one))  # it is dialled again
        nursery.cancel_scope.cancel()


async def test_a_second_link_to_a_peer_keeps_the_edge_when_the_first_one_goes(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    one, two = End(KEYS[0], network), End(KEYS[1], network)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await nursery.start(two.run)
        one.tunnel.connect(two.address)
        await until(lambda: one.sees(two))
        first = one.tunnel.links[two.key.id]
        one.neighbours.link_up(first)
        other = two.tunnel.links[one.key.id]
        one.neighbours.link_down(other, "it is not the one in use")
        assert one.sees(two)
        assert list(one.switch.links) == [two.key.id]
        nursery.cancel_scope.cancel()


async def test_another_way_is_known_in_the_turn_in_which_a_link_is_lost(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    one, two, three = (End(key, network) for key in KEYS)
    async with trio.open_nursery() as nursery:
        for end in (one, two, three):
            await nursery.start(end.run)
        one.tunnel.connect(two.address)
        one.tunnel.connect(three.address)
        two.tunnel.connect(three.address)
        direct, around = (two.key.id,), (three.key.id, two.key.id)

        def path() -> tuple[bytes, ...]:
            way = one.table.way_to(format_id(two.key.id))
            return way.path if way else ()

        await until(lambda: path() == direct and two.sees(three) and one.sees(three))
        await trio.sleep(1)
        one.tunnel.links[two.key.id].port.connection_lost("it broke")
        assert path() == around
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("prices", "price"),
    [
        ((), 0),
        ((("*", 3),), 3),
        (((format_id(KEYS[1].id), 7), ("far", 8), ("*", 3)), 7),
        ((("*", 3), ("far", 8)), 8),
        (((f"mem://{KEYS[1].id.hex()}.1", 9), ("*", 3)), 9),
        (((f"{KEYS[1].id.hex()}.1", 9), ("*", 3)), 9),
        ((("somebody else", 5),), 0),
    ],
)
async def test_a_link_has_the_price_that_was_said_of_the_node_its_address_or_every_link(
    autojump_clock: MockClock, prices: tuple[tuple[str, int], ...], price: int
) -> None:
    network = MemoryNetwork()
    one = End(KEYS[0], network, prices=prices)
    two = End(KEYS[1], network, name="far", prices=((f"{KEYS[1].id.hex()}.1", 20),))  # its own address is no peer's
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await nursery.start(two.run)
        one.tunnel.connect(two.address)
        await until(lambda: one.sees(two) and two.sees(one))
        assert one.gossip.terms(one.key.id, two.key.id) == LinkTerms(price=price)
        assert two.gossip.edges[two.key.id] == {one.key.id: 1 + price}
        nursery.cancel_scope.cancel()


async def test_a_link_that_became_slow_is_told_when_it_has_been_so_for_two_periods(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    one, two = End(KEYS[0], network), End(KEYS[1], network)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await nursery.start(two.run)
        one.tunnel.connect(two.address)
        await until(lambda: one.sees(two) and two.sees(one))
        began = trio.current_time()
        for _ in range(100):
            one.tunnel.links[two.key.id].round_trip.sample(10.0)
        await trio.sleep(PERIOD)
        assert two.gossip.terms(one.key.id, two.key.id) == LinkTerms()
        await until(lambda: two.gossip.terms(one.key.id, two.key.id) == LinkTerms(delay=96))
        assert trio.current_time() - began < 3.5 * PERIOD
        nursery.cancel_scope.cancel()


async def test_twins_are_named_in_the_log_once(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    network = MemoryNetwork()
    middle = End(KEYS[1], network)
    older, newer = End(KEYS[0], network, name="older"), End(KEYS[0], network, name="newer", epoch=2)
    far = End(KEYS[2], network)
    async with trio.open_nursery() as nursery:
        for end in (middle, far, older, newer):
            await nursery.start(end.run)
        older.tunnel.connect(middle.address)
        newer.tunnel.connect(far.address)
        middle.tunnel.connect(far.address)
        with trio.fail_after(120):
            await until(lambda: older.gossip.twin is not None and newer.gossip.twin is not None)
        await trio.sleep(60)
        told = [message for message in caplog.messages if "the key of this one" in message]
        assert sorted(message.partition(": ")[2] for message in told) == [
            "newer at no address; this node, which is older, gives way and serves its own environment only",
            "older at no address; that one is older and has to give way",
        ]
        nursery.cancel_scope.cancel()
