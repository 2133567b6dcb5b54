"""Why a call goes where it goes: what speaks for and against each candidate, in words."""

from collections.abc import Callable, Sequence
from typing import Final

from proxy.balance import TIER
from router.candidates import Candidate, Standing
from router.linkstate import LinkTerms

from .records import Record, terms_record

_AGAINST: Final = {
    Standing.TOO_FAR: "no way of at most three links leads there, all of them through nodes that carry calls",
    Standing.UNREACHABLE: "no links lead there at present",
    Standing.NOT_CALLABLE: "its instances speak nothing that nodes can call (mucp only)",
    Standing.NOT_IMPORTED: "--import of this node keeps the service out",
}


def explain(candidates: Sequence[Candidate], *, now: float, ejected: Callable[[Candidate], float]) -> list[Record]:
    """Each candidate as a record, with `chosen` (whether it takes calls) and `why`.

    `ejected` are the seconds for which one is not called because it has failed; 0 for none.
    """
    here = any(candidate.standing is Standing.LOCAL for candidate in candidates)
    costs = [candidate.cost for candidate in candidates if candidate.standing is Standing.NETWORK]
    least = min(costs, default=0)
    return [_record(candidate, *_judge(candidate, here, least, ejected(candidate)), now) for candidate in candidates]


def _judge(candidate: Candidate, here: bool, least: int, ejected: float) -> tuple[bool, str]:
    if candidate.standing is Standing.LOCAL:
        return True, "instances of this environment come first"
    if candidate.standing is not Standing.NETWORK:
        return False, _AGAINST[candidate.standing]
    if here:
        return False, "there are instances in this environment: it is called when there are none"
    more = candidate.cost - least
    if more >= TIER:
        return False, f"it costs {more} more than the cheapest: it is called when no cheaper one is left"
    if ejected > 0:
        return False, f"it failed several times in a row: it is tried again in {ejected:.0f} s"
    return True, f"it costs {more} more than the cheapest, which counts as alike" if more else "none is cheaper"


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
