"""Questions to DNS and what is answered to them (RFC 1035), one message at a time.

Nothing here does I/O.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype

from sdk.errors import RemoteProtocolError

PAYLOAD: Final = 1232
"""Bytes of an answer that comes as one datagram; so many pass through every link (DNS flag day 2020)."""


class Records(NamedTuple):
    """The records of one name and type."""

    of: tuple[dns.rdata.Rdata, ...]
    """Each once, in no order."""
    good_for: float
    """Seconds they may be kept."""


NONE: Final = Records((), 0.0)
"""What is said of a name that does not exist, or has nothing of the type asked for."""


class Reply(NamedTuple):
    """What a server said to a question."""

    code: dns.rcode.Rcode
    """NOERROR and NXDOMAIN tell of the name; anything else tells of the server."""
    cut: bool
    """It was too long for the datagram: to be asked for over TCP."""
    elsewhere: bool
    """The server neither keeps the name nor asks others for it: that it says nothing means nothing."""
    name: dns.name.Name
    """What the name stands for by its CNAMEs, as far as they were said; itself where it has none."""
    records: Records
    """Those of that name, of the type asked for."""
    besides: Mapping[tuple[dns.name.Name, dns.rdatatype.RdataType], Records]
    """What was said without being asked for."""
    bad: tuple[str, ...]
    """What is wrong with each record that could not be read."""


def question(name: dns.name.Name, kind: dns.rdatatype.RdataType, *, extended: bool) -> dns.message.QueryMessage:
    """Asks for the records of a name, under a number nobody can guess.

    `extended` lets a datagram be longer than 512 bytes (EDNS, RFC 6891), which some old servers refuse.
    """
    return dns.message.make_query(name, kind, use_edns=0 if extended else None, payload=PAYLOAD if extended else None)


def parse_reply_untrusted(wire: bytes, asked: dns.message.Message) -> Reply:
    """Reads what came back for a question.

    A record that cannot be read spoils no other. Raises `RemoteProtocolError` where it is no answer, one to another
    question, or one of which nothing can be read.
    """
    try:
        return _read(wire, asked)
    except RemoteProtocolError:
        raise
    except Exception as error:  # what a parser that is not ours may raise is said nowhere
        raise RemoteProtocolError(f"it cannot be read: {_reason(error)}") from None


def _read(wire: bytes, asked: dns.message.Message) -> Reply:
    message = dns.message.from_wire(wire, ignore_trailing=True, continue_on_error=True)
    if not isinstance(message, dns.message.QueryMessage) or not asked.is_response(message):
        raise RemoteProtocolError("it answers another question")
    code, [question] = message.rcode(), asked.question
    if not message.question:  # servers that failed may leave it out
        return Reply(code, False, False, question.name, NONE, {}, ())
    found = message.resolve_chaining()
    bad = tuple(_reason(error.exception) for error in message.errors)
    cut = bool(message.flags & dns.flags.TC)
    if bad and found.answer is None and not cut:
        raise RemoteProtocolError(f"it cannot be read: {bad[0]}")
    records = NONE if found.answer is None else Records(tuple(found.answer), float(found.minimum_ttl))
    return Reply(
        code=code,
        cut=cut,
        elsewhere=not records.of and not message.flags & (dns.flags.AA | dns.flags.RA),
        name=found.canonical_name,
        records=records,
        besides={(more.name, more.rdtype): Records(tuple(more), float(more.ttl)) for more in message.additional},
        bad=bad,
    )


def _reason(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()
