import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.errors import BadRequest
from sdk.netaddress import is_loopback, is_private, join_address, split_address, split_host


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("host:80", ("host", 80)),
        (":8085", ("", 8085)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:65535", ("::1", 65535)),
        ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
    ],
)
def test_an_address_comes_apart_and_together_again(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts
    assert join_address(*parts) == address


@pytest.mark.parametrize(
    "address", ["", "host", "host:", "host:http", "host:65536", "host:-1", "host:٣", "::1:80", "[]:80", "host:00065536"]
)
def test_what_is_no_address_is_named_in_the_error(address: str) -> None:
    with pytest.raises(BadRequest) as caught:
        split_address(address)
    assert repr(address) in str(caught.value)


@given(st.text())
def test_whatever_is_split_only_the_documented_error_comes_out(address: str) -> None:
    try:
        host, port = split_address(address)
    except BadRequest:
        return
    assert 0 <= port <= 65535
    assert split_address(join_address(host, port)) == (host, port)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.1.1",
        "100.64.0.1", "::1", "fd00::1", "fe80::1", "fe80::1%eth0", "::ffff:10.0.0.1",
    ],
)  # fmt: skip
def test_loopback_and_private_networks_are_private(host: str) -> None:
    assert is_private(host)


@pytest.mark.parametrize(
    "host",
    [
        "8.8.8.8", "172.32.0.1", "192.169.0.1", "100.128.0.1", "0.0.0.0", "203.0.113.1", "2001:db8::1", "::",
        "::ffff:8.8.8.8", "localhost", "", "10.0.0",
    ],
)  # fmt: skip
def test_all_else_is_not(host: str) -> None:
    assert not is_private(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_this_host_is_told_from_others(host: str) -> None:
    assert is_loopback(host)
    assert is_private(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "::ffff:10.0.0.1", "fe80::1%lo", "0.0.0.0", "localhost", ""])
def test_others_are_not_this_host(host: str) -> None:
    assert not is_loopback(host)


def test_a_host_may_stand_without_a_port() -> None:
    for text, parts in {
        "greeter.example": ("greeter.example", 0),
        "greeter.example:80": ("greeter.example", 80),
        ":80": ("", 80),
        "::1": ("::1", 0),
        "[::1]": ("::1", 0),
        "[::1]:80": ("::1", 80),
        "": ("", 0),
    }.items():
        assert split_host(text) == parts
    for text in ("http://greeter", "http://greeter:80", "greeter:http", "a b", "a,b"):
        with pytest.raises(BadRequest, match="is no address"):
            split_host(text)


def test_of_an_address_that_is_none_is_told_what_is_too_much() -> None:
    with pytest.raises(BadRequest, match=r"'\[::1\]:70000' .*: expected host:port, the port from 0 to 65535$"):
        split_address("[::1]:70000")
    with pytest.raises(BadRequest, match=r"'http://localhost:8081' .*: expected host:port, without http://$"):
        split_address("http://localhost:8081")
