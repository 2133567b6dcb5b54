"""Packets of every kind at the sockets of a registry that is open."""

import queue
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence

import pytest
from zeroconf import (  # type: ignore[attr-defined]
    DNSIncoming,
    DNSOutgoing,
    DNSPointer,
    DNSQuestion,
    DNSRecord,
    DNSText,
    IPVersion,
    ServiceInfo,
    Zeroconf,
)

from sdk.registry.asking import PORT
from sdk.registry.outbox import Outbox
from sdk.registry.receiving import MAX_ASKING, Receiving

KIND = "_micro-test._tcp.local."


class Open:
    """zeroconf with what stands before it; `own` are the names this program itself speaks of."""

    def __init__(self) -> None:
        self.zeroconf = Zeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only)
        self.heard: queue.Queue[str] = queue.Queue()
        self.own: set[str] = set()
        self.do(self._begin)

    def _begin(self) -> None:
        self.receiving = Receiving(self.zeroconf, Outbox(self.zeroconf), self._hear)
        self.receiving.attach()
        self.receiving.attach()  # again, as when an interface came: nothing is heard twice

    def _hear(self, records: Sequence[DNSRecord]) -> bool:
        names = [record.name for record in records if record.name.endswith(KIND) and record.type == 16]
        for name in names:  # other tests may speak in the same group
            self.heard.put(name)
        return not self.own.isdisjoint(names)

    def do(self, what: Callable[[], object]) -> None:
        """Does it on zeroconf's loop, and waits until it is done."""
        done = threading.Event()
        assert self.zeroconf.loop is not None
        self.zeroconf.loop.call_soon_threadsafe(what)
        self.zeroconf.loop.call_soon_threadsafe(done.set)
        assert done.wait(30)

    def next(self) -> str:
        return self.heard.get(timeout=30)


@pytest.fixture
def opened() -> Iterator[Open]:
    made = Open()
    yield made
    made.zeroconf.close()


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        made.settimeout(30)
        yield made


def send(sender: socket.socket, *packets: bytes) -> None:
    for packet in packets:
        sender.sendto(packet, ("224.0.0.251", PORT))


def text(name: str, ttl: int = 60) -> bytes:
    out = DNSOutgoing(0x8400)
    out.add_answer_at_time(DNSText(name, 16, 0x8001, ttl, b"\x03a=1"), 0)
    return out.packets()[0]


def name_of(what: str = "") -> str:
    return f"{what}{uuid.uuid4().hex}.{KIND}"


def test_rubbish_is_passed_over_and_so_is_what_is_cut_off(opened: Open, sender: socket.socket) -> None:
    good = name_of()
    rubbish = [b"", b"\0", b"\xff" * 500, bytes(12), b"\0\0\x84\0" + b"\xff" * 8, text(name_of())[:-8]]
    send(sender, *rubbish, text(good))
    assert opened.next() == good
    for packet in rubbish:  # asked for, as it were
        opened.do(lambda packet=packet: opened.receiving.take(packet, ("10.0.0.1", PORT)))  # type: ignore[misc]
    assert opened.heard.empty()


def test_what_comes_twice_counts_once_but_again_after_a_goodbye(opened: Open, sender: socket.socket) -> None:
    one, two, last = name_of("one"), name_of("two"), name_of("last")
    send(sender, text(one), text(two), text(one), text(two), text(one, ttl=0), text(one), text(last))
    assert [opened.next() for _ in range(5)] == [one, two, one, one, last]


def test_zeroconf_keeps_what_this_program_says_and_nothing_of_others(opened: Open, sender: socket.socket) -> None:
    own, other = name_of("own"), name_of("other")
    opened.own.add(own)
    send(sender, text(other), text(own))
    assert [opened.next(), opened.next()] == [other, own]
    opened.do(lambda: None)
    kept = opened.zeroconf.cache.names()
    assert own in kept
    assert other not in kept


def test_a_question_from_a_port_of_its_own_is_answered_there_and_nowhere_else(
    opened: Open, sender: socket.socket
) -> None:
    name, other = name_of(), name_of()
    for each in (name, other):
        info = ServiceInfo(KIND, each, port=80, properties=b"\x03a=1", server="a.local.")
        opened.do(lambda info=info: opened.zeroconf.registry.async_add(info))  # type: ignore[misc]
    question = DNSOutgoing(0, False, 77)
    question.add_question(DNSQuestion(KIND, 12, 1))
    question.add_answer_at_time(DNSPointer(KIND, 12, 1, 4500, other), 0)
    send(sender, *question.packets())
    answer = DNSIncoming(sender.recv(9000))
    assert answer.id == 77
    assert [asked.name for asked in answer.questions] == [KIND]
    assert {record.name for record in answer.answers()} >= {name, KIND}
    assert other not in {record.name for record in answer.answers()}
    send(sender, text(last := name_of("last")))
    assert opened.next() == last  # and no answer to everybody before


def test_a_question_of_several_packets_is_answered_once_with_what_is_not_known(
    opened: Open, sender: socket.socket
) -> None:
    names = [name_of(f"{number:03}") for number in range(100)]
    for name in names:
        info = ServiceInfo(KIND, name, port=80, properties=b"", server="a.local.")
        opened.do(lambda info=info: opened.zeroconf.registry.async_add(info))  # type: ignore[misc]
    question = DNSOutgoing(0, False, 78)
    question.add_question(DNSQuestion(KIND, 12, 1))
    for name in names[1:]:
        question.add_answer_at_time(DNSPointer(KIND, 12, 1, 4500, name), 0)
    packets = question.packets()
    assert len(packets) > 1
    send(sender, *packets)
    pointed = [record.alias for record in DNSIncoming(sender.recv(9000)).answers() if isinstance(record, DNSPointer)]
    assert pointed == names[:1]


def test_questions_that_never_end_are_answered_as_they_are_and_only_so_many_at_a_time(opened: Open) -> None:
    question = DNSOutgoing(0x0200, False, 79)  # there is more to come
    question.add_question(DNSQuestion(KIND, 12, 1))
    [packet] = question.packets()
    [transport] = {reader.transport for reader in opened.zeroconf.engine.readers if reader.sock_name[0] == "0.0.0.0"}

    def ask() -> None:
        for port in range(1, 2 * MAX_ASKING):
            opened.receiving.answer(packet, ("127.0.0.1", port), transport)

    opened.do(ask)
    assert len(opened.receiving._questions) <= MAX_ASKING
