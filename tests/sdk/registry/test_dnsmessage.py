"""Answers of DNS, without a network."""

import struct

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from sdk.errors import RemoteProtocolError
from sdk.registry.dnsmessage import NONE, PAYLOAD, Reply, parse_reply_untrusted, question

NAME = dns.name.from_text("a.example")
ASKED = question(NAME, dns.rdatatype.SRV, extended=True)


def answer(*records: str, ttl: int = 5) -> dns.message.Message:
    said = dns.message.make_response(ASKED)
    said.flags |= dns.flags.AA
    if records:
        said.answer.append(dns.rrset.from_text("a.example.", ttl, "IN", "SRV", *records))
    return said


def read(said: dns.message.Message) -> Reply:
    return parse_reply_untrusted(said.to_wire(), ASKED)


def texts(reply: Reply) -> list[str]:
    return sorted(record.to_text() for record in reply.records.of)


def test_a_question_says_how_long_an_answer_may_be_unless_it_must_not() -> None:
    assert (ASKED.edns, ASKED.payload) == (0, PAYLOAD)
    assert question(NAME, dns.rdatatype.A, extended=False).edns == -1
    assert len({question(NAME, dns.rdatatype.A, extended=False).id for _ in range(20)}) > 10


def test_an_answer_tells_records_and_how_long_they_are_good() -> None:
    reply = read(answer("0 0 1 b.example.", "0 0 2 b.example.", ttl=7))
    assert texts(reply) == ["0 0 1 b.example.", "0 0 2 b.example."]
    assert reply.records.good_for == 7
    assert (reply.code, reply.cut, reply.elsewhere, reply.bad) == (dns.rcode.NOERROR, False, False, ())


@pytest.mark.parametrize(("ttl", "good_for"), [(0, 0), (2**31 - 1, 2**31 - 1), (2**31, 0), (2**32 - 1, 0)])
def test_a_time_to_live_of_more_than_31_bits_is_none(ttl: int, good_for: float) -> None:
    """RFC 2181 section 8."""
    assert read(answer("0 0 1 b.example.", ttl=ttl)).records.good_for == good_for


def test_a_record_that_cannot_be_read_spoils_no_other() -> None:
    wire = answer("0 0 1 b.example.", "0 0 2 c.example.").to_wire()
    reply = parse_reply_untrusted(wire.replace(b"\1b", b"\xffb"), ASKED)
    assert texts(reply) == ["0 0 2 c.example."]
    assert len(reply.bad) == 1


def test_an_answer_of_which_nothing_can_be_read_is_not_an_empty_one() -> None:
    wire = answer("0 0 1 b.example.").to_wire()
    with pytest.raises(RemoteProtocolError, match="cannot be read"):
        parse_reply_untrusted(wire.replace(b"\1b", b"\xffb"), ASKED)
    with pytest.raises(RemoteProtocolError, match="cannot be read"):
        parse_reply_untrusted(wire[:45], ASKED)


def test_an_answer_belongs_to_a_question() -> None:
    said = answer("0 0 1 b.example.")
    said.id ^= 1
    with pytest.raises(RemoteProtocolError, match="another question"):
        read(said)
    with pytest.raises(RemoteProtocolError, match="another question"):
        parse_reply_untrusted(ASKED.to_wire(), ASKED)
    said = answer()
    said.question = [dns.rrset.from_text("b.example.", 0, "IN", "SRV")]
    with pytest.raises(RemoteProtocolError, match="another question"):
        read(said)
    with pytest.raises(RemoteProtocolError):
        parse_reply_untrusted(b"", ASKED)


def test_a_failure_may_come_without_the_question() -> None:
    reply = parse_reply_untrusted(struct.pack("!6H", ASKED.id, 0x8002, 0, 0, 0, 0), ASKED)
    assert (reply.code, reply.records) == (dns.rcode.SERVFAIL, NONE)


def test_records_that_nobody_asked_for_are_no_answer() -> None:
    said = answer()
    said.answer.append(dns.rrset.from_text("b.example.", 5, "IN", "SRV", "0 0 1 b.example."))
    said.additional.append(dns.rrset.from_text("b.example.", 5, "IN", "A", "10.0.0.1"))
    reply = read(said)
    assert reply.records == NONE
    assert list(reply.besides) == [(dns.name.from_text("b.example"), dns.rdatatype.A)]
