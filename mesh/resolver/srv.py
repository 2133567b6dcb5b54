"""The order in which the servers of SRV records are tried (RFC 2782)."""

from collections.abc import Iterable
from itertools import accumulate
from random import Random
from typing import NamedTuple


class Server(NamedTuple):
    """One SRV record. The lowest `priority` comes first, and of equals mostly the one with the greatest `weight`."""

    priority: int
    weight: int
    port: int
    target: str
    """A host name; empty where the record says that the service is not there."""


def in_order(records: Iterable[Server], random: Random) -> list[tuple[str, int]]:
    """Host and port of each record, once each, as RFC 2782 orders them. Records that name no server are left out."""
    ordered: list[tuple[str, int]] = []
    # Those without weight come first: so they have a small chance, and not none.
    waiting = sorted(record for record in records if record.target and record.port)
    while waiting:
        first = [record for record in waiting if record.priority == waiting[0].priority]
        sums = list(accumulate(record.weight for record in first))
        drawn = random.randint(0, sums[-1])
        chosen = next(record for record, total in zip(first, sums, strict=True) if total >= drawn)
        waiting.remove(chosen)
        ordered.append((chosen.target, chosen.port))
    return list(dict.fromkeys(ordered))
