"""The last node's choice among instances."""

from random import Random

import pytest

from proxy.balance import Balancer
from proxy.egress import Egress
from proxy.tcp import TcpPort
from sdk.errors import Forbidden, NotFound, TooManyRequests, Unavailable
from sdk.head import CallHead
from sdk.port.inner import inner_pair
from sdk.port.native import NativePort
from sdk.types import Instance
from sdk.wire.mux import Mux

from .chain import StaticRoutes

GREETER = CallHead("greeter", "Greeter.Hello")


def instance(name: str, **metadata: str) -> Instance:
    return Instance(id=f"greeter-{name}", address=f"{name}:9000", metadata=metadata)


class PortsByAddress:
    """A dialer that remembers what it was asked for."""

    def __init__(self) -> None:
        self.ports: dict[str, NativePort] = {}

    def port_to(self, address: str) -> NativePort:
        return self.ports.setdefault(address, NativePort(Mux(), role="node", dialled=True, name=address))

    def raw_to(self, address: str) -> TcpPort:
        return TcpPort(Mux(), name=f"raw {address}", clock=lambda: 0.0)

    grpc_to = http_to = port_to


def egress_to(*instances: Instance, max_calls: int = 0) -> tuple[Egress, PortsByAddress, Balancer]:
    routes, dialer, balancer = StaticRoutes(), PortsByAddress(), Balancer(Random(1))
    if instances:
        routes.instances["greeter"] = instances
    return (
        Egress(
            name="here",
            instances=routes,
            dialer=dialer,
            balancer=balancer,
            max_calls=max_calls,
            flag_of_max_calls="--max-calls (MICRO_X)",
        ),
        dialer,
        balancer,
    )


def test_a_call_goes_to_the_address_of_an_instance_that_speaks_frames() -> None:
    egress, dialer, balancer = egress_to(instance("old", protocol="mucp"), instance("new", native="1"))
    assert egress.find(GREETER) is not None
    target = egress.choose(GREETER, 0.0)
    assert target.port is dialer.ports["new:9000"]
    assert target.path == b""
    assert target.load is balancer.load("greeter-new")


def test_a_busy_instance_is_left_in_peace() -> None:
    egress, _, balancer = egress_to(instance("one", native="1"), instance("two", native="1"))
    balancer.load("greeter-one").started()
    assert {egress.choose(GREETER, 0.0).port.name for _ in range(10)} == {"two:9000"}


def test_where_the_last_instance_has_gone_the_node_says_so() -> None:
    egress, dialer, _ = egress_to()
    assert egress.find(GREETER) is None
    with pytest.raises(NotFound, match="here: no instance of 'greeter' is left here"):
        egress.choose(GREETER, 0.0)
    assert not dialer.ports


def test_instances_that_no_node_can_call_are_named_by_what_they_speak() -> None:
    egress, dialer, _ = egress_to(instance("old", protocol="mucp"), instance("web", protocol="http"))
    assert egress.find(GREETER) is None
    with pytest.raises(Unavailable, match="'greeter' speak http, mucp only"):
        egress.choose(GREETER, 0.0)
    assert not dialer.ports


def test_raw_bytes_go_to_any_instance_over_a_connection_of_their_own() -> None:
    egress, dialer, balancer = egress_to(instance("db", protocol="tcp"))
    raw = CallHead("greeter", "", protocol="tcp")
    first, second = egress.choose(raw, 0.0), egress.choose(raw, 0.0)
    assert (first.port.name, second.port.name) == ("raw db:9000", "raw db:9000")
    assert first.port is not second.port
    assert first.load is balancer.load("greeter-db")
    assert not dialer.ports


def test_raw_bytes_and_calls_are_balanced_over_those_that_take_them() -> None:
    egress, _, _ = egress_to(instance("db", protocol="tcp"), instance("new", native="1"))
    assert {egress.choose(GREETER, 0.0).port.name for _ in range(20)} == {"new:9000"}
    raw = {egress.choose(CallHead("greeter", "", protocol="tcp"), 0.0).port.name for _ in range(40)}
    assert raw == {"raw db:9000", "raw new:9000"}


def test_a_service_is_known_when_it_has_an_instance() -> None:
    egress, _, _ = egress_to(instance("one", protocol="mucp"))
    assert egress.knows("greeter")
    assert not egress.knows("web")


def test_a_call_that_has_arrived_goes_to_an_instance_of_the_version_it_is_for() -> None:
    egress, _, balancer = egress_to(instance("one", native="1"), instance("two", native="1"))
    routes = egress._instances
    assert isinstance(routes, StaticRoutes)
    routes.local_ones["greeter"] = (instance("two", native="1"),)
    head = GREETER._replace(metadata=("micro-version", "2"))
    assert {egress.choose(head, 0.0).port.name for _ in range(10)} == {"two:9000"}
    assert {egress.choose(GREETER, 0.0).port.name for _ in range(20)} == {"one:9000", "two:9000"}
    with pytest.raises(Unavailable, match="speak grpc only"):
        egress.again(head, 0.0, [balancer.load("greeter-two")])
    routes.local_ones.clear()
    with pytest.raises(NotFound, match="here: no instance of 'greeter' here is of version '2'"):
        egress.choose(head, 0.0)


def test_another_instance_is_one_that_has_not_failed() -> None:
    egress, _, balancer = egress_to(instance("one", native="1"), instance("two", native="1"))
    one, two = balancer.load("greeter-one"), balancer.load("greeter-two")
    assert {egress.again(GREETER, 0.0, [one]).port.name for _ in range(10)} == {"two:9000"}
    with pytest.raises((NotFound, Unavailable)):
        egress.again(GREETER, 0.0, [one, two])


def test_no_more_calls_to_one_service_are_open_than_may_be() -> None:
    egress, _, balancer = egress_to(instance("one", native="1"), instance("two", native="1"), max_calls=2)
    for name in ("greeter-one", "greeter-two"):
        assert not egress.is_full("greeter")
        egress.choose(GREETER, 0.0)
        balancer.load(name).started()
    for choose in (egress.choose, lambda head, now: egress.again(head, now, [])):
        with pytest.raises(TooManyRequests, match=r"2 calls to 'greeter' .* --max-calls \(MICRO_X\)"):
            choose(GREETER, 0.0)
    assert egress.is_full("greeter")
    assert not egress.is_full("other")
    balancer.load("greeter-one").abandoned()
    egress.choose(GREETER, 0.0)


def test_without_a_limit_any_number_of_calls_is_open() -> None:
    egress, _, balancer = egress_to(instance("one", native="1"))
    balancer.load("greeter-one").pending = 1_000_000
    assert not egress.is_full("greeter")
    egress.choose(GREETER, 0.0)


def test_services_of_the_node_itself_answer_other_nodes_but_take_no_changes_of_them() -> None:
    near, _ = inner_pair(Mux(), Mux(), name="own", clock=lambda: 0.0)
    egress = Egress(
        name="here", instances=StaticRoutes(), dialer=PortsByAddress(), balancer=Balancer(Random(1)), own={"node": near}
    )
    egress.guarded.add(("node", "Node.Connect"))
    assert egress.choose(CallHead("node", "Node.Nodes"), 0.0).port is near
    with pytest.raises(Forbidden, match=r"Node\.Connect changes this node"):
        egress.choose(CallHead("node", "Node.Connect"), 0.0)
    with pytest.raises(NotFound, match="no raw connections"):
        egress.choose(CallHead("node", "", "tcp"), 0.0)


def test_services_of_the_node_itself_are_called_in_json_over_http_like_others() -> None:
    near, _ = inner_pair(Mux(), Mux(), name="own", clock=lambda: 0.0)
    json, _ = inner_pair(Mux(), Mux(), name="json", clock=lambda: 0.0)
    routes, balancer = StaticRoutes(), Balancer(Random(1))
    egress = Egress(
        name="here", instances=routes, dialer=PortsByAddress(), balancer=balancer, own={"node": near}, json=json
    )
    egress.guarded.add(("node", "Node.Connect"))
    assert egress.choose(CallHead("node", "/Node/Nodes", "http"), 0.0).port is json
    assert egress.choose(CallHead("node", "/Node/Nodes", "grpc"), 0.0).port is near
    with pytest.raises(Forbidden, match="not done in JSON over HTTP"):
        egress.to_itself(near, CallHead("node", "/Node/Connect", "http"), trusted=True)


def test_who_calls_what_nobody_here_speaks_is_told_what_they_speak() -> None:
    egress, _, _ = egress_to(instance("one", protocol="http"))
    with pytest.raises(Unavailable, match="speak http only, which no grpc call can reach"):
        egress.choose(CallHead("greeter", "/a.B/C", "grpc"), 0.0)


def test_what_the_instances_here_speak_is_known() -> None:
    routes = StaticRoutes()
    routes.instances["greeter"] = (instance("a"), instance("b", protocol="http"), instance("c"))
    egress = Egress(name="here", instances=routes, dialer=PortsByAddress(), balancer=Balancer(Random(1)))
    assert egress.spoken_by("greeter") == {"grpc", "http"}
    assert egress.spoken_by("nobody") == set()
