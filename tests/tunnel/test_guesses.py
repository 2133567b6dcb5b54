import pytest

from tunnel import guesses as module
from tunnel.guesses import Guesses

BOTH = ("tcp://a:1", "ws://a:1")


@pytest.mark.parametrize("address", ["tcp://a:1", "ws://a:1/path", "wss://a:1", "mem://a"])
def test_an_address_with_a_scheme_stands_for_itself_whatever_happens(address: str) -> None:
    guesses = Guesses()
    guesses.found(address, address)
    guesses.failed(address)
    assert guesses.at(address) == (address,)


def test_the_plain_link_is_tried_first_then_the_websocket() -> None:
    guesses = Guesses()
    assert guesses.at("a:1") == BOTH
    guesses.found("a:1", "tcp://a:1")
    assert guesses.at("a:1") == BOTH


def test_a_websocket_that_worked_is_remembered_until_it_fails() -> None:
    guesses = Guesses()
    guesses.found("a:1", "ws://a:1")
    assert guesses.at("a:1") == ("ws://a:1",)
    assert guesses.at("b:1") == ("tcp://b:1", "ws://b:1")
    guesses.failed("a:1")
    guesses.failed("b:1")
    assert guesses.at("a:1") == BOTH


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 3)
    guesses = Guesses()
    for port in range(100):
        guesses.found(f"a:{port}", f"ws://a:{port}")
        assert guesses.at(f"a:{port}") == (f"ws://a:{port}",)
    assert sum(len(guesses.at(f"a:{port}")) == 1 for port in range(100)) <= 3
