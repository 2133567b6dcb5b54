"""What mdns makes of what others say, good and bad, said by a real DNS-SD program."""

import logging
import socket
import uuid
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
import trio
from zeroconf import (  # type: ignore[attr-defined]
    DNSOutgoing,
    DNSPointer,
    DNSRecord,
    DNSText,
    InterfaceChoice,
    IPVersion,
    Zeroconf,
)

from sdk.registry import listening
from sdk.registry.asking import PORT
from sdk.registry.dnssd import TYPE, Head, digest, group_of, head_of, head_to_text, label, pack, parts_of
from sdk.registry.mdns import MdnsRegistry
from sdk.registry.records import key_of
from sdk.types import Instance, Service


class Speaker:
    """Says whatever it is told to."""

    def __init__(self) -> None:
        self._zeroconf = Zeroconf(interfaces=InterfaceChoice.All, ip_version=IPVersion.V4Only)
        self.group = uuid.uuid4().hex
        self.source = uuid.uuid4().hex

    def head(self, service: Service, sequence: int = 1, host: str = "", ttl: float = 60) -> Head:
        return head_of(
            pack(service),
            source=self.source,
            sequence=sequence,
            ttl=ttl,
            group=group_of(self.group),
            host=host or digest(b"another host"),
        )

    def label(self, service: Service) -> str:
        return label(key_of(service), group_of(self.group))

    def say(self, name: str, text: bytes, ttl: int = 60) -> None:
        self._send(DNSText(f"{name}.{TYPE}", 16, 0x8001, ttl, text))

    def offer(self, service: Service, sequence: int = 1, host: str = "", ttl: float = 60) -> None:
        self.say(self.label(service), head_to_text(self.head(service, sequence, host, ttl)))

    def packet(self, name: str, text: bytes) -> bytes:
        out = DNSOutgoing(0x8400)
        out.add_answer_at_time(DNSText(f"{name}.{TYPE}", 16, 0x8001, 60, text), 0)
        return out.packets()[0]

    def send(self, packet: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            sender.sendto(packet, ("224.0.0.251", PORT))

    def point(self, service: Service, ttl: int) -> None:
        self._send(DNSPointer(TYPE, 12, 1, ttl, f"{self.label(service)}.{TYPE}"))

    def close(self) -> None:
        self._zeroconf.close()

    def _send(self, record: DNSRecord) -> None:
        out = DNSOutgoing(0x8400)
        out.add_answer_at_time(record, 0)
        self._zeroconf.send(out)


@pytest.fixture
def speaker() -> Iterator[Speaker]:
    made = Speaker()
    yield made
    made.close()


def a(id: str, address: str = "10.0.0.1:80", noise: str = "") -> Service:
    return Service(name="greeter", metadata={"noise": noise}, instances=(Instance(id=id, address=address),))


async def heard(registry: MdnsRegistry, *ids: str) -> None:
    """Waits until the registry knows these and no others."""
    with trio.fail_after(30):
        while [each.id for service in await registry.list() for each in service.instances] != list(ids):
            await trio.testing.wait_all_tasks_blocked(0.01)


async def test_the_bad_half_is_named_once_and_the_good_half_works(
    speaker: Speaker, caplog: pytest.LogCaptureFixture
) -> None:
    async with MdnsRegistry(speaker.group) as registry:
        with caplog.at_level(logging.WARNING, "sdk.registry"):
            for again in range(2):
                speaker.say("no-head", b"\x05hello", 60 + again)
                speaker.say("cut", head_to_text(speaker.head(a("cut")))[:-1], 60 + again)
                speaker.say("a-record-of-something-else", head_to_text(speaker.head(a("else"))), 60 + again)
                speaker.offer(a("good"), sequence=1 + again)
            await heard(registry, "good")
        named = [message for message in caplog.messages if "skipped" in message]
        assert [
            name for name in ("no-head", "cut", "a-record-of-something-else") for each in named if name in each
        ] == [
            "no-head",
            "cut",
            "a-record-of-something-else",
        ]


async def test_packets_with_damage_anywhere_do_no_harm(speaker: Speaker, caplog: pytest.LogCaptureFixture) -> None:
    noise = Random(1)
    async with MdnsRegistry(speaker.group) as registry:
        for number in range(30):
            head = replace(speaker.head(a(str(number))), source=uuid.uuid4().hex, sequence=1)
            packet = speaker.packet(speaker.label(a(str(number))), head_to_text(head))
            for _ in range(10):
                damaged = bytearray(packet[: noise.choice((len(packet), noise.randrange(len(packet))))])
                for _ in range(noise.randrange(1, 4) if damaged else 0):
                    damaged[noise.randrange(len(damaged))] = noise.randrange(256)
                speaker.send(bytes(damaged))
            speaker.offer(a(str(number)))
        await heard(registry, *sorted(map(str, range(30))))
    assert not [record for record in caplog.records if record.name == "asyncio"]


async def test_an_old_answer_does_not_undo_a_new_one(speaker: Speaker) -> None:
    async with MdnsRegistry(speaker.group) as registry:
        speaker.offer(a("1", "10.0.0.1:82"), sequence=2)
        speaker.offer(a("1", "10.0.0.1:81"), sequence=1)
        speaker.offer(a("2"))
        await heard(registry, "1", "2")
        [service] = await registry.get("greeter")
        assert service.instances[0].address == "10.0.0.1:82"


async def test_loopback_addresses_of_other_hosts_are_passed_over(speaker: Speaker) -> None:
    async with MdnsRegistry(speaker.group) as registry:
        for number, address in enumerate(("127.0.0.1:80", "[::1]:80", "localhost:80", "127.1.2.3:80")):
            speaker.offer(a(str(number), address))
        speaker.offer(a("far"))
        await heard(registry, "far")


async def test_more_instances_than_are_kept_are_passed_over(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listening, "MAX_INSTANCES", 2)
    async with MdnsRegistry(speaker.group) as registry:
        for id in "12345":
            speaker.offer(a(id))
        speaker.offer(a("2"), sequence=2)
        speaker.offer(a("1"), sequence=2, ttl=0.5)
        await heard(registry, "2")
        assert sum("more than 2 instances" in message for message in caplog.messages) == 1
        speaker.offer(a("6"))  # there is room again
        await heard(registry, "2", "6")


async def test_a_record_whose_parts_never_come_is_given_up_and_named(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listening, "FETCH_AGAIN", 0.01)
    monkeypatch.setattr(listening, "FETCH_TRIES", 3)
    service = a("1", noise="".join(digest(str(number).encode()) for number in range(100)))
    assert len(parts_of(pack(service))) > 1
    async with MdnsRegistry(speaker.group) as registry:
        speaker.offer(service)
        speaker.offer(a("2"))
        await heard(registry, "2")
        assert sum("parts of it did not come" in message for message in caplog.messages) == 1


async def test_a_goodbye_for_a_name_counts(speaker: Speaker) -> None:
    async with MdnsRegistry(speaker.group) as registry:
        speaker.offer(a("1"))
        speaker.point(a("1"), 120)
        await heard(registry, "1")
        speaker.point(a("1"), 0)
        await heard(registry)


async def test_an_answer_that_comes_after_the_goodbye_does_not_count(speaker: Speaker) -> None:
    async with MdnsRegistry(speaker.group) as registry:
        speaker.offer(a("1"), sequence=3)
        await heard(registry, "1")
        speaker.say(speaker.label(a("1")), head_to_text(speaker.head(a("1"), sequence=3)), 0)
        await heard(registry)
        speaker.offer(a("1"), sequence=3, ttl=59)
        speaker.offer(a("2"))
        await heard(registry, "2")
        speaker.offer(a("1"), sequence=4)
        await heard(registry, "1", "2")


async def test_a_goodbye_for_what_was_said_before_does_not_count(speaker: Speaker) -> None:
    async with MdnsRegistry(speaker.group) as registry:
        before = head_to_text(speaker.head(a("1"), sequence=1))
        speaker.offer(a("1"), sequence=1)
        speaker.offer(a("1"), sequence=2)
        speaker.say(speaker.label(a("1")), before, 0)
        speaker.offer(a("2"))
        await heard(registry, "1", "2")
