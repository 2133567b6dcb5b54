"""The first node's choice: itself, its environment, or an origin and the path to it."""

import pytest

from proxy.balance import FORGET_ABOVE, origin_key
from proxy.paths import AVOID, MAX_AVOIDED
from proxy.pins import Labels
from sdk.errors import Forbidden, NotFound, TooManyRequests, Unavailable
from sdk.head import DEFAULT, IDEMPOTENT, CallHead
from sdk.port import Port
from sdk.port.inner import inner_pair
from sdk.port.native import NativePort
from sdk.selector import EJECT_AFTER, FIRST_EJECTION, Load
from sdk.types import Instance
from sdk.wire.mux import Mux

from .chain import A, B, C, Clock, Node, far_origin

GREETER = CallHead("greeter", "Greeter.Hello")
D, E = b"d" * 16, b"e" * 16


def port(name: str) -> NativePort:
    return NativePort(Mux(), role="node", dialled=True, name=name)


def node_a(gateway: str = "", *, elsewhere: bool = False, pin: str = "", max_calls: int = 0) -> Node:
    """Node a with links to b and c."""

    def dial(node: Node, address: str) -> Port:
        return port(f"instance {address}")

    node = Node(A, "a", dial, gateway=gateway, elsewhere=elsewhere, pin=pin, max_calls=max_calls)
    node.switch.link_up(B, port("link to b"))
    node.switch.link_up(C, port("link to c"))
    return node


@pytest.fixture
def node() -> Node:
    return node_a()


@pytest.fixture
def guest() -> Node:
    """Node a with a default gateway, b."""
    node = node_a("gate")
    node.routes.ways["gate"] = far_origin(B)
    return node


def local(**metadata: str) -> tuple[Instance, ...]:
    return (Instance(id="greeter-1", address="greeter:9000", metadata=metadata),)


def test_services_of_the_node_come_before_all_others(node: Node) -> None:
    near, _ = inner_pair(node.switch, Mux(), name="own", clock=Clock())
    node.ingress.own["greeter"] = near
    node.routes.instances["greeter"] = local(native="1")
    assert node.ingress.choose(GREETER, 0.0) == (near, b"", None, None)


def test_instances_of_this_environment_come_before_those_far_away(node: Node) -> None:
    node.routes.instances["greeter"] = local(native="1")
    node.routes.origins["greeter"] = (far_origin(B),)
    target = node.ingress.choose(GREETER, 0.0)
    assert (target.port.name, target.path) == ("instance greeter:9000", b"")


def test_an_instance_here_that_cannot_be_called_does_not_hide_one_far_away(node: Node) -> None:
    node.routes.instances["greeter"] = local(protocol="mucp")
    node.routes.origins["greeter"] = (far_origin(B),)
    assert node.ingress.choose(GREETER, 0.0).path == B


def test_only_instances_here_that_cannot_be_called_are_unavailable(node: Node) -> None:
    node.routes.instances["greeter"] = local(protocol="mucp")
    with pytest.raises(Unavailable, match="speak mucp only"):
        node.ingress.choose(GREETER, 0.0)


def test_the_path_leads_over_its_first_link_to_the_origin(node: Node) -> None:
    node.routes.origins["greeter"] = (far_origin(B, C),)
    target = node.ingress.choose(GREETER, 0.0)
    assert target.port is node.switch.links[B]
    assert target.path == B + C
    assert target.load is node.balancer.load(origin_key("greeter", C))


def test_calls_are_shared_within_the_cheapest_tier_only(node: Node) -> None:
    far = b"f" * 16
    node.routes.origins["greeter"] = (far_origin(B), far_origin(C, cost=20), far_origin(B, far, cost=99))
    chosen = []
    for _ in range(20):
        target = node.ingress.choose(GREETER, 0.0)
        assert target.load is not None
        target.load.started()
        chosen.append(target.path)
    assert chosen.count(B) == chosen.count(C) == 10


def test_a_call_that_failed_goes_to_another_origin_though_thousands_were_counted_since_the_first(node: Node) -> None:
    node.routes.origins["greeter"] = (far_origin(B), far_origin(C))
    failed = node.ingress.choose(GREETER, 0.0)
    assert failed.load is not None
    for number in range(FORGET_ABOVE):
        node.balancer.load(f"an instance that came and went {number}")
    for _ in range(10):
        failed = node.ingress.choose(GREETER, 0.0)
        assert failed.load is not None
        assert node.ingress.again(GREETER, 0.0, [failed.load]).path != failed.path


def test_an_origin_behind_a_link_that_just_went_down_is_passed_by(node: Node) -> None:
    node.routes.origins["greeter"] = (far_origin(B), far_origin(C), far_origin(C, b"d" * 16, cost=99))
    node.switch.link_down(B, node.switch.links[B])
    assert {node.ingress.choose(GREETER, 0.0).path for _ in range(20)} == {C}
    node.routes.origins["greeter"] = (far_origin(B), far_origin(C, b"d" * 16, cost=99))
    assert node.ingress.choose(GREETER, 0.0).path == C + b"d" * 16


def test_a_service_behind_links_that_just_went_down_is_known_but_unavailable(node: Node) -> None:
    node.routes.origins["greeter"] = (far_origin(B),)
    node.switch.link_down(B, node.switch.links[B])
    with pytest.raises(Unavailable, match="'greeter' have just gone down") as caught:
        node.ingress.choose(GREETER, 0.0)
    assert not caught.value.may_have_run


def test_a_service_out_of_reach_names_the_nodes_that_offer_it(node: Node) -> None:
    node.routes.unreachable["greeter"] = ("one", "two", "three", "four")
    with pytest.raises(Unavailable, match="'greeter' is offered at one, two, three, which"):
        node.ingress.choose(GREETER, 0.0)


def test_an_unknown_service_is_named_with_the_node_that_does_not_know_it(node: Node) -> None:
    with pytest.raises(NotFound, match="a: no service called 'greeter' is known here"):
        node.ingress.choose(GREETER, 0.0)


# Those who fail.


def eject(load: Load) -> None:
    for _ in range(EJECT_AFTER):
        load.observe(0.0, ok=False, began=0.0)


def paths(node: Node, now: float = 0.5) -> set[bytes]:
    return {node.ingress.choose(GREETER, now).path for _ in range(40)}


def test_an_origin_that_fails_for_one_service_is_as_good_as_ever_for_another(node: Node) -> None:
    node.routes.origins["greeter"] = node.routes.origins["other"] = (far_origin(B), far_origin(C))
    eject(node.balancer.load(origin_key("greeter", B)))
    assert paths(node) == {C}
    assert {node.ingress.choose(CallHead("other", ""), 0.5).path for _ in range(40)} == {B, C}


def test_where_the_cheapest_tier_has_failed_the_next_healthy_one_is_called(node: Node) -> None:
    node.routes.origins["greeter"] = (far_origin(B), far_origin(C, cost=99), far_origin(B, D, cost=500))
    for origin in (B, C):
        eject(node.balancer.load(origin_key("greeter", origin)))
    assert paths(node) == {B + D}
    eject(node.balancer.load(origin_key("greeter", D)))
    assert paths(node) == {B}


def test_a_tier_with_one_that_is_healthy_is_not_left(node: Node) -> None:
    node.routes.origins["greeter"] = (far_origin(B), far_origin(C), far_origin(B, D, cost=500))
    eject(node.balancer.load(origin_key("greeter", B)))
    assert paths(node) == {C}


def test_when_its_time_is_over_a_tier_is_tried_with_one_call(node: Node) -> None:
    node.routes.origins["greeter"] = (far_origin(B), far_origin(C, cost=99))
    eject(node.balancer.load(origin_key("greeter", B)))
    chosen = [node.ingress.choose(GREETER, FIRST_EJECTION).path for _ in range(10)]
    assert chosen == [B] + [C] * 9
    node.balancer.load(origin_key("greeter", B)).observe(FIRST_EJECTION, ok=True, began=1.0)
    assert paths(node, FIRST_EJECTION) == {B}


def test_instances_here_that_have_all_failed_leave_the_calls_to_others(node: Node) -> None:
    node.routes.instances["greeter"] = local(native="1")
    eject(node.balancer.load(node.routes.instances["greeter"][0].id))
    assert paths(node) == {b""}
    node.routes.origins["greeter"] = (far_origin(B),)
    assert paths(node) == {B}
    eject(node.balancer.load(origin_key("greeter", B)))
    assert paths(node) == {b""}


def test_instances_here_that_have_enough_to_do_leave_the_rest_to_others_where_there_are_some() -> None:
    node = node_a(max_calls=1)
    node.routes.instances["greeter"] = local(native="1")
    assert node.ingress.choose(GREETER, 0.0).path == b""
    node.balancer.load("greeter-1").started()
    for head in (GREETER, with_pins(network="test")):
        with pytest.raises(TooManyRequests, match=r"^1 calls to 'greeter' are open already"):
            node.ingress.choose(head, 0.0)
    node.routes.origins["greeter"] = (far_origin(B),)
    for head in (GREETER, with_pins(network="test")):
        assert node.ingress.choose(head, 0.0).path == B


def test_an_origin_with_more_instances_gets_more(node: Node) -> None:
    node.routes.origins["greeter"] = (far_origin(B)._replace(weight=3), far_origin(C))
    chosen = []
    for _ in range(80):
        target = node.ingress.choose(GREETER, 0.0)
        assert target.load is not None
        target.load.started()
        chosen.append(target.path)
    assert chosen.count(B) == pytest.approx(60, abs=3)


# Another try.


def again(node: Node, *failed: object, head: CallHead = GREETER) -> bytes:
    return node.ingress.again(head, 0.0, failed).path  # type: ignore[arg-type]


def test_another_try_goes_to_another_instance_then_to_another_node_and_then_to_whoever_there_is(node: Node) -> None:
    node.routes.instances["greeter"] = local(native="1")
    here = node.balancer.load(node.routes.instances["greeter"][0].id)
    assert again(node) == b""
    assert again(node, here) == b"", "there is nobody else"
    node.routes.origins["greeter"] = (far_origin(B), far_origin(C, cost=99))
    first, second = (node.balancer.load(origin_key("greeter", origin)) for origin in (B, C))
    assert again(node, here) == B
    assert again(node, here, first) == C
    assert again(node, here, first, second) == B


def test_another_try_goes_to_a_healthy_node_rather_than_to_another_instance_that_has_failed_often(node: Node) -> None:
    one, other = local(native="1")[0], Instance(id="other", address="other:1", metadata={"native": "1"})
    node.routes.instances["greeter"] = (one, other)
    node.routes.origins["greeter"] = (far_origin(B),)
    assert again(node, node.balancer.load(one.id)) == b""
    eject(node.balancer.load(other.id))
    assert again(node, node.balancer.load(one.id)) == B


def test_another_try_goes_another_way_where_a_port_takes_no_calls(node: Node) -> None:
    node.routes.origins["greeter"] = (far_origin(B, D, spare=(C, D)),)
    assert again(node, node.switch.links[B]) == C + D
    assert again(node, node.switch.links[B], node.switch.links[C]) == B + D
    node.ingress.failed_edge(C + D, 0.0)
    assert again(node, node.switch.links[B]) == C + D, "a link that failed a moment ago is better than one that is full"


def test_a_call_that_is_pinned_is_tried_nowhere_else(node: Node) -> None:
    node.routes.origins["greeter"] = (far_origin(B, spare=(C, B)), far_origin(C))
    node.routes.ways["b"] = far_origin(B)
    assert again(node, node.balancer.load(origin_key("greeter", B)), head=to("b")) == B
    assert again(node, node.switch.links[B], head=to("b")) == C + B


def test_a_call_that_is_pinned_to_this_node_is_tried_at_another_of_its_instances(node: Node) -> None:
    one, other = local(native="1")[0], Instance(id="other", address="other:1", metadata={"native": "1"})
    node.routes.instances["greeter"] = (one, other)
    node.routes.origins["greeter"] = (far_origin(B),)
    for failed, left in ((one, other), (other, one)):
        target = node.ingress.again(to("a"), 0.0, [node.balancer.load(failed.id)])
        assert target.port.name == f"instance {left.address}"


def test_what_the_node_itself_answers_it_answers_again(node: Node) -> None:
    near, _ = inner_pair(node.switch, Mux(), name="own", clock=Clock())
    node.ingress.own["go.micro.network"] = near
    head = CallHead("go.micro.network", "Network.Nodes")
    assert node.ingress.again(head, 0.0, [near]).port is near


# Spare paths, and links that failed elsewhere.


def test_a_path_whose_first_link_is_down_gives_way_to_the_spare_at_once(node: Node) -> None:
    node.routes.origins["greeter"] = (far_origin(B, D, spare=(C, E, D)), far_origin(E, cost=99))
    node.switch.link_down(B, node.switch.links[B])
    target = node.ingress.choose(GREETER, 0.0)
    assert (target.port, target.path, target.load) == (
        node.switch.links[C],
        C + E + D,
        node.balancer.load(origin_key("greeter", D)),
    )


@pytest.mark.parametrize("edge", [B + D, D + E])
def test_a_path_over_a_link_that_failed_gives_way_to_the_spare_for_a_second(node: Node, edge: bytes) -> None:
    node.routes.origins["greeter"] = (far_origin(B, D, E, spare=(C, E)),)
    assert node.ingress.choose(GREETER, 10.0).path == B + D + E
    node.ingress.failed_edge(edge, 10.0)
    assert node.ingress.choose(GREETER, 10.0).path == C + E
    assert node.ingress.choose(GREETER, 9.99 + AVOID).path == C + E
    assert node.ingress.choose(GREETER, 10.0 + AVOID).path == B + D + E


@pytest.mark.parametrize("edge", [D + B, E + D, B + E, C + E])
def test_a_link_elsewhere_or_in_the_other_direction_changes_nothing(node: Node, edge: bytes) -> None:
    node.routes.origins["greeter"] = (far_origin(B, D, E, spare=(C, E)),)
    node.ingress.failed_edge(edge, 10.0)
    assert node.ingress.choose(GREETER, 10.0).path == B + D + E


def test_where_the_spare_is_no_good_either_another_origin_is_called(node: Node) -> None:
    spare = far_origin(B, D, spare=(C, E, D))
    node.routes.origins["greeter"] = (spare, far_origin(C, cost=99))
    node.ingress.failed_edge(B + D, 10.0)
    assert node.ingress.choose(GREETER, 10.0).path == C + E + D
    node.ingress.failed_edge(E + D, 10.5)
    assert node.ingress.choose(GREETER, 10.5).path == C
    assert node.ingress.choose(GREETER, 10.0 + AVOID).path == B + D
    node.ingress.failed_edge(B + D, 12.0)
    node.switch.link_down(C, node.switch.links[C])
    assert node.ingress.choose(GREETER, 12.0).path == B + D


def test_origins_that_are_not_behind_the_failed_link_share_its_calls(node: Node) -> None:
    node.routes.origins["greeter"] = (far_origin(B), far_origin(B, D, cost=2), far_origin(C, cost=3))
    node.ingress.failed_edge(B + D, 10.0)
    chosen = []
    for _ in range(20):
        target = node.ingress.choose(GREETER, 10.0)
        assert target.load is not None
        target.load.started()
        chosen.append(target.path)
    assert chosen.count(B) == chosen.count(C) == 10


def test_a_link_that_is_avoided_is_tried_where_no_other_way_is_left(node: Node) -> None:
    node.routes.origins["greeter"] = (far_origin(B, D),)
    node.ingress.failed_edge(B + D, 10.0)
    assert node.ingress.choose(GREETER, 10.0).path == B + D
    node.switch.link_down(B, node.switch.links[B])
    with pytest.raises(Unavailable, match="'greeter' have just gone down"):
        node.ingress.choose(GREETER, 10.0)


def test_a_link_that_fails_again_is_avoided_for_another_second(node: Node) -> None:
    node.routes.origins["greeter"] = (far_origin(B, D, spare=(C, D)),)
    node.routes.origins["other"] = (far_origin(B, E, spare=(C, E)),)
    node.ingress.failed_edge(B + D, 10.0)
    node.ingress.failed_edge(B + E, 10.2)
    node.ingress.failed_edge(B + D, 10.5)
    assert node.ingress.choose(GREETER, 11.3).path == C + D
    assert node.ingress.choose(CallHead("other", ""), 11.3).path == B + E


def test_of_too_many_failed_links_the_latest_are_avoided(node: Node) -> None:
    for number in range(MAX_AVOIDED + 1):
        node.ingress.failed_edge(B + number.to_bytes(16, "big"), 10.0)
    first, second = bytes(16), bytes(15) + b"\1"
    node.routes.origins["greeter"] = (far_origin(B, first, spare=(C, first)),)
    assert node.ingress.choose(GREETER, 10.0).path == B + first
    node.routes.origins["greeter"] = (far_origin(B, second, spare=(C, second)),)
    assert node.ingress.choose(GREETER, 10.0).path == C + second


# The default gateway.


def test_a_service_nobody_offers_goes_to_the_default_gateway(guest: Node) -> None:
    head = CallHead("greeter", "Greeter.Hello", flags=IDEMPOTENT)
    target = guest.ingress.choose(head, 0.0)
    assert (target.port, target.path, target.head_flags) == (guest.switch.links[B], B, IDEMPOTENT | DEFAULT)


def test_a_service_that_is_offered_does_not_go_to_the_gateway(guest: Node) -> None:
    guest.routes.origins["greeter"] = (far_origin(C),)
    load = guest.balancer.load(origin_key("greeter", C))
    assert guest.ingress.choose(GREETER, 0.0) == (guest.switch.links[C], C, load, None)
    guest.routes.instances["greeter"] = local(native="1")
    assert guest.ingress.choose(GREETER, 0.0).path == b""


def test_a_service_that_is_offered_out_of_reach_or_in_a_tongue_unknown_does_not_go_to_the_gateway(guest: Node) -> None:
    guest.routes.unreachable["greeter"] = ("one",)
    with pytest.raises(Unavailable, match="offered at one"):
        guest.ingress.choose(GREETER, 0.0)
    guest.routes.instances["greeter"] = local(protocol="mucp")
    with pytest.raises(Unavailable, match="speak mucp only"):
        guest.ingress.choose(GREETER, 0.0)


def test_services_of_the_node_itself_are_never_sent_to_a_gateway_but_others_of_like_names_are(guest: Node) -> None:
    for name in ("go.micro.network", "go.micro.router", "go.micro.registry"):
        with pytest.raises(NotFound, match="a: no service called"):
            guest.ingress.choose(CallHead(name, ""), 0.0)
    assert guest.ingress.choose(CallHead("go.micro.srv.greeter", ""), 0.0).path == B


def test_the_gateways_spare_path_serves_as_well(guest: Node) -> None:
    guest.routes.ways["gate"] = far_origin(B, D, spare=(C, D))
    guest.ingress.failed_edge(B + D, 0.0)
    target = guest.ingress.choose(GREETER, 0.0)
    assert (target.path, target.head_flags) == (C + D, DEFAULT)


def test_a_gateway_that_cannot_be_reached_is_named(guest: Node) -> None:
    guest.switch.link_down(B, guest.switch.links[B])
    with pytest.raises(Unavailable, match="'greeter' is known here, and the default gateway 'gate' cannot be reached"):
        guest.ingress.choose(GREETER, 0.0)
    guest.routes.ways.clear()
    with pytest.raises(Unavailable, match="'gate' cannot be reached"):
        guest.ingress.choose(GREETER, 0.0)


def test_a_node_is_no_gateway_of_its_own() -> None:
    with pytest.raises(NotFound, match="a: no service called 'greeter' is known here"):
        node_a("a").ingress.choose(GREETER, 0.0)


def test_what_becomes_of_calls_through_the_gateway_says_nothing_of_its_own_services(guest: Node) -> None:
    load = guest.ingress.choose(GREETER, 0.0).load
    assert load is not None
    assert load is not guest.balancer.load(origin_key("greeter", B))
    assert load is guest.ingress.choose(CallHead("another", ""), 0.0).load


def test_the_gateway_extends_a_call_by_no_more_links_than_it_has_left(guest: Node) -> None:
    guest.routes.origins["greeter"] = (
        far_origin(B, D, E, spare=(C, E)),
        far_origin(B, D, cost=99),
        far_origin(B, cost=100),
    )
    head = CallHead("greeter", "", flags=DEFAULT | IDEMPOTENT)
    target = guest.ingress.extend(head, 2, 0.0)
    assert (target.path, target.head_flags) == (C + E, IDEMPOTENT)
    assert guest.ingress.extend(head, 1, 0.0).path == B
    with pytest.raises(Unavailable, match="'greeter' is within the 0 links that the call has left"):
        guest.ingress.extend(head, 0, 0.0)


def test_the_gateway_that_knows_nobody_says_so_and_asks_no_gateway_of_its_own(guest: Node) -> None:
    with pytest.raises(NotFound, match="a: no service called 'greeter' is known here"):
        guest.ingress.extend(CallHead("greeter", "", flags=DEFAULT), 2, 0.0)
    guest.routes.unreachable["greeter"] = ("one",)
    with pytest.raises(Unavailable, match="offered at one"):
        guest.ingress.extend(CallHead("greeter", "", flags=DEFAULT), 2, 0.0)


def test_what_changes_the_node_is_not_for_everybody(node: Node) -> None:
    near, _ = inner_pair(node.switch, Mux(), name="own", clock=Clock())
    node.ingress.own["go.micro.network"] = near
    node.egress.guarded.add(("go.micro.network", "Network.Connect"))
    connect = CallHead("go.micro.network", "Network.Connect")
    with pytest.raises(Forbidden, match=r"Network\.Connect changes this node.*MICRO_PROXY_TOKEN"):
        node.ingress.choose(connect, 0.0)
    assert node.ingress.choose(connect, 0.0, True).port is near
    assert node.ingress.choose(CallHead("go.micro.network", "Network.Nodes"), 0.0).port is near


def test_a_node_takes_no_raw_connections_to_itself(node: Node) -> None:
    near, _ = inner_pair(node.switch, Mux(), name="own", clock=Clock())
    node.ingress.own["go.micro.network"] = near
    with pytest.raises(NotFound, match="no raw connections"):
        node.ingress.choose(CallHead("go.micro.network", "", "tcp"), 0.0)


# Pins.


def test_a_call_for_a_service_of_the_node_itself_goes_to_the_node_that_it_is_pinned_to(node: Node) -> None:
    near, _ = inner_pair(node.switch, Mux(), name="own", clock=Clock())
    node.ingress.own["go.micro.network"] = near
    node.routes.ways.update(c=far_origin(B, C), e=far_origin(D, E))
    assert node.ingress.choose(to("c", "go.micro.network"), 0.0).path == B + C
    assert node.ingress.choose(to("a", "go.micro.network"), 0.0).port is near
    assert node.ingress.choose(to("A", "go.micro.network"), 0.0).port is near
    with pytest.raises(Unavailable, match="node 'x' only, which cannot be reached"):
        node.ingress.choose(to("x", "go.micro.network"), 0.0)
    with pytest.raises(Unavailable, match="links towards node 'e' have just gone down"):
        node.ingress.choose(to("e", "go.micro.network"), 0.0)
    with pytest.raises(NotFound, match="network 'other' only"):
        node.ingress.choose(CallHead("go.micro.network", "x", metadata=("micro-network", "other")), 0.0)


def to(node: str, service: str = "greeter") -> CallHead:
    return CallHead(service, "x", metadata=("other", "1", "micro-router", node))


def test_a_call_that_is_pinned_goes_to_that_node_though_others_are_nearer(node: Node) -> None:
    node.routes.instances["greeter"] = local(native="1")
    node.routes.origins["greeter"] = (far_origin(B), far_origin(C, cost=100))
    node.routes.ways["c"] = far_origin(C, cost=100)
    assert {node.ingress.choose(to("c"), 0.0).path for _ in range(20)} == {C}
    assert node.ingress.choose(GREETER, 0.0).path == b""


def test_a_call_that_is_pinned_to_a_node_without_the_service_is_not_found(node: Node) -> None:
    node.routes.instances["greeter"] = local(native="1")
    node.routes.origins["greeter"] = (far_origin(B),)
    node.routes.ways["c"] = far_origin(C)
    with pytest.raises(NotFound, match="node 'c', the only one that the call may go to, offers no service"):
        node.ingress.choose(to("c"), 0.0)


def test_a_call_that_is_pinned_to_nobody_who_is_known_is_unavailable(node: Node) -> None:
    node.routes.instances["greeter"] = local(native="1")
    with pytest.raises(Unavailable, match="node 'x' only, which cannot be reached"):
        node.ingress.choose(to("x"), 0.0)


def test_a_call_that_is_pinned_waits_for_no_link_that_is_down(node: Node) -> None:
    node.routes.origins["greeter"] = (far_origin(D, E), far_origin(B))
    node.routes.ways["e"] = far_origin(D, E)
    with pytest.raises(Unavailable, match="links towards node 'e' have just gone down"):
        node.ingress.choose(to("e"), 0.0)


@pytest.mark.parametrize("me", ["a", "A"])
def test_a_call_that_is_pinned_to_this_node_by_name_or_id_is_answered_here(node: Node, me: str) -> None:
    node.routes.origins["greeter"] = (far_origin(B),)
    with pytest.raises(NotFound, match="no instance of 'greeter' is left here"):
        node.ingress.choose(to(me), 0.0)
    node.routes.instances["greeter"] = local(native="1")
    assert node.ingress.choose(to(me), 0.0).port.name == "instance greeter:9000"


def test_a_node_that_is_its_own_gateway_by_id_has_none() -> None:
    node = node_a("A")
    with pytest.raises(NotFound):
        node.ingress.choose(GREETER, 0.0)


def test_an_end_of_a_tunnel_that_is_pinned_calls_that_node_unless_a_call_says_otherwise() -> None:
    node = node_a(elsewhere=True, pin="b")
    node.routes.origins["greeter"] = (far_origin(B), far_origin(C))
    node.routes.ways.update(b=far_origin(B), c=far_origin(C))
    assert {node.ingress.choose(GREETER, 0.0).path for _ in range(20)} == {B}
    assert {node.ingress.choose(to("c"), 0.0).path for _ in range(20)} == {C}


def with_pins(**pins: str) -> CallHead:
    metadata = [part for name, value in pins.items() for part in (f"micro-{name.replace('_', '-')}", value)]
    return GREETER._replace(metadata=("other", "1", *metadata))


def test_a_call_for_this_network_goes_as_any_other_and_one_for_another_network_goes_nowhere(node: Node) -> None:
    node.routes.origins["greeter"] = (far_origin(B),)
    assert node.ingress.choose(with_pins(network="test"), 0.0).path == B
    node.routes.instances["greeter"] = local(native="1")
    assert node.ingress.choose(with_pins(network="test"), 0.0).path == b""
    with pytest.raises(NotFound, match=r"of network 'prod' only \(micro-network\), .* of network 'test'"):
        node.ingress.choose(with_pins(network="prod"), 0.0)


def test_a_call_may_name_a_default_gateway_of_its_own(node: Node, guest: Node) -> None:
    for each in (node, guest):
        each.routes.ways.update(gate=far_origin(B), special=far_origin(C))
        target = each.ingress.choose(with_pins(gateway="special"), 0.0)
        assert (target.path, target.head_flags) == (C, DEFAULT)
        with pytest.raises(NotFound, match="no service called"):
            each.ingress.choose(with_pins(gateway="a"), 0.0)
        with pytest.raises(Unavailable, match="default gateway 'gone' cannot be reached"):
            each.ingress.choose(with_pins(gateway="gone"), 0.0)
        each.routes.origins["greeter"] = (far_origin(B, D),)
        assert each.ingress.choose(with_pins(gateway="special"), 0.0).path == B + D


@pytest.mark.parametrize(
    ("head", "asked"),
    [
        (with_pins(version="2"), ("2", ())),
        (with_pins(label_zone="eu", label_disk="fast"), ("", (("zone", "eu"), ("disk", "fast")))),
        (with_pins(version="2", label_zone="eu"), ("2", (("zone", "eu"),))),
    ],
)
def test_a_call_for_a_version_or_with_labels_goes_to_those_who_have_them(
    node: Node, head: CallHead, asked: tuple[str, Labels]
) -> None:
    one, other = local(native="1")[0], Instance(id="other", address="other:1", metadata={"native": "1"})
    node.routes.instances["greeter"] = (one,)
    node.routes.origins["greeter"] = (far_origin(B), far_origin(C))
    node.routes.matching["greeter"] = (far_origin(C),)
    assert {node.ingress.choose(head, 0.0).path for _ in range(20)} == {C}
    assert set(node.routes.asked) == {asked}
    node.routes.local_ones["greeter"] = (other,)
    assert node.ingress.choose(head, 0.0).port.name == "instance other:1"
    assert node.ingress.choose(GREETER, 0.0).port.name == "instance greeter:9000"


def test_a_call_for_a_version_that_nobody_has_is_not_found_though_others_are_there(guest: Node) -> None:
    guest.routes.origins["greeter"] = (far_origin(B),)
    with pytest.raises(NotFound, match="a: 'greeter' is known here, but none of version '2' and label zone=eu"):
        guest.ingress.choose(with_pins(version="2", label_zone="eu"), 0.0)
    guest.routes.origins.clear()
    assert guest.ingress.choose(with_pins(version="2"), 0.0).head_flags == DEFAULT, "the gateway may know one"


def test_a_call_may_be_for_a_version_at_a_node(node: Node) -> None:
    node.routes.ways.update(b=far_origin(B), c=far_origin(C))
    node.routes.origins["greeter"] = (far_origin(B), far_origin(C))
    node.routes.matching["greeter"] = (far_origin(C),)
    assert node.ingress.choose(with_pins(router="c", version="2"), 0.0).path == C
    with pytest.raises(NotFound, match=r"node 'b', .* offers no service called 'greeter' of version '2'"):
        node.ingress.choose(with_pins(router="b", version="2"), 0.0)
    with pytest.raises(NotFound, match="no instance of 'greeter' here is of version '2'"):
        node.ingress.choose(with_pins(router="a", version="2"), 0.0)


def test_another_try_of_a_call_for_a_version_goes_to_others_of_that_version_only(node: Node) -> None:
    node.routes.instances["greeter"] = local(native="1")
    node.routes.origins["greeter"] = (far_origin(B), far_origin(C), far_origin(B, D))
    node.routes.matching["greeter"] = (far_origin(C), far_origin(B, D))
    load = node.balancer.load(origin_key("greeter", C))
    assert again(node, load, head=with_pins(version="2")) == B + D
    node.routes.matching["greeter"] = (far_origin(C),)
    assert again(node, load, head=with_pins(version="2")) == C


def test_the_gateway_looks_for_the_version_as_well(guest: Node) -> None:
    guest.routes.origins["greeter"] = (far_origin(B), far_origin(C))
    guest.routes.matching["greeter"] = (far_origin(C),)
    head = with_pins(version="2")._replace(flags=DEFAULT)
    assert {guest.ingress.extend(head, 2, 0.0).path for _ in range(20)} == {C}
    guest.routes.matching.clear()
    with pytest.raises(NotFound):
        guest.ingress.extend(head, 2, 0.0)


# The other end only.


def test_through_a_tunnel_instances_of_this_side_are_no_candidates() -> None:
    node = node_a(elsewhere=True)
    node.routes.instances["greeter"] = local(native="1")
    node.routes.origins["greeter"] = (far_origin(B),)
    assert {node.ingress.choose(GREETER, 0.0).path for _ in range(20)} == {B}


@pytest.mark.parametrize("metadata", [{"native": "1"}, {"protocol": "mucp"}])
@pytest.mark.parametrize("protocol", ["rpc", "tcp"])
def test_what_runs_on_this_side_only_is_not_found_through_a_tunnel(metadata: dict[str, str], protocol: str) -> None:
    node = node_a(elsewhere=True)
    node.routes.instances["greeter"] = local(**metadata)
    with pytest.raises(NotFound, match="no service called 'greeter'"):
        node.ingress.choose(CallHead("greeter", "x", protocol=protocol), 0.0)


def test_two_ends_of_one_name_do_not_take_each_other_for_themselves() -> None:
    node = node_a(elsewhere=True, pin="a")
    node.routes.instances["greeter"] = local(native="1")
    node.routes.origins["greeter"] = (far_origin(B),)
    node.routes.ways["a"] = far_origin(B)
    assert node.ingress.choose(GREETER, 0.0).path == B


def test_a_service_is_known_wherever_it_is(node: Node) -> None:
    near, _ = inner_pair(node.switch, Mux(), name="own", clock=Clock())
    node.ingress.own["own"] = near
    node.routes.instances["here"] = local(protocol="mucp")
    node.routes.origins["far"] = (far_origin(B),)
    node.routes.unreachable["cut off"] = ("b",)
    known = [name for name in ("own", "here", "far", "cut off", "nowhere") if node.ingress.knows(name)]
    assert known == ["own", "here", "far", "cut off"]


@pytest.mark.parametrize(
    ("known", "meant"),
    [
        (("Web", "web", "WEB"), "Web"),
        (("web", "WEB"), "web"),
        (("WEB", "wEB"), "WEB"),
        (("wEB",), "wEB"),
        (("webs",), ""),
    ],
)
def test_a_host_means_the_service_of_its_name_else_one_in_another_case(
    node: Node, known: tuple[str, ...], meant: str
) -> None:
    for number, name in enumerate(known):
        if number % 2:
            node.routes.instances[name] = local(protocol="http")
        else:
            node.routes.origins[name] = (far_origin(B),)
    assert node.ingress.meant_by("Web") == meant


def test_a_dot_at_the_end_of_a_host_means_nothing(node: Node) -> None:
    node.routes.instances["Web"] = local(protocol="http")
    assert node.ingress.meant_by("web.") == "Web"
    node.routes.instances["web."] = local(protocol="http")
    assert node.ingress.meant_by("web.") == "web."


def test_through_a_tunnel_what_is_here_is_not_known() -> None:
    node = node_a(elsewhere=True)
    node.routes.instances["here"] = local(native="1")
    assert not node.ingress.knows("here")


def test_what_is_spoken_by_a_service_is_that_of_its_instances_here_and_elsewhere() -> None:
    for elsewhere, spoken in ((False, {"http", "grpc", "tcp"}), (True, {"grpc", "tcp"})):
        node = node_a(elsewhere=elsewhere)
        assert node.ingress.spoken_by("greeter") == set()
        node.routes.instances["greeter"] = local(protocol="http")
        node.routes.origins["greeter"] = (far_origin(B), far_origin(C)._replace(protocols=("grpc", "tcp")))
        assert node.ingress.spoken_by("greeter") == spoken
        near, _ = inner_pair(node.switch, Mux(), name="own", clock=Clock())
        node.ingress.own["greeter"] = near
        assert node.ingress.spoken_by("greeter") == set(), "the node itself takes no raw connections"
