"""Connections in HTTP/2 to instances that take only so many calls on each: a second one is made when the first is full.

Calls go to one connection of an address for as long as it has room. One that is full stands aside, and is closed when
its last call has ended, unless there was need for it before. So a burst needs no more connections than it must, however
long it lasts, and none is left behind by it.
"""

from collections.abc import Callable

from sdk.port.http2 import Http2CallingPort
from sdk.port.http2.limits import BEFORE_SETTINGS

Dial = Callable[[str, int], Http2CallingPort]
"""Makes a port to an address, that takes so many calls until it is told how many it may."""


class SeveralConnections:
    """The connections to all addresses."""

    def __init__(self, dial: Dial) -> None:
        """`dial` makes what there is none of."""
        self._dial = dial
        self._in_use: dict[str, Http2CallingPort] = {}
        self._aside: dict[str, list[Http2CallingPort]] = {}

    def port_to(self, address: str) -> Http2CallingPort:
        """A port to `host:port` that takes a call now, as far as is known."""
        port = self._in_use.get(address)
        if port is None or port.full:
            port = self._in_use[address] = self._another(address, port)
        return port

    def ports(self) -> list[tuple[str, Http2CallingPort]]:
        """All of them, with their addresses."""
        aside = [(address, port) for address, ports in self._aside.items() for port in ports]
        return [*self._in_use.items(), *aside]

    def forget(self, address: str, port: Http2CallingPort) -> None:
        """A port's connection is gone."""
        if self._in_use.get(address) is port:
            del self._in_use[address]
        aside = self._aside.get(address, [])
        if port in aside:
            aside.remove(port)
            if not aside:
                del self._aside[address]

    def _another(self, address: str, full: Http2CallingPort | None) -> Http2CallingPort:
        """One that stood aside and has room again, or a new one."""
        aside = self._aside.get(address, [])
        port = next((port for port in aside if not port.full), None)
        if port is not None:
            aside.remove(port)
            port.aside = False
        if full is not None and not (full.dead or full.draining):
            full.stand_aside()
            self._aside.setdefault(address, []).append(full)
        return port or self._dial(address, full.takes if full is not None else BEFORE_SETTINGS)
