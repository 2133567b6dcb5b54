"""Connections to instances that carry one call at a time, and are kept for the next one.

The one that was used last is used first: so a burst's connections become idle again, and are closed.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Protocol

from sdk.port import Port

SWEEP = 1.0
"""Seconds between looks for connections that have been free for too long."""


class KeptPort(Port, Protocol):
    """A port that can be used again, such as `CallingHttp1Port`."""

    @property
    def free(self) -> bool:
        """Whether it takes a call now."""

    def leave(self) -> None:
        """Ends the connection once nothing waits to be written."""

    def handle_timeout(self, now: float) -> None:
        """Ends it if it has been free for too long."""


Dial = Callable[[str, Callable[[KeptPort], None]], KeptPort]
"""Makes a port to an address, which says through the function when it is free again."""


class KeptConnections:
    """The free connections of all addresses. It has deadlines, for `Timers`."""

    def __init__(self, dial: Dial) -> None:
        """`dial` makes what there is none of."""
        self._dial = dial
        self._free: dict[str, dict[KeptPort, None]] = {}
        self._looked = -math.inf

    def port_to(self, address: str) -> KeptPort:
        """A port to `host:port` that takes a call now. It stays here until it has one."""
        free = self._free.get(address)
        while free:
            port = next(reversed(free))
            if port.free:
                return port
            free.popitem()
        return self._dial(address, partial(self._keep, address))

    def keep_only(self, addresses: set[str]) -> None:
        """Closes the free connections to all other addresses: no instance is there any more."""
        for address in self._free.keys() - addresses:
            for port in self._free.pop(address):
                if port.free:
                    port.leave()

    def next_timeout(self) -> float:
        """When to look for those that have been free for too long."""
        return self._looked + SWEEP

    def handle_timeout(self, now: float) -> None:
        """Closes those that have, and forgets those that are gone."""
        self._looked = now
        for address, free in list(self._free.items()):
            for port in list(free):
                port.handle_timeout(now)
                if not port.free:
                    del free[port]
            if not free:
                del self._free[address]

    def _keep(self, address: str, port: KeptPort) -> None:
        free = self._free.setdefault(address, {})
        free.pop(port, None)
        free[port] = None
