"""Changes of the routing table, in order, for whoever follows it."""

import enum
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, NamedTuple

from .route import Query, Route

MAX_WAITING: Final = 1000
"""Events that wait for a watcher. One that is slower has to look at the whole table again."""


class Change(enum.StrEnum):
    """What has become of a route."""

    CREATE = "create"
    UPDATE = "update"
    """Its metric or hops are others."""
    DELETE = "delete"
    RESYNC = "resync"
    """More has changed than could be kept: what is known is void, and the table is to be read anew."""


class Event(NamedTuple):
    """One change."""

    change: Change
    revision: int
    """The table's revision that it led to; each event has one of its own. For RESYNC the one with which it was too
    much."""
    route: Route | None
    """What changed; None for RESYNC."""


class Wanted(NamedTuple):
    """What those who can still take an event would take."""

    services: dict[str, None]
    """The services that somebody named."""
    everything: bool
    """Whether somebody follows all services."""


class Watch:
    """What one watcher has not taken yet."""

    def __init__(self, query: Query, wake: Callable[[], None], leave: Callable[["Watch"], None]) -> None:
        self.query = query
        """Which routes it follows."""
        self.any_service = replace(query, service=None)
        """The same whatever the service."""
        self._wake = wake
        self._leave = leave
        self._events: list[Event] = []
        self._overflown = False

    @property
    def overflown(self) -> bool:
        """Whether it is behind so far that nothing more need be told."""
        return self._overflown

    def take(self) -> list[Event]:
        """All events since the last time, in order. A RESYNC stands alone."""
        events, self._events = self._events, []
        self._overflown = False
        return events

    def close(self) -> None:
        """Ends it; again it does nothing."""
        self._leave(self)

    def put(self, event: Event) -> None:
        """One more event of a route that it may follow."""
        if self._overflown:
            return
        if not self._events:
            self._wake()
        if len(self._events) == MAX_WAITING:
            self._events = [Event(Change.RESYNC, event.revision, None)]
            self._overflown = True
        else:
            self._events.append(event)


class Watches:
    """All watchers of a table, and its revision."""

    def __init__(self) -> None:
        self.revision = 0
        """Rises with every change of the table."""
        self._watches: dict[Watch, None] = {}

    def add(self, query: Query, wake: Callable[[], None]) -> Watch:
        """A new watcher, from the present revision on."""
        watch = Watch(query, wake, self._remove)
        self._watches[watch] = None
        return watch

    @property
    def listening(self) -> bool:
        """Whether anybody can still take an event."""
        return any(not watch.overflown for watch in self._watches)

    def wanted(self, samples: Iterable[Route]) -> Wanted:
        """What is to be told of routes that differ from one of these in service, version, protocol and labels only:
        making routes that nobody follows would take longer than anything else about them."""
        rows = list(samples)
        services: dict[str, None] = {}
        everything = False
        for watch in self._watches:
            if not watch.overflown and any(map(watch.any_service.matches, rows)):
                if watch.query.service is None:
                    everything = True
                else:
                    services[watch.query.service] = None
        return Wanted(services, everything)

    def replace(self, before: Iterable[Route], after: Iterable[Route]) -> None:
        """These routes have taken the place of those."""
        old = {route.key: route for route in before}
        new = {route.key: route for route in after}
        for key, route in old.items():
            if key not in new:
                self._tell(Change.DELETE, route)
        for key, route in new.items():
            if key not in old:
                self._tell(Change.CREATE, route)
            elif old[key] != route:
                self._tell(Change.UPDATE, route)

    def _remove(self, watch: Watch) -> None:
        self._watches.pop(watch, None)

    def _tell(self, change: Change, route: Route) -> None:
        self.revision += 1
        for watch in self._watches:
            if watch.query.matches(route):
                watch.put(Event(change, self.revision, route))
