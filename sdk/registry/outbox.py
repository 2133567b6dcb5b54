"""How mdns sends: at a pace at which nothing is lost on the way.

All of it runs on zeroconf's loop, in zeroconf's thread.
"""

from collections import deque
from collections.abc import Callable, Sequence

from zeroconf import DNSOutgoing, DNSRecord, DNSText, Zeroconf  # type: ignore[attr-defined] # left out of its __all__

BATCH = 16_384
"""Bytes sent at once. Sockets hold about 200 KB of small packets, and a burst that is longer loses its end."""
PAUSE = 0.01
"""Seconds to wait after as many bytes, in one call or in several, and for what the system has not taken yet."""

_RESPONSE = 0x8400
"""The flags of a response that is the sender's to give."""


class Outbox:
    """What is still to be sent, in its order."""

    def __init__(self, zeroconf: Zeroconf) -> None:
        assert zeroconf.loop is not None
        self._zeroconf = zeroconf
        self._loop = zeroconf.loop
        self._waiting: deque[list[DNSRecord] | Callable[[], None]] = deque()
        self._sent = 0
        self._pausing = False

    def send(self, records: Sequence[DNSRecord], done: Callable[[], None]) -> None:
        """Sends these to everybody, and calls `done` when they are sent.

        Never two calls' worth in one packet: zeroconf passes over a goodbye to what came in the same one.
        """
        batch: list[DNSRecord] = []
        size = 0
        for record in records:
            batch.append(record)
            size += _size([record])
            if size >= BATCH:
                self._waiting.append(batch)
                batch, size = [], 0
        if batch:
            self._waiting.append(batch)
        self._waiting.append(done)
        if not self._pausing:
            self._flush()

    def _flush(self) -> None:
        while self._waiting:
            item = self._waiting.popleft()
            if callable(item):
                item()
                continue
            out = DNSOutgoing(_RESPONSE)
            for record in item:
                out.add_answer_at_time(record, 0)
            self._zeroconf.async_send(out)
            self._sent += _size(item)
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


def _size(records: Sequence[DNSRecord]) -> int:
    return sum(100 + (len(record.text) if isinstance(record, DNSText) else 0) for record in records)


def nothing() -> None:
    """For what nobody waits for."""
