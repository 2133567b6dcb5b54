"""The instances whose records ask to be checked, which of them are dead, and the tasks that find out."""

import enum
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final, Never

import trio

from sdk.errors import BadRequest
from sdk.types import Instance, Service
from tunnel.transport.tls import Tls

from .check import Check, parse_check
from .probe import probe

MAX_CHECKED: Final = 1000
"""Instances that one node checks; others count as alive."""

AT_ONCE: Final = 50
"""Checks that are under way at a time."""

Key = tuple[str, str, str]
"""Name, version, id of the instance."""

_log = logging.getLogger(__name__)


class State(enum.Enum):
    """What is known of a checked instance."""

    UP = "up"
    """It is offered: that is so until it failed often enough."""
    DOWN = "down"
    """It is withdrawn."""
    UNCHECKED = "unchecked"
    """It is offered, and not checked: the reason stands beside."""


@dataclass(slots=True, kw_only=True)
class Checked:
    """One instance."""

    check: Check | None
    """How it is checked; None for one that is not."""
    state: State
    """Whether it is offered."""
    error: str = ""
    """What the last check found wrong, or why there is none."""
    in_a_row: int = 0
    """Checks that said the opposite of the state, one after the other."""
    since: float
    """When the state began, in trio's time."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    """That of its task."""

    def hear(self, error: str, now: float) -> bool:
        """Takes what a check found; whether the state is another one now."""
        assert self.check is not None
        self.error = error
        if bool(error) is (self.state is State.DOWN):
            self.in_a_row = 0
            return False
        self.in_a_row += 1
        if self.in_a_row < (self.check.failures if error else self.check.successes):
            return False
        self.state, self.in_a_row, self.since = State.DOWN if error else State.UP, 0, now
        return True


class Checks:
    """Checks the instances of one environment."""

    def __init__(self, *, random: Random, changed: Callable[[], None], tls: Callable[[], Tls]) -> None:
        """`changed` is called when an instance died or is back; `random` spreads the checks; `tls` gives what HTTPS is
        spoken with."""
        self._tls = tls
        self._random = random
        self._changed = changed
        self._checked: dict[Key, Checked] = {}
        self._waiting: dict[Key, Instance] = {}
        """Those of them that are one too many."""
        self._nursery: trio.Nursery | None = None
        self._room = trio.CapacityLimiter(AT_ONCE)

    async def run(self) -> Never:
        """Checks for ever; what is followed before is checked from then on."""
        async with trio.open_nursery() as self._nursery:
            for key, checked in self._checked.items():
                self._begin(key, checked)
            await trio.sleep_forever()
        raise AssertionError("nobody wakes it")

    def follow_all(self, services: Iterable[Service]) -> None:
        """These are all services there are."""
        records = {(service.name, service.version): service.instances for service in services}
        for name, version in {key[:2] for key in self._checked} - records.keys():  # first: others need their room
            self.follow(name, version, ())
        for (name, version), instances in records.items():
            self.follow(name, version, instances)

    def follow(self, name: str, version: str, instances: Iterable[Instance]) -> None:
        """These are all instances of a version: checks those that ask for it, and stops checking others."""
        wanted = {(name, version, each.id): each for each in instances if "check" in each.metadata}
        if self._checked:
            for key in [key for key in self._checked if key[:2] == (name, version) and key not in wanted]:
                self._checked.pop(key).scope.cancel()
                self._waiting.pop(key, None)
        for key, instance in wanted.items():
            self._want(key, instance)
        while self._waiting and self._watched < MAX_CHECKED:
            self._want(*next(iter(self._waiting.items())))

    def alive(self, services: Iterable[Service]) -> tuple[Service, ...]:
        """The services without the instances that are dead, and without those that have no other."""
        down = {key for key, checked in self._checked.items() if checked.state is State.DOWN}
        if not down:
            return tuple(services)
        concerned = {key[:2] for key in down}  # the others stay the same objects, which is what makes them cheap
        left = (
            replace(
                service,
                instances=tuple(
                    each for each in service.instances if (service.name, service.version, each.id) not in down
                ),
            )
            if (service.name, service.version) in concerned
            else service
            for service in services
        )
        return tuple(service for service in left if service.instances)

    def records(self, now: float) -> list[dict[str, Any]]:
        """What is known, for people: `{service, version, instance, check, state, for_s, error}`."""
        return [
            {
                "service": name,
                "version": version,
                "instance": id,
                "check": "" if checked.check is None else str(checked.check),
                "state": checked.state.value,
                "for_s": round(now - checked.since, 1),
                "error": checked.error,
            }
            for (name, version, id), checked in sorted(self._checked.items())
        ]

    @property
    def _watched(self) -> int:
        """Instances that are checked."""
        return len(self._checked) - sum(each.check is None for each in self._checked.values())

    def _want(self, key: Key, instance: Instance) -> None:
        check, error = None, ""
        self._waiting.pop(key, None)
        try:
            check = parse_check(instance)
        except BadRequest as refused:
            error = refused.detail
        before = self._checked.get(key)
        if before is not None and before.check == check and (check is not None or before.error == error):
            return
        if check is not None and self._watched - (before is not None and before.check is not None) >= MAX_CHECKED:
            self._waiting[key] = instance
            check, error = None, f"this node checks {MAX_CHECKED} instances already"
            if before is not None and before.error == error:
                return
        if before is not None:
            before.scope.cancel()
        now = trio.current_time()
        if check is None:
            self._checked[key] = Checked(check=None, state=State.UNCHECKED, error=error, since=now)
            _log.warning("%s %s is not checked: %s", key[0], key[2], error)
            return
        checked = Checked(check=check, state=State.UP, since=now)
        if before is not None and before.check is not None and before.check.address == check.address:
            checked.state, checked.since = before.state, before.since  # a new interval is no sign of life
        self._checked[key] = checked
        self._begin(key, checked)

    def _begin(self, key: Key, checked: Checked) -> None:
        if self._nursery is not None and checked.check is not None:
            self._nursery.start_soon(self._check, key, checked, checked.check)

    async def _check(self, key: Key, checked: Checked, check: Check) -> None:
        with checked.scope:
            await trio.sleep(check.interval * self._random.random())
            while True:
                again = trio.current_time() + check.interval * self._random.uniform(0.9, 1.1)
                async with self._room:
                    error = await probe(check, self._tls())
                if checked.hear(error, trio.current_time()):
                    if error:
                        _log.warning("%s %s is withdrawn, %s: %s", key[0], key[2], check, error)
                    else:
                        _log.info("%s %s is back, %s", key[0], key[2], check)
                    self._changed()
                await trio.sleep_until(again)
