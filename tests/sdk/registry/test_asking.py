"""Questions from a port of one's own, answered by a real DNS-SD program."""

import queue
import socket
import threading
import uuid
from collections.abc import Callable, Iterator

import pytest
from zeroconf import DNSIncoming, DNSQuestion, IPVersion, ServiceInfo, Zeroconf  # type: ignore[attr-defined]

from sdk.registry.asking import Asking, new_question

KIND = "_micro-test._tcp.local."


class Asked:
    """Asks, and keeps what comes."""

    def __init__(self, zeroconf: Zeroconf) -> None:
        self.packets: queue.Queue[bytes] = queue.Queue()
        self._zeroconf = zeroconf
        self.do(self._begin)

    def ask(self, name: str) -> None:
        question = new_question()
        question.add_question(DNSQuestion(name, 16, 1))
        self.do(lambda: self.asking.ask(question))

    def do(self, what: Callable[[], None]) -> None:
        """Does it on zeroconf's loop, and waits until it is done."""
        done = threading.Event()
        assert self._zeroconf.loop is not None
        self._zeroconf.loop.call_soon_threadsafe(what)
        self._zeroconf.loop.call_soon_threadsafe(done.set)
        assert done.wait(30)

    def _begin(self) -> None:
        self.asking = Asking(self._zeroconf, lambda packet, address: self.packets.put(packet))


@pytest.fixture
def open_one() -> Iterator[Callable[[], Zeroconf]]:
    opened: list[Zeroconf] = []

    def open_() -> Zeroconf:
        opened.append(Zeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()


def test_the_answer_comes_to_whoever_asked_though_it_was_said_a_moment_ago(open_one: Callable[[], Zeroconf]) -> None:
    name = f"{uuid.uuid4().hex}.{KIND}"
    info = ServiceInfo(KIND, name, port=80, properties=b"\x03a=1", server="a.local.", parsed_addresses=["10.0.0.1"])
    open_one().register_service(info)  # returns when it was announced three times
    asked = Asked(open_one())
    for _ in range(2):  # the second time as well, though it is the same question
        asked.ask(name)
        [text] = [record for record in DNSIncoming(asked.packets.get(timeout=30)).answers() if record.type == 16]
        assert text.name == name
    asked.do(asked.asking.close)
    assert asked.asking.socket.fileno() == -1


def test_whatever_comes_is_handed_on_and_nothing_ends_the_reading(open_one: Callable[[], Zeroconf]) -> None:
    asked = Asked(open_one())
    port = asked.asking.socket.getsockname()[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for packet in (b"", b"\xff" * 500, b"last"):
            sender.sendto(packet, ("127.0.0.1", port))
    assert [asked.packets.get(timeout=30) for _ in range(3)] == [b"", b"\xff" * 500, b"last"]
    asked.do(asked.asking.close)
