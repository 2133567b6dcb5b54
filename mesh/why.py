"""Why a call goes where it goes: what speaks for and against each candidate, in words.

It follows `proxy.ingress`, which chooses for the calls: what is said here is what is done there.
"""

from collections.abc import Callable, Container, Sequence
from math import ceil
from typing import Final

from proxy.balance import cheapest_tier
from router.candidates import Candidate, Standing
from router.linkstate import LinkTerms
from sdk.selector import Load, eligible

from .records import Record, terms_record

_FAR: Final = "it is more than three links away"
_CLOSED: Final = "every way of at most three links leads through nodes that carry no calls"
_SOON: Final = "paths are being chosen at this moment, and there is none to it yet"
_AGAINST: Final = {
    Standing.UNREACHABLE: "no links lead there at present",
    Standing.NOT_CALLABLE: "its instances speak nothing that nodes can call (mucp only)",
    Standing.NOT_IMPORTED: "--import of this node keeps the service out",
}


def explain(
    candidates: Sequence[Candidate],
    *,
    now: float,
    own: bool,
    here: bool,
    linked: Container[str],
    near: Container[str],
    settled: bool,
    load: Callable[[Candidate], Load],
) -> list[Record]:
    """Each candidate as a record, with `chosen` (whether it takes calls) and `why`. They come cheapest first.

    `own` says whether the service is one that every node answers for itself, `here` whether an instance of this
    environment takes calls; `linked` are the nodes to which a link is up, by id as text, `near` those within three
    links, whoever is on the way; `settled` says whether the table has chosen all paths, and `load` is what the balancer
    knows of a node.
    """
    passable = [
        candidate
        for candidate in candidates
        if candidate.standing is Standing.NETWORK and (candidate.path[0] in linked or candidate.spare)
    ]
    tier = cheapest_tier(passable) if passable else ()
    loads = {candidate.router: load(candidate) for candidate in tier}
    may = {tier[index].router for index in eligible(list(loads.values()), now)}

    def judge(candidate: Candidate) -> tuple[bool, str]:
        if candidate.standing is Standing.LOCAL:
            return _judge_local(candidate, own, here)
        if candidate.standing is Standing.TOO_FAR:
            return False, _FAR if candidate.router not in near else _CLOSED if settled else _SOON
        if candidate.standing is not Standing.NETWORK:
            return False, _AGAINST[candidate.standing]
        if here:
            return False, "there are instances in this environment: it is called when there are none"
        if candidate not in passable:
            return False, "the first link on the way has just gone down"
        more = candidate.cost - tier[0].cost
        if candidate.router not in loads:
            return False, f"it costs {more} more than the cheapest: it is called when no cheaper one is left"
        left = loads[candidate.router].ejected_until - now if loads[candidate.router].ejected(now) else None
        if candidate.router not in may:
            when = f"it is tried again in {ceil(left)} s" if left and left > 0 else "a call that tries it is under way"
            return False, f"it failed several times in a row: {when}"
        reasons = [f"it costs {more} more than the cheapest, which counts as alike" if more else "none is cheaper"]
        if left is not None:
            reasons.append("it failed several times in a row, but no more than half of those alike are passed over")
        if candidate.path[0] not in linked:
            reasons.append("the first link on the way has just gone down, so calls take the spare path")
        return True, "; ".join(reasons)

    return [_record(candidate, *judge(candidate), now) for candidate in candidates]


def goes_to_gateway(candidates: Sequence[Candidate]) -> bool:
    """Whether calls for a service with these candidates go to the default gateway, where there is one: when nobody is
    known to offer it, as far as this node is concerned. That one is out of reach does not make it unknown."""
    return all(candidate.standing in (Standing.NOT_CALLABLE, Standing.NOT_IMPORTED) for candidate in candidates)


def _judge_local(candidate: Candidate, own: bool, here: bool) -> tuple[bool, str]:
    if own:
        return True, "every node answers that itself"
    if here:
        return True, "instances of this environment come first"
    return False, f"its instances speak {', '.join(candidate.protocols)} only, which this node cannot call yet"


def _record(candidate: Candidate, chosen: bool, why: str, now: float) -> Record:
    return {
        "node": candidate.router,
        "name": candidate.name,
        "standing": candidate.standing.value,
        "chosen": chosen,
        "why": why,
        "versions": list(candidate.versions),
        "protocols": list(candidate.protocols),
        "instances": candidate.instances,
        "weight": candidate.weight,
        "path": list(candidate.path),
        "names": list(candidate.names),
        "links": [_link(*link) for link in candidate.links],
        "cost": candidate.cost,
        "spare": list(candidate.spare),
        "changed_s": round(max(0.0, now - candidate.changed), 1),
    }


def _link(start: str, end: str, terms: LinkTerms) -> Record:
    return {"from": start, "to": end, "cost": terms.cost, **terms_record(terms)}
