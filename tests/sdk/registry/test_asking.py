"""Questions from a port of one's own, answered by a real DNS-SD program."""

import socket
import threading
import uuid
from collections.abc import Callable, Iterator

import pytest
from zeroconf import (  # type: ignore[attr-defined]
    DNSOutgoing,
    DNSQuestion,
    IPVersion,
    RecordUpdate,
    RecordUpdateListener,
    ServiceInfo,
    Zeroconf,
)

from sdk.registry.asking import Asking, new_question

KIND = "_micro-test._tcp.local."


class Heard(RecordUpdateListener):
    """The names of TXT records of our kind that came; other tests may speak in the same group."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.changed = threading.Event()

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
        names = [each.new.name for each in records if each.new.type == 16 and each.new.name.endswith(KIND)]
        if names:
            self.names += names
            self.changed.set()


@pytest.fixture
def open_one() -> Iterator[Callable[[], Zeroconf]]:
    opened: list[Zeroconf] = []

    def open_() -> Zeroconf:
        opened.append(Zeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()


def on_loop(zeroconf: Zeroconf, do: Callable[[], None]) -> None:
    done = threading.Event()
    assert zeroconf.loop is not None
    zeroconf.loop.call_soon_threadsafe(do)
    zeroconf.loop.call_soon_threadsafe(done.set)
    assert done.wait(10)


def test_the_answer_comes_to_whoever_asked_though_it_was_said_a_moment_ago(open_one: Callable[[], Zeroconf]) -> None:
    name = f"{uuid.uuid4().hex}.{KIND}"
    theirs = open_one()
    info = ServiceInfo(KIND, name, port=80, properties=b"\x03a=1", server="a.local.", parsed_addresses=["10.0.0.1"])
    theirs.register_service(info)  # returns when it was announced three times
    ours, heard, bystander, overheard = open_one(), Heard(), open_one(), Heard()
    asked: list[Asking] = []

    def begin() -> None:
        ours.async_add_listener(heard, None)
        asked.append(Asking(ours))

    def ask() -> None:
        question = new_question()
        question.add_question(DNSQuestion(name, 16, 1))
        asked[0].ask(question)

    on_loop(ours, begin)
    on_loop(bystander, lambda: bystander.async_add_listener(overheard, None))
    for _ in range(2):  # the second time as well, though it is the same question
        on_loop(ours, ask)
        assert heard.changed.wait(10)
        assert name in heard.names
        heard.names.clear()
        heard.changed.clear()
    assert name not in overheard.names  # what goes to everybody comes up to 1.3 s later
    on_loop(ours, asked[0].close)
    assert asked[0].socket.fileno() == -1


def test_rubbish_and_questions_that_come_instead_of_an_answer_are_passed_over(open_one: Callable[[], Zeroconf]) -> None:
    ours, heard = open_one(), Heard()
    made: list[Asking] = []

    def begin() -> None:
        ours.async_add_listener(heard, None)
        made.append(Asking(ours))

    on_loop(ours, begin)
    [asking] = made
    port = asking.socket.getsockname()[1]
    answer = DNSOutgoing(0x8400)
    info = ServiceInfo(KIND, f"good.{KIND}", port=80, properties=b"", server="a.local.")
    answer.add_answer_at_time(info.dns_text(), 0)
    question = DNSOutgoing(0)
    question.add_question(DNSQuestion(KIND, 12, 1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for packet in (b"", b"\xff" * 500, *question.packets(), *answer.packets()):
            sender.sendto(packet, ("127.0.0.1", port))
    assert heard.changed.wait(10)
    assert heard.names == [f"good.{KIND}"]
    on_loop(ours, asking.close)
