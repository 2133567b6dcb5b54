"""The keys that let a peer in, and which of them each address took last.

A node takes several tokens while they are changed. It dials with the first; where that is refused, the others are
tried at once, and the one that worked comes first the next time.
"""

from collections.abc import Iterator, Sequence
from typing import Final

MAX_REMEMBERED: Final = 1000
"""Addresses of which it is known which key works. They are those that are dialled; peers may add to them by telling
where they are to be called back."""


class Keyring:
    """The keys in use. Its `repr` tells how many, never which."""

    def __init__(self) -> None:
        self.keys: tuple[bytes, ...] = ()
        """Those that a dialler may have used: 32 bytes each, this node's own choice first."""
        self._worked: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"<Keyring with {len(self.keys)} keys>"

    def replace(self, keys: Sequence[bytes]) -> None:
        """Takes these from now on. A handshake that has begun goes on with those it began with."""
        self.keys = tuple(keys)
        self._worked = {address: key for address, key in self._worked.items() if key in self.keys}

    def to_dial(self, address: str) -> Iterator[bytes]:
        """The keys to try at an address, one after the other."""
        keys = self.keys
        first = self._worked.get(address, keys[0])
        yield first
        for key in keys:
            if key != first:
                yield key

    def worked(self, address: str, key: bytes) -> None:
        """This key opened a link with the node at that address."""
        if key not in self.keys:
            return  # it was withdrawn during the handshake
        if key == self.keys[0]:
            self._worked.pop(address, None)
            return
        if len(self._worked) >= MAX_REMEMBERED:
            self._worked.clear()
        self._worked[address] = key
