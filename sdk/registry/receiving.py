"""What arrives for mdns, before zeroconf takes it.

Responses are read here. zeroconf would keep them, 10,000 records at most, and passes over a goodbye to what it has not
kept; it is given only what this registry says itself, so that it does not say the same twice in a second.

Questions are zeroconf's, but for those that come from a port of their own, as ours do (`asking`): it would answer them
twice, to whoever asked and to everybody, in one burst each.

All of it runs on zeroconf's loop, in zeroconf's thread.
"""

import asyncio  # noqa: TID251 - the loop is zeroconf's; this is what its sockets call
import math
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

from zeroconf import DNSIncoming, DNSRecord, Zeroconf  # type: ignore[attr-defined] # left out of its __all__

from .asking import BUFFER, PORT
from .outbox import Outbox, To

RECENT = 64
"""Packets that are remembered, because each comes once from every interface of a host; as many as a burst has."""
SAME = 0.8
"""Seconds for which the same packet counts as a copy."""
MORE_KNOWN = 0.5
"""Seconds to wait for the rest of a question whose known answers fill several packets (RFC 6762 section 7.2)."""
MAX_ASKING = 64
"""Who may be in the middle of such a question."""
MAX_PACKETS = 64
"""Packets of one question that are read."""

_HEADER = 12
_RESPONSE = 0x80
"""In the third byte of a packet."""

Address = tuple[str, int]


@dataclass(slots=True, kw_only=True)
class _Question:
    to: To
    timer: asyncio.TimerHandle
    packets: list[DNSIncoming] = field(default_factory=list)


class Receiving:
    """Stands before zeroconf at its sockets."""

    def __init__(self, zeroconf: Zeroconf, outbox: Outbox, heard: Callable[[Sequence[DNSRecord]], bool]) -> None:
        """`heard` is given the records of each response, and says whether it was this registry that spoke."""
        assert zeroconf.loop is not None
        self._zeroconf = zeroconf
        self._loop = zeroconf.loop
        self._outbox = outbox
        self._heard = heard
        self._recent: dict[bytes, float] = {}
        self._questions: dict[Address, _Question] = {}

    def attach(self) -> None:
        """Takes its place at the sockets that are new, and makes room for bursts there."""
        for reader in self._zeroconf.engine.readers:
            transport = reader.transport
            before = cast(asyncio.DatagramProtocol, transport.get_protocol())
            if not isinstance(before, _AtSocket):
                reader.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
                transport.set_protocol(_AtSocket(self, transport, before))

    def is_copy(self, packet: bytes) -> bool:
        """Whether the same came a moment ago, from another interface or sent twice on the way."""
        now = self._loop.time()
        if now - self._recent.pop(packet, -math.inf) < SAME:
            self._recent[packet] = now
            return True
        if len(self._recent) >= RECENT:
            del self._recent[next(iter(self._recent))]
        self._recent[packet] = now
        return False

    def take(self, packet: bytes, address: Address) -> bool:
        """Reads a response, and says whether this registry said it. What is no response is passed over."""
        message = DNSIncoming(packet, address)
        if not message.valid or not message.is_response():
            return False
        records = message.answers()
        if any(record.ttl == 0 for record in records):
            self._recent.clear()  # what was said before it may be said again after it, in the same words
            self._recent[packet] = self._loop.time()
        return self._heard(records)

    def answer(self, packet: bytes, address: Address, transport: asyncio.DatagramTransport) -> None:
        """Answers a question to whoever asked, once its last packet is there."""
        message = DNSIncoming(packet, address)
        if not message.valid:
            return
        question = self._questions.get(address)
        if question is None:
            if len(self._questions) >= MAX_ASKING:
                return
            timer = self._loop.call_later(MORE_KNOWN, self._answer, address)
            to = To(address=address, transport=transport, id=message.id, questions=message.questions)
            question = self._questions[address] = _Question(to=to, timer=timer)
        if len(question.packets) < MAX_PACKETS:
            question.packets.append(message)
        if not message.truncated:
            self._answer(address)

    def _answer(self, address: Address) -> None:
        question = self._questions.pop(address)
        question.timer.cancel()
        found = self._zeroconf.query_handler.async_response(question.packets, True)
        if found is not None and found.ucast:
            self._outbox.answer(found.ucast, question.to)


class _AtSocket(asyncio.DatagramProtocol):
    """At one of the sockets; `before` is zeroconf's own."""

    def __init__(
        self, receiving: Receiving, transport: asyncio.DatagramTransport, before: asyncio.DatagramProtocol
    ) -> None:
        self._receiving = receiving
        self._transport = transport
        self._before = before

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if len(data) < _HEADER or self._receiving.is_copy(data):
            return
        if data[2] & _RESPONSE:
            if self._receiving.take(data, addr):
                self._before.datagram_received(data, addr)
        elif addr[1] == PORT:
            self._before.datagram_received(data, addr)
        else:
            self._receiving.answer(data, addr, self._transport)

    def error_received(self, exc: Exception) -> None:
        self._before.error_received(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self._before.connection_lost(exc)
