"""How many strangers a link port bears at once, what it refuses them for, and how often it complains about them.

A handshake costs about a millisecond of CPU, which anybody may ask for. So there is a limit to those in progress and to
those begun in a second; a part of either is kept for addresses that a node came from before, and no address has more
than a quarter. A flood of strangers then keeps out strangers, and links that break come back.
"""

import enum
import ipaddress
from collections import Counter
from typing import Final

from sdk.errors import RemoteProtocolError

from .handshake import NotAdmitted, TokenDiffers
from .identity import NotSigned
from .noise import Damaged

MAX_IN_PROGRESS: Final = 64
"""Handshakes at one time."""
MAX_PER_SECOND: Final = 200
"""Handshakes begun per second."""
MAX_OF_STRANGERS: Final = 48
MAX_OF_STRANGERS_PER_SECOND: Final = 150
"""Likewise, of addresses that no node came from yet."""
MAX_OF_ONE: Final = 16
"""Handshakes at one time of one address, or of one IPv6 network of 64 bits, which is what one host is given."""
MAX_KNOWN: Final = 1000
"""Addresses that are remembered because a node came from them."""
COMPLAINT_EVERY: Final = 60.0
"""Seconds between two equal complaints about one host: a peer with a wrong token tries for ever."""
MAX_COMPLAINTS: Final = 1000
"""Complaints that are remembered."""


class Refusal(enum.Enum):
    """Why a connection to the link port came to no link, or a link to its end."""

    FROM_OUTSIDE = "from_outside"
    """From a public address, or through an HTTP proxy that forwards for others, under the default token."""
    TOO_MANY = "too_many"
    """Too many handshakes in progress, or begun within a second."""
    TOO_MANY_OF_ONE = "too_many_of_one"
    """Too many in progress from one address."""
    WRONG_TOKEN = "wrong_token"  # noqa: S105 - no token
    """Its token, or its network's name, is another."""
    NOT_ADMITTED = "not_admitted"
    """One of the two admits only some nodes, and not the other."""
    FALSE_CERTIFICATE = "false_certificate"
    """It showed a certificate that is not its own."""
    DAMAGED = "damaged"
    """What it sent was changed, forged, lost, doubled or moved on the way."""
    MALFORMED = "malformed"
    """It broke the rules of what it spoke, or spoke nothing known."""
    TIMED_OUT = "timed_out"
    """It did not finish in time."""
    BROKE_OFF = "broke_off"
    """It left before its handshake was done."""


class FromOutside(RemoteProtocolError):
    """Somebody forwards a connection for others, and nobody from outside is to be let in."""


def refusal_of(error: Exception) -> Refusal:
    """What a handshake failed of, or a link."""
    if isinstance(error, TokenDiffers):
        return Refusal.WRONG_TOKEN
    if isinstance(error, NotAdmitted):
        return Refusal.NOT_ADMITTED
    if isinstance(error, FromOutside):
        return Refusal.FROM_OUTSIDE
    if isinstance(error, NotSigned):
        return Refusal.FALSE_CERTIFICATE
    if isinstance(error, Damaged):
        return Refusal.DAMAGED
    if isinstance(error, RemoteProtocolError):
        return Refusal.MALFORMED
    return Refusal.BROKE_OFF


class Admission:
    """Counts handshakes in progress and begun, in a bucket that fills at the allowed rate."""

    def __init__(self) -> None:
        self.refused: Counter[Refusal] = Counter()
        """Connections that came to no link, by the reason."""
        self._of: Counter[str] = Counter()
        self._known: dict[str, None] = {}  # the latest last
        self._left = float(MAX_PER_SECOND)
        self._since = 0.0
        self._complaints: dict[tuple[str, str], float] = {}

    @property
    def in_progress(self) -> int:
        """Handshakes that have begun and not ended."""
        return self._of.total()

    def begin(self, host: str, now: float) -> Refusal | None:
        """Why no handshake may begin with this IP address now; if None, one begins, and `end` must be called after it.
        An empty host is one in memory, which is no stranger."""
        self._left = min(self._left + (now - self._since) * MAX_PER_SECOND, MAX_PER_SECOND)
        self._since = now
        place = place_of(host)
        if place and self._of[place] >= MAX_OF_ONE:
            return Refusal.TOO_MANY_OF_ONE
        known = not place or place in self._known
        most = MAX_IN_PROGRESS if known else MAX_OF_STRANGERS
        spare = 0 if known else MAX_PER_SECOND - MAX_OF_STRANGERS_PER_SECOND
        if self.in_progress >= most or self._left < spare + 1:
            return Refusal.TOO_MANY
        self._left -= 1
        self._of[place] += 1
        return None

    def end(self, host: str) -> None:
        """A handshake is over, however it went."""
        place = place_of(host)
        self._of[place] -= 1
        if not self._of[place]:
            del self._of[place]

    def succeeded(self, host: str) -> None:
        """A node was at this address: the next handshakes from there go before those of strangers."""
        place = place_of(host)
        if place:
            self._known.pop(place, None)
            if len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[place] = None

    def may_complain(self, host: str, reason: str, now: float) -> bool:
        """Whether this is new enough to be worth a line in the log."""
        complaints = self._complaints
        last = complaints.get((host, reason))
        if last is not None and now - last < COMPLAINT_EVERY:
            return False
        if len(complaints) >= MAX_COMPLAINTS:
            complaints.clear()
        complaints[host, reason] = now
        return True


def place_of(host: str) -> str:
    """What counts as one address: an IPv4 address, or the first half of an IPv6 one."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(address) >> 64 << 64))
