"""What a name in DNS stands for, asked of a server over UDP and TCP."""

import io
from collections.abc import Iterator

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype
import dns.resolver
import pytest

from sdk.errors import Unavailable
from sdk.registry.dnsquery import Found, Names
from tests.sdk.registry.dnsserver import DnsServer


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


@pytest.fixture
def names(server: DnsServer) -> Names:
    return Names([server.server])


async def test_srv_records_give_places_and_the_best_priority_counts(server: DnsServer, names: Names) -> None:
    server.zone |= {
        ("_web._tcp.example", "SRV"): ["10 0 81 a.example.", "10 5 82 b.example.", "20 0 83 a.example."],
        ("a.example", "A"): ["10.0.0.1", "10.0.0.2"],
        ("b.example", "A"): ["10.0.0.3"],
        ("b.example", "AAAA"): ["2001:db8::1"],
    }
    places = frozenset({"10.0.0.1:81", "10.0.0.2:81", "10.0.0.3:82", "[2001:db8::1]:82"})
    assert await names.find("web", "example", 0) == Found(places, 5)


async def test_a_priority_without_an_address_gives_way_to_the_next(server: DnsServer, names: Names) -> None:
    server.zone |= {
        ("_web._tcp.example", "SRV"): ["10 0 81 gone.example.", "20 0 82 a.example."],
        ("a.example", "A"): ["10.0.0.1"],
    }
    found = await names.find("web", "example", 0)
    assert found.places == {"10.0.0.1:82"}
    assert found.bad == ("SRV 10 0 81 gone.example.: its target has no address",)


async def test_srv_records_may_stand_at_the_name_itself(server: DnsServer, names: Names) -> None:
    server.zone |= {("web.example", "SRV"): ["1 1 81 a.example."], ("a.example", "A"): ["10.0.0.1"]}
    assert await names.find("web", "example", 0) == Found(frozenset({"10.0.0.1:81"}), 5)


async def test_with_a_port_addresses_are_enough(server: DnsServer, names: Names) -> None:
    server.zone |= {("db.example", "A"): ["10.0.0.1"], ("db.example", "AAAA"): ["::1"]}
    assert await names.find("db", "example", 5432) == Found(frozenset({"10.0.0.1:5432", "[::1]:5432"}), 5)


@pytest.mark.parametrize("name", ["gone", "a..b", "x" * 64, "no names\0at all"])
@pytest.mark.parametrize("port", [0, 80])
async def test_what_is_not_there_is_an_empty_answer(server: DnsServer, names: Names, name: str, port: int) -> None:
    server.zone["gone.example", "MX"] = ["1 a.example."]  # one name is there, and has nothing that is asked for
    assert await names.find(name, "example", port) == Found()


async def test_a_domain_may_say_that_it_does_not_offer_the_service(server: DnsServer, names: Names) -> None:
    server.zone |= {("_web._tcp.example", "SRV"): ["0 0 0 ."], ("web.example", "SRV"): ["1 1 81 a.example."]}
    assert await names.find("web", "example", 0) == Found()


async def test_the_good_half_of_the_records_counts_and_the_bad_is_named(server: DnsServer, names: Names) -> None:
    server.zone |= {
        ("_web._tcp.example", "SRV"): ["0 0 0 a.example.", "0 0 80 .", "0 0 81 a.example.", "0 0 82 b.example."],
        ("_web._tcp.example", "TXT"): [r'"micro.mu/\255=1" "micro.mu/protocol=http"'],
        ("a.example", "A"): ["10.0.0.1", "0.0.0.0", "224.0.0.1"],
        ("b.example", "AAAA"): ["::"],
    }
    found = await names.find("web", "example", 0)
    assert found.places == {"10.0.0.1:81"}
    assert found.labels == {"protocol": "http"}
    assert found.bad == (
        "0.0.0.0: it is the address of no host",
        "224.0.0.1: it is the address of no host",
        "::: it is the address of no host",
        "SRV 0 0 0 a.example.: it has no port",
        "SRV 0 0 80 .: it has no target",
        "SRV 0 0 82 b.example.: its target has no address",
        r"TXT b'micro.mu/\xff=1': it is not UTF-8",
    )


async def test_text_beside_the_records_that_is_meant_for_us_is_labels(server: DnsServer, names: Names) -> None:
    server.zone |= {
        ("db.example", "A"): ["10.0.0.1"],
        ("db.example", "TXT"): [
            '"v=spf1 -all"',
            '"micro.mu/version=2" "micro.mu/owner=Zo\\195\\171=1"',
            '"micro.mu/x"',
        ],
    }
    assert (await names.find("db", "example", 1)).labels == {"version": "2", "owner": "Zoë=1", "x": ""}


async def test_addresses_that_come_with_the_answer_are_not_asked_for(server: DnsServer, names: Names) -> None:
    server.zone["_web._tcp.example", "SRV"] = ["1 1 81 a.example.", "1 1 82 b.example."]
    server.besides = {"A a.example": ["10.0.0.1"], "A b.example": ["10.0.0.2"], "A other.example": ["10.0.0.3"]}
    assert (await names.find("web", "example", 0)).places == {"10.0.0.1:81", "10.0.0.2:82"}
    assert server.asked == [("_web._tcp.example", "SRV"), ("_web._tcp.example", "TXT")]


async def test_addresses_of_which_only_some_come_with_the_answer_are_asked_for(server: DnsServer, names: Names) -> None:
    server.zone |= {
        ("_web._tcp.example", "SRV"): ["1 1 81 a.example.", "1 1 82 b.example.", "1 1 83 c.example."],
        ("b.example", "AAAA"): ["::2"],
        ("c.example", "A"): ["10.0.0.3"],
    }
    server.besides = {"A a.example": ["10.0.0.1"], "AAAA a.example": ["::1"], "A b.example": ["10.0.0.2"]}
    found = await names.find("web", "example", 0)
    assert found.places == {"10.0.0.1:81", "[::1]:81", "10.0.0.2:82", "[::2]:82", "10.0.0.3:83"}


async def test_a_name_may_stand_for_another_and_that_for_a_third(server: DnsServer, names: Names) -> None:
    server.zone |= {
        ("_web._tcp.example", "CNAME"): ["all.example."],
        ("all.example", "SRV"): ["1 1 81 a.example."],
        ("a.example", "CNAME"): ["b.example."],
        ("b.example", "CNAME"): ["c.example."],
        ("c.example", "A"): ["10.0.0.1"],
    }
    assert (await names.find("web", "example", 0)).places == {"10.0.0.1:81"}


@pytest.mark.parametrize("shortest", ["SRV", "A", "TXT"])
@pytest.mark.parametrize("besides", [True, False])
async def test_the_shortest_time_to_live_counts(server: DnsServer, names: Names, shortest: str, besides: bool) -> None:
    server.zone |= {
        ("_web._tcp.example", "SRV"): ["1 1 81 a.example."],
        ("_web._tcp.example", "TXT"): ["micro.mu/protocol=http"],
        ("a.example", "A"): ["10.0.0.1"],
    }
    server.besides = None if besides else {}

    def say(answer: dns.message.Message, most: int) -> list[bytes]:
        for records in (*answer.answer, *answer.additional):
            records.ttl = 30 if records.rdtype == dns.rdatatype.from_text(shortest) else 300
        return [answer.to_wire()]

    server.say = say
    assert (await names.find("web", "example", 0)).good_for == 30


async def test_a_thousand_instances_are_found_though_they_are_too_many_for_a_datagram(
    server: DnsServer, names: Names
) -> None:
    server.zone["_web._tcp.example", "SRV"] = [f"0 0 {1000 + number} a.example." for number in range(1000)]
    server.zone["a.example", "A"] = ["10.0.0.1"]
    found = await names.find("web", "example", 0)
    assert found.places == {f"10.0.0.1:{1000 + number}" for number in range(1000)}
    assert server.over_tcp == 1


async def test_names_of_any_script_are_asked_for_as_domains_write_them(server: DnsServer, names: Names) -> None:
    server.zone["xn--ldr85b.example", "A"] = ["10.0.0.1"]
    assert (await names.find("名前", "example", 1)).places == {"10.0.0.1:1"}


@pytest.mark.parametrize("kind", ["SRV", "A", "TXT"])
async def test_one_question_without_an_answer_is_no_answer_at_all(server: DnsServer, names: Names, kind: str) -> None:
    server.besides = {}
    server.zone |= {
        ("_web._tcp.example", "SRV"): ["1 1 81 web.example."],
        ("web.example", "A"): ["10.0.0.1"],
        ("web.example" if kind == "A" else "_web._tcp.example", kind): dns.rcode.SERVFAIL,
    }
    with pytest.raises(Unavailable, match=r"web.*example.*SERVFAIL"):
        await names.find("web", "example", 0)


async def test_the_servers_of_this_machine_are_asked_as_they_are_now_and_no_other_domain(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = ["127.0.0.2"]  # nobody is there

    class System(dns.resolver.Resolver):
        def read_resolv_conf(self, f: object) -> None:
            lines = "".join(f"nameserver {host}\n" for host in servers)
            super().read_resolv_conf(io.StringIO(f"{lines}search example\noptions ndots:5\n"))
            self.port = server.port

    monkeypatch.setattr(dns.resolver, "Resolver", System)
    server.zone |= {("db.example", "A"): ["10.0.0.1"], ("db.sub.example", "A"): ["10.0.0.2"]}
    names = Names([])
    with pytest.raises(Unavailable, match=r"127\.0\.0\.2"):
        await names.find("db", "example", 1)
    servers.append("127.0.0.1")
    assert (await names.find("db", "example", 1)).places == {"10.0.0.1:1"}
    assert (await names.find("db", "sub", 1)).places == frozenset()


async def test_a_machine_without_name_servers_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class NothingSetUpError(dns.exception.DNSException):
        """nothing is set up"""

    class System(dns.resolver.Resolver):
        def read_resolv_conf(self, f: object) -> None:
            raise NothingSetUpError

    monkeypatch.setattr(dns.resolver, "Resolver", System)
    with pytest.raises(Unavailable, match=r"names no server of DNS, name one as dns://.*nothing is set up"):
        await Names([]).find("web", "example", 0)
