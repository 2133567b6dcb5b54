"""What runs in this environment, as its registry says, kept up to date while the node runs.

When the registry breaks, the last known state stays in force and is marked stale: services that run do not stop
because a registry did. When it is back, what runs and is missing there is kept until it can be there again.
"""

import enum
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final, Never

import trio

from sdk.errors import BadRequest, Forbidden, Unauthorized
from sdk.registry import Action, Event, Registry
from sdk.registry.records import Key
from sdk.registry.remote import REGISTRY_SERVICE
from sdk.types import Instance, Service
from tunnel.transport.tls import Tls

from .checks import Checks
from .returning import GRACE, await_return

FIRST_WAIT: Final = 0.2
"""Seconds before a broken registry is tried again, doubled each time …"""
LONGEST_WAIT: Final = 10.0
"""… up to this."""
SETTLING: Final = 5.0
"""Seconds after its return for which a registry may still end what could not be renewed while it was away."""

LONG: Final = 0.01
"""Seconds above which taking a change in is work: so it is with thousands of services."""
REST: Final = 3.0
"""So many times as long as that took, the next change is left waiting: where many change at a time, most of the time is
for calls."""

_REFUSALS = (BadRequest, Forbidden, Unauthorized)

_log = logging.getLogger(__name__)


class RegistryState(enum.Enum):
    """What the node knows of its registry."""

    STARTING = "starting"
    AWAY = "away"
    """It has not answered yet, and nothing is known."""
    CURRENT = "current"
    STALE = "stale"
    """It has answered, and no longer does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryStatus:
    """The state of the local registry, for a person."""

    state: RegistryState
    """Whether what is known is current."""
    since: float
    """When it became so, on trio's clock."""
    error: str = ""
    """Why it is not current: what went wrong last."""


class LocalServices:
    """The records of the local registry, and those of the services that are attached to the node itself."""

    def __init__(
        self,
        registry: Registry,
        *,
        random: Random,
        changed: Callable[[tuple[Service, ...]], None],
        tls: Callable[[], Tls],
    ) -> None:
        """`changed` is called with all records after each change; `random` spreads the retries; `tls` gives what
        instances are checked with that ask for HTTPS."""
        self.status = RegistryStatus(state=RegistryState.STARTING, since=-math.inf)
        self._registry = registry
        self._random = random
        self._changed = changed
        self.checks = Checks(random=random, changed=self._tell, tls=tls)
        """Which instances are dead, of those whose records ask to be checked."""
        self._services: dict[tuple[str, str], Service] = {}
        self._lacking: dict[Key, Instance] = {}
        """Those of their instances that the registry lacks since it is back."""
        self._settled = -math.inf
        self._doubted = trio.Event()
        self._untold = trio.Event()
        self._rest_until = -math.inf
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

    def record(self, now: float) -> dict[str, Any]:
        """What is known of the registry, for people: `{kind, address, state, for_s, error}`, as of `now`.

        `for_s` are the seconds since it is current, or is not; None before it was asked.
        """
        status = self.status
        return {
            "kind": self._registry.name,
            "address": self._registry.address,
            "state": status.state.value,
            "for_s": None if status.state is RegistryState.STARTING else round(now - status.since, 1),
            "error": status.error,
        }

    def set_attached(self, services: tuple[Service, ...]) -> None:
        """These are attached from now on, whatever becomes of the registry. That is told now and never later: the
        program hears next that it is called, and the calls of a connection that is gone look for others."""
        self._attached = services
        self._tell_now()

    def doubt(self) -> None:
        """Somebody failed to use the registry. It is asked whether it answers: a server that hangs keeps a watch open
        and says nothing."""
        self._doubted.set()

    async def run(self) -> Never:
        """Follows the registry for ever, over its failures, and checks the instances that ask for it.

        Raises `Unauthorized`, `Forbidden` and `BadRequest` when the registry refuses to be read at the first attempt:
        such an error is one of the configuration. Later it may be one of the registry, and is gone over.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.checks.run)
            nursery.start_soon(self._tell_later)
            await self._follow()

    async def _follow(self) -> Never:
        wait = FIRST_WAIT
        while True:
            try:
                async with self._registry.watch() as events, trio.open_nursery() as nursery:
                    # What a broken watch has missed, deletions above all, is only in the list. Events that are older
                    # than it are applied again, in order, which ends in the same state.
                    self._start_over(await self._registry.list())
                    wait = FIRST_WAIT
                    nursery.start_soon(self._ask_when_doubted)
                    if self._lacking:
                        nursery.start_soon(await_return, dict(self._lacking), self._give_up)
                    async for event in events:
                        if event.action is Action.DELETE and trio.current_time() < self._settled:
                            if lacking := self._keep_for_now(event):
                                nursery.start_soon(await_return, lacking, self._give_up)
                        else:
                            self._apply(event)
                    nursery.cancel_scope.cancel()
                self._fell_out("the registry ended the watch")
            except Exception as error:  # a back end of any kind may fail in its own way; the node outlives them all
                first = _first(error)
                if self.status.state is RegistryState.STARTING and isinstance(first, _REFUSALS):
                    raise first from None
                self._fell_out(str(first) or type(first).__name__)
            await trio.sleep(wait * self._random.uniform(0.8, 1.2))
            wait = min(2 * wait, LONGEST_WAIT)

    async def _ask_when_doubted(self) -> Never:
        while True:
            await self._doubted.wait()
            self._doubted = trio.Event()
            await self._registry.get(REGISTRY_SERVICE)  # any name will do, and this is one that nobody registers

    def _start_over(self, services: tuple[Service, ...]) -> None:
        known = self._services
        self._services = {(service.name, service.version): service for service in services if service.instances}
        self._lacking.clear()
        if self.status.state is RegistryState.STALE:
            self._keep(known)
            self._settled = trio.current_time() + SETTLING
        if self.status.state in (RegistryState.STALE, RegistryState.AWAY):
            kept = f", without {len(self._lacking)} instances that it had: those that run are kept for {GRACE:g} s"
            _log.info("the registry is back%s", kept if self._lacking else "")
        self.status = RegistryStatus(state=RegistryState.CURRENT, since=trio.current_time())
        self.checks.follow_all(self._services.values())
        self._tell()

    def _keep(self, known: Mapping[tuple[str, str], Service]) -> None:
        """Keeps the instances that were known and that the registry lacks."""
        for key, before in known.items():
            now = self._services.get(key)
            listed = now.instances if now else ()
            there = {instance.id for instance in listed}
            if lacking := tuple(instance for instance in before.instances if instance.id not in there):
                self._services[key] = replace(now or before, instances=(*listed, *lacking))
                self._lacking |= {(*key, instance.id): instance for instance in lacking}

    def _keep_for_now(self, event: Event) -> dict[Key, Instance]:
        """Those of the instances that are said to be gone which were known until now."""
        name, version = event.service.name, event.service.version
        known = self._services.get((name, version))
        gone = {instance.id for instance in event.service.instances}
        lacking = {(name, version, each.id): each for each in (known.instances if known else ()) if each.id in gone}
        self._lacking |= lacking
        return lacking

    def _give_up(self, keys: Iterable[Key]) -> None:
        """Lets go of instances, but for those that the registry has told of meanwhile."""
        before = len(self._lacking)
        for name, version, id in keys:
            if instance := self._lacking.get((name, version, id)):
                gone = Service(name=name, version=version, instances=(instance,))
                self._take(Event(action=Action.DELETE, service=gone))
        if len(self._lacking) < before:
            self._tell()

    def _apply(self, event: Event) -> None:
        if self._take(event):
            self._tell()

    def _take(self, event: Event) -> bool:
        """Writes down what an event says; whether that is anything new."""
        key = (event.service.name, event.service.version)
        before = self._services.get(key)
        instances = {instance.id: instance for instance in before.instances} if before else {}
        for instance in event.service.instances:
            self._lacking.pop((*key, instance.id), None)
            if event.action is Action.DELETE:
                instances.pop(instance.id, None)
            else:
                instances[instance.id] = instance
        if instances:
            record = before if before and event.action is Action.DELETE else event.service
            self._services[key] = replace(record, instances=tuple(instances.values()))
        else:
            self._services.pop(key, None)
        if self._services.get(key) == before:
            return False
        self.checks.follow(*key, instances.values())
        return True

    def _tell(self) -> None:
        """What the registry or a check says is something else than before: tells it now, or soon where that was just
        done."""
        if trio.current_time() < self._rest_until:
            self._untold.set()
        else:
            self._tell_now()

    def _tell_now(self) -> None:
        began = trio.current_time()
        self._changed(self.services)
        now = trio.current_time()
        if now - began > LONG:
            self._rest_until = now + REST * (now - began)

    async def _tell_later(self) -> Never:
        while True:
            await self._untold.wait()
            await trio.sleep_until(self._rest_until)
            self._untold = trio.Event()
            self._tell()

    def _fell_out(self, reason: str) -> None:
        known = self.status.state in (RegistryState.CURRENT, RegistryState.STALE)
        state = RegistryState.STALE if known else RegistryState.AWAY
        since = self.status.since
        if self.status.state is not state:
            since = trio.current_time()
            going_on = "with what it said last" if known else "with what other nodes tell, and trying again"
            _log.warning("the registry does not answer (%s): going on %s", reason, going_on)
        self.status = RegistryStatus(state=state, since=since, error=reason)


def _first(error: Exception) -> Exception:
    """Of a group of failures, the first that is in it."""
    first: BaseException = error
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, Exception)
    return first
