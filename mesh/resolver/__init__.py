"""Finding other nodes elsewhere than in the local registry: by names that DNS knows, or from a list on a web server.

    --resolver ─ Choice ─ Source (DnsName, HttpList) ─ Lookup, every minute ─ the node's seeds

What each kind needs is imported when it is chosen: most nodes need neither.
"""

from collections.abc import Iterable
from random import Random

from .choice import Choice, Kind, is_looked_up
from .lookup import Source


def divide(choice: Choice, nodes: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of the nodes that are named: those to be dialled as they are, and those to be looked up first."""
    looked_up = tuple(dict.fromkeys(node for node in nodes if choice.kind is Kind.DNS and is_looked_up(node)))
    return tuple(node for node in nodes if node not in looked_up), looked_up


def sources(choice: Choice, looked_up: Iterable[str], random: Random) -> list[Source]:
    """What is asked for nodes; `looked_up` are the names as `divide` has them, `random` orders equal SRV records."""
    if choice.kind is Kind.DNS:
        from .dns import DnsName

        return [DnsName(name, server=choice.server, random=random) for name in looked_up]
    if choice.kind is Kind.HTTP:
        from .http import HttpList

        return [HttpList(choice.url)]
    return []
