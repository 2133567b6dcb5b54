"""The registry in Consul, through the agent of this host, where go-micro finds what is registered and is found.

An instance with a time to live has a check that its renewals pass; when it fails, or any other check of it does, the
instance is not there any more. Consul tells states and no log of changes: a watcher is told the difference between two
states, so what came and went between them is not told. Every change costs it one question for each service's name,
which is right for hundreds of services.
"""

import logging
import math
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import trio

from sdk.errors import BadRequest, Forbidden, MicroError, RemoteProtocolError
from sdk.types import Service

from . import Event
from .consuljson import (
    Entry,
    parse_agent_service_untrusted,
    parse_entries_untrusted,
    parse_index_untrusted,
    parse_instance_untrusted,
    parse_names_untrusted,
    registration,
    shown_name,
)
from .http import PATIENCE, Answer, HttpClient
from .records import View, check_ttl, key_of, merge, split
from .url import parse_url, tls_context

logger = logging.getLogger(__name__)

PORT: Final = 8500
"""Where an agent listens."""
WAIT: Final = 50
"""Seconds that a question for changes may stay unanswered; Consul adds up to a sixteenth."""

_AT_ONCE: Final = 4
# What moves when an instance comes, goes or changes, and when the outcome of a check does.
_MOVING: Final = ("/v1/catalog/services", "/v1/health/state/any")
# Seconds after which Consul forgets an instance whose check failed, beyond its time to live; it takes no fewer than 60.
_FORGET_AFTER, _SPLAY = 60, 5

T = TypeVar("T")


class ConsulRegistry:
    """Implements `Registry`.

    Opening it asks nothing of the agent, so that a program starts while Consul is away. Its methods raise `Forbidden`
    where the token allows too little. Ids are unique in an agent, whatever the service. A record with several instances
    is written one after the other: where that breaks off, those before stand.
    """

    name = "consul"

    def __init__(self, address: str = "") -> None:
        """`address` as `consul://TOKEN@host:port`, `consuls://...?ca=FILE&cert=FILE&key=FILE`, or `host:port`.

        A token may also be in MICRO_REGISTRY_TOKEN. Raises `BadRequest` where it is none of these.
        """
        url = parse_url(address, scheme="consul", port=PORT)
        if len(url.hosts) > 1:
            raise BadRequest(
                "--registry-address (MICRO_REGISTRY_ADDRESS) names several agents of Consul: give the one of this "
                "host, which knows all servers"
            )
        self.address = url.shown
        token = url.password or url.user or os.environ.get("MICRO_REGISTRY_TOKEN", "")
        shown, tls = {"x-consul-token": token} if token else {}, tls_context(url)
        self._http = HttpClient(url.servers[0], headers=shown, tls=tls)
        self._waiting = HttpClient(url.servers[0], headers=shown, tls=tls, patience=WAIT * 17 / 16 + PATIENCE)
        self._changing = trio.Lock()
        self._held: dict[str, dict[str, Any]] = {}
        self._skipped: set[str] = set()

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        await self._waiting.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leaves what was registered where it is: a program that goes deregisters it, and checks run out."""
        try:
            await self._waiting.__aexit__(kind, error, traceback)
        finally:
            await self._http.__aexit__(kind, error, traceback)

    async def register(self, service: Service, *, ttl: float | None = None) -> None:
        """See `Registry.register`."""
        pieces = split(service)
        seconds = check_ttl(ttl)
        times = ("", "")
        if not math.isinf(seconds):
            times = (f"{max(seconds, 0.001):.3f}s", f"{max(seconds, _FORGET_AFTER) + _SPLAY:.0f}s")
        async with self._changing:
            for piece in pieces.values():
                wanted = registration(piece, *times)
                id = wanted["ID"]
                if self._held.get(id) != wanted or not await self._renew(id, wanted):
                    # Without this the check of a time to live that is given up would stay and fail.
                    await self._ask("PUT", "/v1/agent/service/register", {"replace-existing-checks": "true"}, wanted)
                    self._held[id] = wanted

    async def deregister(self, service: Service) -> None:
        """See `Registry.deregister`."""
        pieces = split(service)
        async with self._changing:
            for piece in pieces.values():
                id = shown_name(piece.instances[0].id)
                there = await self._at_agent(id)
                if there is not None and there[0] == shown_name(piece.name):
                    await self._ask("PUT", f"/v1/agent/service/deregister/{id}", fine=(404,))
                self._held.pop(id, None)

    async def get(self, name: str) -> tuple[Service, ...]:
        """See `Registry.get`."""
        found = sorted(await self._healthy(shown_name(name)), key=lambda entry: entry.changed)
        return merge(entry.record for entry in found)

    async def list(self) -> tuple[Service, ...]:
        """See `Registry.list`."""
        return merge(await self._everything())

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[Event]]:
        """See `Registry.watch`."""
        watch = _Watch(self)
        await watch.look()
        yield watch

    async def _renew(self, id: str, wanted: Mapping[str, Any]) -> bool:
        """Whether the agent still has it as we told it, and its check, where there is one, is passed."""
        if await self._at_agent(id) != tuple(wanted[name] for name in ("Name", "Tags", "Address", "Port")):
            return False
        if "Check" not in wanted:
            return True
        # A check that is not known is 404 for newer agents and 500 for older ones.
        answer = await self._ask("PUT", f"/v1/agent/check/pass/service:{id}", fine=(404, 500))
        return answer.status == 200

    async def _at_agent(self, id: str) -> tuple[object, ...] | None:
        answer = await self._ask("GET", f"/v1/agent/service/{id}", fine=(404,))
        return None if answer.status == 404 else self._read(parse_agent_service_untrusted, answer.body)

    async def _everything(self) -> Sequence[Service]:
        """The records of all healthy instances, in the order of their last change."""
        names = self._read(parse_names_untrusted, (await self._ask("GET", _MOVING[0])).body)
        found: list[Entry] = []
        left = iter(names)

        async def some() -> None:
            for name in left:
                found.extend(await self._healthy(name))

        await _together([some] * _AT_ONCE)
        return [entry.record for entry in sorted(found, key=lambda entry: entry.changed)]

    async def _healthy(self, shown: str) -> Sequence[Entry]:
        answer = await self._ask("GET", f"/v1/health/service/{shown}", {"passing": "true"})
        entries = (self._entry(shown, one) for one in self._read(parse_entries_untrusted, answer.body))
        return [entry for entry in entries if entry is not None]

    def _entry(self, shown: str, data: object) -> Entry | None:
        try:
            entry = parse_instance_untrusted(data)
        except RemoteProtocolError as error:
            told = f"{shown}: {error}"
            if told not in self._skipped:
                self._skipped.add(told)
                logger.warning("Registry %s: a record of the service %r is skipped: %s", self.address, shown, error)
            return None
        return entry if shown_name(entry.record.name) == shown else None

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        json: object = None,
        *,
        fine: tuple[int, ...] = (),
    ) -> Answer:
        return self._checked(await self._http.request(method, path, query=query, json=json), fine)

    def _checked(self, answer: Answer, fine: tuple[int, ...] = ()) -> Answer:
        if answer.status == 200 or answer.status in fine:
            return answer
        if answer.status in {401, 403}:
            raise Forbidden(
                f"the registry {self.address} does not let us do this: give a token of Consul that may read services "
                "and nodes, and write the services it registers, as MICRO_REGISTRY_TOKEN or as consul://TOKEN@host"
            )
        said = answer.body[:200].decode(errors="replace").strip()
        if answer.status == 400:
            raise BadRequest(f"the registry {self.address} refuses it: {said}")
        raise self._http.unavailable(f"it answers {answer.status} {said}")

    def _read(self, parse: Callable[[bytes], T], body: bytes) -> T:
        try:
            return parse(body)
        except RemoteProtocolError as error:
            raise self._http.unavailable(str(error)) from None

    async def _moved(self, path: str, index: int) -> int:
        """The count of changes behind `path`, once it is another than `index`, or after a time that it stayed."""
        query = {"index": str(index), "wait": f"{WAIT}s"} if index else {}
        answer = self._checked(await self._waiting.request("GET", path, query=query))
        try:
            now = parse_index_untrusted(answer.headers.get("x-consul-index", ""))
        except RemoteProtocolError as error:
            raise self._http.unavailable(str(error)) from None
        # One that went back is of servers that were restored; to wait for the old one could take for ever.
        return 0 if now < index else max(now, 1)


class _Watch:
    """A class and not an async generator: one that was cancelled or raised can be asked again."""

    def __init__(self, registry: ConsulRegistry) -> None:
        self._registry = registry
        self._view = View()
        self._events: deque[Event] = deque()
        self._indexes = dict.fromkeys(_MOVING, 0)
        self._seen = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        await trio.lowlevel.checkpoint()
        while not self._events:
            if self._seen:
                await self._wait()
            await self.look()
        return self._events.popleft()

    async def look(self) -> None:
        """Takes in what is there now, and which count of changes the next must exceed."""
        self._seen = False
        for path, index in self._indexes.items():
            if not index:
                self._indexes[path] = await self._registry._moved(path, 0)
        records = await self._registry._everything()
        self._events += self._view.replace({key_of(record): record for record in records})
        self._seen = True

    async def _wait(self) -> None:
        """Returns when either count has moved."""

        def following(path: str) -> Callable[[], Awaitable[None]]:
            async def follow() -> None:
                before = self._indexes[path]
                while (now := await self._registry._moved(path, before)) == before:
                    pass
                self._indexes[path] = now
                self._seen = False

            return follow

        await _together([following(path) for path in _MOVING], until_one_ends=True)


async def _together(jobs: Iterable[Callable[[], Awaitable[None]]], *, until_one_ends: bool = False) -> None:
    """Runs them at once; the first error ends all and is raised by itself, not in a group."""
    failed: list[Exception] = []

    async def run(job: Callable[[], Awaitable[None]]) -> None:
        try:
            await job()
        except (MicroError, trio.ClosedResourceError) as error:
            failed.append(error)
        if failed or until_one_ends:
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for job in jobs:
            nursery.start_soon(run, job)
    if failed:
        raise failed[0]
