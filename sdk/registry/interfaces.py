"""The interfaces of this host under mdns: they come, go, come back, and are made anew.

zeroconf follows addresses alone. An interface that was taken away and made again with the same address looks the same
to it, but has another number, and what was joined to the old one hears and says nothing on the new one. One that was
down and is up again needs nothing from zeroconf, but what was said meanwhile was not heard.
"""

from pathlib import Path

import ifaddr
from zeroconf import InterfaceChoice, Zeroconf

_Link = tuple[int | None, bool]
"""The number of an interface, and whether it is up."""


class Interfaces:
    """What an opened registry has joined."""

    def __init__(self, zeroconf: Zeroconf) -> None:
        self._zeroconf = zeroconf
        self._links = _links()

    async def follow(self) -> bool:
        """Joins what came, leaves what went, and says whether there is a way that was not there before.

        Runs on zeroconf's loop. Raises `OSError` where the system refuses.
        """
        before, self._links = self._links, _links()
        made_anew = {each for each, (index, _) in self._links.items() if each in before and before[each][0] != index}
        if made_anew:
            await self._zeroconf.async_update_interfaces([each for each in self._links if each not in made_anew])
        await self._zeroconf.async_update_interfaces(InterfaceChoice.All)
        return any(up and before.get(each) != (index, up) for each, (index, up) in self._links.items())


def _links() -> dict[str, _Link]:
    """By address."""
    return {
        str(address.ip): (adapter.index, _is_up(adapter.name))
        for adapter in ifaddr.get_adapters()
        for address in adapter.ips
        if address.is_IPv4
    }


def _is_up(name: str) -> bool:
    """Where nobody tells, it counts as up."""
    try:
        return Path("/sys/class/net", name, "operstate").read_text().strip() != "down"
    except OSError:
        return True
