"""Services that DNS knows: names that were said beforehand, asked for again when their answers are no longer good.

DNS cannot be asked what names it has, and nobody registers in it from here. For a service it is asked for the SRV
records of `_NAME._tcp.DOMAIN` (RFC 2782) and then, as Consul has them, of `NAME.DOMAIN`; with a port, for the A and
AAAA records of `NAME.DOMAIN`. Of SRV records those with the best priority count that lead to an address; weights are
left out. An instance is an address and a port.
"""

import ipaddress
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Never, Self
from urllib.parse import parse_qsl, urlsplit

import trio

from sdk.errors import BadRequest, Forbidden, Unavailable
from sdk.netaddress import join_address
from sdk.types import Instance, Service

from . import Event
from .dnsquery import Names
from .records import View, key_of, merge, split

SHORTEST: Final = 5.0
"""Seconds between two questions for one name, however short its time to live; that of many clouds' names is 5."""
LONGEST: Final = 60.0
"""Seconds after which a name is asked for again, however long its time to live: as long as a registration lasts."""

_OPTIONS: Final = frozenset(("services", "protocol"))


class DnsRegistry:
    """Implements `Registry`, but for `register` and `deregister`, which raise `Forbidden`.

    `list` and `watch` tell of the names it was made with, `get` of any.
    """

    name = "dns"

    def __init__(self, address: str) -> None:
        """`address` as `dns://SERVER/DOMAIN?services=NAME,NAME:PORT&protocol=http`; without SERVER it is the system's.

        Without `protocol` the instances are taken to speak gRPC, as in every registry. Raises `BadRequest` for anything
        else.
        """
        try:
            parts = urlsplit(address if "://" in address else f"dns://{address}")
            host, port = parts.hostname or "", parts.port or 53
            ipaddress.ip_address(host or "::")
        except ValueError:
            parts, host, port = urlsplit(""), "", 0  # an address of a server, or a port, that is none
        options = dict(parse_qsl(parts.query))
        self._domain = parts.path.strip("/.")
        self._ports = _services(options.get("services", ""))
        if parts.scheme != "dns" or not self._domain or not self._ports or not options.keys() <= _OPTIONS:
            raise BadRequest(
                "--registry-address (MICRO_REGISTRY_ADDRESS) is not dns://SERVER/DOMAIN?services=NAME,NAME:PORT: DNS "
                "does not say what names it has, so name the services, with a port where they have no SRV records"
            )
        server = join_address(host, port) if host else ""
        self.address = f"dns://{server}/{self._domain}"
        self._metadata = {"protocol": options["protocol"]} if options.get("protocol") else {}
        self._names = Names(server)
        self._closed = trio.Event()
        self._closed.set()

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        self._closed = trio.Event()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closed.set()

    async def register(self, service: Service, *, ttl: float | None = None) -> None:
        """Raises `Forbidden`: what is in DNS is written elsewhere."""
        self._refuse(service)

    async def deregister(self, service: Service) -> None:
        """Raises `Forbidden`, as `register` does."""
        self._refuse(service)

    async def get(self, name: str) -> tuple[Service, ...]:
        """See `Registry.get`."""
        await self._check()
        return merge((await self._ask(name))[0])

    async def list(self) -> tuple[Service, ...]:
        """See `Registry.list`."""
        await self._check()
        return merge([piece for name in self._ports for piece in (await self._ask(name))[0]])

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[Event]]:
        """See `Registry.watch`. What came and went between two questions is not told."""
        await self._check()
        yield _Watch(self)

    def _refuse(self, service: Service) -> Never:
        split(service)  # what is no record at all is told first
        raise Forbidden(
            f"{service.name!r} cannot be registered in {self.address}: DNS is written elsewhere. Choose another "
            "registry with --registry (MICRO_REGISTRY)"
        )

    async def _check(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._closed.is_set():
            raise trio.ClosedResourceError("the registry is not open: use it inside `async with`")

    async def _ask(self, name: str) -> tuple[tuple[Service, ...], float]:
        """A record for each instance, and for how many seconds that is good."""
        try:
            found, good_for = await self._names.find(name, self._domain, self._ports.get(name, 0))
        except Unavailable as error:
            raise Unavailable(f"the registry {self.address} cannot be used: {error}") from None
        pieces = tuple(
            Service(name=name, instances=(Instance(id=place, address=place, metadata=self._metadata),))
            for place in sorted(found)
        )
        return pieces, bounded(good_for)


class _Watch:
    """A class and not an async generator: one that was cancelled or raised can be asked again."""

    def __init__(self, registry: DnsRegistry) -> None:
        self._registry = registry
        self._view = View()
        self._events: deque[Event] = deque()
        self._known: dict[str, tuple[Service, ...]] = {}
        self._due = dict.fromkeys(registry._ports, trio.current_time())
        """When each name is asked for again."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        await self._registry._check()
        while not self._events:
            name, due = min(self._due.items(), key=lambda item: item[1])
            with trio.move_on_at(due):
                await self._registry._closed.wait()
            await self._registry._check()
            # Only now: an answer that does not come is asked for again later, and what is known stays.
            self._due[name] = trio.current_time() + SHORTEST
            self._known[name], good_for = await self._registry._ask(name)
            self._due[name] = trio.current_time() + good_for
            self._events += self._view.replace(
                {key_of(piece): piece for pieces in self._known.values() for piece in pieces}
            )
        return self._events.popleft()


def bounded(good_for: float) -> float:
    """After how many seconds a name is asked for again whose answers are good for so many."""
    return min(max(good_for, SHORTEST), LONGEST)


def _services(text: str) -> Mapping[str, int]:
    """The port of each name, 0 where SRV records say it; empty where the text cannot be read."""
    found = {}
    for one in filter(None, text.split(",")):
        name, mark, port = one.partition(":")
        if not name or (mark and not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536)):
            return {}
        found[name] = int(port or 0)
    return found
