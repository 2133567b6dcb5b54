"""The port of a program that speaks frames, until its HELLO and its token are there, and afterwards."""

import math
from collections.abc import Callable

from sdk.errors import Status
from sdk.port import Sink
from sdk.port.native import NativePort
from sdk.wire.frame import Hello

from .doorkeeper import Doorkeeper


class ProgramPort(NativePort):
    """The port of a program: one that says no HELLO in time is closed.

    One that shows no right token is closed at that time too. Until then its calls are refused, each with the reason:
    that is how the program gets to know it.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        host: str,
        name: str,
        doorkeeper: Doorkeeper,
        hello_due: float,
        refused: Callable[[str], None],
        shown: bytes = b"",
    ) -> None:
        """`host` is the address the program comes from; `refused` hears, once, that the HELLO did not let it in;
        `shown` is the token that it showed before, in place of the one in its HELLO."""
        super().__init__(sink, role="node", dialled=False, name=name)
        self.reason = ""
        """Why it is gone."""
        self._host = host
        self._shown = shown
        self._doorkeeper = doorkeeper
        self._refused = refused
        self._hello_due = hello_due
        self._objection = ""

    def on_hello(self, hello: Hello) -> None:
        """Decides whether the program is let in."""
        token = self._shown or hello.token
        self._objection = self._doorkeeper.objection(self._host, token)
        self.trusted = self._doorkeeper.trusts(self._host, token)
        if self._objection:
            self._refused(self._objection)

    def next_timeout(self) -> float:
        """When the HELLO must have come, and with it the token."""
        return self._hello_due if self.hello is None or self._objection else math.inf

    def handle_timeout(self, now: float) -> None:
        """It did not."""
        if self.hello is None:
            self.close(f"{self.name} said no HELLO in time")
        elif self._objection:
            self.close(self._objection)

    def _admit(self, stream: int) -> bool:
        if not super()._admit(stream):
            return False
        if self._objection:
            self._refuse(stream, self._objection, Status.UNAUTHENTICATED)
        return not self._objection

    def connection_lost(self, reason: str) -> None:
        """Keeps the reason for the log."""
        self.reason = self.reason or reason
        super().connection_lost(reason)
