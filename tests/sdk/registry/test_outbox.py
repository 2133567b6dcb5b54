"""The pace at which mdns sends, heard by a real socket."""

import socket
import threading
from collections.abc import Iterator

import pytest
from zeroconf import DNSIncoming, DNSOutgoing, DNSText, IPVersion, Zeroconf  # type: ignore[attr-defined]

from sdk.registry import outbox
from sdk.registry.outbox import Outbox, To, nothing


@pytest.fixture
def zeroconf() -> Iterator[Zeroconf]:
    with Zeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only) as opened:
        yield opened


def texts(count: int, size: int = 1000) -> list[DNSText]:
    return [DNSText(f"{number}._micro-test._tcp.local.", 16, 0x8001, 60, b"x" * size) for number in range(count)]


def test_what_is_long_is_sent_in_batches_and_in_order(zeroconf: Zeroconf, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[list[str]] = []
    when: list[float] = []
    assert zeroconf.loop is not None
    loop = zeroconf.loop

    def keep(out: DNSOutgoing) -> None:
        sent.append([record.name.partition(".")[0] for record, _ in out.answers])
        when.append(loop.time())

    monkeypatch.setattr(zeroconf, "async_send", keep)
    box, done = Outbox(zeroconf), threading.Event()
    order: list[str] = []

    def send() -> None:
        box.send(texts(100), lambda: order.append("first"))
        box.send(texts(1), lambda: order.append("second"))
        box.send([], done.set)

    loop.call_soon_threadsafe(send)
    assert done.wait(30)
    assert order == ["first", "second"]
    assert [name for batch in sent for name in batch] == [*map(str, range(100)), "0"]
    assert max(len(batch) for batch in sent) <= outbox.BATCH // 1000
    assert when[-1] - when[0] >= 6 * outbox.PAUSE * 0.9


def test_what_is_short_is_sent_at_once(zeroconf: Zeroconf) -> None:
    order: list[str] = []
    done = threading.Event()

    def send() -> None:
        box = Outbox(zeroconf)
        box.send(texts(3), lambda: order.append("sent"))
        order.append("returned")
        box.send([], nothing)
        done.set()

    assert zeroconf.loop is not None
    zeroconf.loop.call_soon_threadsafe(send)
    assert done.wait(30)
    assert order == ["sent", "returned"]


def test_answers_go_after_what_is_announced_and_only_so_many_wait(
    zeroconf: Zeroconf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MAX_ANSWERS", 2)
    sent: list[str] = []
    waiting: list[int] = []
    monkeypatch.setattr(zeroconf, "async_send", lambda out: sent.append("announced"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.bind(("127.0.0.1", 0))
        asker.settimeout(30)

        def send() -> None:
            [sender] = zeroconf.engine.senders
            to = To(address=asker.getsockname(), transport=sender.transport, id=7, questions=[])
            box = Outbox(zeroconf)
            box.send(texts(20), nothing)  # what comes after it waits for a moment
            box.answer(dict.fromkeys(texts(100), ()), to)
            waiting.append(len(box._answers))
            box.send(texts(20), lambda: sent.append("all"))

        assert zeroconf.loop is not None
        zeroconf.loop.call_soon_threadsafe(send)
        first = DNSIncoming(asker.recv(9000))
        assert sent[-1] == "all"
    assert waiting == [2]
    assert (first.id, first.answers()[0].name) == (7, texts(1)[0].name)


def test_nothing_is_sent_while_the_system_takes_no_more(zeroconf: Zeroconf, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    sizes = iter([1, 1, 1, 0, 0, 0])
    done = threading.Event()
    monkeypatch.setattr(zeroconf, "async_send", lambda out: sent.append("sent"))
    [sender] = zeroconf.engine.senders

    def size(transport: object) -> int:
        sent.append(f"{(left := next(sizes))} left")
        return left

    def send() -> None:
        box = Outbox(zeroconf)
        box.send(texts(1), nothing)
        box.send(texts(1), done.set)

    monkeypatch.setattr(type(sender.transport), "get_write_buffer_size", size)
    assert zeroconf.loop is not None
    zeroconf.loop.call_soon_threadsafe(send)
    assert done.wait(30)
    assert sent == ["sent", "1 left", "1 left", "1 left", "0 left", "sent", "0 left"]
