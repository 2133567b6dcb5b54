"""One connection of a program to the proxy port, while it is found out what it wants."""

from dataclasses import dataclass, field

from sdk.head import CallHead
from sdk.rawsocket import RawSocket

from .termination import ProgramTls

Transport = RawSocket | ProgramTls
"""What bytes come by: a socket, or the TLS over one that ends here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What is known of it so far."""

    socket: RawSocket
    """The connection itself."""
    due: float
    """When it has to have said what it wants, on trio's clock."""
    tls: ProgramTls | None = None
    """The TLS that ends here, where there is some."""
    token: bytes = field(default=b"", repr=False)
    """What it has shown already, on the way to where it is now."""
    inside: CallHead | None = None
    """The call that it asked for before, by CONNECT or SOCKS5, where it is looked for calls inside of it."""

    @property
    def transport(self) -> Transport:
        """What its next bytes come by."""
        return self.tls or self.socket

    @property
    def scheme(self) -> str:
        """What a URL of what it speaks begins with."""
        return "https" if self.tls else "http"

    @property
    def name(self) -> str:
        """What people call it."""
        return f"program {self.socket.peer}"

    @property
    def host(self) -> str:
        """The address it comes from."""
        return self.socket.peer_host
