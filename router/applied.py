"""Routes that somebody put in by hand: kept until they are taken out, or their time is over."""

from collections.abc import Iterator
from math import inf
from typing import Final

from sdk.errors import TooManyRequests

from .route import Route

MAX_APPLIED: Final = 10_000
"""Most routes put in by hand."""


class Applied:
    """The routes, and when they end."""

    def __init__(self) -> None:
        self._routes: dict[tuple[object, ...], tuple[Route, float]] = {}

    def __iter__(self) -> Iterator[Route]:
        return (route for route, _ in self._routes.values())

    def put(self, route: Route, ends: float) -> list[Route]:
        """Puts a route in the place of one with the same key, which is the answer. Raises `TooManyRequests`."""
        if route.key not in self._routes and len(self._routes) >= MAX_APPLIED:
            raise TooManyRequests(f"there are {MAX_APPLIED} routes put in by hand already")
        before = self.remove(route)
        self._routes[route.key] = (route, ends)
        return before

    def remove(self, route: Route) -> list[Route]:
        """Takes out the route with the same key, which is the answer."""
        kept = self._routes.pop(route.key, None)
        return [] if kept is None else [kept[0]]

    def due(self) -> float:
        """When the next one ends."""
        return min(ends for _, ends in self._routes.values()) if self._routes else inf

    def expire(self, now: float) -> list[Route]:
        """Takes out all whose time is over, which are the answer."""
        over = [route for route, ends in self._routes.values() if ends <= now]
        for route in over:
            del self._routes[route.key]
        return over
