"""The first node's choice: itself, its environment, or an origin and the path to it."""

import pytest

from proxy.inner import inner_pair
from sdk.errors import NotFound, Unavailable
from sdk.head import CallHead
from sdk.port import Port
from sdk.port.native import NativePort
from sdk.types import Instance
from sdk.wire.mux import Mux

from .chain import A, B, C, Clock, Node, far_origin

GREETER = CallHead("greeter", "Greeter.Hello")


def port(name: str) -> NativePort:
    return NativePort(Mux(), role="node", dialled=True, name=name)


@pytest.fixture
def node() -> Node:
    def dial(node: Node, address: str) -> Port:
        return port(f"instance {address}")

    node = Node(A, "a", dial)
    node.switch.link_up(B, port("link to b"))
    node.switch.link_up(C, port("link to c"))
    return node


def local(**metadata: str) -> tuple[Instance, ...]:
    return (Instance(id="greeter-1", address="greeter:9000", metadata=metadata),)


def test_services_of_the_node_come_before_all_others(node: Node) -> None:
    near, _ = inner_pair(node.switch, Mux(), name="own", clock=Clock())
    node.ingress.own["greeter"] = near
    node.routes.instances["greeter"] = local(native="1")
    assert node.ingress.choose(GREETER, 0.0) == (near, b"", None)


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
    assert target.load is node.balancer.load(C)


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
