"""Huffman strings of HPACK (RFC 7541, 5.2 and Appendix B): reading them.

The code is canonical: codes of one length follow one another in the order of their symbols, and each length goes on
where the one before it stopped. So the lengths are all of the table.

A string is read byte by byte. What a byte does at a place in the tree, which symbols it completes and where it leaves
off, is worked out when it is first met and remembered: header fields are text, and text meets a few hundred of the
65,000 combinations there are.

Nothing here writes such strings. A sender is free to (5.2), it saves a third of a header field that is sent in full,
and those are few: the next time a field is one byte.
"""

from typing import Final

from sdk.errors import RemoteProtocolError

LENGTHS: Final = (
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28,
    28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15,
    6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22,
    20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23,
    23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22,
    22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26,
    27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27,
    26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
)  # fmt: skip
"""Bits of the code of each of the 256 bytes, and of the end-of-string symbol, which no string may hold."""

EOS: Final = 256

_ROOT: Final = 1
"""A place in the tree is the bits that led there, behind a leading one."""

_PADDING: Final = frozenset((1 << bits + 1) - 1 for bits in range(8))
"""Where a string may end: at the root, or within up to seven bits of the end-of-string symbol, which are all ones."""


def _codes() -> dict[int, int]:
    """The symbol at each leaf."""
    leaves: dict[int, int] = {}
    code, length = 0, 0
    for symbol in sorted(range(257), key=lambda symbol: (LENGTHS[symbol], symbol)):
        code <<= LENGTHS[symbol] - length
        length = LENGTHS[symbol]
        leaves[1 << length | code] = symbol
        code += 1
    return leaves


_LEAVES: Final = _codes()
_steps: dict[tuple[int, int], tuple[int, bytes]] = {}


def decode_huffman_untrusted(data: bytes) -> bytes:
    """The string that was encoded; raises `RemoteProtocolError` for one that no encoder writes."""
    place, steps = _ROOT, _steps
    parts: list[bytes] = []
    for byte in data:
        step = steps.get((place, byte))
        if step is None:
            step = steps[place, byte] = _step(place, byte)
        place, symbols = step
        parts.append(symbols)
    if place not in _PADDING:
        raise RemoteProtocolError("a Huffman string is not padded with ones, or with more than seven bits")
    return b"".join(parts)


def _step(place: int, byte: int) -> tuple[int, bytes]:
    """Where a byte leads from a place, and the symbols on the way."""
    symbols = bytearray()
    for shift in range(7, -1, -1):
        place = place << 1 | (byte >> shift & 1)
        symbol = _LEAVES.get(place)
        if symbol is not None:
            if symbol == EOS:
                raise RemoteProtocolError("a Huffman string holds the end-of-string symbol")
            symbols.append(symbol)
            place = _ROOT
    return place, bytes(symbols)
