"""Questions to servers of DNS that are slow, dead, refuse, cut their answers or lie."""

import itertools
import socket
from collections.abc import Iterator

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
import trio

import sdk.registry.dnsexchange
from sdk.errors import Unavailable
from sdk.registry.dnsexchange import Exchange
from sdk.registry.dnsmessage import Reply
from tests.sdk.registry.dnsserver import DnsServer, plainly

NAME = dns.name.from_text("a.example")


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer() as server:
        server.zone["a.example", "A"] = ["10.0.0.1"]
        yield server


@pytest.fixture
def other() -> Iterator[DnsServer]:
    with DnsServer() as server:
        server.zone["a.example", "A"] = ["10.0.0.2"]
        yield server


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here takes long but for the machine."""
    monkeypatch.setattr(sdk.registry.dnsexchange, "PATIENCE", 60)


@pytest.fixture
def impatient(patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk.registry.dnsexchange, "PATIENCE", 0.5)
    monkeypatch.setattr(sdk.registry.dnsexchange, "TRY", 0.1)


async def ask(*servers: DnsServer) -> Reply:
    with trio.fail_after(30):
        return await Exchange([server.server for server in servers]).ask(NAME, dns.rdatatype.A)


def texts(reply: Reply) -> list[str]:
    return sorted(record.to_text() for record in reply.records.of)


def silent(answer: dns.message.Message, most: int) -> list[bytes]:
    return []


async def test_a_server_may_have_an_address_of_either_family(server: DnsServer) -> None:
    assert texts(await ask(server)) == ["10.0.0.1"]
    with DnsServer("::1") as six:
        six.zone["a.example", "A"] = [f"10.0.1.{number}" for number in range(200)]
        assert len(texts(await ask(six))) == 200
        assert six.over_tcp == 1


async def test_a_dead_server_is_passed_over_and_then_the_living_is_asked_first(
    server: DnsServer, other: DnsServer
) -> None:
    server.kill()
    exchange = Exchange([server.server, other.server])
    try:
        assert texts(await exchange.ask(NAME, dns.rdatatype.A)) == ["10.0.0.2"]
    finally:
        server.start()
    assert texts(await exchange.ask(NAME, dns.rdatatype.A)) == ["10.0.0.2"]
    assert server.asked == []


@pytest.mark.usefixtures("impatient")
async def test_a_silent_server_is_passed_over(server: DnsServer, other: DnsServer) -> None:
    server.say = silent
    assert texts(await ask(server, other)) == ["10.0.0.2"]


@pytest.mark.parametrize("code", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTAUTH])
async def test_a_server_that_fails_or_refuses_says_nothing_of_the_name(
    server: DnsServer, other: DnsServer, code: dns.rcode.Rcode
) -> None:
    server.zone["a.example", "A"] = code
    assert texts(await ask(server, other)) == ["10.0.0.2"]
    other.zone["a.example", "A"] = dns.rcode.REFUSED
    says = rf"a\.example: {server.address}: it answers {dns.rcode.to_text(code)}; {other.address}: it answers REFUSED"
    with pytest.raises(Unavailable, match=says):
        await ask(server, other)


async def test_a_server_that_refers_to_others_says_nothing_of_the_name(server: DnsServer) -> None:
    def refer(answer: dns.message.Message, most: int) -> list[bytes]:
        answer.flags &= ~dns.flags.AA
        answer.answer.clear()
        answer.authority.append(dns.rrset.from_text("example.", 5, "IN", "NS", "ns.example."))
        return [answer.to_wire()]

    server.say = refer
    with pytest.raises(Unavailable, match="does not keep this name"):
        await ask(server)


async def test_a_name_or_type_that_is_not_there_is_an_answer(server: DnsServer, other: DnsServer) -> None:
    del server.zone["a.example", "A"]
    assert (await ask(server, other)).code == dns.rcode.NXDOMAIN
    server.zone["a.example", "AAAA"] = ["::1"]
    reply = await ask(server, other)
    assert (reply.code, reply.records.of) == (dns.rcode.NOERROR, ())
    assert other.asked == []


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_does_not_answer_is_given_up_in_time_and_can_be_left_at_once(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.say = silent
    with pytest.raises(Unavailable, match="nothing to the question within"):
        await ask(server)
    assert len(server.asked) == 2
    monkeypatch.setattr(sdk.registry.dnsexchange, "PATIENCE", 1000)
    with trio.fail_after(30), trio.move_on_after(0.05) as scope:
        await Exchange([server.server]).ask(NAME, dns.rdatatype.A)
    assert scope.cancelled_caught


async def test_only_the_server_is_believed_and_only_to_the_question(server: DnsServer) -> None:
    def lie(answer: dns.message.Message, most: int) -> list[bytes]:
        right = answer.to_wire()
        wrong = dns.rrset.from_text("a.example.", 5, "IN", "A", "6.6.6.6")
        answer.answer = [wrong]
        with socket.socket(type=socket.SOCK_DGRAM) as stranger:
            stranger.sendto(answer.to_wire(), server.sender)
        answer.id ^= 1
        number = answer.to_wire()
        answer.id ^= 1
        answer.question = [dns.rrset.from_text("b.example.", 0, "IN", "A")]
        return [b"", right[:20], number, answer.to_wire(), right]

    server.say = lie
    assert texts(await ask(server)) == ["10.0.0.1"]


async def test_what_is_too_long_for_a_datagram_comes_over_tcp(server: DnsServer) -> None:
    server.zone["a.example", "A"] = [f"10.0.{number // 200}.{number % 200}" for number in range(400)]
    assert len(texts(await ask(server))) == 400
    assert server.over_tcp == 1


async def test_what_is_too_long_even_for_that_is_no_answer(server: DnsServer) -> None:
    def cut(answer: dns.message.Message, most: int) -> list[bytes]:
        answer.flags |= dns.flags.TC
        return [answer.to_wire()]

    server.say = cut
    with pytest.raises(Unavailable, match="longer than 64 KiB"):
        await ask(server)


async def test_a_server_that_speaks_no_tcp_gives_way_to_one_that_does(server: DnsServer, other: DnsServer) -> None:
    def over_udp_alone(answer: dns.message.Message, most: int) -> list[bytes]:
        return [] if most == 65535 else plainly(answer, most)

    server.zone["a.example", "A"] = [f"10.0.0.{number}" for number in range(200)]
    server.say = over_udp_alone
    assert texts(await ask(server, other)) == ["10.0.0.2"]
    with pytest.raises(Unavailable, match="ends the connection over TCP"):
        await ask(server)


async def test_the_time_of_day_matters_to_nothing(server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    days = itertools.cycle([4e9, 0, 1e9])
    monkeypatch.setattr("time.time", lambda: next(days))
    server.zone["a.example", "A"] = [f"10.0.0.{number}" for number in range(200)]
    assert len(texts(await ask(server))) == 200


async def test_a_server_of_before_edns_is_asked_as_it_understands(server: DnsServer) -> None:
    server.unextended = True
    assert texts(await ask(server)) == ["10.0.0.1"]
    server.zone["a.example", "A"] = [f"10.0.0.{number}" for number in range(200)]
    assert len(texts(await ask(server))) == 200


async def test_a_name_is_followed_from_server_to_server_and_not_for_ever(server: DnsServer) -> None:
    def step(answer: dns.message.Message, most: int) -> list[bytes]:
        """As a server that keeps only the first of the names."""
        answer.answer = [records for records in answer.answer if records.name == answer.question[0].name]
        answer.set_rcode(dns.rcode.NOERROR)
        return [answer.to_wire()]

    del server.zone["a.example", "A"]
    server.say = step
    server.zone |= {("a.example", "CNAME"): ["b.example."], ("b.example", "A"): ["10.0.0.3"]}
    assert texts(await ask(server)) == ["10.0.0.3"]
    server.zone |= {(f"{one}.example", "CNAME"): [f"{one + 1}.example."] for one in range(20)}
    server.zone["a.example", "CNAME"] = ["0.example."]
    with pytest.raises(Unavailable, match="it was followed 8 times"):
        await ask(server)
