"""Which fields go on with a call, and what may stand in them."""

import pytest

from sdk.wire.http1fields import (
    connection_options,
    forwarded_by,
    pairs,
    remember,
    service_of_host,
    trailer_lines_untrusted,
    trailers_of,
)
from sdk.wire.http1head import Malformed


@pytest.mark.parametrize(
    ("authority", "service"),
    [
        ("greeter", "greeter"),
        ("greeter:80", "greeter"),
        ("go.micro.srv.greeter", "go.micro.srv.greeter"),
        ("v2", "v2"),
        ("localhost", ""),
        ("localhost:8081", ""),
        ("127.0.0.1:8081", ""),
        ("10.0.0.1", ""),
        ("[::1]:8081", ""),
        ("", ""),
    ],
)
def test_a_host_names_a_service_unless_it_is_an_address(authority: str, service: str) -> None:
    assert service_of_host(authority) == service


def test_forwarded_names_the_program_as_rfc_7239_writes_addresses() -> None:
    assert forwarded_by("10.0.0.1") == b"for=10.0.0.1;proto=http"
    assert forwarded_by("2001:db8::1", "https") == b'for="[2001:db8::1]";proto=https'


def test_trailers_go_on_but_for_those_whose_absence_was_acted_upon() -> None:  # RFC 9110, 6.5.1
    fields = [("x-sum", "1"), ("content-length", "5"), ("transfer-encoding", "chunked"), ("host", "b"), ("x-sum", "2")]
    assert trailers_of(fields) == ("x-sum", "1", "x-sum", "2")
    told = ("X-Sum", "1", "Host", "b", "Authorization", "c", "X-Sum", "\xfc")
    assert trailer_lines_untrusted(told) == b"x-sum: 1\r\nx-sum: \xfc\r\n"


@pytest.mark.parametrize(
    "metadata", [("a", "b\r\nc: d"), ("a", "b\0"), ("a", "\u0100"), ("a b", "c"), ("", "c"), ("a: b\r\nc", "d"),
                 ("transfer-encoding: chunked, x", "y"), ("a", "b\n")],
)  # fmt: skip
def test_metadata_that_would_become_more_than_one_field_is_refused(metadata: tuple[str, ...]) -> None:
    with pytest.raises(Malformed):
        pairs(metadata)
    with pytest.raises(Malformed):
        trailer_lines_untrusted(metadata)


def test_connection_lists_options_in_any_spelling() -> None:
    fields = [("connection", "Keep-Alive, X-A"), ("a", "b"), ("connection", "close ,, ")]
    assert connection_options(fields) == {"keep-alive", "x-a", "close", ""}
    assert not connection_options([("a", "b")])


def test_what_is_remembered_is_bounded_in_number_and_size() -> None:
    memo: dict[bytes, int] = {}
    for number in range(3000):
        assert remember(memo, b"%d" % number, number) == number
    assert len(memo) <= 1024
    assert b"2999" in memo
    remember(memo, bytes(3000), 1)
    assert bytes(3000) not in memo
