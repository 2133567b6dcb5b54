"""What a peer may do to us: limits with their precedents, and the count of what costs us more than it costs the
peer."""

from typing import Final

from sdk.wire.http2 import ConnectionFault, ErrorCode

MAX_FRAMES: Final = 64
"""Frames handled in one go, then other connections have their turn: of a small call each way two or three."""

MAX_STREAMS: Final = 10_000
"""Streams that a program may have open on one connection, as on a native one. Envoy and nginx offer 100 and 128, grpc
servers any number; here a stream that is open costs a kilobyte."""

BEFORE_SETTINGS: Final = 100
"""Streams that are opened before a peer has said how many it takes: it should not take fewer (RFC 9113, 6.5.2; Go's
client opens as many)."""

MAX_ANSWERS: Final = 1000
"""Answers to PINGs, SETTINGS and broken streams that may wait for a peer to read them (CVE-2019-9512, 9514, 9515;
nghttp2 and Go draw the same line)."""

MAX_BACKLOG: Final = 16 << 20
"""Bytes that may wait for a peer to read them, or to open its windows, before calls it makes are refused
(CVE-2019-9511, 9517)."""

MAX_BLOCK: Final = 65536
"""Bytes of a header block in all its frames."""

MAX_CONTINUATIONS: Final = 8
"""Frames that continue one (CVE-2024-27316 and its kin; nghttp2 takes as many)."""

MAX_NUISANCES: Final = 1000
"""Nuisances that a peer may cause at once: streams it opens and takes back before their answer (CVE-2023-44487), those
it makes us break (CVE-2025-8671), frames that say nothing (CVE-2019-9518), new settings. nghttp2 allows so many
resets."""

NUISANCES_PER_SECOND: Final = 200.0
"""How many it may go on causing. nghttp2 allows 33 resets; gRPC clients that hedge their calls, and take back the
slower one of each two, cause more."""

MAX_CUT: Final = 1000
"""Streams that we broke and of which frames may still be under way."""

WIDE: Final = 1 << 30
"""The connection's window, which is kept so wide open that only those of its streams count."""


class Patience:
    """How many nuisances are still borne: a bucket that fills with time."""

    __slots__ = ("_at", "_left")

    def __init__(self) -> None:
        self._left = float(MAX_NUISANCES)
        self._at = 0.0

    def lose(self, now: float, what: str, weight: int = 1) -> None:
        """One more nuisance, or one that counts as several. Raises `ConnectionFault` when it was one too many."""
        left = min(MAX_NUISANCES, self._left + (now - self._at) * NUISANCES_PER_SECOND)
        if left < weight:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"the peer goes on to {what}")
        self._left, self._at = left - weight, now
