"""The service `go.micro.router`: the routing table, for programs that want routes and not the proxy.

Requests and answers are plain records. A node offers its table to be read; `micro router` offers one that is also
written, by whoever keeps routes of their own.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import trio

from router.route import MAX_METRIC, Link, Route
from router.services import is_tellable
from router.table import RoutingTable
from sdk.errors import BadRequest, NotFound
from sdk.server import Server

from .records import Record, query_of, route_record
from .watching import Reply, Watching

ROUTER_SERVICE: Final = "go.micro.router"

WRITES: Final = frozenset(("Table.Create", "Table.Update", "Table.Delete"))
"""Endpoints that change the table."""


class RouterService:
    """Answers for one table. Its endpoints are on `server`."""

    def __init__(
        self,
        table: RoutingTable,
        *,
        network: str,
        router: str,
        writable: bool,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`network` and `router` (a node id as text) stand in routes put in by hand that name none; `changed` is called
        when the table may want to be called earlier than before."""
        self._table = table
        self._network = network
        self._router = router
        self._changed = changed
        self.watching = Watching(table)
        """Those who follow the table."""
        self.server = Server(ROUTER_SERVICE)
        self.server.add("Router.Lookup", self.lookup)
        self.server.add("Router.Watch", self.watch)
        self.server.add("Table.Query", self.lookup)
        if writable:
            self.server.add("Table.Create", self.put)
            self.server.add("Table.Update", self.put)
            self.server.add("Table.Delete", self.delete)

    async def lookup(self, request: Any) -> Record:
        """The routes asked for: `{"routes": [...]}`; the request's keys narrow it, as in `Network.Routes`."""
        return {"routes": [route_record(route) for route in self._table.routes(query_of(request, "Router.Lookup"))]}

    async def watch(self, request: Any, stream: Reply) -> None:
        """The routes asked for, then their changes: `{"change", "revision", "route"}`, for as long as the caller
        reads."""
        await self.watching.tell(query_of(request, "Router.Watch"), stream)

    async def put(self, request: Any) -> Record:
        """Puts a route into the table, in the place of one that differs in metric and hops only.

        It takes `service`, `address` and, where they are to differ from the default, the other fields of a route;
        `ttl` are seconds after which it goes by itself.
        """
        record = dict(_record(request))
        ttl = record.pop("ttl", None)
        if ttl is not None and (type(ttl) not in (int, float) or not 0 < ttl <= 365 * 86400):
            raise BadRequest("ttl of a route is a number of seconds")
        self._table.apply(self._route(record), trio.current_time(), ttl=ttl)
        self._changed()
        return {}

    async def delete(self, request: Any) -> Record:
        """Takes out a route that was put in. Raises `NotFound` when there is none such."""
        route = self._route(dict(_record(request)))
        if not self._table.withdraw(route, trio.current_time()):
            raise NotFound(
                f"no route to {route.service!r} at {route.address} was put in here with these fields; routes that come "
                "from the registry go with what is registered"
            )
        return {}

    def _route(self, record: Record) -> Route:
        known = {field: record.pop(field, None) for field in ("metric", "hops", "labels", "link", "ttl")}
        texts = {"version": "latest", "protocol": "grpc", "gateway": "", "network": self._network,
                 "router": self._router, **record}  # fmt: skip
        for name in ("service", "address"):
            if not texts.get(name):
                raise BadRequest(f"a route needs its {name}")
        for name, text in texts.items():
            if name not in Route.__dataclass_fields__:
                raise BadRequest(f"a route has no {name!r}; it has {', '.join(Route.__dataclass_fields__)}")
            if not isinstance(text, str) or not is_tellable(text):
                raise BadRequest(f"{name} of a route is short, printable text")
        try:
            link = Link(known["link"] or Link.NETWORK)
        except ValueError:
            raise BadRequest(f"link of a route is {' or '.join(Link)}") from None
        return Route(
            link=link,
            metric=_number(known["metric"], "metric", MAX_METRIC),
            hops=_number(known["hops"], "hops", 255),
            labels=_labels(known["labels"]),
            **texts,
        )


def _record(request: Any) -> Mapping[str, Any]:
    if not isinstance(request, Mapping):
        raise BadRequest(f"{ROUTER_SERVICE} takes a route as a record, such as {{'service': …, 'address': …}}")
    return request


def _number(value: Any, what: str, most: int) -> int:
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= most:
        raise BadRequest(f"{what} of a route is a number from 0 to {most}")
    return value


def _labels(value: Any) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if not isinstance(value, Mapping) or not all(
        isinstance(text, str) and is_tellable(text) for pair in value.items() for text in pair
    ):
        raise BadRequest("labels of a route are a record of short, printable texts")
    return tuple(sorted(value.items()))
