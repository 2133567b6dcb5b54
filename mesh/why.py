"""Why a call goes where it goes: what speaks for and against each candidate, in words.

It follows `proxy.ingress`, which chooses for the calls: what is said here is what is done there.
"""

from collections.abc import Callable, Container, Sequence
from math import ceil
from typing import Final

from proxy.balance import healthy_tier
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
    failed_here: bool,
    linked: Container[str],
    near: Container[str],
    settled: bool,
    load: Callable[[Candidate], Load],
) -> list[Record]:
    """Each candidate as a record, with `chosen` (whether it takes calls) and `why`. They come cheapest first.

    `own` says whether the service is one that every node answers for itself, `here` whether an instance of this
    environment can take calls, and `failed_here` whether all of those are ejected; `linked` are the nodes to which a
    link is up, by id as text, `near` those within three links, whoever is on the way; `settled` says whether the table
    has chosen all paths, and `load` is what the balancer knows of a node.
    """
    passable = [
        candidate
        for candidate in candidates
        if candidate.standing is Standing.NETWORK and (candidate.path[0] in linked or candidate.spare)
    ]
    all_loads = {candidate.router: load(candidate) for candidate in passable}
    tier = healthy_tier(passable, lambda candidate: all_loads[candidate.router], now) if passable else ()
    loads = {candidate.router: all_loads[candidate.router] for candidate in tier}
    may = {tier[index].router for index in eligible(list(loads.values()), now)}
    well = any(not each.ejected(now) for each in loads.values())
    others_failed = " that has not failed several times in a row" if tier[:1] != passable[:1] else ""
    here_first = here and not (failed_here and well)

    def judge(candidate: Candidate) -> tuple[bool, str]:
        if candidate.standing is Standing.LOCAL:
            if here and not here_first:
                return False, "its instances here failed several times in a row: others are called until one answers"
            return _judge_local(candidate, own, here)
        if candidate.standing is Standing.TOO_FAR:
            return False, _FAR if candidate.router not in near else _CLOSED if settled else _SOON
        if candidate.standing is not Standing.NETWORK:
            return False, _AGAINST[candidate.standing]
        if here_first:
            return False, "there are instances in this environment: it is called when there are none"
        if candidate not in passable:
            return False, "the first link on the way has just gone down"
        more = candidate.cost - tier[0].cost
        if candidate.router not in loads and more < 0:
            return False, _passed_over(all_loads[candidate.router], now)
        if candidate.router not in loads:
            return False, f"it costs {more} more than the cheapest: it is called when no cheaper one is left"
        if candidate.router not in may:
            return False, _passed_over(loads[candidate.router], now)
        reasons = [
            f"it costs {more} more than the cheapest, which counts as alike"
            if more
            else f"none is cheaper{others_failed}"
        ]
        if loads[candidate.router].ejected(now):
            reasons.append("it failed several times in a row, but no more than half of those alike are passed over")
        if candidate.path[0] not in linked:
            reasons.append("the first link on the way has just gone down, so calls take the spare path")
        return True, "; ".join(reasons)

    return [_record(candidate, *judge(candidate), now) for candidate in candidates]


def _passed_over(load: Load, now: float) -> str:
    when = (
        "a call that tries it is under way"
        if load.probed
        else f"it is tried again in {ceil(load.ejected_until - now)} s"
    )
    return f"it failed several times in a row: {when}"


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
