"""Routes that somebody put in by hand: kept until they are taken out, or their time is over.

A route that the table learned by itself hides one put in by hand that is the same but for metric and hops.
"""

from collections.abc import Iterable, Iterator
from math import inf
from typing import Final

from sdk.errors import TooManyRequests

from .route import Route

MAX_APPLIED: Final = 10_000
"""Most routes put in by hand."""


class Applied:
    """The routes, and when they end."""

    def __init__(self) -> None:
        self.due = inf
        """When `expire` wants to be called; `inf` for never."""
        self._routes: dict[tuple[object, ...], tuple[Route, float]] = {}

    def __len__(self) -> int:
        return len(self._routes)

    def __iter__(self) -> Iterator[Route]:
        return (route for route, _ in self._routes.values())

    def put(self, route: Route, ends: float) -> list[Route]:
        """Puts a route in the place of one with the same key, which is the answer. Raises `TooManyRequests`."""
        if route.key not in self._routes and len(self._routes) >= MAX_APPLIED:
            raise TooManyRequests(f"there are {MAX_APPLIED} routes put in by hand already")
        before = self.remove(route)
        self._routes[route.key] = (route, ends)
        self.due = min(self.due, ends)
        return before

    def remove(self, route: Route) -> list[Route]:
        """Takes out the route with the same key, which is the answer."""
        kept = self._routes.pop(route.key, None)
        return [] if kept is None else [kept[0]]

    def expire(self, now: float) -> list[Route]:
        """Takes out all whose time is over, which are the answer."""
        if now < self.due:
            return []
        over = [route for route, ends in self._routes.values() if ends <= now]
        for route in over:
            del self._routes[route.key]
        self.due = min((ends for _, ends in self._routes.values()), default=inf)
        return over

    def beneath(self, before: Iterable[Route], after: Iterable[Route]) -> tuple[list[Route], list[Route]]:
        """What is seen before and after, when these are the routes that were learned before and after: where there is
        none, one put in by hand."""
        old, new = ({route.key: route for route in routes} for routes in (before, after))
        for key in (*old, *new):
            if key in self._routes:
                old.setdefault(key, self._routes[key][0])
                new.setdefault(key, self._routes[key][0])
        return list(old.values()), list(new.values())
