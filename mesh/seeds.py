"""Where other nodes are: those that are named, and those that the local registry, DNS or a web server knows.

A named node is dialled for as long as this one runs, one that was found while whoever knows it still does. In the
registry a node stands as `go.micro.network`, with its link address, its network's name and its id in the metadata.
"""

from collections.abc import Callable, Iterable
from itertools import chain

from sdk.types import Service

from .config import NODE_SERVICE


class Seeds:
    """Keeps the set of dialled addresses equal to what people and all sources together say."""

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
        self._named = dict.fromkeys(named)
        self._found: dict[str, tuple[str, ...]] = {}

    def start(self) -> None:
        """Dials the nodes that are named."""
        for address in self._named:
            self._dial(address)

    def name(self, address: str) -> None:
        """Counts an address that is dialled among those that are named: whoever knows it may forget it."""
        self._named[address] = None

    def update(self, services: Iterable[Service]) -> None:
        """Takes the registry's present records."""
        self.found(NODE_SERVICE, sorted(links_in_registry(services, network=self._network, me=self._me)))

    def found(self, source: str, addresses: Iterable[str]) -> None:
        """Takes all that a source knows at present: leaves who is gone, then dials who is new, in the order given."""
        before = self._others()
        self._found[source] = tuple(addresses)
        now = self._others()
        for address in before:
            if address not in now:
                self._leave(address)
        for address in now:
            if address not in before:
                self._dial(address)

    def _others(self) -> dict[str, None]:
        """What was found and is not named besides."""
        # Who stood at this node's own address was killed, and its record has not expired yet.
        here = {self._link, *self._named}
        return dict.fromkeys(address for address in chain.from_iterable(self._found.values()) if address not in here)


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
