"""What became of a call, told once when it is over, at the node where it was opened."""

from typing import Final, NamedTuple

from sdk.errors import RemoteProtocolError, Status
from sdk.head import CallHead, parse_reply_head_untrusted, parse_trailers_untrusted
from sdk.wire import frame
from sdk.wire.frame import HEAD, TRAILERS

_MOST_KNOWN: Final = 256
_SHORT: Final = 512
_known: dict[bytes, int] = {}


class CallRecord(NamedTuple):
    """One call."""

    head: CallHead
    """Who was called, and how."""
    path: bytes
    """Ids of the nodes it was sent over, 16 bytes each; empty where it was answered in this environment, or nowhere."""
    tries: int
    """How often it was sent; 0 for a call that was refused here."""
    status: int
    """How it ended: a gRPC status, or that of HTTP where that tells of an error."""
    opened: float
    """When it came, and …"""
    ended: float
    """… when it was over: seconds of the clock that frames are stamped with."""


def http_status_of(payload: bytes) -> int:
    """What the head of an answer over HTTP says in its own status, where that is an error; else `OK`."""
    try:
        metadata = parse_reply_head_untrusted(frame.split_headed_untrusted(payload)[0]).metadata
    except RemoteProtocolError:
        return Status.UNKNOWN
    said = metadata[1] if metadata[:1] == (":status",) else ""
    return int(said) if len(said) == 3 and said.isascii() and said.isdecimal() and said >= "400" else Status.OK


def status_of(kind: int, flags: int, payload: bytes) -> int:
    """The status that the last frame of an answer says; `UNKNOWN` where it cannot be read. Those of answers that went
    well are the same few bytes every time, and read once."""
    if kind != HEAD and not flags & TRAILERS:
        return Status.OK
    length = payload[0] << 8 | payload[1]
    said = payload[2 : 2 + length]
    status = _known.get(said)
    if status is None:
        try:
            packed, _ = frame.split_headed_untrusted(payload)
            status = (
                parse_reply_head_untrusted(packed).status if kind == HEAD else parse_trailers_untrusted(packed).status
            )
        except RemoteProtocolError:
            return Status.UNKNOWN  # not to be kept: the same bytes may be a good end where this was a bad head
        if len(said) <= _SHORT:
            if len(_known) >= _MOST_KNOWN:
                _known.clear()
            _known[said] = status
    return status
