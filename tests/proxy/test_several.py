"""Connections to instances that take two calls on each, by hand: no sockets, no event loop."""

import pytest

from proxy.several import SeveralConnections
from sdk.port.http2 import Http2CallingPort
from sdk.port.http2.limits import BEFORE_SETTINGS
from sdk.wire import http2
from sdk.wire.frame import END, OPEN, RESET
from tests.sdk.port.http2.ends import Raw, calling, open_payload, reset_payload

ADDRESS = "10.0.0.1:80"
SETTINGS = http2.pack_frame(http2.SETTINGS, 0, 0, http2.pack_settings({http2.MAX_CONCURRENT_STREAMS: 2}))


class Instance:
    """Has connections made to it."""

    def __init__(self) -> None:
        self.at_first: list[int] = []
        self.closed: list[Http2CallingPort] = []
        self.connections = SeveralConnections(self._dial)

    def _dial(self, address: str, at_first: int) -> Http2CallingPort:
        self.at_first.append(at_first)
        port, notes = calling(at_first=at_first)
        port.close = lambda reason: self.closed.append(port)
        Raw(port, notes).say(SETTINGS)
        return port

    def call(self) -> tuple[Http2CallingPort, int]:
        """Opens a call wherever there is room."""
        port = self.connections.port_to(ADDRESS)
        stream = port.next_stream()
        port.streams[stream] = None
        port.send(OPEN, END, stream, open_payload())
        return port, stream


def end(port: Http2CallingPort, stream: int) -> None:
    del port.streams[stream]
    port.send(RESET, 0, stream, reset_payload(1))


@pytest.fixture
def instance() -> Instance:
    return Instance()


def test_one_connection_is_used_for_as_long_as_it_has_room(instance: Instance) -> None:
    (one, _), (two, _), (three, _) = (instance.call() for _ in range(3))
    assert one is two
    assert three is not one
    assert instance.at_first == [BEFORE_SETTINGS, 2], "the second is not trusted to take more than the first"
    assert instance.connections.ports() == [(ADDRESS, three), (ADDRESS, one)]


def test_a_full_one_is_closed_with_its_last_call_and_takes_none_before(instance: Instance) -> None:
    (one, a), (_, b), (two, c) = (instance.call() for _ in range(3))
    end(one, a)
    assert instance.call()[0] is two
    assert not instance.closed
    end(one, b)
    assert instance.closed == [one]
    assert one.full
    instance.connections.forget(ADDRESS, one)
    end(two, c)
    assert instance.connections.ports() == [(ADDRESS, two)]
    assert instance.closed == [one], "the one in use stays"


def test_a_full_one_with_room_again_is_used_before_another_is_made(instance: Instance) -> None:
    (one, a), (_, b), (two, _), _ = (instance.call() for _ in range(4))
    end(one, a)
    again, c = instance.call()
    assert again is one
    end(one, b)
    end(one, c)
    assert not instance.closed, "it is in use"
    assert len(instance.at_first) == 2
    assert instance.connections.ports() == [(ADDRESS, one), (ADDRESS, two)]


def test_what_is_gone_is_forgotten_and_what_stands_aside_takes_its_place(instance: Instance) -> None:
    (one, a), _, (two, _) = (instance.call() for _ in range(3))
    end(one, a)
    instance.connections.forget(ADDRESS, two)
    assert instance.connections.port_to(ADDRESS) is one
    instance.connections.forget(ADDRESS, one)
    instance.connections.forget(ADDRESS, one)
    assert instance.connections.ports() == []


@pytest.mark.parametrize("how", ["dead", "draining"])
def test_what_ends_by_itself_does_not_stand_aside(instance: Instance, how: str) -> None:
    port, _ = instance.call()
    if how == "dead":
        port.connection_lost("broken")
    else:
        port.go_away()
    assert instance.call()[0] is not port
    assert instance.at_first == [BEFORE_SETTINGS, 2]
    assert port not in [kept for _, kept in instance.connections.ports()]
