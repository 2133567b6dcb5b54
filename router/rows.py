"""The routing table as rows for people, made on demand: calls are routed by `OriginRoute`."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from sdk.types import Service

from .choice import Way
from .offers import Entries
from .route import Link, Route
from .services import ServiceEntry

SAMPLE: Final = (ServiceEntry(service="", version="", protocols=("",), instances=1, weight=1, labels=()),)
"""Stands for whatever an origin may offer."""


class Rows:
    """Makes the rows of one node."""

    def __init__(self, *, me: bytes, network: str, format_id: Callable[[bytes], str]) -> None:
        """`me` is the node's id, and `format_id` turns one into text."""
        self._me = me
        self._network = network
        self._format_id = format_id

    def local(self, services: Iterable[Service]) -> Iterator[Route]:
        """One for each instance of these services of this environment."""
        for service in services:
            labels = tuple(sorted(service.metadata.items()))
            for instance in service.instances:
                yield Route(
                    service=service.name,
                    version=service.version,
                    protocol=instance.protocol,
                    labels=labels,
                    address=instance.address,
                    gateway="",
                    network=self._network,
                    router=self._format_id(self._me),
                    link=Link.LOCAL,
                    metric=0,
                    hops=0,
                )

    def remote(self, origin: bytes, way: Way | None, entries: Entries) -> Iterator[Route]:
        """One for each version and protocol that an origin offers; none where no way leads there."""
        if way is None:
            return
        router, gateway = self._format_id(origin), self._format_id(way.path.nodes[0])
        for entry in entries:
            for protocol in entry.protocols:
                yield Route(
                    service=entry.service,
                    version=entry.version,
                    protocol=protocol,
                    labels=entry.labels,
                    address=router,
                    gateway=gateway,
                    network=self._network,
                    router=router,
                    link=Link.NETWORK,
                    metric=way.path.cost,
                    hops=len(way.path.nodes),
                )


def best(rows: Iterable[Route]) -> list[Route]:
    """The cheapest rows of each service, in the order given."""
    rows = list(rows)
    least: dict[str, int] = {}
    for row in rows:
        least[row.service] = min(row.metric, least.get(row.service, row.metric))
    return [row for row in rows if row.metric == least[row.service]]
