"""Telling protocols apart by their first bytes."""

import pytest

from sdk.wire.sniff import ANY, MAX_LINE, Beginnings

LITERAL = {b"\xffmicro": "frames", b"\x05": "socks", b"PRI * HTTP/2.0\r\n": "http2"}
TABLE = Beginnings(LITERAL, {"CONNECT": "connect", ANY: "http"})
STRICT = Beginnings(LITERAL, {"CONNECT": "connect"})
"""One of a port that knows no other request."""


@pytest.mark.parametrize(
    ("first", "meant"),
    [
        (b"\xffmicro", "frames"),
        (b"\xffmicro\x01\x01 and more", "frames"),
        (b"\x05", "socks"),
        (b"PRI * HTTP/2.0\r\n\r\nSM", "http2"),
        (b"CONNECT db:1", "connect"),
        (b"COPY /", "http"),
        (b"BREW /pot HTTP/1.1\r\n", "http"),
        (b"get / HTTP/1.1\nHost", "http"),
        (b"PRI * HTTP/3.0\r\n", "http"),
        (b"CONNECTED / HTTP/1.0\r\n", "http"),
    ],
)
def test_a_beginning_tells_the_protocol(first: bytes, meant: str) -> None:
    assert TABLE.spoken(first) == meant
    assert not TABLE.is_undecided(first)


@pytest.mark.parametrize(
    ("first", "meant"), [(b"GET /", "http"), (b"X-Y / HTTP/1.1\r\n", "http"), (b"CONNECT a", "connect")]
)
def test_empty_lines_before_a_request_are_passed_over(first: bytes, meant: str) -> None:
    for lines in (b"\r\n", b"\r\n\r\n"):
        assert TABLE.spoken(lines + first) == meant
        assert TABLE.is_undecided(lines)
        assert TABLE.is_undecided(lines + first[:3])
        assert STRICT.spoken(lines + first) is None
        assert not STRICT.is_undecided(lines)
    assert TABLE.spoken(b"\r\n\xffmicro") is None
    assert TABLE.spoken(b"\n" + first) is None


@pytest.mark.parametrize(
    "first", [b"", b"\xff", b"CO", b"CONNECT", b"BREW", b"BREW ", b"BREW /pot HTTP/1.1", b"A \r", b"\r"]
)
def test_of_too_few_bytes_nothing_can_be_told_yet(first: bytes) -> None:
    assert TABLE.spoken(first) is None
    assert TABLE.is_undecided(first)


@pytest.mark.parametrize(
    "first",
    [b"\xffx", b"\x04", b" ", b"HELO\r\n", b"HELO x\r\n", b"B(W / H", b"A / HTTP/x.1\r\n", b"A" * MAX_LINE, b"A\nB"],
)
def test_of_what_is_in_no_table_no_more_is_awaited(first: bytes) -> None:
    assert TABLE.spoken(first) is None
    assert not TABLE.is_undecided(first)


@pytest.mark.parametrize("rest", [b"", b"\r", b"BREW /pot"])
def test_empty_lines_are_not_read_without_end(rest: bytes) -> None:
    lines = b"\r\n" * (MAX_LINE // 2)
    assert TABLE.is_undecided(lines[:-2])
    assert not TABLE.is_undecided(lines + rest)
    assert TABLE.spoken(lines + b"GET /") == "http"


@pytest.mark.parametrize("first", [b"GET /", b"BREW / HTTP/1.1\r\n", b"CON ", b"connect ", b"x"])
def test_without_any_method_only_those_that_are_listed_are_known(first: bytes) -> None:
    assert STRICT.spoken(first) is None
    assert not STRICT.is_undecided(first)
    assert STRICT.spoken(b"CONNECT db:1") == "connect"


def test_connect_is_not_any_method() -> None:
    assert Beginnings({}, {ANY: "http"}).spoken(b"CONNECT db:1 HTTP/1.1\r\n") is None
    assert not Beginnings({}, {ANY: "http"}).is_undecided(b"CONNECT db")
