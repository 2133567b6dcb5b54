"""What the node's services answer with: routes, nodes and links as plain records, which any client reads."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from router.linkstate import LinkTerms
from router.route import Query, Route
from router.table import GraphNode
from sdk.errors import BadRequest
from tunnel.identity import format_id
from tunnel.link import Link

Record = dict[str, Any]


def route_record(route: Route) -> Record:
    """A route."""
    return {
        "service": route.service,
        "version": route.version,
        "protocol": route.protocol,
        "address": route.address,
        "gateway": route.gateway,
        "router": route.router,
        "network": route.network,
        "metric": route.metric,
        "link": route.link.value,
        "hops": route.hops,
        "labels": dict(route.labels),
    }


def node_record(node: GraphNode) -> Record:
    """A node of the graph."""
    return {"id": node.id, "address": node.addresses[0] if node.addresses else "", "name": node.name}


def connection_record(link: Link) -> Record:
    """A link, as far as it says with whom it is."""
    statistics = link.statistics()
    return {
        "node": format_id(link.peer),
        "address": link.address,
        "name": link.certificate.name,
        "transport": link.transport,
        "delay_ms": None if statistics.srtt is None else round(statistics.srtt * 1000, 3),
        "state": statistics.state,
    }


def link_record(link: Link, terms: LinkTerms | None, now: float) -> Record:
    """A link and how it is: rates in bytes a second, `queued` in bytes, `loss` as a share, `cost` None as long as the
    other end has not said that there is a link."""
    statistics = link.statistics()
    return connection_record(link) | {
        "dialled": link.dialled,
        "variation_ms": round(statistics.rttvar * 1000, 3),
        "loss": round(statistics.loss, 4),
        "rate_in": round(statistics.rate_in),
        "rate_out": round(statistics.rate_out),
        "bytes_in": statistics.bytes_in,
        "bytes_out": statistics.bytes_out,
        "streams": statistics.streams,
        "queued": statistics.queued,
        "cost": terms.cost if terms else None,
        "terms": terms_record(terms) if terms else None,
        "up_s": round(now - link.up_since, 1),
    }


def terms_record(terms: LinkTerms) -> Record:
    """What a link costs: 1 and these."""
    return {"delay": terms.delay, "loss": terms.loss, "price": terms.price}


def record_of(request: Any, service: str) -> Mapping[str, Any]:
    """The request as a record; nothing at all is an empty one."""
    if request is None:
        return {}
    if not isinstance(request, Mapping):
        raise BadRequest(f"{service} takes records, such as {{}}")
    return request


def query_of(request: Any, endpoint: str) -> Query:
    """The request as a choice of routes. Raises `BadRequest` for a key or value that is none."""
    record = record_of(request, endpoint)
    known = [field.name for field in fields(Query)]
    for key, value in record.items():
        if key not in known:
            raise BadRequest(f"{endpoint} has no {key!r} to choose by; it has {', '.join(known)}")
        if value is not None and not isinstance(value, str):
            raise BadRequest(f"{endpoint} takes text for {key!r}")
    return Query(**record)
