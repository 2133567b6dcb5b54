"""What mdns makes of the packets it hears: heads that are new, parts that are missing, goodbyes.

All of it runs on zeroconf's loop, in zeroconf's thread.
"""

import asyncio  # noqa: TID251 - the loop is zeroconf's; this names its types
import ipaddress
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from zeroconf import (  # type: ignore[attr-defined] # left out of its __all__, and documented
    DNSOutgoing,
    DNSPointer,
    DNSQuestion,
    DNSRecord,
    DNSText,
)

from sdk.errors import RemoteProtocolError
from sdk.netaddress import split_address
from sdk.types import Service

from .asking import new_question
from .dnssd import PART_TYPE, TYPE, Head, parse_head_untrusted, part_names, unpack_untrusted
from .parts import Parts
from .records import Key

MAX_INSTANCES = 20_000
"""Instances of others that are kept; more are passed over."""
LATE = 10.0
"""Seconds for which an answer that was under way may still come after the goodbye, and counts for nothing."""
MAX_PENDING = 200
"""Records whose parts are being fetched; more wait for their next announcement."""
FETCH_AGAIN = 0.3
"""Seconds to wait for parts before they are asked for again."""
FETCH_TRIES = 20
"""How often; after that the next announcement begins anew."""
FETCH_PARTS = 32
"""Parts asked for at once: what comes back is one burst."""
MAX_SKIPPED = 1000
"""Unreadable records whose names are remembered, so that each is logged once."""

TXT, IN = 16, 1
"""The numbers of DNS for the type and the class."""

logger = logging.getLogger(__name__)


class Heard(NamedTuple):
    """What somebody else said of one instance."""

    key: Key
    record: Service | None
    """None where it is gone."""
    ttl: float
    """Seconds, from when it is handed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An instance of somebody else."""

    head: Head
    """What it said last."""
    text: bytes
    """The TXT record of that."""
    key: Key
    """The record's."""
    record: Service
    """With this instance alone."""
    expires: float
    """On the loop's clock."""


@dataclass(slots=True, kw_only=True)
class _Pending:
    head: Head
    text: bytes
    tries: int = 0
    asked: set[str] = field(default_factory=set)
    timer: asyncio.TimerHandle | None = None


class Listening:
    """What others offer, as far as it was heard."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        source: str,
        group: str,
        host: str,
        ask: Callable[[DNSOutgoing], None],
        heard: Callable[[Sequence[Heard]], None],
        goodbye: Callable[[str, bytes | None, bool], None],
    ) -> None:
        """What `source` says, this registry itself, is passed over.

        `ask` sends a question, `heard` is given the news of each packet, `goodbye` each goodbye: the label, the TXT
        record that is taken back, None where it is the name, and whether that was known here.
        """
        self._loop = loop
        self._source = source
        self._group = group
        self._host = host
        self._ask = ask
        self._heard = heard
        self._goodbye = goodbye
        self._parts = Parts()
        self._pending: dict[str, _Pending] = {}
        self._gone: dict[str, tuple[str, int, float]] = {}
        self._skipped: set[str] = set()
        self._news: list[Heard] = []
        self.known: dict[str, Known] = {}
        """By label."""

    def hear(self, records: Sequence[DNSRecord]) -> bool:
        """Takes in what a packet said, and says whether it was this registry that said it.

        The times to live of DNS are passed over: each head has its own.
        """
        ours = False
        for record in records:
            if isinstance(record, DNSText) and record.name.endswith(f".{TYPE}"):
                name = record.name[: -len(TYPE) - 1]
                if record.ttl == 0:
                    self._forget(name, record.text)
                else:
                    ours |= self._take_in(name, record.text)
            elif isinstance(record, DNSText) and record.name.endswith(f".{PART_TYPE}"):
                self._parts.keep(record.name, record.text)
            elif isinstance(record, DNSPointer) and record.name == TYPE and record.ttl == 0:
                self._forget(record.alias[: -len(TYPE) - 1], None)
        for name in list(self._pending):
            self._assemble(name)
        self._hand_over()
        return ours

    @property
    def fetching(self) -> bool:
        """Whether parts of a record are still being fetched. May be asked from any thread."""
        return bool(self._pending)

    def drop(self, name: str) -> Known | None:
        """Forgets an instance without telling anybody, until something new is said of it."""
        self._drop_pending(name)
        known = self.known.pop(name, None)
        if known is not None and len(self._gone) < MAX_INSTANCES:
            self._gone[name] = known.head.source, known.head.sequence, self._loop.time() + LATE
        return known

    def purge(self) -> None:
        """Forgets what ran out."""
        now = self._loop.time()
        for name in [name for name, known in self.known.items() if known.expires <= now]:
            del self.known[name]
        for name in [name for name, (*_, until) in self._gone.items() if until <= now]:
            del self._gone[name]

    def _hand_over(self) -> None:
        if self._news:
            news, self._news = self._news, []
            self._heard(news)

    def _forget(self, name: str, text: bytes | None) -> None:
        known = self.known.get(name)
        gone = known is not None and text in {None, known.text}
        if known is not None and gone:
            self.drop(name)
            self._news.append(Heard(known.key, None, 0))
        self._hand_over()
        self._goodbye(name, text, gone)

    def _take_in(self, name: str, text: bytes) -> bool:
        known = self.known.get(name)
        if known is not None and known.text == text:
            self._learn(name, known.head, text, known.record)
            return False
        try:
            head = parse_head_untrusted(text)
        except RemoteProtocolError as error:
            self._skip(name, error)
            return False
        if head.group == self._group and head.source != self._source:
            self._consider(name, head, text)
        return head.source == self._source

    def _consider(self, name: str, head: Head, text: bytes) -> None:
        known = self.known.get(name)
        if known is not None and known.head.source == head.source and head.sequence < known.head.sequence:
            return
        source, sequence, _ = self._gone.get(name, ("", 0, 0))
        if head.source == source and head.sequence <= sequence:
            return
        if known is not None and known.head.digest == head.digest:
            self._learn(name, head, text, known.record)
            return
        pending = self._pending.get(name)
        if pending is not None and pending.head.digest == head.digest:
            pending.head, pending.text = head, text
        elif len(self._pending) < MAX_PENDING or name in self._pending:
            self._drop_pending(name)
            self._pending[name] = _Pending(head=head, text=text)

    def _assemble(self, name: str) -> None:
        """Makes the record of a head, or asks for the parts that are missing."""
        pending = self._pending[name]
        parts = part_names(pending.head)
        missing = [part for part in parts if part not in self._parts]
        if missing:
            if pending.asked.isdisjoint(missing):
                self._fetch(name, missing[:FETCH_PARTS])
            return
        self._drop_pending(name)
        try:
            service = unpack_untrusted(pending.head, [self._parts[part] for part in parts], name)
        except RemoteProtocolError as error:
            self._skip(name, error)
            return
        finally:
            for part in parts:
                self._parts.drop(part)
        self._learn(name, pending.head, pending.text, service)

    def _fetch(self, name: str, missing: Sequence[str]) -> None:
        pending = self._pending[name]
        if pending.timer is not None:
            pending.timer.cancel()
        pending.asked = set(missing)
        out = new_question()
        for called in missing:
            out.add_question(DNSQuestion(called, TXT, IN))
        self._ask(out)
        pending.timer = self._loop.call_later(FETCH_AGAIN, self._fetch_again, name)

    def _fetch_again(self, name: str) -> None:
        pending = self._pending[name]
        pending.tries += 1
        pending.asked.clear()
        if pending.tries < FETCH_TRIES:
            self._assemble(name)
            self._hand_over()
        else:
            self._drop_pending(name)
            self._skip(name, RemoteProtocolError("parts of it did not come"))

    def _drop_pending(self, name: str) -> None:
        pending = self._pending.pop(name, None)
        if pending is not None and pending.timer is not None:
            pending.timer.cancel()

    def _learn(self, name: str, head: Head, text: bytes, record: Service) -> None:
        [instance] = record.instances
        if head.host != self._host and _is_loopback(split_address(instance.address)[0]):
            return  # it is good on its own host alone; here the address is somebody else's
        if name not in self.known and len(self.known) >= MAX_INSTANCES:
            self.purge()
            if len(self.known) >= MAX_INSTANCES:
                self._skip("", RemoteProtocolError(f"there are more than {MAX_INSTANCES} instances"))
                return
        key = (record.name, record.version, instance.id)
        self.known[name] = Known(head=head, text=text, key=key, record=record, expires=self._loop.time() + head.ttl)
        self._news.append(Heard(key, record, head.ttl))

    def _skip(self, name: str, error: RemoteProtocolError) -> None:
        if name not in self._skipped and len(self._skipped) < MAX_SKIPPED:
            self._skipped.add(name)
            logger.warning("Registry mdns: the record %r is skipped: %s", name, error)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
