"""Raw TCP calls of programs that ask for the service first and wait for an answer, before the bytes begin.

How they ask is a protocol's business: `ConnectPort`, `SocksPort` and `ServerNamePort` say in the words of theirs what
came of it.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from sdk.wire import frame
from sdk.wire.frame import DATA, HEAD, RESET, Reset

from .tcp import TcpPort


class AnsweringPort(TcpPort, ABC):
    """A raw TCP port whose first words to the program are this node's own."""

    established: ClassVar[bytes] = b""
    """What the program is told when the service has taken the connection."""

    refused = ""
    """Why the service was not reached, if it was not."""

    _begun = False

    @abstractmethod
    def refusal(self, reset: Reset) -> bytes:
        """What the program is told when the service was not reached."""

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Takes one frame, as `TcpPort` does; the first says how the request went."""
        if not self._begun and kind in (HEAD, DATA):
            self._begun = True
            if self.established:
                self._say(self.established)
        elif not self._begun and kind == RESET:
            reset = frame.parse_reset_untrusted(payload)
            self.refused = reset.detail
            self.turn_away(self.refusal(reset))
            return
        super().send(kind, flags, stream, payload)

    def welcomed(self) -> None:
        """The program has been told that it is connected: how the call goes it learns as on any raw connection."""
        self._begun = True

    def turn_away(self, words: bytes) -> None:
        """Says these words to the program, and ends the connection."""
        self._begun = True
        self._say(words, last=True)
