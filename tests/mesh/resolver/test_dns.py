"""Names are looked up at a real server over UDP, or by the system's resolver with a hook of the test's."""

from random import Random
from typing import Any

import dns.asyncresolver
import pytest

from mesh.resolver.dns import DnsName
from sdk.errors import Unavailable
from tests.mesh.resolver.servers import dns_server
from tests.net import Hosts


def name(text: str, *, server: str = "") -> DnsName:
    return DnsName(text, server=server, random=Random(1))


async def test_all_addresses_of_a_host_are_nodes_at_its_port() -> None:
    Hosts({"nodes.example": ["10.0.0.2", "10.0.0.1", "2001:db8::1", "10.0.0.2"]})
    found = await name("nodes.example:8085").find()
    assert found == (("10.0.0.2:8085", "10.0.0.1:8085", "[2001:db8::1]:8085"), "")


async def test_a_host_that_is_not_known_is_a_failure_that_names_it() -> None:
    Hosts({})
    with pytest.raises(Unavailable, match=r"gone\.example: Name or service not known"):
        await name("gone.example:8085").find()


async def test_the_system_is_asked_when_nobody_else_is_named() -> None:
    nodes, _ = await name("localhost:8085").find()
    assert set(nodes) & {"127.0.0.1:8085", "[::1]:8085"}


async def test_srv_records_give_hosts_and_ports_in_the_order_of_their_priority() -> None:
    async with dns_server() as server:
        server.zone |= {
            ("_micro._tcp.example", "SRV"): ["20 0 9000 b.example.", "10 0 8085 a.example."],
            ("a.example", "A"): ["10.0.0.1", "10.0.0.2"],
            ("b.example", "AAAA"): ["2001:db8::1"],
        }
        found = await name("example", server=server.address).find()
        assert found.error == ""
        *first, last = found.nodes
        assert (sorted(first), last) == (["10.0.0.1:8085", "10.0.0.2:8085"], "[2001:db8::1]:9000")
        again = await name("_micro._tcp.example", server=server.address).find()
        assert sorted(again.nodes) == sorted(found.nodes)


async def test_a_chosen_server_is_asked_for_addresses_too() -> None:
    async with dns_server() as server:
        server.zone[("nodes.example", "A")] = ["10.0.0.1"]
        found = await name("nodes.example:8085", server=server.address).find()
        assert found == (("10.0.0.1:8085",), "")


async def test_without_one_the_systems_servers_say_the_srv_records_and_its_resolver_the_addresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with dns_server() as server:
        host, port = server.address.split(":")

        class System(dns.asyncresolver.Resolver):
            """What it would read from resolv.conf."""

            def read_resolv_conf(self, f: Any) -> None:
                self.nameservers, self.port = [host], int(port)

        monkeypatch.setattr(dns.asyncresolver, "Resolver", System)
        Hosts({"a.example": ["10.0.0.1"]})
        server.zone[("_micro._tcp.example", "SRV")] = ["0 0 8085 a.example."]
        assert await name("example").find() == (("10.0.0.1:8085",), "")
        assert {kind for _, kind in server.asked} == {"SRV"}


async def test_a_server_whose_address_cannot_be_found_keeps_its_last_and_spoils_nothing() -> None:
    async with dns_server() as server:
        server.zone |= {
            ("_micro._tcp.example", "SRV"): ["0 0 8085 a.example.", "1 0 8085 b.example."],
            ("a.example", "A"): ["10.0.0.1"],
            ("b.example", "A"): ["10.0.0.2"],
        }
        names = name("example", server=server.address)
        assert await names.find() == (("10.0.0.1:8085", "10.0.0.2:8085"), "")
        del server.zone["a.example", "A"]
        server.zone["b.example", "A"] = ["10.0.0.3"]
        nodes, error = await names.find()
        assert nodes == ("10.0.0.1:8085", "10.0.0.3:8085")
        assert "a.example" in error
        server.zone["_micro._tcp.example", "SRV"] = ["1 0 8085 b.example."]
        assert await names.find() == (("10.0.0.3:8085",), "")


@pytest.mark.parametrize("records", [["0 0 0 ."], []])
async def test_no_srv_records_and_one_that_denies_the_service_are_failures(records: list[str]) -> None:
    async with dns_server() as server:
        server.zone[("_micro._tcp.example", "SRV")] = list(records)
        with pytest.raises(Unavailable, match=r"_micro\._tcp\.example"):
            await name("example", server=server.address).find()


async def test_a_server_that_cannot_answer_is_a_failure() -> None:
    async with dns_server() as server:
        server.zone |= {("_micro._tcp.example", "SRV"): None, ("a.example", "AAAA"): None}
        for text in ("example", "a.example:8085"):
            with pytest.raises(Unavailable, match="SERVFAIL"):
                await name(text, server=server.address).find()
