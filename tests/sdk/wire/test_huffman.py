"""Huffman strings, against the `hpack` package, which writes them."""

import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from sdk.errors import RemoteProtocolError
from sdk.wire.huffman import EOS, LENGTHS, decode_huffman_untrusted

OTHERS = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


def bits(text: str) -> bytes:
    return int(text, 2).to_bytes(len(text) // 8, "big")


def test_the_lengths_are_those_of_appendix_b() -> None:
    assert list(LENGTHS) == list(REQUEST_CODES_LENGTH)


def test_every_byte_is_read() -> None:
    text = bytes(range(256))
    assert decode_huffman_untrusted(OTHERS.encode(text)) == text


@given(st.binary(max_size=300))
def test_what_another_implementation_writes_is_read(text: bytes) -> None:
    assert decode_huffman_untrusted(OTHERS.encode(text)) == text


def test_an_empty_string_is_empty() -> None:
    assert decode_huffman_untrusted(b"") == b""


@pytest.mark.parametrize(
    "data",
    [
        bits("11111111"),  # a whole byte of padding
        bits("00011111" + "11111111"),  # `a`, three bits of padding and eight more
        bits("00011000"),  # `a`, padded with zeros
        bits("00011110"),  # the last bit of the padding is no one
    ],
    ids=["eight bits", "eleven bits", "zeros", "a zero at the end"],
)
def test_padding_is_less_than_a_byte_of_ones_rfc7541_5_2(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="not padded"):
        decode_huffman_untrusted(data)


def test_the_end_of_string_symbol_is_an_error_rfc7541_5_2() -> None:
    assert LENGTHS[EOS] == 30
    with pytest.raises(RemoteProtocolError, match="end-of-string"):
        decode_huffman_untrusted(b"\xff" * 4)
