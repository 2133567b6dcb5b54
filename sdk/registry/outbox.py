"""How mdns sends: at a pace at which nothing is lost on the way.

All of it runs on zeroconf's loop, in zeroconf's thread.
"""

import asyncio  # noqa: TID251 - the loop is zeroconf's; this names the type of its sockets
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from zeroconf import (  # type: ignore[attr-defined] # left out of its __all__
    DNSOutgoing,
    DNSQuestion,
    DNSRecord,
    DNSText,
    Zeroconf,
)

BATCH = 16_384
"""Bytes sent at once. Sockets hold about 200 KB of small packets, and a burst that is longer loses its end."""
PAUSE = 0.01
"""Seconds to wait after as many bytes, in one call or in several, and for what the system has not taken yet."""
MAX_ANSWERS = 1000
"""Bursts of answers that wait, thus 16 MB."""

_RESPONSE = 0x8400
"""The flags of a response that is the sender's to give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class To:
    """Whoever asked from a port of its own."""

    address: tuple[str, int]
    """Where the answer goes."""
    transport: asyncio.DatagramTransport
    """The socket the question came in at."""
    id: int
    """Its number, which the answer must bear."""
    questions: Sequence[DNSQuestion]
    """Repeated in the answer (RFC 6762 section 6.7)."""


class _Burst(NamedTuple):
    out: DNSOutgoing
    size: int
    to: To | None


class Outbox:
    """What is still to be sent, in its order; answers after what is announced."""

    def __init__(self, zeroconf: Zeroconf) -> None:
        assert zeroconf.loop is not None
        self._zeroconf = zeroconf
        self._loop = zeroconf.loop
        self._waiting: deque[_Burst | Callable[[], None]] = deque()
        self._answers: deque[_Burst] = deque()
        self._sent = 0
        self._pausing = False

    def send(self, records: Sequence[DNSRecord], done: Callable[[], None]) -> None:
        """Sends these to everybody, and calls `done` when they are sent."""
        out, size = DNSOutgoing(_RESPONSE), 0
        for record in records:
            out.add_answer_at_time(record, 0)
            size += _size(record)
            if size >= BATCH:
                self._waiting.append(_Burst(out, size, None))
                out, size = DNSOutgoing(_RESPONSE), 0
        if size:
            self._waiting.append(_Burst(out, size, None))
        self._waiting.append(done)
        if not self._pausing:
            self._flush()

    def answer(self, answers: Mapping[DNSRecord, Collection[DNSRecord]], to: To) -> None:
        """Sends these, and what goes with each, to whoever asked; nobody is told when.

        Where too much waits already they are left out: whoever asked asks again.
        """
        out, size = _begin(to), 0
        for record, more in answers.items():
            if len(self._answers) >= MAX_ANSWERS:
                break
            out.add_answer_at_time(record, 0)
            for each in more:
                out.add_additional_answer(each)
            size += _size(record) + sum(map(_size, more))
            if size >= BATCH:
                self._answers.append(_Burst(out, size, to))
                out, size = _begin(to), 0
        if size:
            self._answers.append(_Burst(out, size, to))
        if not self._pausing:
            self._flush()

    def _flush(self) -> None:
        while self._waiting or self._answers:
            item = (self._waiting or self._answers).popleft()
            if not isinstance(item, _Burst):
                item()
                continue
            if item.to is None:
                self._zeroconf.async_send(item.out)
            elif not item.to.transport.is_closing():
                for packet in item.out.packets():
                    item.to.transport.sendto(packet, item.to.address)
            self._sent += item.size
            if self._sent >= BATCH or self._held_up():
                self._pausing = True
                self._loop.call_later(PAUSE, self._go_on)
                return

    def _go_on(self) -> None:
        if self._held_up():
            self._loop.call_later(PAUSE, self._go_on)
            return
        self._sent = 0
        self._pausing = False
        self._flush()

    def _held_up(self) -> bool:
        """Whether a socket still holds what was sent: the system takes no more, because others read slowly."""
        senders = self._zeroconf.engine.senders
        return any(each.transport.get_write_buffer_size() for each in senders)  # type: ignore[attr-defined] # it has


def _begin(to: To) -> DNSOutgoing:
    out = DNSOutgoing(_RESPONSE, False, to.id)
    for question in to.questions:
        out.add_question(question)
    return out


def _size(record: DNSRecord) -> int:
    return 100 + (len(record.text) if isinstance(record, DNSText) else 0)


def nothing() -> None:
    """For what nobody waits for."""
