"""Chunks: taken apart wherever the connection cut them, and refused where implementations differ."""

import itertools

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.wire.http1chunks import LAST, MAX_EXTENSIONS, MAX_LINE, ChunkReader, chunk
from sdk.wire.http1head import MAX_HEAD, Malformed


def read(*pieces: bytes) -> tuple[bytes, ChunkReader]:
    reader = ChunkReader()
    return b"".join(reader.receive_untrusted(piece) for piece in pieces), reader


def test_a_body_ends_with_an_empty_chunk_and_what_is_behind_it_is_not_its() -> None:
    body, reader = read(b"5\r\nhello\r\nA;name=value\r\n, world wi\r\n0\r\n\r\nGET /")
    assert body == b"hello, world wi"
    assert reader.done
    assert reader.rest == b"GET /"


def test_trailers_come_behind_the_last_chunk() -> None:
    body, reader = read(b"1\r\nx\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n")
    assert (body, reader.trailers, reader.rest) == (b"x", [("x-sum", "1"), ("x-sum", "2")], b"")


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.lists(st.integers(0, 300), max_size=20))
def test_it_makes_no_difference_where_the_connection_cuts_a_body(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(map(chunk, parts)) + b"0\r\nA: b\r\n\r\nrest"
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader, rest, body = ChunkReader(), b"", b""
    for start, stop in itertools.pairwise(edges):
        if reader.done:
            rest += data[start:stop]
        elif start < stop:
            body += reader.receive_untrusted(data[start:stop])
    assert body == b"".join(parts)
    assert reader.done
    assert reader.rest + rest == b"rest"
    assert reader.trailers == [("a", "b")]


def test_a_long_chunk_is_passed_on_as_it_comes() -> None:
    reader = ChunkReader()
    assert reader.receive_untrusted(b"ffff\r\nfirst") == b"first"
    piece = bytes(1000)
    assert reader.receive_untrusted(piece) is piece


@pytest.mark.parametrize(
    "data",
    [
        b"5\nhello\r\n0\r\n\r\n",  # RFC 9112, 7.1: a bare LF behind the size (CVE-2025-22871, Go)
        b"5;a\nb\r\nhello\r\n",  # in an extension (CVE-2024-6827 and others)
        b"5;a\rb\r\nhello\r\n",
        b"5\r\nhello\n0\r\n\r\n",  # CVE-2025-43859, h11: any two bytes were taken for the line's end
        b"5\r\nhelloXX0\r\n\r\n",
        b"5\r\nhello\rX0\r\n\r\n",
        b"3\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n",  # CVE-2022-24801 (twisted), CVE-2022-24761 (waitress): int() of Python takes it
        b"+5\r\nhello\r\n",
        b"-5\r\nhello\r\n",
        b"1_0\r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"5 ;a\r\nhello\r\n",
        b"\r\nhello\r\n",
        b";a=b\r\nhello\r\n",
        b"G\r\n",
        b"10000000000000005\r\nhello\r\n",  # more than 64 bits (CVE-2013-2028, nginx)
        b"ffffffffffffffff\r\nhello\r\n",
        b"5;\0\r\nhello\r\n",
        b"0\r\nA : b\r\n\r\n",
        b"0\r\nA: b\n\r\n\r\n",
        b"0\r\n folded: b\r\n\r\n",
        b"0\r\nGET / HTTP/1.1\r\n\r\n",
    ],
)
def test_a_chunk_that_others_might_read_otherwise_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        read(data)
    with pytest.raises(Malformed):
        read(*(bytes([each]) for each in data))


def test_extensions_may_not_cost_more_than_they_are_worth() -> None:  # CVE-2023-39326, Go
    with pytest.raises(Malformed, match=str(MAX_LINE)):
        read(b"1;" + b"a" * MAX_LINE)
    one = b"1;" + b"a" * 200 + b"\r\nx\r\n"
    with pytest.raises(Malformed, match="extensions"):
        read(one * (MAX_EXTENSIONS // 200 + 1))
    assert read(one * 10)[0] == b"x" * 10


def test_trailers_are_as_short_as_a_head() -> None:
    with pytest.raises(Malformed):
        read(b"0\r\n", *[b"A: " + b"b" * 1000 + b"\r\n"] * (MAX_HEAD // 1000 + 1))


def test_what_is_written_another_implementation_reads() -> None:
    server = h11.Connection(h11.SERVER)
    server.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    server.receive_data(chunk(b"hello") + chunk(b"") + chunk(bytes(300)) + LAST)
    events = [server.next_event() for _ in range(4)]
    assert [bytes(event.data) for event in events if isinstance(event, h11.Data)] == [b"hello", bytes(300)]
    assert isinstance(events[-1], h11.EndOfMessage)
