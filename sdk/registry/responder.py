"""What mdns says and hears, in the thread where zeroconf runs its own event loop.

`Responder` is made, called and closed from outside; its private methods run on that loop, one at a time. What it hears
it hands over from there, in lists.

zeroconf opens the sockets, joins the group on every interface, and finds the answers to questions in what is published
here. Announcing is done here: zeroconf's own takes most of a second for each service, and its browser keeps for 19
minutes what had a shorter time to live.
"""

import asyncio  # noqa: TID251 - the loop is zeroconf's; this names its type
import concurrent.futures
import contextlib
import ipaddress
import logging
import math
import os
import re
import select
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from zeroconf import (  # type: ignore[attr-defined] # left out of its __all__, and documented
    DNSPointer,
    DNSQuestion,
    DNSRecord,
    DNSText,
    InterfaceChoice,
    IPVersion,
    ServiceInfo,
    Zeroconf,
)

from sdk.netaddress import split_address
from sdk.types import Service

from .asking import Asking, new_question
from .dnssd import MAX_TTL, PART_TYPE, TYPE, Head, digest, head_of, head_to_text, label, part_names, parts_of
from .interfaces import Interfaces
from .listening import IN, TXT, Heard, Listening
from .outbox import Outbox, nothing
from .receiving import Receiving
from .records import Key

STAY = 120.0
"""Seconds for which a record without a time to live is announced, as RFC 6762 has it for names of hosts."""
RENEW = 40.0
"""Seconds after which it is announced again: two announcements may be lost."""
ASK_AT = (0.0, 0.1, 0.3, 1.2, 4.0, 12.0, 36.0)
"""Seconds after opening at which everybody is asked, ever more seldom (RFC 6762 section 5.2): a question or an answer
may be lost. Later ones announce themselves."""
MOST_KNOWN = 350
"""Known instances that fit a question, 16 packets as zeroconf reads them. Who knows of more asks no more: the others
announce themselves."""
FIRST_ASKED = 3
"""How many of these are sent before whoever has not answered counts as absent."""
PATIENCE = 10
"""How many times as long as the latest of these questions was late, answers are waited for beyond the usual time."""
REPEAT = (1.0, 3.0)
"""Seconds after which a change is announced again, RFC 6762 section 8.3: the first time may have been lost."""
GOODBYE_AGAIN = 0.1
"""Seconds after which goodbyes are said again while closing; there is no time for more."""
CHECK = 10.0
"""Seconds between two looks for interfaces that came or went."""
DRAIN = 0.2
"""Longest time to read what has arrived, in seconds: in a flood there is no end."""

_PTR, _UNIQUE = 12, 0x8001
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")

logger = logging.getLogger(__name__)


class Piece(NamedTuple):
    """What is to be published of one instance."""

    key: Key
    record: Service
    packed: bytes
    """By `dnssd.pack`."""


@dataclass(slots=True, kw_only=True)
class _Own:
    piece: Piece
    head: Head
    info: ServiceInfo
    parts: list[ServiceInfo]
    stays: bool
    timer: asyncio.TimerHandle
    """Renews it where it stays, else ends it."""


class Responder:
    """One opened registry's voice."""

    def __init__(self, group: str, heard: Callable[[Sequence[Heard]], None]) -> None:
        """Opens the sockets, which blocks for some milliseconds. `heard` is called in zeroconf's thread.

        Raises `OSError` when no socket can be had, and `RuntimeError` when there is no interface at all.
        """
        self._group = group
        self._heard = heard
        self._source = uuid.uuid4().hex
        self._host = _host()
        self._sequence = 0
        self._own: dict[str, _Own] = {}
        self._asked = 0
        self._late = 0.0
        self._following: asyncio.Task[bool] | None = None
        self._zeroconf = Zeroconf(interfaces=InterfaceChoice.All, ip_version=IPVersion.V4Only)
        assert self._zeroconf.loop is not None
        self._loop = self._zeroconf.loop
        self._interfaces = Interfaces(self._zeroconf)
        self._outbox = Outbox(self._zeroconf)
        begun = concurrent.futures.Future[None]()
        self._loop.call_soon_threadsafe(self._begin, begun)
        try:
            begun.result()
        except OSError:
            self._zeroconf.close()
            raise

    def publish(self, pieces: Sequence[Piece], ttl: float, done: Callable[[], None]) -> None:
        """Publishes or renews these; `done` is called in zeroconf's thread once they are sent."""
        self._loop.call_soon_threadsafe(self._publish, pieces, ttl, done)

    def withdraw(self, keys: Sequence[Key], done: Callable[[], None]) -> None:
        """Says that these are gone, whoever published them; `done` as with `publish`."""
        self._loop.call_soon_threadsafe(self._withdraw, keys, done)

    def settle(self, done: Callable[[], None]) -> None:
        """Calls `done`, in zeroconf's thread, when what has arrived by now is read and handed over."""
        self._loop.call_soon_threadsafe(self._drain, self._loop.time() + DRAIN, done)

    @property
    def fetching(self) -> bool:
        """Whether records were heard of whose parts are still being fetched."""
        return self._listening.fetching

    @property
    def behind(self) -> float:
        """Seconds by which answers may come later than usual, as this host is busy; infinite until all were asked.

        May be asked from any thread.
        """
        return math.inf if self._asked < min(FIRST_ASKED, len(ASK_AT)) else self._late * PATIENCE

    def close(self) -> None:
        """Says goodbye for what is published and closes the sockets; blocks for up to some seconds."""
        gone = concurrent.futures.Future[None]()
        self._loop.call_soon_threadsafe(self._say_goodbye, gone)
        with contextlib.suppress(TimeoutError):  # who is not told forgets by the time to live
            gone.result(2.0)
        self._zeroconf.close()

    # From here on everything runs on zeroconf's loop.

    def _begin(self, begun: concurrent.futures.Future[None]) -> None:
        self._receiving = Receiving(self._zeroconf, self._outbox, self._hear)
        try:
            self._asking = Asking(self._zeroconf, self._receiving.take)
        except OSError as error:
            begun.set_exception(error)
            return
        self._listening = Listening(
            self._loop,
            source=self._source,
            group=self._group,
            host=self._host,
            ask=self._asking.ask,
            heard=self._heard,
            goodbye=self._answer_goodbye,
        )
        self._receiving.attach()
        now = self._loop.time()
        for seconds in ASK_AT:
            self._loop.call_at(now + seconds, self._ask_in_turn, now + seconds)
        self._loop.call_later(CHECK, self._check)
        begun.set_result(None)

    def _hear(self, records: Sequence[DNSRecord]) -> bool:
        return self._listening.hear(records)

    def _ask_in_turn(self, due: float) -> None:
        self._asked += 1
        self._late = max(self._late, self._loop.time() - due)
        self._ask()

    def _ask(self) -> None:
        """Asks who is there, naming those that are known, who need not answer (RFC 6762 section 7.1)."""
        now = self._loop.time()
        known = [(name, each.expires - now) for name, each in self._listening.known.items()]
        known += [(name, own.head.ttl) for name, own in self._own.items()]
        if len(known) > MOST_KNOWN:
            return
        out = new_question()
        out.add_question(DNSQuestion(TYPE, _PTR, IN))
        for name, left in known:
            if left > 0:
                out.add_answer_at_time(DNSPointer(TYPE, _PTR, IN, math.ceil(left), f"{name}.{TYPE}"), 0)
        self._asking.ask(out)

    def _check(self) -> None:
        """Follows the interfaces of the host, and forgets what ran out."""
        self._loop.call_later(CHECK, self._check)
        self._listening.purge()

        def followed(task: asyncio.Task[bool]) -> None:
            if task.cancelled():
                return
            if error := task.exception():
                logger.warning("mdns cannot follow the interfaces of this host: %s", error)
            elif task.result():
                self._receiving.attach()
                self._ask()
                self._repeat([(name, own.head) for name, own in self._own.items()])

        if self._following is None or self._following.done():
            self._following = self._loop.create_task(self._interfaces.follow())
            self._following.add_done_callback(followed)

    def _publish(self, pieces: Sequence[Piece], ttl: float, done: Callable[[], None]) -> None:
        changed: list[tuple[str, Head]] = []
        batch: list[DNSRecord] = []
        for piece in pieces:
            name = label(piece.key, self._group)
            before = self._own.get(name)
            own = self._own[name] = self._make(name, piece, ttl)
            if before is not None:
                before.timer.cancel()
                self._zeroconf.registry.async_remove([before.info, *before.parts])
            for info in (own.info, *own.parts):
                self._zeroconf.registry.async_add(info)
            if before is None or before.head.digest != own.head.digest:
                changed.append((name, own.head))
                batch += [part.dns_text() for part in own.parts]
                batch += _announcement(own.info)
            else:
                batch += [own.info.dns_pointer(), own.info.dns_text()]
        self._outbox.send(batch, done)
        if changed:
            for seconds in REPEAT:
                self._loop.call_later(seconds, self._repeat, changed)

    def _make(self, name: str, piece: Piece, ttl: float) -> _Own:
        self._sequence += 1
        stays = math.isinf(ttl)
        seconds = STAY if stays else min(ttl, MAX_TTL)
        head = head_of(
            piece.packed,
            source=self._source,
            sequence=self._sequence,
            ttl=seconds,
            group=self._group,
            host=self._host,
        )
        host, port = split_address(piece.record.instances[0].address)
        server, addresses = _target(name, host)
        dns_ttl = math.ceil(seconds)
        info = ServiceInfo(
            TYPE,
            f"{name}.{TYPE}",
            port=port,
            properties=head_to_text(head),
            server=server,
            host_ttl=dns_ttl,
            other_ttl=dns_ttl,
            addresses=addresses,
        )
        parts = [
            ServiceInfo(PART_TYPE, called, port=port, properties=text, server=server, addresses=addresses)
            for called, text in zip(part_names(head), parts_of(piece.packed) if head.parts else (), strict=True)
        ]
        if stays:
            timer = self._loop.call_later(RENEW, self._renew, name)
        else:
            timer = self._loop.call_later(ttl, self._unpublish, [name])
        return _Own(piece=piece, head=head, info=info, parts=parts, stays=stays, timer=timer)

    def _renew(self, name: str) -> None:
        piece = self._own[name].piece
        self._publish([piece], math.inf, nothing)
        self._heard([Heard(piece.key, piece.record, math.inf)])

    def _repeat(self, changed: Sequence[tuple[str, Head]]) -> None:
        batch: list[DNSRecord] = []
        for name, head in changed:
            own = self._own.get(name)
            if own is not None and own.head.digest == head.digest:
                batch += _announcement(own.info)
        self._outbox.send(batch, nothing)

    def _withdraw(self, keys: Sequence[Key], done: Callable[[], None]) -> None:
        names = [label(key, self._group) for key in keys]
        theirs = [(name, known.text) for name in names if (known := self._listening.drop(name))]
        self._heard([Heard(key, None, 0) for key in keys])  # it may have been heard once more on the way here
        self._take_back(theirs, nothing)
        self._unpublish(names, done)

    def _unpublish(self, names: Sequence[str], done: Callable[[], None] = nothing) -> None:
        self._take_back([(name, own.info.text) for name in names if (own := self._remove(name))], done)

    def _take_back(self, gone: Sequence[tuple[str, bytes]], done: Callable[[], None]) -> None:
        self._outbox.send([record for each in gone for record in _goodbye(*each)], done)
        if gone:
            for seconds in REPEAT:
                self._loop.call_later(seconds, self._repeat_goodbyes, gone, nothing)

    def _repeat_goodbyes(self, gone: Sequence[tuple[str, bytes]], done: Callable[[], None]) -> None:
        """Takes back what was said once more, but no names: they may have been given anew."""
        self._outbox.send([_goodbye(*each)[0] for each in gone], done)

    def _remove(self, name: str) -> _Own | None:
        own = self._own.pop(name, None)
        if own is not None:
            own.timer.cancel()
            self._zeroconf.registry.async_remove([own.info, *own.parts])
        return own

    def _say_goodbye(self, gone: concurrent.futures.Future[None]) -> None:
        self._asking.close()
        said = [(name, own.info.text) for name, own in self._own.items()]

        def again() -> None:
            self._loop.call_later(GOODBYE_AGAIN, self._repeat_goodbyes, said, lambda: gone.set_result(None))

        self._unpublish(list(self._own), again if said else lambda: gone.set_result(None))

    def _drain(self, give_up: float, done: Callable[[], None]) -> None:
        waiting = select.poll()
        for reader in self._zeroconf.engine.readers:
            waiting.register(reader.fileno, select.POLLIN)
        waiting.register(self._asking.socket, select.POLLIN)
        if waiting.poll(0) and self._loop.time() < give_up:
            self._loop.call_soon(self._drain, give_up, done)
        else:
            done()

    def _answer_goodbye(self, name: str, text: bytes | None, shared: bool) -> None:
        """Somebody took back what this registry publishes, or the name, which they may have shared."""
        own = self._own.get(name)
        if own is None:
            return
        if text == own.info.text:
            self._remove(name)
            self._heard([Heard(own.piece.key, None, 0)])
            return
        if text is None:  # others have forgotten it now
            self._outbox.send(_announcement(own.info), nothing)
        if shared:
            left = math.inf if own.stays else own.timer.when() - self._loop.time()
            self._heard([Heard(own.piece.key, own.piece.record, left)])


def _announcement(info: ServiceInfo) -> list[DNSRecord]:
    return [info.dns_pointer(), info.dns_service(), info.dns_text(), *info.dns_addresses()]


def _goodbye(name: str, text: bytes) -> list[DNSRecord]:
    full = f"{name}.{TYPE}"
    return [DNSText(full, TXT, _UNIQUE, 0, text), DNSPointer(TYPE, _PTR, IN, 0, full)]


def _target(name: str, host: str) -> tuple[str, list[bytes]]:
    """What SRV names, and the addresses of that where they are not somebody else's to tell."""
    try:
        return f"{name}.local.", [ipaddress.ip_address(host.strip("[]").partition("%")[0]).packed]
    except ValueError:
        known = all(_LABEL.fullmatch(part) for part in host.split(".")) and len(host) < 200
        return (f"{host}." if known else f"{name}.local."), []


def _host() -> str:
    """Stands for this network stack until the next boot: what its loopback addresses mean."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return digest(f"{boot} {os.stat('/proc/self/ns/net').st_ino}".encode())
    except OSError:
        return digest(str(uuid.getnode()).encode())
