"""At which of its addresses a peer is called back."""

import pytest

from tunnel.callback import called_back_at


@pytest.mark.parametrize(
    "address", ["10.0.0.5:8085", "b.example:8085", "tcp://b.example:8085", "ws://b.example:80", "wss://b.example:443/",
                "[fd00::5]:8085", "0x.example:8085", "12ab34:8085", "7.b:8085"],
)  # fmt: skip
def test_a_peer_is_called_back_where_it_says_that_it_is(address: str) -> None:
    assert called_back_at([address], "10.0.0.5") == (address,)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8500", "ws://localhost:8500", "LOCALHOST.:80", "[::1]:22", "[::ffff:127.0.0.1]:22", ":22",
                "0.0.0.0:22", "[::]:22", "[::0]:22", "[::1%1]:22", "127.1:22", "2130706433:22", "0X7f000001:22",
                "0177.0.0.1:22", "[::ffff:0.0.0.0]:22", "\uff11\uff12\uff17.1:22", "127.0.0.1.:22",
                "[::ffff:7f00:1]:22", "0x7f.1:22", "0:22", "a.localhost:22"],
)  # fmt: skip
def test_a_peer_of_another_host_is_not_called_back_on_this_one(address: str) -> None:
    assert called_back_at([address], "10.0.0.5") == ()
    assert called_back_at([address], "127.0.0.1") == (address,)


@pytest.mark.parametrize(
    "address", ["ws://10.0.0.9:80/shutdown", "wss://10.0.0.9:443/v1/x?y", "10.0.0.9", "10.0.0.9:0", "", "mem://b",
                "10.0.0.9:80/shutdown"],
)  # fmt: skip
def test_nobody_is_called_back_by_a_path_nor_where_no_node_can_be(address: str) -> None:
    assert called_back_at([address], "10.0.0.5") == ()


def test_who_came_by_memory_is_called_back_there() -> None:
    assert called_back_at(["mem://b", "10.0.0.9:1"], "") == ("mem://b", "10.0.0.9:1")
