"""The port of a program, as bytes and times; with real programs in `test_listener`."""

import math

import pytest

from proxy import doorkeeper
from proxy.attached import NOT_TRUSTED, Attached
from proxy.doorkeeper import Doorkeeper
from proxy.program import ProgramPort
from proxy.switch import Switch
from sdk.errors import RemoteProtocolError, Status, Unavailable
from sdk.types import Instance, Service
from sdk.wire import frame
from sdk.wire.frame import DEREGISTER, HELLO, PREFACE, REGISTER, Hello
from sdk.wire.registration import (
    Refused,
    Registered,
    pack_registered,
    pack_registration,
    parse_refused_untrusted,
    parse_registered_untrusted,
)
from tests.sdk.pair import frames_of

DUE = 5.0


class Program:
    """What a program sends to such a port."""

    def __init__(self, *tokens: bytes, host: str = "10.0.0.1", shown: bytes = b"") -> None:
        self.refused: list[str] = []
        self.closed: list[str] = []
        self.services: tuple[Service, ...] = ()
        self.watched: list[bool] = []
        self.port = ProgramPort(
            Switch(me=b"n" * 16, name="node"),
            host=host,
            name="program",
            doorkeeper=Doorkeeper(tokens),
            hello_due=DUE,
            refused=self.refused.append,
            shown=shown,
            attached=Attached(reserved=["go.micro.network"], changed=self.take),
            peer=f"{host}:5",
            on_attached=lambda: self.watched.append(True),
        )
        self.port.close = self.closed.append

    def say_hello(self, token: bytes = b"") -> None:
        hello = frame.pack_hello(Hello(1, "client", 100, token=token))
        self.port.receive_data(PREFACE + frame.pack_frame(HELLO, 0, 0, hello), 0.0)

    def take(self, services: tuple[Service, ...]) -> None:
        self.services = services

    def says(self, kind: int, payload: bytes) -> tuple[int, bytes]:
        """Sends a frame of the connection; what comes back."""
        self.port.data_to_send(0.0)
        self.port.receive_data(frame.pack_frame(kind, 0, 0, payload), 0.0)
        [(kind, _, _, payload)] = frames_of(self.port.data_to_send(0.0))
        return kind, payload

    def attaches(self, name: str) -> Refused | None:
        """Offers a service; why not, if not."""
        record = Service(name=name, instances=(Instance(id=f"{name}-1", address=""),))
        kind, payload = self.says(REGISTER, pack_registration(record))
        if kind == REGISTER:
            assert parse_registered_untrusted(payload) == (name, "latest")
            return None
        assert kind == DEREGISTER
        return parse_refused_untrusted(payload)


def test_without_a_hello_in_time_it_is_closed() -> None:
    program = Program()
    assert program.port.next_timeout() == DUE
    program.port.handle_timeout(DUE)
    assert program.closed == ["program said no HELLO in time"]


@pytest.mark.parametrize(
    ("tokens", "shown", "host", "trusted"),
    [
        ((), b"", "10.0.0.1", False),
        ((), b"", "127.0.0.1", True),
        ((b"secret",), b"secret", "10.0.0.1", True),
        ((b"secret",), b"", "127.0.0.1", True),
    ],
)
def test_who_is_let_in_stays_and_may_change_the_node_when_it_is_trusted(
    tokens: tuple[bytes, ...], shown: bytes, host: str, trusted: bool
) -> None:
    program = Program(*tokens, host=host)
    program.say_hello(shown)
    assert program.port.next_timeout() == math.inf
    assert program.port.trusted is trusted
    assert not program.refused


def test_who_is_not_let_in_hears_why_and_is_closed_in_time() -> None:
    program = Program(b"secret")
    program.say_hello(b"guess")
    assert program.refused == [doorkeeper.WRONG]
    assert not program.port.trusted
    assert program.port.next_timeout() == DUE
    program.port.handle_timeout(DUE)
    assert program.closed == [doorkeeper.WRONG]


def test_why_it_is_gone_is_what_was_said_first() -> None:
    port = Program().port
    port.connection_lost("the peer closed the connection")
    port.connection_lost("again")
    assert port.reason == "the peer closed the connection"


def test_a_token_that_was_shown_before_counts_in_place_of_the_one_in_the_hello() -> None:
    for token in (b"", b"guess"):
        program = Program(b"secret", shown=b"secret")
        program.say_hello(token)
        assert program.refused == []
        assert program.port.trusted


def test_a_service_attaches_until_it_takes_that_back_or_is_gone() -> None:
    program = Program(host="127.0.0.1")
    program.say_hello()
    assert program.attaches("greeter") is None
    assert [service.instances[0].address for service in program.services] == ["attached/127.0.0.1:5"]
    assert program.watched == [True]
    key = Registered("greeter", "latest")
    kind, answer = program.says(DEREGISTER, pack_registered(key))
    assert (kind, parse_refused_untrusted(answer)) == (DEREGISTER, Refused(key, Status.OK, ""))
    assert not program.services
    assert program.attaches("greeter") is None
    program.port.connection_lost("it was killed")
    assert not program.services


def test_a_service_that_may_not_attach_hears_why() -> None:
    for program, status, detail in (
        (Program(), Status.PERMISSION_DENIED, NOT_TRUSTED),
        (Program(b"secret"), Status.UNAUTHENTICATED, doorkeeper.MISSING),
    ):
        program.say_hello()
        assert program.attaches("greeter") == Refused(Registered("greeter", "latest"), status, detail)
        assert not program.services
        assert not program.watched
    program = Program(host="127.0.0.1")
    program.say_hello()
    refused = program.attaches("go.micro.network")
    assert refused is not None
    assert refused.status == Status.ALREADY_EXISTS


def test_a_registration_that_cannot_be_read_ends_the_connection() -> None:
    program = Program(host="127.0.0.1")
    program.say_hello()
    with pytest.raises(RemoteProtocolError):
        program.says(REGISTER, b"\xc1")


def test_a_node_that_stops_takes_no_service_and_still_calls_those_it_has() -> None:
    program = Program(host="127.0.0.1")
    program.say_hello()
    assert program.attaches("greeter") is None
    program.port.go_away()
    assert program.port.next_stream() == 2
    refused = program.attaches("clock")
    assert refused is not None
    assert (refused.status, refused.detail) == (Status.UNAVAILABLE, "this node is stopping")
    program.port.refuse()
    assert program.port.next_stream() == 4
    program.port.receive_data(frame.pack_frame(frame.GOAWAY, 0, 0, frame.pack_u32(0)), 0.0)
    program.port.refuse()
    with pytest.raises(Unavailable, match="draining"):
        program.port.next_stream()
