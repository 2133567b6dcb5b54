"""What is attached to a node, as ports and records; with real programs in tests/test_attached_services.py."""

import pytest

from proxy.attached import AT_ONCE, MAX_BYTES, MAX_SERVICES, NOT_TRUSTED, PER_SECOND, Attached
from sdk.errors import Conflict, Forbidden, TooManyRequests, Unavailable
from sdk.port.native import NativePort
from sdk.types import Instance, Service
from sdk.wire.mux import Mux
from sdk.wire.registration import Refused, Registered


class Program(NativePort):
    """The port of a program."""

    def __init__(self, peer: str = "127.0.0.1:5", *, trusted: bool = True) -> None:
        super().__init__(Mux(), role="node", dialled=False, name=peer)
        self.address = f"attached/{peer}"
        self.trusted = trusted
        self.now = 0.0
        self.heard: list[Refused] = []

    def withdrawn(self, refused: Refused) -> None:
        self.heard.append(refused)

    def offering(self, name: str, version: str = "latest", *, id: str = "") -> Service:
        instance = Instance(id=id or f"{name}-{self.address}", address=self.address, metadata={"protocol": "grpc"})
        return Service(name=name, version=version, instances=(instance,))


class Seen:
    """What a node hears."""

    def __init__(self, *reserved: str) -> None:
        self.services: tuple[Service, ...] = ()
        self.changes = 0
        self.attached = Attached(reserved=reserved, changed=self.changed)

    def changed(self, services: tuple[Service, ...]) -> None:
        self.services = services
        self.changes += 1

    @property
    def names(self) -> list[tuple[str, str]]:
        return [(service.name, service.version) for service in self.services]


def test_a_service_is_there_from_its_registration_until_it_is_taken_back_or_its_connection_is_gone() -> None:
    seen, program, other = Seen(), Program(), Program("10.0.0.1:6")
    seen.attached.register(program, program.offering("greeter"), 100)
    seen.attached.register(other, other.offering("greeter"), 100)
    seen.attached.register(other, other.offering("clock"), 100)
    assert seen.names == [("greeter", "latest"), ("greeter", "latest"), ("clock", "latest")]
    assert seen.attached.port_to(program.address) is program
    assert seen.attached.port_to(other.address) is other
    assert seen.services[0].instances[0].native  # it takes frames: it has sent one
    seen.attached.deregister(other, Registered("greeter", "latest"))
    assert seen.names == [("greeter", "latest"), ("clock", "latest")]
    seen.attached.gone(program)
    assert seen.names == [("clock", "latest")]
    with pytest.raises(Unavailable, match=f"nothing is attached at {program.address}"):
        seen.attached.port_to(program.address)


def test_what_is_not_there_changes_nothing_when_it_goes() -> None:
    seen, program = Seen(), Program()
    seen.attached.gone(program)
    seen.attached.deregister(program, Registered("greeter", "latest"))
    assert not seen.changes


def test_a_second_record_of_one_name_and_version_takes_the_place_of_the_first() -> None:
    seen, program = Seen(), Program()
    seen.attached.register(program, program.offering("greeter", id="one"), 100)
    seen.attached.register(program, program.offering("greeter", id="two"), 100)
    seen.attached.register(program, program.offering("greeter", "2", id="three"), 100)
    assert [service.instances[0].id for service in seen.services] == ["two", "three"]


def test_who_may_not_change_the_node_may_not_attach_and_nobody_takes_a_name_of_the_node() -> None:
    seen = Seen("go.micro.network")
    stranger, program = Program(trusted=False), Program()
    with pytest.raises(Forbidden, match="MICRO_PROXY_TOKEN") as refused:
        seen.attached.register(stranger, stranger.offering("greeter"), 100)
    assert refused.value.detail == NOT_TRUSTED
    with pytest.raises(Conflict, match=r"go\.micro\.network is answered by this node itself"):
        seen.attached.register(program, program.offering("go.micro.network"), 100)
    with pytest.raises(Forbidden, match="this is not the proxy port of a node"):
        Attached().register(program, program.offering("greeter"), 100)
    assert not seen.changes


def test_an_instance_that_comes_again_takes_the_place_of_its_dead_connection() -> None:
    seen, dead, alive = Seen(), Program(), Program("127.0.0.1:6")
    seen.attached.register(dead, dead.offering("greeter", id="one"), 100)
    seen.attached.register(alive, alive.offering("greeter", id="one"), 100)
    assert [service.instances[0].address for service in seen.services] == [alive.address]
    assert [(refused.registered.name, refused.status) for refused in dead.heard] == [("greeter", 6)]
    seen.attached.gone(dead)
    assert seen.names == [("greeter", "latest")]


def test_a_connection_offers_so_many_services_and_no_more() -> None:
    seen, program = Seen(), Program()
    for number in range(MAX_SERVICES):
        seen.attached.register(program, program.offering(f"s{number}"), 100)
    with pytest.raises(TooManyRequests, match=f"{MAX_SERVICES} services"):
        seen.attached.register(program, program.offering("more"), 100)
    seen.attached.register(program, program.offering("s0"), 100)
    seen.attached.deregister(program, Registered("s1", "latest"))
    seen.attached.register(program, program.offering("more"), 100)
    assert len(seen.services) == MAX_SERVICES


def test_records_have_so_many_bytes_together_and_one_that_is_replaced_does_not_count() -> None:
    seen, program = Seen(), Program()
    seen.attached.register(program, program.offering("a"), MAX_BYTES - 100)
    with pytest.raises(TooManyRequests, match="1 MiB"):
        seen.attached.register(program, program.offering("b"), 101)
    seen.attached.register(program, program.offering("a"), MAX_BYTES)


def test_a_connection_changes_what_it_offers_so_often_and_no_more() -> None:
    seen, program = Seen(), Program()
    for _ in range(AT_ONCE):
        seen.attached.register(program, program.offering("greeter"), 100)
    with pytest.raises(TooManyRequests, match=f"{PER_SECOND} times a second"):
        seen.attached.register(program, program.offering("greeter"), 100)
    program.now = 1.0
    for _ in range(PER_SECOND):
        seen.attached.register(program, program.offering("greeter"), 100)
    with pytest.raises(TooManyRequests):
        seen.attached.register(program, program.offering("greeter"), 100)
