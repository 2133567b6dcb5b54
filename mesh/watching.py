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


async def tell_changes(table: RoutingTable, query: Query, reply: Reply) -> None:
    """Sends `{"change", "revision", "route"}`: the present routes as `create`, then each change in order.

    A caller that reads too slowly gets `resync`, without a route, and all routes anew. Runs until cancelled, which a
    caller does by going away.
    """
    waiting = trio.Event()

    def wake() -> None:
        waiting.set()

    watch = table.watch(query, wake)
    try:
        await _tell_all(table, query, reply)
        while True:
            await waiting.wait()
            waiting = trio.Event()
            for event in watch.take():
                await reply.send(_record(event))
                if event.change is Change.RESYNC:
                    watch.take()  # what came meanwhile is in the table
                    await _tell_all(table, query, reply)
    finally:
        watch.close()


async def _tell_all(table: RoutingTable, query: Query, reply: Reply) -> None:
    revision = table.revision
    for route in table.routes(query):
        await reply.send(_record(Event(Change.CREATE, revision, route)))


def _record(event: Event) -> dict[str, Any]:
    route = None if event.route is None else route_record(event.route)
    return {"change": event.change.value, "revision": event.revision, "route": route}
