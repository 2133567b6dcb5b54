"""What is spoken at an address that does not say: first the plain link, then the WebSocket, and what worked last.

Some networks pass nothing but HTTP, and the address does not show it. Trying costs a connection, or the handshake's
whole time where a front waits for the end of a request that never comes; so what worked is remembered, until it fails.
"""

from typing import Final

MAX_REMEMBERED: Final = 1000
"""Addresses of which it is known. They are those that are dialled; peers may add to them by telling where they are to
be called back."""


class Guesses:
    """The addresses at which a WebSocket worked and the plain link did not."""

    def __init__(self) -> None:
        self._websocket: set[str] = set()

    def at(self, address: str) -> tuple[str, ...]:
        """The addresses to dial, with their schemes, one after the other; one that has a scheme stands for itself."""
        if "://" in address:
            return (address,)
        if address in self._websocket:
            return (f"ws://{address}",)
        return f"tcp://{address}", f"ws://{address}"

    def found(self, address: str, dialled: str) -> None:
        """There is a node at the address, and it was reached by what `at` said of it."""
        if "://" in address or not dialled.startswith("ws://"):
            return
        if len(self._websocket) >= MAX_REMEMBERED:
            self._websocket.clear()
        self._websocket.add(address)

    def failed(self, address: str) -> None:
        """Nothing worked: next time it is tried from the beginning."""
        self._websocket.discard(address)
