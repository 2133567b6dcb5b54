import socket

import pytest

from mesh.addresses import local_address, outward_hosts, told_addresses


@pytest.mark.parametrize(
    ("bound", "local"),
    [
        (("0.0.0.0:8085", "[::]:8085"), "127.0.0.1:8085"),
        (("[::]:8085",), "[::1]:8085"),
        (("10.0.0.7:1", "10.0.0.8:1"), "10.0.0.7:1"),
        (("mem://a",), "mem://a"),
    ],
)
def test_programs_of_this_machine_get_an_address_they_can_dial(bound: tuple[str, ...], local: str) -> None:
    assert local_address(bound) == local


def test_others_are_told_where_this_machine_goes_out() -> None:
    v4, v6 = outward_hosts()
    assert told_addresses(("0.0.0.0:8085", "[::]:8085")) == (f"{v4}:8085", f"[{v6}]:8085")
    assert told_addresses(("10.0.0.7:8085", "mem://a")) == ("10.0.0.7:8085", "mem://a")


def test_the_address_a_machine_goes_out_by_is_its_own() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.bind((outward_hosts()[0], 0))


def test_a_machine_that_does_not_go_out_has_its_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    assert outward_hosts() == ("127.0.0.1", "::1")
