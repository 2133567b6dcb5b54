"""The registry in Consul, through the agent of this host, where go-micro finds what is registered and is found.

An instance with a time to live has a check that its renewals pass; when it fails, or any other check of it does, the
instance is not there any more. Consul tells states and no log of changes: a watcher is told the difference between two
states, so what came and went between them is not told. Every change costs it one question for each service's name,
which is right for hundreds of services.
"""

import logging
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self

import trio

from sdk.errors import Forbidden, RemoteProtocolError, Unavailable
from sdk.types import Service

from . import Event
from .atonce import at_once
from .consulagents import ConsulAgents, is_partial
from .consuljson import (
    Entry,
    parse_agent_service_untrusted,
    parse_entries_untrusted,
    parse_instance_untrusted,
    parse_names_untrusted,
    registration,
    shown_name,
    the_one,
)
from .consulwatch import ConsulWatch
from .held import Held
from .once import Once
from .records import check_ttl, key_of, merge, split
from .url import parse_url

PORT: Final = 8500
"""Where an agent listens."""
UNTIL_TOLD: Final = 5.0
"""Seconds that a registration waits for the servers to have heard of it from the agent, and goes on without."""

_AT_ONCE: Final = 4
# Seconds after which Consul forgets an instance whose check failed, beyond its time to live; it takes no fewer than 60.
_FORGET_AFTER, _SPLAY = 60, 5

logger = logging.getLogger(__name__)


class ConsulRegistry:
    """Implements `Registry`.

    Opening it asks nothing of the agent, so that a program starts while Consul is away. Its methods raise `Forbidden`
    where the token allows too little. Ids are unique in an agent, whatever the service. A record with several instances
    is written one after the other: where that breaks off, those before stand.
    """

    name = "consul"

    def __init__(self, address: str = "") -> None:
        """`address` as `consul://TOKEN@host:port,host2:port`, `consuls://...?ca=FILE&cert=FILE&key=FILE`, or without
        the beginning. The first agent is told what is registered, the others are read where it does not answer.

        A token may also be in MICRO_REGISTRY_TOKEN. Raises `BadRequest` where it is none of these.
        """
        self._agents = ConsulAgents(parse_url(address, scheme="consul", port=PORT))
        self.address = self._agents.address
        self._changing = trio.Lock()
        self._held = Held[dict[str, Any]]()
        self._skipped = Once()
        self._seen: set[str] = set()
        self._partial = False

    async def __aenter__(self) -> Self:
        await self._agents.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leaves what was registered where it is: a program that goes deregisters it, and checks run out."""
        await self._agents.__aexit__(kind, error, traceback)

    async def register(self, service: Service, *, ttl: float | None = None) -> None:
        """See `Registry.register`."""
        pieces = split(service)
        seconds = check_ttl(ttl)
        times = ("", "")
        if not math.isinf(seconds):
            times = (f"{max(seconds, 0.001):.3f}s", f"{max(seconds, _FORGET_AFTER) + _SPLAY:.0f}s")
        # All are written down before the first is sent: one that Consul would not keep refuses the whole record.
        wanted = [(piece, registration(piece, *times)) for piece in pieces.values()]
        changed: list[Service] = []
        async with self._changing:
            for piece, told in wanted:
                id = told["ID"]
                if self._held.get(id) != told or not await self._renew(id, told):
                    # Without this the check of a time to live that is given up would stay and fail.
                    again = {"replace-existing-checks": "true"}
                    await self._agents.tell("PUT", "/v1/agent/service/register", again, told)
                    changed.append(piece)
                self._held.keep(id, told, seconds)
        await self._until_told(changed, there=True)

    async def deregister(self, service: Service) -> None:
        """See `Registry.deregister`."""
        pieces = split(service)
        changed: list[Service] = []
        async with self._changing:
            for piece in pieces.values():
                id = shown_name(piece.instances[0].id)
                there = await self._at_agent(id)
                if there is not None and there[0] == shown_name(piece.name):
                    await self._agents.tell("PUT", f"/v1/agent/service/deregister/{id}", fine=(404,))
                    changed.append(piece)
                self._held.pop(id)
        await self._until_told(changed, there=False)

    async def get(self, name: str) -> tuple[Service, ...]:
        """See `Registry.get`."""
        return merge(_latest(await self._healthy(shown_name(name))))

    async def list(self) -> tuple[Service, ...]:
        """See `Registry.list`."""
        return merge(await self._everything())

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[Event]]:
        """See `Registry.watch`."""
        watch = ConsulWatch(self._agents, self._everything)
        await watch.look()
        yield watch

    async def _renew(self, id: str, wanted: Mapping[str, Any]) -> bool:
        """Whether the agent still has it as we told it, and its check, where there is one, is passed."""
        if await self._at_agent(id) != tuple(wanted[name] for name in ("Name", "Tags", "Address", "Port")):
            return False
        if "Check" not in wanted:
            return True
        # A check that is not known is 404 for newer agents and 500 for older ones.
        answer = await self._agents.tell("PUT", f"/v1/agent/check/pass/service:{id}", fine=(404, 500))
        return answer.status == 200

    async def _at_agent(self, id: str) -> tuple[object, ...] | None:
        answer = await self._agents.tell("GET", f"/v1/agent/service/{id}", fine=(404,))
        return None if answer.status == 404 else self._agents.parsed(parse_agent_service_untrusted, answer.body)

    async def _until_told(self, pieces: Sequence[Service], *, there: bool) -> None:
        """Waits until the servers know what was told to the agent of one service; it answers before it tells them. What
        checks say is not waited for: that of a host may be critical for hours.

        Without servers nothing is lost by going on: the agent tells them when it finds one.
        """
        if not pieces:
            return
        shown, pause = shown_name(pieces[0].name), 0.01
        query = {"filter": the_one(pieces[0])} if len(pieces) == 1 else {}
        with trio.move_on_after(UNTIL_TOLD):
            try:
                while True:
                    answer = await self._agents.read(f"/v1/health/service/{shown}", query)
                    listed = self._agents.parsed(parse_entries_untrusted, answer.body)
                    found = [entry.record for one in listed if (entry := self._entry(shown, one)) is not None]
                    known = {key_of(record): record for record in found}
                    told = (known.get(key_of(piece)) == (piece if there else None) for piece in pieces)
                    if is_partial(answer) or all(told):
                        return
                    await trio.sleep(pause)
                    pause = min(2 * pause, 0.2)
            except (Forbidden, Unavailable):
                pass

    async def _everything(self) -> Sequence[Service]:
        """The records of all healthy instances, in the order of their last change."""
        answer = await self._agents.read("/v1/catalog/services")
        names = set(self._agents.parsed(parse_names_untrusted, answer.body))
        if is_partial(answer):
            if not self._partial:
                self._partial = True
                logger.warning(
                    "Registry %s: the token may not see every service; those that it has no service:read and node:read "
                    "for are missing",
                    self.address,
                )
            # What was seen once is gone, or hidden since: only its own answer tells.
            names |= self._seen
        else:
            self._seen &= names
        found: list[Entry] = []

        async def find(name: str) -> None:
            found.extend(await self._healthy(name))

        await at_once(find, sorted(names), limit=_AT_ONCE)
        return _latest(found)

    async def _healthy(self, shown: str) -> Sequence[Entry]:
        answer = await self._agents.read(f"/v1/health/service/{shown}")
        listed = self._agents.parsed(parse_entries_untrusted, answer.body)
        if listed:
            self._seen.add(shown)
        elif is_partial(answer) and shown in self._seen:
            raise Forbidden(
                f"the registry {self.address} does not show us the service {shown!r} any more, which it did before: "
                "the token of Consul (MICRO_REGISTRY_TOKEN) has lost service:read or node:read for it"
            )
        else:
            self._seen.discard(shown)
        entries = (self._entry(shown, one) for one in listed)
        return [entry for entry in entries if entry is not None and not entry.critical]

    def _entry(self, shown: str, data: object) -> Entry | None:
        try:
            entry = parse_instance_untrusted(data)
        except RemoteProtocolError as error:
            told = f"{shown}: {error}"
            if self._skipped.first(told):
                logger.warning("Registry %s: a record of the service %r is skipped: %s", self.address, shown, error)
            return None
        return entry if shown_name(entry.record.name) == shown else None


def _latest(entries: Sequence[Entry]) -> Sequence[Service]:
    """The records in the order of their last change. One that moved to another agent stands with both for a while."""
    in_order = sorted(entries, key=lambda entry: entry.changed)
    return list({key_of(entry.record): entry.record for entry in in_order}.values())
