import sys
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.applied import MAX_APPLIED
from router.linkstate import LinkTerms
from router.offers import OriginRoute
from router.policy import Policy
from router.route import Link, Query, Route
from router.services import ServiceEntry
from router.table import AT_ONCE, NODE_SERVICES, GraphNode, RoutingTable
from router.watch import MAX_WAITING, Change, Event
from sdk.errors import BadRequest, TooManyRequests
from sdk.types import Instance, Service
from tests.router.network import FamilyKey, Key, Network, entry, gossip, links_message, services_message


def instance(name: str, **metadata: str) -> Instance:
    return Instance(id=name, address=f"{name}:80", metadata=metadata)


def service(name: str, *instances: Instance, version: str = "latest", **metadata: str) -> Service:
    return Service(name=name, version=version, instances=instances, metadata=metadata)


# This environment.


def test_instances_of_all_versions_can_be_called_but_for_go_micros_own_wire() -> None:
    table = Network("ab")["a"].table
    one, two, three = instance("one"), instance("two", protocol="http"), instance("three", protocol="mucp")
    table.set_local([service("x", two, version="2"), service("x", one, three, version="1"), service("y", three)], 0.0)
    assert table.local_instances("x") == (one, two)
    assert table.local_instances("y") == ()
    assert table.local_instances("z") == ()
    assert table.services() == ["x", "y"], "it is listed all the same"


def test_instances_of_a_version_and_with_labels_are_found_among_those_of_this_environment() -> None:
    table = Network("ab")["a"].table
    one, two, three = instance("one"), instance("two"), instance("three", protocol="mucp")
    table.set_local([service("x", one, version="1", Zone="eu"), service("x", two, three, version="2", zone="us")], 0.0)
    for version, labels, found in (
        ("", (), (one, two)),
        ("2", (), (two,)),
        ("3", (), ()),
        ("", [("zone", "eu")], (one,)),
        ("", [("ZONE", "us")], (two,)),
        ("", [("zone", "EU")], ()),
        ("1", [("zone", "us")], ()),
        ("", [("zone", "eu"), ("disk", "fast")], ()),
    ):
        assert table.local_matching("x", version, labels) == found
    assert table.local_matching("y", "", ()) == ()
    table.set_local([], 1.0)
    assert table.local_matching("x", "", ()) == ()


def test_names_with_capitals_are_found_here_and_elsewhere_by_what_they_are_in_lower_case() -> None:
    network = Network("ab")
    table = network["a"].table
    table.set_local([service("Web", instance("one")), service("web", instance("two"))], 0.0)
    network.offer("b", "wEB")
    network.run(1)
    assert table.spellings("web") == ["Web", "wEB"]
    table.set_local([], 1.0)
    assert table.spellings("web") == ["wEB"]


def test_what_is_set_replaces_what_was_set() -> None:
    table = Network("ab")["a"].table
    table.set_local([service("x", instance("one"))], 0.0)
    before = table.revision
    table.set_local([], 0.0)
    assert table.revision > before
    assert table.services() == []
    assert table.local_instances("x") == ()
    assert table.local_entries == ()


def test_others_are_told_of_everything_but_the_nodes_own_services() -> None:
    table = Network("ab")["a"].table
    table.set_local([service(name, instance(name)) for name in (*sorted(NODE_SERVICES), "greeter")], 0.0)
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
    network["a"].gossip.set_terms(network["d"].key.id, LinkTerms(delay=12), network.now)
    network.run(20)
    b, c, d = (network[name].key.id for name in "bcd")
    assert network["a"].table.origins_of("x") == (
        OriginRoute(c, (b, c), b + c, 2, (), b"", 1, 1, ("grpc",)),
        OriginRoute(d, (d,), d, 13, (), b"", 1, 1, ("grpc",)),
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


def test_origins_of_a_version_and_with_labels_are_found_with_the_weight_of_those_alone() -> None:
    network = Network("ab", "ac")
    old = replace(entry("x", "1", instances=2), labels=(("zone", "eu"),))
    new = replace(entry("x", "2", instances=4), labels=(("Zone", "us"),))
    network["b"].gossip.set_services([old, new], 0.0)
    network["c"].gossip.set_services([old], 0.0)
    network.run(1)
    table, b, c = network["a"].table, network["b"].key.id, network["c"].key.id

    def found(version: str, *labels: tuple[str, str]) -> dict[bytes, int]:
        return {origin.origin: origin.weight for origin in table.origins_matching("x", version, labels)}

    assert found("") == {b: 6, c: 2}
    assert found("1") == {b: 2, c: 2}
    assert found("2") == found("", ("zone", "us")) == {b: 4}
    assert found("", ("zone", "eu")) == {b: 2, c: 2}
    assert found("2", ("zone", "eu")) == found("3") == {}
    assert table.origins_matching("y", "", ()) == ()


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


def test_an_origin_has_a_spare_path_where_there_is_another_way() -> None:
    network = Network("ab", "bz", "ac", "cd", "dz")
    network.offer("z", "x")
    network.run(1)
    b, c, d, z = (network[name].key.id for name in "bcdz")
    [origin] = network["a"].table.origins_of("x")
    assert (origin.path, origin.spare, origin.spare_bytes) == ((b, z), (c, d, z), c + d + z)


def test_origins_that_come_to_lie_beyond_three_links_are_named_as_out_of_reach() -> None:
    network = Network("ab", "bc", "cd", "de", "ad")
    network.offer("e", "x")
    network.run(1)
    assert network["a"].table.services() == ["x"]
    network.cut("ad")
    network.run(1)
    assert network["a"].table.unreachable_origins("x") == ("e",)
    assert network["b"].table.unreachable_origins("x") == ()
    assert network["a"].table.services() == []


def test_a_node_is_found_by_its_id_and_by_its_name() -> None:
    network = Network("ab", "bc")
    network.run(1)
    table = network["a"].table
    b, c = (network[name].key.id for name in "bc")
    assert table.way_to("c") == OriginRoute(c, (b, c), b + c, 2, weight=0)
    assert table.way_to("a") is None
    assert table.way_to("nobody") is None
    network.cut("bc")
    network.run(1)
    assert table.way_to("c") is None


def test_of_several_nodes_with_one_name_the_nearest_is_found_as_soon_as_it_is_known() -> None:
    network = Network("ad", "ac", "cb")
    network.run(1)
    a, b, c, d = (network[name] for name in "abcd")
    table = RoutingTable(gossip=a.gossip, format_id=bytes.hex)
    assert table.way_to("d") is None
    table.settle(network.now)
    assert table.way_to("d") is not None
    for origin, links in ((b, [c]), (d, [a])):
        state = links_message(origin.key, *(other.key for other in links), seq=99, name="twice")
        a.gossip.receive(c.key.id, state, network.now)
        found = table.way_to("twice")
        assert found is not None
        assert found.origin == origin.key.id
    assert table.way_to("d") is None, "nobody is called that any more"
    assert table.way_to(d.key.id.hex()) is not None
    assert b.key.id < d.key.id, "or the smaller id would tell as well"


def test_names_that_nobody_has_are_not_kept_for_the_next_time_however_many_are_asked_for() -> None:
    network = Network("ab")
    network.run(1)
    table = network["a"].table
    assert table.way_to("b") is not None
    for number in range(3):
        name = f"nobody {number}"
        before = sys.getrefcount(name)
        assert table.way_to(name) is None
        assert sys.getrefcount(name) == before
    assert table.way_to("b") is table.way_to("b"), "what is found is"


def test_policy_says_what_is_told_and_what_can_be_called() -> None:
    network = Network("ab")
    network.offer("b", "public.x", "secret.x")
    network.run(1)
    a = network["a"]
    table = RoutingTable(gossip=a.gossip, format_id=bytes.hex, policy=Policy(exports=("p*",), imports=("public.*",)))
    table.settle(network.now)
    table.set_local([service("private", instance("one")), service("shop", instance("two"))], 0.0)
    assert [told.service for told in table.local_entries] == ["private"]
    assert table.services() == ["private", "public.x", "shop"]
    assert table.origins_of("secret.x") == ()
    assert table.origins_of("public.x")


def test_no_path_leads_through_a_node_that_carries_nothing_for_others() -> None:
    network = Network("ab", "bc")
    network.offer("b", "y")
    network.offer("c", "x")
    network.run(1)
    a, b = network["a"], network["b"]
    closed = links_message(b.key, a.key, network["c"].key, seq=99, transit=False)
    a.gossip.receive(b.key.id, closed, network.now)
    network.run(0)
    assert a.table.origins_of("x") == ()
    assert a.table.unreachable_origins("x") == ("c",)
    assert a.table.origins_of("y")


# As people see it.


def test_routes_are_rows_for_people() -> None:
    network = Network("ab", "bc")
    labelled = replace(entry("x"), labels=(("zone", "eu"),))
    network["c"].gossip.set_services([labelled], 0.0)
    network.run(1)
    table = network["a"].table
    table.set_local([service("x", instance("one", protocol="http"), env="test")], 0.0)
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
    table.set_local([service("own", instance("one")), service("gone")], 0.0)
    assert table.services() == ["of-b", "of-c", "of-d", "own", "shared"]


def test_the_graph_shows_all_within_reach_however_far_from_near_to_far() -> None:
    network = Network("ab", "bc", "cd", "de", "yz")
    network["a"].gossip.set_terms(network["b"].key.id, LinkTerms(price=12), 0.0)
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
    key, a = Key("z"), network["a"]
    network._names[key.id] = "the id of z"
    a.gossip.receive(network["b"].key.id, links_message(key, a.key), 0.0)
    a.gossip.receive(network["b"].key.id, services_message(key, "x"), 0.0)
    assert a.table.unreachable_origins("x") == ("the id of z",)


def test_the_best_routes_are_the_cheapest_of_each_service() -> None:
    network = Network("ab", "bc")
    network.offer("b", "x")
    network.offer("c", "x", "y")
    network.run(1)
    table = network["a"].table
    assert [(row.service, row.router) for row in table.routes(Query(strategy="best"))] == [("x", "b"), ("y", "c")]
    assert len(table.routes(Query(strategy="all"))) == 3
    assert table.routes(Query(strategy="local")) == []
    assert table.routes(Query(strategy="none")) == []
    with pytest.raises(BadRequest, match="no strategy"):
        Query(strategy="worst")
    with pytest.raises(BadRequest, match="best routes cannot be watched"):
        table.watch(Query(strategy="best"), lambda: None)


# Routes put in by hand.


def by_hand(service: str = "x", metric: int = 5, address: str = "10.0.0.1:80") -> Route:
    return Route(
        service=service, version="1", protocol="tcp", labels=(), address=address, gateway="", network="n", router="r",
        link=Link.NETWORK, metric=metric, hops=1,
    )  # fmt: skip


def test_a_route_put_in_by_hand_is_listed_until_it_is_taken_out_or_its_time_is_over() -> None:
    table = RoutingTable(gossip=gossip(Key("a")), format_id=bytes.hex)
    table.settle(0.0)
    table.apply(by_hand(), 0.0)
    table.apply(by_hand("y"), 0.0, ttl=10)
    assert table.services() == ["x", "y"]
    assert table.origins_of("x") == (), "calls are not routed by it"
    table.apply(by_hand(metric=7), 1.0)
    assert [row.metric for row in table.routes(Query(service="x"))] == [7]
    assert table.next_timeout() == 10
    table.handle_timeout(10)
    assert table.services() == ["x"]
    assert table.withdraw(by_hand(metric=99), 11.0)
    assert not table.withdraw(by_hand(), 11.0)
    assert table.routes(Query()) == []


def test_a_learned_route_hides_one_put_in_by_hand_that_is_the_same() -> None:
    network = Network("ab")
    network.offer("b", "x")
    network.run(1)
    table = network["a"].table
    [learned] = table.routes(Query())
    watch = table.watch(Query(), lambda: None)
    table.apply(replace(learned, metric=9), network.now)
    assert table.routes(Query()) == [learned]
    assert watch.take() == []
    network.offer("b")
    network.run(1)
    assert table.routes(Query()) == [replace(learned, metric=9)]
    assert [(event.change, event.route) for event in watch.take()] == [(Change.UPDATE, replace(learned, metric=9))]
    network.offer("b", "x")
    network.run(1)
    assert [(event.change, event.route) for event in watch.take()] == [(Change.UPDATE, learned)]
    assert table.withdraw(learned, network.now)
    assert table.routes(Query()) == [learned]
    assert watch.take() == []


def test_a_route_by_hand_whose_time_is_over_cannot_be_taken_out_and_takes_no_room() -> None:
    table = RoutingTable(gossip=gossip(Key("a")), format_id=bytes.hex)
    for number in range(MAX_APPLIED):
        table.apply(by_hand(address=f"{number}:1"), 0.0, ttl=10)
    table.apply(by_hand(address="more:1"), 10.0, ttl=10)
    assert [row.address for row in table.routes(Query())] == ["more:1"]
    assert not table.withdraw(by_hand(address="more:1"), 20.0)


def test_what_is_settled_in_advance_ends_nothing_before_its_time() -> None:
    network = Network("ab")
    network.run(1)
    a, b = network["a"], network["b"]
    table = RoutingTable(gossip=a.gossip, format_id=bytes.hex)
    table.settle(network.now)
    table.apply(by_hand(), network.now)
    table.apply(by_hand("y"), network.now, ttl=0.001)
    b.gossip.set_services([entry(f"s{number:05}") for number in range(AT_ONCE + 1)], network.now)
    network.run(1)
    assert not table.settled
    table.settle(network.now - 1)
    assert len(table.services()) == AT_ONCE + 3
    network.cut("ab")
    network.run(1)
    network.link("ab")
    network.run(1)
    table.settle(network.now)
    assert table.origins_of("s00000"), "paths are still chosen"


# Following it.


def test_changes_come_in_order_each_with_a_revision_of_its_own() -> None:
    network = Network("ab", "bc")
    table = network["a"].table
    network.run(1)
    woken: list[int] = []
    watch = table.watch(Query(), lambda: woken.append(1))
    network.offer("c", "x")
    network.run(1)
    table.set_local([service("own", instance("one"))], network.now)
    network["b"].gossip.set_terms(network["c"].key.id, LinkTerms(delay=12), network.now)
    network.run(1)
    network.offer("c")
    network.run(1)
    events = watch.take()
    assert [(change, route and route.service, route and route.metric) for change, _, route in events] == [
        (Change.CREATE, "x", 2), (Change.CREATE, "own", 0), (Change.UPDATE, "x", 14), (Change.DELETE, "x", 14),
    ]  # fmt: skip
    revisions = [event.revision for event in events]
    assert revisions == sorted(set(revisions))
    assert len(woken) == 1, "once, until what there is was taken"
    assert watch.take() == []
    watch.close()
    watch.close()
    network.offer("c", "x")
    network.run(1)
    assert watch.take() == []


def test_a_watcher_that_is_too_slow_is_told_to_look_again() -> None:
    network = Network("ab")
    network.run(1)
    table = network["a"].table
    slow, other = table.watch(Query(), lambda: None), table.watch(Query(service="s00001"), lambda: None)
    network.offer("b", *(f"s{number:05}" for number in range(MAX_WAITING + 1)))
    network.run(1)
    [event] = slow.take()
    assert (event.change, event.route) == (Change.RESYNC, None)
    assert [each.change for each in other.take()] == [Change.CREATE]
    network.cut("ab")
    network.run(1)
    [event] = slow.take()
    assert event.change is Change.RESYNC
    assert event.revision <= table.revision
    network.link("ab")
    network.offer("b", "x")
    network.run(1)
    assert [each.change for each in slow.take()].count(Change.RESYNC) == 1


def test_rows_that_nobody_asked_for_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network("ab", "ac", "bc")
    network.offer("b", *(f"s{number:03}" for number in range(500)))
    network.offer("c", "x")
    network.run(1)
    table = network["a"].table
    made: list[str] = []

    def make(**fields: Any) -> Route:
        made.append(fields["service"])
        return Route(**fields)

    monkeypatch.setattr("router.rows.Route", make)
    assert len(table.routes(Query(router="b"))) == 500
    made.clear()
    assert [row.service for row in table.routes(Query(router="c"))] == ["x"]
    assert table.routes(Query(link="local")) == table.routes(Query(network="other")) == []
    assert len(made) < 10
    of_all, of_one = table.watch(Query(), lambda: None), table.watch(Query(service="s007"), lambda: None)
    local = table.watch(Query(link="local"), lambda: None)
    for number in range(MAX_WAITING + 1):
        table.apply(by_hand(address=f"{number}:1"), network.now)
    made.clear()
    network.cut("ab")
    network.run(1)
    assert len(of_one.take()) == 2, "gone by one way, here by another"
    assert [each.change for each in of_all.take()] == [Change.RESYNC]
    assert local.take() == []
    assert len(made) < 10


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 1 << 32), st.sampled_from([Query(), Query(service="x"), Query(link="network"), Query(router="c")])
)
def test_who_applies_all_events_knows_what_the_table_says(
    monkeypatch: pytest.MonkeyPatch, seed: int, query: Query
) -> None:
    monkeypatch.setattr("router.table.AT_ONCE", 1)  # so that ways change while services wait to be taken in
    monkeypatch.setattr("router.choice.STEP", 1)
    random = Random(seed)
    links = {"ab", "bc", "ad", "dc"}
    network = Network(*sorted(links))
    network.run(1)
    table = RoutingTable(gossip=network["a"].gossip, format_id=network["a"].table._format_id)
    known = {route.key: route for route in table.routes(query)}
    watch = table.watch(query, lambda: None)
    table.watch(Query(service="y"), lambda: None)
    for _ in range(20):
        happens = random.randrange(6)
        link = random.choice(["ab", "bc", "ad", "dc"])
        if happens == 0 and link in links:
            network.cut(link)
            links.remove(link)
        elif happens == 0:
            network.link(link, random.choice((1, 50)))
            links.add(link)
        elif happens == 1:
            table.set_local([service(name, instance(name)) for name in "xyz" if random.random() < 0.5], network.now)
        elif happens == 2:
            table.apply(by_hand(random.choice("xy"), random.randrange(3)), network.now, ttl=random.choice((None, 1)))
        elif happens == 3 and (rows := table.routes(Query())):
            route = replace(random.choice(rows), metric=random.randrange(3))
            random.choice((table.apply, table.withdraw))(route, network.now)
        else:
            network.offer(random.choice("bcd"), *(name for name in "xyz" if random.random() < 0.5))
        network.run(random.choice((0, 0.01, 2)))
        for _ in range(random.randrange(6)):
            table.handle_timeout(network.now)
            known = applied(known, watch.take())
            assert known == {route.key: route for route in table.routes(query)}
            assert len(known) == len(table.routes(query))
    table.settle(network.now)
    known = applied(known, watch.take())
    assert known == {route.key: route for route in table.routes(query)}
    fresh = RoutingTable(gossip=network["a"].gossip, format_id=table._format_id)
    fresh.settle(network.now)
    assert {name: {each.origin for each in table.origins_of(name)} for name in "xyz"} == {
        name: {each.origin for each in fresh.origins_of(name)} for name in "xyz"
    }, "it follows step by step what a new table finds at once"


def applied(known: dict[tuple[object, ...], Route], events: list[Event]) -> dict[tuple[object, ...], Route]:
    for change, _, route in events:
        assert route is not None
        if change is Change.DELETE:
            del known[route.key]
        else:
            assert (route.key in known) == (change is Change.UPDATE)
            known[route.key] = route
    return known


# Why.


def test_candidates_are_all_who_offer_it_with_what_speaks_against_them() -> None:
    network = Network("ab", "bc", "cd", "de", "ad")
    network.start("z", transit=False)
    for link in ("az", "zy", "ez"):
        if link[1] not in network.nodes:
            network.start(link[1])
        network.link(link, 3)
    for name in "bey":
        network.offer(name, "x")
    network["c"].gossip.set_services([replace(entry("x"), weight=0, protocols=("mucp",))], 0.0)
    network.run(2)
    a = network["a"]
    a.table.set_local([service("x", instance("here"))], network.now)
    found = a.table.candidates("x")
    assert [(each.name, each.standing.value) for each in found] == [
        ("a", "local"), ("b", "network"), ("e", "network"), ("y", "too_far"), ("c", "not_callable"),
    ]  # fmt: skip
    by_name = {each.name: each for each in found}
    assert by_name["y"].standing.value == "too_far"
    assert by_name["c"].standing.value == "not_callable"
    assert by_name["e"].names == ("d", "e")
    assert by_name["e"].links == (("a", "d", LinkTerms()), ("d", "e", LinkTerms()))
    assert by_name["e"].cost == 2
    assert by_name["b"].instances == 1
    assert (by_name["b"].spare, by_name["e"].spare) == (("d", "c", "b"), ())
    assert by_name["a"].changed == network.now
    offered = by_name["b"].changed
    assert 0 < offered < network.now
    network.run(5)
    network["a"].gossip.set_terms(network["b"].key.id, LinkTerms(delay=12), network.now)
    network.run(1)
    changed = {each.name: each.changed > offered + 5 for each in a.table.candidates("x")}
    assert (changed["b"], changed["e"]) == (True, False)
    network.cut("ab")
    network.cut("bc")
    network.run(1)
    assert {each.name: each.standing.value for each in a.table.candidates("x")}["b"] == "unreachable"
    closed = RoutingTable(gossip=a.gossip, format_id=bytes.hex, policy=Policy(imports=("y",)))
    closed.settle(network.now)
    assert {each.standing.value for each in closed.candidates("x")} == {"not_imported"}
    assert a.table.candidates("nothing") == []


def test_a_node_that_gave_way_to_its_twin_offers_nothing_remote() -> None:
    network = Network("ab", "bd", "de", key=FamilyKey)
    network.start("c", epoch=1)
    network.start("C", epoch=2)
    network.offer("b", "x")
    network.link("ac")
    network.link("eC")
    network.run(5)
    older = network["c"]
    watch = older.table.watch(Query(), lambda: None)
    assert older.sees("x")
    network.run(40)
    assert older.gossip.twin is not None
    assert older.gossip.twin.withdrawn
    assert not older.sees("x")
    assert older.table.routes(Query()) == []
    assert [each.change for each in watch.take()][-1:] == [Change.DELETE]
    assert [(each.name, each.standing.value) for each in older.table.candidates("x")] == [("b", "unreachable")]
    assert network["C"].sees("x")


def test_nobody_else_is_a_candidate_for_a_nodes_own_services() -> None:
    network = Network("ab")
    network.offer("b", "go.micro.router")
    network.run(1)
    table = network["a"].table
    table.set_local([service("go.micro.router", instance("here"))], network.now)
    assert [each.name for each in table.candidates("go.micro.router")] == ["a"]


def test_routes_by_hand_are_bounded() -> None:
    table = RoutingTable(gossip=gossip(Key("a")), format_id=bytes.hex)
    for number in range(10_000):
        table.apply(by_hand(address=f"{number}:1"), 0.0)
    with pytest.raises(TooManyRequests):
        table.apply(by_hand(address="more:1"), 0.0)
    table.apply(by_hand(address="5:1", metric=9), 0.0)


def test_of_local_services_that_stay_nothing_is_made_anew() -> None:
    a = Network("ab")["a"]
    table = RoutingTable(gossip=a.gossip, format_id=bytes.hex)
    stays, goes, comes = (
        Service(name=name, instances=(Instance(id="1", address=f"{name}:1"),)) for name in ("stays", "goes", "comes")
    )
    table.set_local((stays, goes), 0.0)
    instances, entries = table.local_instances("stays"), table.local_entries
    assert [entry.service for entry in entries] == ["goes", "stays"]
    newer = Service(name="stays", version="2", instances=(Instance(id="2", address="stays:2"),))
    table.set_local((comes, stays), 1.0)
    assert table.local_instances("stays") is instances
    assert table.local_instances("goes") == ()
    assert table.local_entries[1] is entries[1]
    assert [entry.service for entry in table.local_entries] == ["comes", "stays"]
    table.set_local((comes, stays, newer), 2.0)
    assert [each.address for each in table.local_instances("stays")] == ["stays:2", "stays:1"]
    assert [entry.version for entry in table.local_entries] == ["latest", "2", "latest"]
