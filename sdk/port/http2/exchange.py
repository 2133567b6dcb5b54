"""What is known of one stream."""

from collections import deque

from sdk.port.standstill import Standstill
from sdk.wire.credit import Window
from sdk.wire.frame import INITIAL_CREDIT
from sdk.wire.hpack import Headers


class Exchange:
    """A request and its answer on one stream of a connection, which are a call and its answer at the switch."""

    __slots__ = (
        "began", "body", "call", "expected", "got_end", "grpc", "interim", "last", "moved", "pending", "room",
        "sent_end", "still", "taken", "unread", "waiting", "wanted", "window", "written",
    )  # fmt: skip

    interim: int
    """How many interim answers were passed on; there only after the first."""

    def __init__(self, window: int, *, grpc: bool) -> None:
        self.grpc = grpc
        """Whether the call is answered as gRPC's are, with a status behind the body."""
        self.window = window
        """Bytes of a body that the peer lets us send."""
        self.room = INITIAL_CREDIT
        """Bytes of a body that we let the peer send: what the far end of the call has granted."""
        self.pending: deque[bytes] | None = None
        """Body bytes that wait for the peer's window; None where nothing does."""
        self.waiting = 0
        """How many they are."""
        self.moved = 0
        """How many have ever waited and gone."""
        self.still: Standstill | None = None
        """How long nothing has moved, while something should."""
        self.taken = 0
        """Bytes of the peer's body so far, where they are counted."""
        self.last: Headers = ()
        """Trailers that wait behind them."""
        self.written = 0
        """Body bytes that were written and for which no credit was granted yet."""
        self.unread: Window | None = None
        """How much the far end may send ahead, once credit was granted."""
        self.sent_end = False
        """We send nothing more. Set when it is known, which may be before the last byte is written."""
        self.got_end = False
        """The peer sends nothing more."""
        self.wanted = True
        """Whether the far end wants what the peer sends."""
        self.began = False
        """Whether the answer has begun."""
        self.expected = -1
        """Bytes that the peer's body must still have, where it has said how long it is."""
        self.call: bytes | None = None
        """What is held back until the end of a read, to go into one frame with what follows it: the packed head of a
        request, or the beginning of an answer."""
        self.body = b""
        """The body bytes behind it."""
