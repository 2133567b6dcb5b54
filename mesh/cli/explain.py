"""`micro network why` for a person: each candidate in a few lines, those that take calls marked."""

from collections.abc import Iterator
from typing import Any

from .render import printable


def explanation(reply: dict[str, Any]) -> str:
    """The answer of `Network.Why` as text."""
    candidates = reply["candidates"]
    service = printable(reply["service"])
    chosen = sum(candidate["chosen"] for candidate in candidates)
    count = f"{len(candidates)} candidate{'s' if len(candidates) != 1 else ''}"
    lines = [f"{service}: {count}, of which {chosen or 'none'} take{'s' if chosen == 1 else ''} calls"]
    for candidate in candidates:
        lines += ["", *_candidate(candidate)]
    if reply["gateway"]:
        lines += ["", to_gateway(reply["gateway"])]
    return "\n".join(lines)


def to_gateway(gateway: dict[str, Any]) -> str:
    """What becomes of calls that are left to the default gateway."""
    node = printable(gateway["node"])
    if gateway["reachable"]:
        return f"calls go to the gateway {node}"
    return f"calls would go to the gateway {node}, which cannot be reached at the moment"


def _candidate(candidate: dict[str, Any]) -> Iterator[str]:
    name = " ".join(filter(None, (candidate["name"], candidate["node"])))
    yield f"{'*' if candidate['chosen'] else ' '} {printable(name)}"
    yield f"    {'chosen' if candidate['chosen'] else 'not chosen'}: {printable(candidate['why'])}"
    if candidate["links"]:
        yield f"    path      {_path(candidate['names'])}, cost {candidate['cost']}: {_terms(candidate['links'])}"
        yield f"    spare     {_path(candidate['spare']) or 'none'}"
    callable_ = "" if candidate["weight"] == candidate["instances"] else f", {candidate['weight']} can be called"
    yield f"    instances {candidate['instances']}{callable_}"
    yield f"    versions  {_list(candidate['versions'])}, speaking {_list(candidate['protocols']) or 'nothing'}"
    yield f"    changed   {candidate['changed_s']:.0f} s ago"


def _path(names: list[str]) -> str:
    return " > ".join(map(printable, names))


def _list(words: list[str]) -> str:
    return ", ".join(map(printable, words))


def _terms(links: list[dict[str, Any]]) -> str:
    """What each link costs and why; 1 is for being a link."""
    told = []
    for link in links:
        parts = [f" + {link[part]} for {part}" for part in ("delay", "loss", "price") if link[part]]
        told.append(f"{printable(link['from'])}-{printable(link['to'])} 1{''.join(parts)}")
    return "; ".join(told)
