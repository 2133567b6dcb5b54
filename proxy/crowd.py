"""How many connections a port bears: in all, and from one address."""

from collections import Counter

from sdk.netaddress import is_loopback

MOST = 4096
"""Connections at one time, silent ones too; the files a process may open are 1,024 to a million."""

MOST_OF_ONE = 1024
"""Connections of one address. Programs of this host all have the same one, and are not counted apart."""

OF_THIS_HOST = 256
"""Connections of these that only programs of this host may have: a few others together could else keep them out."""


class Crowd:
    """Counts those who are there."""

    def __init__(self, most: int = MOST, most_of_one: int = MOST_OF_ONE, of_this_host: int = OF_THIS_HOST) -> None:
        self.size = 0
        """Connections that are open."""
        self._most = most
        self._most_of_one = most_of_one
        self._of_this_host = of_this_host
        self._hosts: Counter[str] = Counter()

    def enter(self, host: str) -> str:
        """One more connection; returns why it has to be refused, or nothing. Either way `leave` follows."""
        self.size += 1
        self._hosts[host] += 1
        here = is_loopback(host)
        most = self._most - (0 if here else self._of_this_host)
        if self.size > most:
            return f"{most} connections are open already"
        if self._hosts[host] > self._most_of_one and not here:
            return f"{self._most_of_one} connections of its address are open already"
        return ""

    def leave(self, host: str) -> None:
        """A connection is over."""
        self.size -= 1
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]
