"""What runs in this environment, as its registry says, kept up to date while the node runs.

When the registry breaks, the last known state stays in force and is marked stale: services that run do not stop
because a registry did.
"""

import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Final, Never

import trio

from sdk.registry import Action, Event, Registry
from sdk.types import Service

from .checks import Checks

FIRST_WAIT: Final = 0.2
"""Seconds before a broken registry is tried again, doubled each time …"""
LONGEST_WAIT: Final = 10.0
"""… up to this."""

_log = logging.getLogger(__name__)


class RegistryState(enum.Enum):
    """What the node knows of its registry."""

    STARTING = "starting"
    CURRENT = "current"
    STALE = "stale"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryStatus:
    """The state of the local registry, for a person."""

    state: RegistryState
    """Whether what is known is current."""
    error: str = ""
    """Why it is not."""


class LocalServices:
    """The records of the local registry, and those of the services that are attached to the node itself."""

    def __init__(self, registry: Registry, *, random: Random, changed: Callable[[tuple[Service, ...]], None]) -> None:
        """`changed` is called with all records after each change; `random` spreads the retries."""
        self.status = RegistryStatus(state=RegistryState.STARTING)
        self._registry = registry
        self._random = random
        self._changed = changed
        self.checks = Checks(random=random, changed=self._tell)
        """Which instances are dead, of those whose records ask to be checked."""
        self._services: dict[tuple[str, str], Service] = {}
        self._attached: tuple[Service, ...] = ()

    @property
    def services(self) -> tuple[Service, ...]:
        """All records, one for each name and version, without those that have no instance and without what is dead."""
        if not self._attached:
            return self.checks.alive(self._services.values())
        services = dict(self._services)
        for service in self._attached:
            known = services.setdefault((service.name, service.version), service)
            if known is not service:
                services[service.name, service.version] = replace(
                    known, instances=(*known.instances, *service.instances)
                )
        return self.checks.alive(services.values())

    def set_attached(self, services: tuple[Service, ...]) -> None:
        """These are attached from now on, whatever becomes of the registry."""
        self._attached = services
        self._tell()

    async def run(self) -> Never:
        """Follows the registry for ever, over its failures, and checks the instances that ask for it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.checks.run)
            await self._follow()

    async def _follow(self) -> Never:
        wait = FIRST_WAIT
        while True:
            try:
                async with self._registry.watch() as events:
                    # What a broken watch has missed, deletions above all, is only in the list. Events that are older
                    # than it are applied again, in order, which ends in the same state.
                    self._start_over(await self._registry.list())
                    wait = FIRST_WAIT
                    async for event in events:
                        self._apply(event)
                self._fell_out("the registry ended the watch")
            except Exception as error:  # a back end of any kind may fail in its own way; the node outlives them all
                self._fell_out(_reason(error))
            await trio.sleep(wait * self._random.uniform(0.8, 1.2))
            wait = min(2 * wait, LONGEST_WAIT)

    def _start_over(self, services: tuple[Service, ...]) -> None:
        self._services = {(service.name, service.version): service for service in services if service.instances}
        if self.status.state is RegistryState.STALE:
            _log.info("the registry is back")
        self.status = RegistryStatus(state=RegistryState.CURRENT)
        self.checks.follow_all(self._services.values())
        self._tell()

    def _apply(self, event: Event) -> None:
        key = (event.service.name, event.service.version)
        before = self._services.get(key)
        instances = {instance.id: instance for instance in before.instances} if before else {}
        for instance in event.service.instances:
            if event.action is Action.DELETE:
                instances.pop(instance.id, None)
            else:
                instances[instance.id] = instance
        if instances:
            record = before if before and event.action is Action.DELETE else event.service
            self._services[key] = replace(record, instances=tuple(instances.values()))
        else:
            self._services.pop(key, None)
        if self._services.get(key) != before:
            self.checks.follow(*key, instances.values())
            self._tell()

    def _tell(self) -> None:
        """What may be called is something else than before."""
        self._changed(self.services)

    def _fell_out(self, reason: str) -> None:
        if self.status.state is not RegistryState.STALE:
            _log.warning("the registry does not answer (%s): going on with what it said last", reason)
        self.status = RegistryStatus(state=RegistryState.STALE, error=reason)


def _reason(error: Exception) -> str:
    """What a person is told of a failure; of a group, the first that is in it."""
    first: BaseException = error
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return str(first) or type(first).__name__
