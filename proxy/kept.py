"""Connections to instances that carry one call at a time, and are kept for the next one.

The one that was used last is used first: so a burst's connections become idle again, and are closed.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from sdk.port import Port


class KeptPort(Port, Protocol):
    """A port that can be used again, such as `CallingHttp1Port`."""

    @property
    def free(self) -> bool:
        """Whether it takes a call now."""

    def leave(self) -> None:
        """Ends the connection once nothing waits to be written."""


Dial = Callable[[str, Callable[[KeptPort], None]], KeptPort]
"""Makes a port to an address, which says through the function when it is free again."""


class KeptConnections:
    """The free connections of all addresses."""

    def __init__(self, dial: Dial) -> None:
        """`dial` makes what there is none of."""
        self._dial = dial
        self._free: dict[str, dict[KeptPort, None]] = {}

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

    def forget(self, address: str, port: KeptPort) -> None:
        """A port's connection is gone."""
        free = self._free.get(address)
        if free is not None:
            free.pop(port, None)
            if not free:
                del self._free[address]

    def _keep(self, address: str, port: KeptPort) -> None:
        free = self._free.setdefault(address, {})
        free.pop(port, None)
        free[port] = None
