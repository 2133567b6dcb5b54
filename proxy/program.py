"""The port of a program that speaks frames, until its HELLO and its token are there, and afterwards."""

import math
from collections.abc import Callable

from sdk.errors import MicroError, Status, Unauthorized, Unavailable
from sdk.port import Sink
from sdk.port.native import NativePort
from sdk.types import Service
from sdk.wire.frame import DEREGISTER, REGISTER, Hello
from sdk.wire.registration import (
    Refused,
    Registered,
    pack_refused,
    pack_registered,
    parse_registered_untrusted,
    parse_registration_untrusted,
)

from .attached import Attached
from .doorkeeper import Doorkeeper
from .speaks import ATTACHED


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
        attached: Attached,
        peer: str,
        on_attached: Callable[[], None],
        shown: bytes = b"",
    ) -> None:
        """`host` is the address the program comes from, `peer` the same with its port; `refused` hears, once, that the
        HELLO did not let it in. `attached` takes the services that it offers on this connection; `on_attached` hears of
        each. `shown` is the token that it showed before, in place of the one in its HELLO."""
        super().__init__(sink, role="node", dialled=False, name=name)
        self.reason = ""
        """Why it is gone."""
        self._host = host
        self._shown = shown
        self._doorkeeper = doorkeeper
        self._refused = refused
        self._hello_due = hello_due
        self._objection = ""
        self._attached = attached
        self._address = ATTACHED + peer
        self._on_attached = on_attached

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

    def on_registration(self, kind: int, payload: bytes) -> None:
        """Takes a service that attaches, or takes it out, and says so."""
        self._count_answer()
        if kind == DEREGISTER:
            key = parse_registered_untrusted(payload)
            self._attached.deregister(self, key)
            self.withdrawn(Refused(key, Status.OK, ""))
            return
        service = parse_registration_untrusted(payload, self._address)
        key = Registered(service.name, service.version)
        try:
            self._attach(service, len(payload))
        except MicroError as error:
            self.withdrawn(Refused(key, error.grpc, error.detail))
        else:
            self.send(REGISTER, 0, 0, pack_registered(key))

    def withdrawn(self, refused: Refused) -> None:
        """Tells the program that a service of its is not registered."""
        self.send(DEREGISTER, 0, 0, pack_refused(refused))

    def go_away(self) -> None:
        """Tells the program to open nothing new here. A service that is attached goes on to be called."""
        told = self.draining
        super().go_away()
        self.draining = told

    def refuse(self) -> None:
        """Refuses what it opens from now on, likewise."""
        told = self.draining
        super().refuse()
        self.draining = told

    def connection_lost(self, reason: str) -> None:
        """Keeps the reason for the log. What was attached is gone before its calls are: they may go to another."""
        self.reason = self.reason or reason
        self._attached.gone(self)
        super().connection_lost(reason)

    def _attach(self, service: Service, size: int) -> None:
        if self._objection:
            raise Unauthorized(self._objection)
        if self._last_call or self.refusing:
            raise Unavailable("this node is stopping")
        self._attached.register(self, service, size)
        self._on_attached()
