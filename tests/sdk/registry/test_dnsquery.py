"""What a name in DNS stands for, asked of a real server over UDP."""

import dns.asyncresolver
import dns.exception
import pytest

from sdk.errors import Unavailable
from sdk.registry.dnsquery import Found, Names
from tests.mesh.resolver.servers import dns_server


async def test_srv_records_give_places_and_the_best_priority_counts() -> None:
    async with dns_server() as server:
        server.zone |= {
            ("_web._tcp.example", "SRV"): ["10 0 81 a.example.", "10 5 82 b.example.", "20 0 83 a.example."],
            ("a.example", "A"): ["10.0.0.1", "10.0.0.2"],
            ("b.example", "AAAA"): ["2001:db8::1"],
        }
        places = frozenset({"10.0.0.1:81", "10.0.0.2:81", "[2001:db8::1]:82"})
        assert await Names(server.address).find("web", "example", 0) == Found(places, 5)


async def test_a_priority_without_an_address_gives_way_to_the_next() -> None:
    async with dns_server() as server:
        server.zone |= {
            ("_web._tcp.example", "SRV"): ["10 0 81 gone.example.", "20 0 82 a.example.", "0 0 0 a.example."],
            ("a.example", "A"): ["10.0.0.1"],
        }
        assert (await Names(server.address).find("web", "example", 0)).places == {"10.0.0.1:82"}


async def test_srv_records_may_stand_at_the_name_itself() -> None:
    async with dns_server() as server:
        server.zone |= {("web.example", "SRV"): ["1 1 81 a.example."], ("a.example", "A"): ["10.0.0.1"]}
        assert (await Names(server.address).find("web", "example", 0)).places == {"10.0.0.1:81"}


async def test_with_a_port_addresses_are_enough() -> None:
    async with dns_server() as server:
        server.zone |= {("db.example", "A"): ["10.0.0.1"], ("db.example", "AAAA"): ["::1"]}
        assert await Names(server.address).find("db", "example", 5432) == Found(
            frozenset({"10.0.0.1:5432", "[::1]:5432"}), 5
        )


@pytest.mark.parametrize("name", ["gone", "a..b", "x" * 64, "no names\0at all"])
async def test_what_is_not_there_is_an_empty_answer(name: str) -> None:
    async with dns_server() as server:
        assert await Names(server.address).find(name, "example", 0) == Found(frozenset(), 0)


async def test_a_server_that_fails_is_not_one_that_knows_nothing() -> None:
    async with dns_server() as server:
        server.zone["web.example", "A"] = None
        with pytest.raises(Unavailable, match=r"web\.example"):
            await Names(server.address).find("web", "example", 80)


async def test_a_machine_without_name_servers_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class NothingSetUpError(dns.exception.DNSException):
        """nothing is set up"""

    class System(dns.asyncresolver.Resolver):
        def read_resolv_conf(self, f: object) -> None:
            raise NothingSetUpError

    monkeypatch.setattr(dns.asyncresolver, "Resolver", System)
    with pytest.raises(Unavailable, match="nothing is set up"):
        await Names("").find("web", "example", 0)
