"""Where services are, as a client knows it: asked of the registry once, then kept true by following its changes.

A call finds its targets in a dictionary. Each change of a name that was asked for asks again, so that records of
several versions, and changes that overtake one another, need no thought here.
"""

import logging
from random import Random

import trio

from .errors import MicroError, NotFound, Unavailable
from .registry import Registry
from .selector import Load, choose
from .types import Instance, Service

RETRY_SECONDS = 5.0
"""Longest pause before a registry that failed is followed again; it begins at a fiftieth of that and doubles."""

_log = logging.getLogger(__name__)


class Target:
    """An instance that can be called, and how it does."""

    __slots__ = ("address", "load")

    def __init__(self, address: str) -> None:
        self.address = address
        self.load = Load()


class Targets:
    """The instances of one name that can be called."""

    __slots__ = ("_loads", "_targets")

    def __init__(self, targets: list[Target]) -> None:
        self._targets = targets
        self._loads = [target.load for target in targets]

    def choose(self, random: Random, now: float) -> Target:
        """The one that takes the next call."""
        targets = self._targets
        return targets[0] if len(targets) == 1 else targets[choose(self._loads, random, now)]

    def without(self, tried: list[Target]) -> "Targets | None":
        """The others, or None when there are none."""
        others = [target for target in self._targets if target not in tried]
        return Targets(others) if others else None

    def updated(self, instances: list[Instance]) -> "Targets":
        """The same with other instances; those that stay keep what is known of them."""
        known = {target.address: target for target in self._targets}
        return Targets([known.get(instance.address) or Target(instance.address) for instance in instances])


class Directory:
    """Follows a registry in a nursery it is given."""

    def __init__(self, registry: Registry, nursery: trio.Nursery, *, enter: bool) -> None:
        """`enter` says that the registry is not open yet: it is opened on first use and closed with the nursery."""
        self.known: dict[str, Targets] = {}
        """Names that were asked for and have instances: look here first."""
        self._registry = registry
        self._nursery = nursery
        self._enter = enter
        self._following = False
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
                "frames (native: 1 in their metadata)"
            )
        raise NotFound(f"no service {name} in the registry ({self._registry.name}, {self._registry.address})")

    async def _refresh(self, name: str) -> tuple[Service, ...]:
        services = await self._registry.get(name)
        instances = [instance for service in services for instance in service.instances if instance.native]
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
        pause = RETRY_SECONDS / 50
        while True:
            try:
                async with self._registry.watch() as events:
                    async for event in events:
                        pause = RETRY_SECONDS / 50
                        if event.service.name in self.known:
                            async with self._lock:
                                await self._refresh(event.service.name)
            except MicroError as error:
                # What is known stays in use; the registry tells everything again when it is back.
                _log.warning("the registry cannot be followed at present, trying again in %.1f s: %s", pause, error)
                await trio.sleep(pause)
                pause = min(pause * 2, RETRY_SECONDS)
