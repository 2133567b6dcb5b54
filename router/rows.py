"""The routing table as rows for people, made on demand: calls are routed by `OriginRoute`."""

from collections.abc import Iterable, Iterator

from sdk.types import Service

from .offers import Entries
from .paths import Path
from .route import Link, Route


def local_rows(service: Service, *, network: str, router: str) -> Iterator[Route]:
    """One for each instance of a service of this environment; `router` is this node's id as text."""
    labels = tuple(sorted(service.metadata.items()))
    for instance in service.instances:
        yield Route(
            service=service.name,
            version=service.version,
            protocol=instance.protocol,
            labels=labels,
            address=instance.address,
            gateway="",
            network=network,
            router=router,
            link=Link.LOCAL,
            metric=0,
            hops=0,
        )


def remote_rows(entries: Entries, path: Path, *, network: str, router: str, gateway: str) -> Iterator[Route]:
    """One for each version and protocol that an origin offers; `router` is its id as text, `gateway` that of the first
    node on the path."""
    for entry in entries:
        for protocol in entry.protocols:
            yield Route(
                service=entry.service,
                version=entry.version,
                protocol=protocol,
                labels=entry.labels,
                address=router,
                gateway=gateway,
                network=network,
                router=router,
                link=Link.NETWORK,
                metric=path.cost,
                hops=len(path.nodes),
            )


def best(rows: Iterable[Route]) -> list[Route]:
    """The cheapest rows of each service, in the order given."""
    rows = list(rows)
    least: dict[str, int] = {}
    for row in rows:
        least[row.service] = min(row.metric, least.get(row.service, row.metric))
    return [row for row in rows if row.metric == least[row.service]]
