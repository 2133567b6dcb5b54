"""When a node that starts knows its network well enough for programs to find it.

One that could be found as soon as it runs would tell the first programs that nobody offers what everybody else can
call: where a node is replaced by a new one, calls would be lost by that.
"""

from collections.abc import Callable
from typing import Final

import trio

from router.gossip import Gossip
from router.table import RoutingTable
from tunnel.dialling import SeedState
from tunnel.tunnel import Tunnel

LONGEST: Final = 3.0
"""Seconds after which the node can be found, whatever it knows: alone it still serves its own environment."""

QUIET: Final = 0.1
"""Seconds without news, beside `ROUNDS` round trips to the farthest neighbour, after which all has been heard …"""
ROUNDS: Final = 4
"""… for it takes half of one from "we differ" to each of: what is there, what is wanted, and that."""

LOOK: Final = 0.02
"""Seconds between looks."""


async def joined(tunnel: Tunnel, gossip: Gossip, table: RoutingTable, *, asked: Callable[[], bool]) -> None:
    """Waits until the node has linked with one of those it dials, and has heard and worked out all that they know; or
    each of them failed to answer once; or there are none, and `asked` says that nobody else is asked for some."""
    news, since = -1, trio.current_time()
    with trio.move_on_after(LONGEST):
        while True:
            now = trio.current_time()
            if gossip.revision != news or not table.settled:
                news, since = gossip.revision, now
            if tunnel.links:
                farthest = max(link.round_trip.srtt or 0.0 for link in tunnel.links.values())
                if now - since >= QUIET + ROUNDS * farthest:
                    return
            elif asked() and not any(seed.state is SeedState.DIALLING for seed in tunnel.seeds()):
                return
            await trio.sleep(LOOK)
