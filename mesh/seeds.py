"""Where other nodes are: those named in the configuration, and those that stand in the local registry.

A named node is dialled for as long as this one runs. A node of the registry is dialled while its record is there: it
registers as `go.micro.network`, with its link address, its network's name and its id in the metadata.
"""

from collections.abc import Callable, Iterable

from sdk.types import Service

from .config import NODE_SERVICE


class Seeds:
    """Keeps the set of dialled addresses equal to what the configuration and the registry say."""

    def __init__(
        self,
        *,
        named: Iterable[str],
        network: str,
        me: str,
        link: str,
        dial: Callable[[str], None],
        leave: Callable[[str], None],
    ) -> None:
        """`dial` and `leave` begin and end the attempts at an address; `me` and `link` are this node's own id and link
        address."""
        self._network = network
        self._me = me
        self._link = link
        self._dial = dial
        self._leave = leave
        self._named = tuple(dict.fromkeys(named))
        self._found: set[str] = set()

    def start(self) -> None:
        """Dials the nodes that are named."""
        for address in self._named:
            self._dial(address)

    def update(self, services: Iterable[Service]) -> None:
        """Takes the registry's present records: dials who is new and leaves who is gone, in order of address."""
        found = links_in_registry(services, network=self._network, me=self._me)
        # Who stood at this node's own address was killed, and its record has not expired yet.
        found -= {self._link, *self._named}
        gone, new = self._found - found, found - self._found
        self._found = found
        for address in sorted(gone):
            self._leave(address)
        for address in sorted(new):
            self._dial(address)


def links_in_registry(services: Iterable[Service], *, network: str, me: str) -> set[str]:
    """The link addresses of a network's other nodes, as they registered them."""
    return {
        link
        for service in services
        if service.name == NODE_SERVICE
        for instance in service.instances
        if instance.metadata.get("network") == network and instance.metadata.get("id") != me
        if (link := instance.metadata.get("link"))
    }
