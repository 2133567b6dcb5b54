"""Tells a caller the routes of a table, and then whatever changes, for as long as the caller listens."""

from typing import Any, Protocol

import trio

from router.route import Query
from router.table import RoutingTable
from router.watch import Change, Event

from .records import route_record


class Reply(Protocol):
    """Where the answers go."""

    async def send(self, message: Any) -> None:
        """Sends one; waits while the caller does not read."""


class Watching:
    """The callers who follow a table."""

    def __init__(self, table: RoutingTable) -> None:
        self._table = table
        self._scopes: set[trio.CancelScope] = set()
        self._ended = False

    async def tell(self, query: Query, reply: Reply) -> None:
        """Sends `{"change", "revision", "route"}`: the present routes as `create`, then each change in order.

        A caller that reads too slowly gets `resync`, without a route, and all routes anew. Runs until `end`, or until
        cancelled, which a caller does by going away. Raises `BadRequest` for the strategy `best`.
        """
        if self._ended:
            return
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                await self._tell(query, reply)
            finally:
                self._scopes.remove(scope)

    def end(self) -> None:
        """Tells nobody any more, from now on: watches go on for ever, and whoever stops does not wait for them."""
        self._ended = True
        for scope in self._scopes:
            scope.cancel()

    async def _tell(self, query: Query, reply: Reply) -> None:
        waiting = trio.Event()

        def wake() -> None:
            waiting.set()

        watch = self._table.watch(query, wake)
        try:
            await self._tell_all(query, reply)
            while True:
                await waiting.wait()
                waiting = trio.Event()
                for event in watch.take():
                    await reply.send(_record(event))
                    if event.change is Change.RESYNC:
                        watch.take()  # what came meanwhile is in the table
                        await self._tell_all(query, reply)
        finally:
            watch.close()

    async def _tell_all(self, query: Query, reply: Reply) -> None:
        revision = self._table.revision
        for route in self._table.routes(query):
            await reply.send(_record(Event(Change.CREATE, revision, route)))
            await trio.lowlevel.checkpoint()  # there may be a hundred thousand, and a caller with room for all of them


def _record(event: Event) -> dict[str, Any]:
    route = None if event.route is None else route_record(event.route)
    return {"change": event.change.value, "revision": event.revision, "route": route}
