"""Everybody who offers a service, and what speaks for and against: for a person who asks why a call goes where it
goes."""

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .choice import Way
from .gossip import Gossip
from .linkstate import LinkTerms
from .policy import Policy
from .services import ServiceEntry


class Standing(enum.StrEnum):
    """Whether a candidate can be called from here."""

    LOCAL = "local"
    """It is this node itself."""
    NETWORK = "network"
    """There is a path to it."""
    TOO_FAR = "too_far"
    """It can be reached, but only over more than three links, or through nodes that pass nothing on."""
    UNREACHABLE = "unreachable"
    """No links lead there."""
    NOT_CALLABLE = "not_callable"
    """None of its instances speaks anything that nodes speak."""
    NOT_IMPORTED = "not_imported"
    """This node's policy keeps the service out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One node that offers the service."""

    router: str
    """Its id."""
    name: str
    """What people call it."""
    standing: Standing
    """Whether it can be called from here."""
    versions: tuple[str, ...]
    """The versions it offers, sorted."""
    protocols: tuple[str, ...]
    """What its instances speak, sorted."""
    instances: int
    """How many there are."""
    weight: int
    """How many of them can be called."""
    path: tuple[str, ...] = ()
    """Ids of the nodes to pass, the origin last."""
    names: tuple[str, ...] = ()
    """The same by name, as far as they have one."""
    links: tuple[tuple[str, str, LinkTerms], ...] = ()
    """Every link on the path: from, to (by name), and what it costs for which reason."""
    cost: int = 0
    """Sum of the costs of these links."""
    spare: tuple[str, ...] = ()
    """Names of the nodes on the second path; empty where there is none."""
    changed: float = 0.0
    """When the offer or the path last changed, on the machine's clock."""


def remote_candidates(
    service: str,
    gossip: Gossip,
    policy: Policy,
    way_to: Callable[[bytes], Way | None],
    changed: float,
    format_id: Callable[[bytes], str],
) -> list[Candidate]:
    """The other nodes that offer a service, those that can be called first, by their cost; `changed` is when the
    offers did."""

    def called(node: bytes) -> str:
        view = gossip.origins.get(node)
        return (view.name if view else "") or format_id(node)

    def links_of(nodes: Sequence[bytes]) -> Iterable[tuple[str, str, LinkTerms]]:
        at = gossip.me
        for node in nodes:
            yield called(at), called(node), gossip.terms(at, node) or LinkTerms()
            at = node

    found: list[tuple[bool, int, bytes, Candidate]] = []
    for origin, view in gossip.origins.items():
        entries = view.services.get(service, ())
        if origin == gossip.me or not entries:
            continue
        way = way_to(origin)
        standing = (
            Standing.NOT_IMPORTED if not policy.imported(service)
            else Standing.UNREACHABLE if origin not in gossip.reachable
            else Standing.TOO_FAR if way is None
            else Standing.NOT_CALLABLE if not any(entry.weight for entry in entries)
            else Standing.NETWORK
        )  # fmt: skip
        nodes = way.path.nodes if way else ()
        candidate = Candidate(
            router=format_id(origin),
            name=view.name,
            standing=standing,
            **summary(entries),
            path=tuple(map(format_id, nodes)),
            names=tuple(map(called, nodes)),
            links=tuple(links_of(nodes)),
            cost=way.path.cost if way else 0,
            spare=tuple(map(called, way.spare.nodes)) if way and way.spare else (),
            changed=max(changed, way.changed) if way else changed,
        )
        found.append((standing is not Standing.NETWORK, candidate.cost, origin, candidate))
    return [candidate for _, _, _, candidate in sorted(found, key=lambda item: item[:3])]


def summary(entries: Sequence[ServiceEntry]) -> dict[str, Any]:
    """What several versions come to together."""
    return {
        "versions": tuple(sorted(entry.version for entry in entries)),
        "protocols": tuple(sorted({protocol for entry in entries for protocol in entry.protocols})),
        "instances": sum(entry.instances for entry in entries),
        "weight": sum(entry.weight for entry in entries),
    }
