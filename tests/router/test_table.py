from dataclasses import replace
from random import Random

from router.gossip import Gossip
from router.linkstate import LinkState
from router.route import Link, Query, Route
from router.services import ServiceEntry
from router.statement import Signed, to_sign
from router.table import NODE_SERVICES, GraphNode, OriginRoute
from router.wire import pack_link_state, pack_statements, parse_statement_untrusted
from sdk.types import Instance, Service
from tests.router.network import Key, Network, entry, told_by


def instance(name: str, **metadata: str) -> Instance:
    return Instance(id=name, address=f"{name}:80", metadata=metadata)


def service(name: str, *instances: Instance, version: str = "latest", **metadata: str) -> Service:
    return Service(name=name, version=version, instances=instances, metadata=metadata)


# This environment.


def test_instances_of_all_versions_can_be_called_but_for_go_micros_own_wire() -> None:
    table = Network("ab")["a"].table
    one, two, three = instance("one"), instance("two", protocol="http"), instance("three", protocol="mucp")
    table.set_local([service("x", two, version="2"), service("x", one, three, version="1"), service("y", three)])
    assert table.local_instances("x") == (one, two)
    assert table.local_instances("y") == ()
    assert table.local_instances("z") == ()
    assert table.services() == ["x", "y"], "it is listed all the same"


def test_what_is_set_replaces_what_was_set() -> None:
    table = Network("ab")["a"].table
    table.set_local([service("x", instance("one"))])
    before = table.revision
    table.set_local([])
    assert table.revision > before
    assert table.services() == []
    assert table.local_instances("x") == ()
    assert table.local_entries == ()


def test_others_are_told_of_everything_but_the_nodes_own_services() -> None:
    table = Network("ab")["a"].table
    table.set_local([service(name, instance(name)) for name in (*sorted(NODE_SERVICES), "greeter")])
    assert [told.service for told in table.local_entries] == ["greeter"]
    assert table.local_entries[0] == ServiceEntry(
        service="greeter", version="latest", protocols=("grpc",), instances=1, weight=1, labels=()
    )
    assert table.local_instances("go.micro.network")


# Beyond it.


def test_origins_come_with_the_whole_path_cheapest_first() -> None:
    network = Network("ab", "bc", "ad")
    network.offer("c", "x")
    network.offer("d", "x")
    network.run(1)
    network["a"].gossip.set_cost(network["d"].key.id, 13, network.now)
    network.run(1)
    b, c, d = (network[name].key.id for name in "bcd")
    assert network["a"].table.origins_of("x") == (
        OriginRoute(c, (b, c), b + c, 2, 1, 1, ("grpc",)),
        OriginRoute(d, (d,), d, 13, 1, 1, ("grpc",)),
    )
    assert network["c"].table.origins_of("x")[0].origin == d, "a node is no origin for itself"


def test_versions_of_a_service_are_one_origin_with_their_weights_together() -> None:
    network = Network("ab")
    listed = replace(entry("x", "3"), weight=0, protocols=("mucp",))
    http = replace(entry("x", "2", instances=4), protocols=("http",))
    network["b"].gossip.set_services([entry("x", "1", instances=2), http, listed], 0.0)
    network.run(1)
    [origin] = network["a"].table.origins_of("x")
    assert (origin.weight, origin.instances, origin.protocols) == (6, 6, ("grpc", "http"))


def test_what_cannot_be_called_is_listed_and_no_origin() -> None:
    network = Network("ab")
    network["b"].gossip.set_services([replace(entry("x"), weight=0, protocols=("mucp",))], 0.0)
    network.run(1)
    table = network["a"].table
    assert table.origins_of("x") == ()
    assert table.services() == ["x"]
    assert [row.protocol for row in table.routes(Query(service="x"))] == ["mucp"]


def test_nobody_else_can_offer_a_nodes_own_services() -> None:
    network = Network("ab")
    network.offer("b", "go.micro.network", "x")
    network.run(1)
    table = network["a"].table
    assert table.origins_of("go.micro.network") == ()
    assert table.services() == ["x"]
    network.cut("ab")
    assert table.unreachable_origins("go.micro.network") == ()


def test_answers_change_with_what_is_known_and_are_kept_until_then() -> None:
    network = Network("ab", "bc")
    network.offer("c", "x")
    network.run(1)
    table = network["a"].table
    found, revision = table.origins_of("x"), table.revision
    assert table.origins_of("x") is found
    assert table.origins_of("y") == ()
    network.offer("c", "x", "y")
    network.run(1)
    assert table.revision > revision
    assert table.origins_of("y")
    network.cut("bc")
    network.run(1)
    assert table.origins_of("x") == ()
    assert table.unreachable_origins("x") == ("c",)


def test_origins_beyond_three_links_are_named_as_out_of_reach() -> None:
    network = Network("ab", "bc", "cd", "de")
    network.offer("e", "x")
    network.run(1)
    assert network["a"].table.unreachable_origins("x") == ("e",)
    assert network["b"].table.unreachable_origins("x") == ()
    assert network["a"].table.services() == []


def test_no_path_leads_through_a_node_that_carries_nothing_for_others() -> None:
    network = Network("ab", "bc")
    network.offer("b", "y")
    network.offer("c", "x")
    network.run(1)
    a, b = network["a"], network["b"]
    known = a.gossip.origins[b.key.id]
    state = LinkState(
        network="test", origin=b.key.id, public=b.key.public, epoch=known.epoch, seq=99, name="b", addresses=(),
        links=known.edges, transit=False,
    )  # fmt: skip
    packed = pack_link_state(state)
    a.gossip.receive(b.key.id, pack_statements([Signed(packed, b.key.sign(to_sign(packed)))]), network.now)
    assert a.table.origins_of("x") == ()
    assert a.table.origins_of("y")


# As people see it.


def test_routes_are_rows_for_people() -> None:
    network = Network("ab", "bc")
    labelled = replace(entry("x"), labels=(("zone", "eu"),))
    network["c"].gossip.set_services([labelled], 0.0)
    network.run(1)
    table = network["a"].table
    table.set_local([service("x", instance("one", protocol="http"), env="test")])
    near = Route(
        service="x", version="latest", protocol="http", labels=(("env", "test"),), address="one:80", gateway="",
        network="test", router="a", link=Link.LOCAL, metric=0, hops=0,
    )  # fmt: skip
    far = Route(
        service="x", version="latest", protocol="grpc", labels=(("zone", "eu"),), address="c", gateway="b",
        network="test", router="c", link=Link.NETWORK, metric=2, hops=2,
    )  # fmt: skip
    assert table.routes(Query()) == [near, far]
    assert table.routes(Query(link="network")) == [far]
    assert table.routes(Query(gateway="b", router="c")) == [far]
    assert table.routes(Query(service="y")) == []


def test_services_are_those_of_here_and_of_three_links_around() -> None:
    network = Network("ab", "bc", "cd", "de")
    for name in "bcde":
        network.offer(name, f"of-{name}", "shared")
    network.run(1)
    table = network["a"].table
    table.set_local([service("own", instance("one")), service("gone")])
    assert table.services() == ["of-b", "of-c", "of-d", "own", "shared"]


def test_the_graph_shows_all_within_reach_however_far_from_near_to_far() -> None:
    network = Network("ab", "bc", "cd", "de", "yz")
    network["a"].gossip.set_cost(network["b"].key.id, 13, 0.0)
    network.run(1)
    graph = network["a"].table.graph()
    assert list(graph) == ["a", "b", "c", "d", "e"]
    assert graph["b"] == GraphNode(
        id="b", name="b", addresses=("tcp://b:8085",), network="test", links=(("a", 13), ("c", 1))
    )
    network.cut("cd")
    assert list(network["c"].table.graph()) == ["c", "b", "a"]


def test_a_node_without_a_name_goes_by_its_id() -> None:
    network = Network("ab")
    key = Key("z")
    nameless = Gossip(
        me=key.id, public=key.public, name="", network="test", addresses=(), epoch=1, sign=key.sign, verify=key.verify,
        node_id=lambda public: public[:16], random=Random(1), wake=lambda: None,
    )  # fmt: skip
    a = network["a"]
    nameless.link_up(a.key.id, 1, 0.0)
    nameless.set_services([entry("x")], 0.0)
    signed = told_by(nameless)
    assert all(parse_statement_untrusted(each) for each in signed)
    network._names[key.id] = "the id of z"
    a.gossip.receive(network["b"].key.id, pack_statements(signed), 0.0)
    assert a.table.unreachable_origins("x") == ("the id of z",)
