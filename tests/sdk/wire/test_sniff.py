"""Telling protocols apart by their first bytes."""

import pytest

from sdk.wire.sniff import is_undecided, spoken

TABLE = {b"\xffmicro": "frames", b"CONNECT ": "connect", b"\x05": "socks", b"COPY ": "copy"}


@pytest.mark.parametrize(
    ("first", "meant"),
    [
        (b"\xffmicro", "frames"),
        (b"\xffmicro\x01\x01 and more", "frames"),
        (b"CONNECT db:1", "connect"),
        (b"COPY /", "copy"),
        (b"\x05", "socks"),
    ],
)
def test_a_beginning_tells_the_protocol(first: bytes, meant: str) -> None:
    assert spoken(TABLE, first) == meant
    assert not is_undecided(TABLE, first)


@pytest.mark.parametrize("first", [b"", b"\xff", b"CO", b"CONNECT"])
def test_of_too_few_bytes_nothing_can_be_told_yet(first: bytes) -> None:
    assert spoken(TABLE, first) is None
    assert is_undecided(TABLE, first)


@pytest.mark.parametrize("first", [b"x", b"\xffx", b"CON ", b"connect ", b"\x04"])
def test_of_what_is_in_no_table_no_more_is_awaited(first: bytes) -> None:
    assert spoken(TABLE, first) is None
    assert not is_undecided(TABLE, first)
