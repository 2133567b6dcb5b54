"""The service `go.micro.registry`: a registry that programs and nodes of other hosts call, for want of one of their
own.

`micro registry` offers a store of its own; every node and proxy offers its local registry. The endpoints are those of
go-micro v2 (`sdk.registry.remote`).
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Final

import trio

from sdk.errors import BadRequest, TooManyRequests, Unavailable
from sdk.registry import Action, Registry
from sdk.registry.records import Key, key_of, split
from sdk.registry.remote import MAX_RELAYS, READY, REGISTRY_SERVICE, event_record, relays
from sdk.server import Server
from sdk.types import Service, parse_service, service_to_json

from .offer import parse_ttl
from .records import Record
from .watching import Reply

WRITES: Final = frozenset(("Registry.Register", "Registry.Deregister"))
"""Endpoints that change the registry."""

MAX_WATCHERS: Final = 1000
"""Callers that may follow one registry at a time."""

AGAIN: Final = 1.0
"""Seconds before a store that failed is followed again."""


class Shelf:
    """How much a registry holds, and how much it may: instances, and bytes of their records."""

    def __init__(self, *, instances: int, size: int) -> None:
        self._most_instances = instances
        self._most_bytes = size
        self._sizes: dict[Key, int] = {}
        self._bytes = 0

    async def follow(self, registry: Registry) -> None:
        """Keeps count of what leaves the registry, and of what is in it already, for ever."""
        while True:
            with suppress(Unavailable):  # whoever registers is told; the count is right again when it is back
                async with registry.watch() as events:
                    self._sizes.clear()
                    self._bytes = 0
                    async for event in events:
                        key = key_of(event.service)
                        self._forget(key)
                        if event.action is not Action.DELETE:
                            self._count(key, _size(event.service))
            await trio.sleep(AGAIN)

    @contextmanager
    def taking(self, service: Service) -> Iterator[None]:
        """Counts a record while it is registered, and no more where that fails. Raises `TooManyRequests` where there is
        no room for it."""
        pieces = {key: _size(piece) for key, piece in split(service).items()}
        new = sum(key not in self._sizes for key in pieces)
        more = sum(size - self._sizes.get(key, 0) for key, size in pieces.items())
        if len(self._sizes) + new > self._most_instances or (more > 0 and self._bytes + more > self._most_bytes):
            raise TooManyRequests(
                f"this registry is full: it holds {len(self._sizes)} instances of {self._most_instances} and "
                f"{self._bytes} bytes of {self._most_bytes}"
            )
        before = {key: self._sizes[key] for key in pieces if key in self._sizes}
        self._count_again(pieces, pieces)
        try:
            yield
        except BaseException:
            still = pieces.keys() & self._sizes.keys()  # others ran out meanwhile, and nothing would tell of it again
            self._count_again(still, {key: before[key] for key in still & before.keys()})
            raise

    def _count_again(self, keys: Iterable[Key], sizes: Mapping[Key, int]) -> None:
        for key in keys:
            self._forget(key)
        for key, size in sizes.items():
            self._count(key, size)

    def _count(self, key: Key, size: int) -> None:
        self._sizes[key] = size
        self._bytes += size

    def _forget(self, key: Key) -> None:
        self._bytes -= self._sizes.pop(key, 0)


class RegistryService:
    """Answers for one registry. Its endpoints are on `server`."""

    def __init__(self, registry: Registry, *, shelf: Shelf | None = None) -> None:
        """`shelf` says how much may be registered by calls; without it, as much as the registry takes."""
        self._registry = registry
        self._shelf = shelf
        self._watchers: set[trio.CancelScope] = set()
        self._ended = False
        self.server = Server(REGISTRY_SERVICE)
        self.server.add("Registry.GetService", self.get)
        self.server.add("Registry.ListServices", self.list)
        self.server.add("Registry.Watch", self.watch)
        self.server.add("Registry.Register", self.register)
        self.server.add("Registry.Deregister", self.deregister)

    async def get(self, request: Any) -> Record:
        """The records of `service`, one for each version: `{"services": [...]}`, empty where nobody offers it."""
        name = _read(request).get("service")
        if not isinstance(name, str) or not name:
            raise BadRequest('Registry.GetService takes {"service": "name"}')
        return _records(await self._registry.get(name))

    async def list(self, request: Any) -> Record:
        """All records: `{"services": [...]}`."""
        _read(request)
        return _records(await self._registry.list())

    async def watch(self, request: Any, stream: Reply) -> None:
        """`{"action": "ready"}`, what is there as `create`, then each change: `{"action", "service"}` with one
        instance; of one service alone where `service` says so. Ends when the registry stops."""
        name = _read(request).get("service") or ""
        if not isinstance(name, str):
            raise BadRequest('Registry.Watch takes {"service": "name"}, or {} for all services')
        with self._watcher():
            async with self._registry.watch() as events:
                await stream.send({"action": READY})
                async for event in events:
                    if name in ("", event.service.name):
                        await stream.send(event_record(event))

    async def register(self, request: Any) -> Record:
        """Adds or renews the instances of a record; `options.ttl` are seconds after which they go by themselves."""
        record = _read(request)
        service, ttl = parse_service(dict(record)), parse_ttl(record.get("options"))
        with self._shelf.taking(service) if self._shelf is not None else nullcontext():
            await self._registry.register(service, ttl=ttl)
        return {}

    async def deregister(self, request: Any) -> Record:
        """Removes the instances of a record; what is not there is no error."""
        await self._registry.deregister(parse_service(dict(_read(request))))
        return {}

    def end(self) -> None:
        """Tells nobody of changes any more, from now on: watches go on for ever, and whoever stops does not wait for
        them."""
        self._ended = True
        for scope in self._watchers:
            scope.cancel()

    @contextmanager
    def _watcher(self) -> Iterator[None]:
        if len(self._watchers) >= MAX_WATCHERS:
            raise TooManyRequests(f"{MAX_WATCHERS} callers follow this registry already")
        with trio.CancelScope() as scope:
            if self._ended:
                scope.cancel()
            self._watchers.add(scope)
            try:
                yield
            finally:
                self._watchers.remove(scope)


def _read(request: Any) -> Mapping[str, Any]:
    """The request as a record; counts the registries it came through."""
    record = {} if request is None else request
    if not isinstance(record, Mapping):
        raise BadRequest(f"{REGISTRY_SERVICE} takes records, such as {{'service': 'name'}}")
    count = record.get("relays", 0)
    if type(count) is not int or not 0 <= count < MAX_RELAYS:
        raise BadRequest(
            f"this was passed on by {MAX_RELAYS} registries already, most likely in a circle: give --registry-address "
            "(MICRO_REGISTRY_ADDRESS) the address of one that has a store of its own"
        )
    relays.set(count + 1)
    return record


def _records(services: tuple[Service, ...]) -> Record:
    return {"services": [service_to_json(service) for service in services]}


def _size(piece: Service) -> int:
    return len(json.dumps(service_to_json(piece)))
