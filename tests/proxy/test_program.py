"""The port of a program, as bytes and times; with real programs in `test_listener`."""

import math

import pytest

from proxy import doorkeeper
from proxy.doorkeeper import Doorkeeper
from proxy.program import ProgramPort
from proxy.switch import Switch
from sdk.wire import frame
from sdk.wire.frame import HELLO, PREFACE, Hello

DUE = 5.0


class Program:
    """What a program sends to such a port."""

    def __init__(self, *tokens: bytes, host: str = "10.0.0.1", shown: bytes = b"") -> None:
        self.refused: list[str] = []
        self.closed: list[str] = []
        self.port = ProgramPort(
            Switch(me=b"n" * 16, name="node"),
            host=host,
            name="program",
            doorkeeper=Doorkeeper(tokens),
            hello_due=DUE,
            refused=self.refused.append,
            shown=shown,
        )
        self.port.close = self.closed.append

    def say_hello(self, token: bytes = b"") -> None:
        hello = frame.pack_hello(Hello(1, "client", 100, token=token))
        self.port.receive_data(PREFACE + frame.pack_frame(HELLO, 0, 0, hello), 0.0)


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
