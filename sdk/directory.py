"""Where services are, as a client knows it: asked of the registry once, then kept true by following its changes.

A call finds its targets in a dictionary. Each change of a name that was asked for asks again, so that records of
several versions, and changes that overtake one another, need no thought here.
"""

import logging
from random import Random
from typing import NamedTuple, Never, Self

import trio

from .errors import MicroError, NotFound, Unavailable
from .registry import Registry
from .selector import Load, choose
from .strategy import Strategy, sticky
from .types import Instance, Service

RETRY_SECONDS = 5.0
"""Longest pause before a registry that failed is followed again; it begins at a fiftieth of that and doubles."""
_FIRST_RETRY_SECONDS = RETRY_SECONDS / 50

RETURN_SECONDS = 45.0
"""How long what a registry lacks that is back stays in use: half as much again as the interval at which services renew
when nobody says otherwise."""

MOST_FILTERS = 64
"""What was found for so many filters is remembered, for each name."""

_log = logging.getLogger(__name__)


class Filter(NamedTuple):
    """Which instances of a service may be called. What is empty lets all of them pass."""

    version: str = ""
    """The version of the service, as a whole."""
    labels: frozenset[tuple[str, str]] = frozenset()
    """What must be among the service's metadata: names in lower case, and values."""
    endpoint: str = ""
    """What it must offer."""

    def __str__(self) -> str:
        said = [f"version {self.version!r}"] if self.version else []
        said += [f"label {name}={value}" for name, value in sorted(self.labels)]
        said += [f"endpoint {self.endpoint}"] if self.endpoint else []
        return " and ".join(said)


class Target:
    """An instance that can be called, and how it does."""

    __slots__ = ("address", "endpoints", "grpc", "labels", "load", "version")

    def __init__(self, address: str, *, grpc: bool = False) -> None:
        self.address = address
        self.grpc = grpc
        """Whether it is called in gRPC, and not in frames."""
        self.load = Load()
        self.version = ""
        self.labels: frozenset[tuple[str, str]] = frozenset()
        self.endpoints: frozenset[str] = frozenset()

    def describe(self, instance: Instance, service: Service) -> Self:
        """Takes over what its record says."""
        self.grpc = not instance.native
        self.version = service.version
        self.labels = frozenset((name.lower(), value) for name, value in service.metadata.items())
        self.endpoints = frozenset(endpoint.name for endpoint in service.endpoints)
        return self

    def passes(self, wanted: Filter) -> bool:
        """Whether it may be called."""
        return (
            wanted.version in ("", self.version)
            and wanted.labels <= self.labels
            and (not wanted.endpoint or wanted.endpoint in self.endpoints)
        )


class Targets:
    """The instances of one name that can be called."""

    __slots__ = ("_addresses", "_loads", "_narrowed", "_targets")

    def __init__(self, targets: list[Target]) -> None:
        self._targets = targets
        self._loads = [target.load for target in targets]
        self._addresses = [target.address for target in targets]
        self._narrowed: dict[Filter, Targets | None] = {}

    def choose(self, random: Random, now: float, strategy: Strategy = choose, key: str = "") -> Target:
        """The one that takes the next call; by its key, if it has one."""
        targets = self._targets
        if len(targets) == 1:
            return targets[0]
        if key:
            return targets[sticky(key, self._addresses, self._loads, now)]
        return targets[strategy(self._loads, random, now)]

    def without(self, tried: list[Target]) -> "Targets | None":
        """The others, or None when there are none."""
        others = [target for target in self._targets if target not in tried]
        return Targets(others) if others else None

    def matching(self, wanted: Filter) -> "Targets | None":
        """Those that pass, or None when none does."""
        try:
            return self._narrowed[wanted]
        except KeyError:
            found = [target for target in self._targets if target.passes(wanted)]
            if len(self._narrowed) >= MOST_FILTERS:
                self._narrowed.clear()
            self._narrowed[wanted] = narrowed = Targets(found) if found else None
            return narrowed

    def updated(self, instances: list[tuple[Instance, Service]]) -> "Targets":
        """The same with other instances; those that stay keep what is known of them."""
        known = {target.address: target for target in self._targets}
        return Targets(
            [
                (known.get(instance.address) or Target(instance.address)).describe(instance, service)
                for instance, service in instances
            ]
        )


class Directory:
    """Follows a registry in a nursery it is given."""

    def __init__(self, registry: Registry, nursery: trio.Nursery, *, enter: bool) -> None:
        """`enter` says that the registry is not open yet: it is opened on first use and closed with the nursery."""
        self.known: dict[str, Targets] = {}
        """Names that were asked for and have instances: look here first."""
        self._registry = registry
        self._looking = trio.CancelScope()
        self._nursery = nursery
        self._enter = enter
        self._following = False
        self._changed: set[str] = set()
        """Names to be asked for again; `_news` is set when there are any."""
        self._news = trio.Event()
        self._lock = trio.Lock()

    async def find(self, name: str) -> Targets:
        """Asks the registry for a name that is not known.

        Raises `NotFound` naming it and the registry when it is not there, `Unavailable` when its instances cannot be
        called from here, or the registry cannot be asked.
        """
        async with self._lock:
            if not self._following:
                await self._nursery.start(self._follow)
                self._following = True
            services = await self._refresh(name)
        if targets := self.known.get(name):
            return targets
        protocols = sorted({instance.protocol for service in services for instance in service.instances})
        if protocols:
            raise Unavailable(
                f"the instances of {name} speak {', '.join(protocols)} only: a client can call those that speak "
                "gRPC (protocol: grpc in their metadata), or frames (native: 1)"
            )
        where = f"{self._registry.name}, {self._registry.address}".removesuffix(", ")
        raise NotFound(f"no service {name} in the registry ({where})")

    async def _refresh(self, name: str) -> tuple[Service, ...]:
        services = await self._registry.get(name)
        instances = [
            (instance, service)
            for service in services
            for instance in service.instances
            if instance.native or instance.protocol == "grpc"
        ]
        if instances:
            self.known[name] = (self.known.get(name) or Targets([])).updated(instances)
        else:
            self.known.pop(name, None)
        return services

    async def _follow(self, *, task_status: trio.TaskStatus[None]) -> None:
        if self._enter:
            async with self._registry:
                await self._follow_opened(task_status)
        else:
            await self._follow_opened(task_status)

    async def _follow_opened(self, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        self._nursery.start_soon(self._take_in)
        pause = _FIRST_RETRY_SECONDS
        while True:
            try:
                async with self._registry.watch() as events:
                    if pause > _FIRST_RETRY_SECONDS:
                        self._looking.cancel()  # of one that comes and goes, the last return counts
                        self._looking = trio.CancelScope()
                        self._nursery.start_soon(self._look_again, self._looking)
                    async for event in events:
                        pause = _FIRST_RETRY_SECONDS
                        if event.service.name in self.known:
                            self._changed.add(event.service.name)
                            self._news.set()
            except MicroError as error:
                # What is known stays in use; the registry tells everything again when it is back.
                level = logging.WARNING if pause == _FIRST_RETRY_SECONDS else logging.DEBUG
                _log.log(level, "the registry cannot be followed at present, and is tried again: %s", error)
                await trio.sleep(pause)
                pause = min(pause * 2, RETRY_SECONDS)

    async def _take_in(self) -> Never:
        """Asks for the names that changed: once, for all changes that come while the registry answers. What a watch
        begins with is one for each instance, and in some registries asking for one service is reading all of them."""
        pause = _FIRST_RETRY_SECONDS
        while True:
            await self._news.wait()
            self._news = trio.Event()
            for name in tuple(self._changed):
                self._changed.discard(name)
                try:
                    async with self._lock:
                        await self._refresh(name)
                    pause = _FIRST_RETRY_SECONDS
                except MicroError as error:  # one that breaks the watch as well is told by that
                    _log.debug("what changed of %s is not known yet: %s", name, error)
                    self._changed.add(name)
                    self._news.set()
                    await trio.sleep(pause)
                    pause = min(pause * 2, RETRY_SECONDS)

    async def _look_again(self, scope: trio.CancelScope) -> None:
        """Asks for every known name, some time after the registry is back: what went while it was away is told by
        nothing else, and what runs had the time to be there again."""
        with scope:
            await trio.sleep(RETURN_SECONDS)
            self._changed.update(self.known)
            self._news.set()
