"""Services that DNS knows: names that were said beforehand, asked for again when their answers are no longer good.

DNS cannot be asked what names it has, and nobody registers in it from here. For a service it is asked for the SRV
records of `_NAME._tcp.DOMAIN` (RFC 2782) and then, as Consul has them, of `NAME.DOMAIN`; with a port, for the A and
AAAA records of `NAME.DOMAIN`. An instance is an address and a port, and each address is one.

Of SRV records those with the best priority count that lead to an address: the others are for when these are taken out.
Their weights are left out, because callers choose by how fast the instances answer. What TXT records of the same name
say with `micro.mu/KEY=VALUE` is the instances' metadata KEY; `micro.mu/version` is the version of the service.
"""

import ipaddress
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Final, Never, Self
from urllib.parse import parse_qsl

import trio

from sdk.errors import BadRequest, Forbidden, Unavailable
from sdk.netaddress import join_address, split_host
from sdk.types import Instance, Service

from . import Event
from .atonce import at_once
from .dnsquery import Names, to_name
from .http import PATIENCE
from .records import key_of, merge, split
from .watch import Watch

logger = logging.getLogger(__name__)

SHORTEST: Final = 5.0
"""Seconds between two questions for one name, however short its time to live; that of many clouds' names is 5."""
LONGEST: Final = 60.0
"""Seconds after which a name is asked for again, however long its time to live: as long as a registration lasts."""

_PORT: Final = 53
_OPTIONS: Final = frozenset(("services", "protocol"))
_NAMES_AT_ONCE: Final = 8


class DnsRegistry:
    """Implements `Registry`, but for `register` and `deregister`, which raise `Forbidden`.

    `list` and `watch` tell of the names it was made with, `get` of any. While some names are answered and others are
    not, what was known of the others stays and the log names them; the registry is away when none is answered.
    """

    name = "dns"

    def __init__(self, address: str) -> None:
        """`address` as `dns://SERVER,SERVER/DOMAIN?services=NAME,NAME:PORT&protocol=http`.

        Each SERVER is an IP address, with a port where that is not 53; without any they are the system's, whose search
        list is not used. `protocol` is what instances speak whose TXT records do not say it; without it they are taken
        to speak gRPC, as in every registry. Raises `BadRequest` for anything else.
        """
        rest, _, query = address.removeprefix("dns://").partition("?")
        places, _, domain = rest.partition("/")
        options = dict(parse_qsl(query))
        self._domain = domain.strip("/.")
        self._ports = _services(options.get("services", ""))
        servers = _servers(places)
        known = options.keys() <= _OPTIONS
        if servers is None or not self._domain or to_name(self._domain) is None or not self._ports or not known:
            raise BadRequest(
                "--registry-address (MICRO_REGISTRY_ADDRESS) is not dns://SERVER/DOMAIN?services=NAME,NAME:PORT: DNS "
                "does not say what names it has, so name the services, with a port where they have no SRV records; "
                "SERVER is an IP address, or several with commas between, or left out for the system's"
            )
        self.address = f"dns://{','.join(join_address(*server) for server in servers)}/{self._domain}"
        self._metadata = {"protocol": options["protocol"]} if options.get("protocol") else {}
        self._names = Names(servers)
        self._known: dict[str, tuple[Service, ...]] = {}
        """What each name stood for when it was answered last."""
        self._told: dict[str, frozenset[str]] = {}
        """What the log said is wrong with each name, as it is now."""
        self._open = False
        self._uses: set[trio.CancelScope] = set()
        """Whoever waits here; closing the registry ends it."""

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open = False
        for scope in self._uses:
            scope.cancel()

    async def register(self, service: Service, *, ttl: float | None = None) -> None:
        """Raises `Forbidden`: what is in DNS is written elsewhere."""
        await self._refuse(service)

    async def deregister(self, service: Service) -> None:
        """Raises `Forbidden`, as `register` does."""
        await self._refuse(service)

    async def get(self, name: str) -> tuple[Service, ...]:
        """See `Registry.get`. What differs from a name that was said in upper and lower case alone is nobody's."""
        await trio.lowlevel.checkpoint()
        found: tuple[Service, ...] = ()
        with self._in_use():
            if name in self._ports or name.lower() not in {known.lower() for known in self._ports}:
                try:
                    with trio.move_on_after(2 * PATIENCE) as scope:
                        found, _ = await self._ask(name)
                except Unavailable as error:
                    raise self._away(str(error)) from None
                if scope.cancelled_caught:
                    raise self._away(_too_slow())
        return merge(found)

    async def list(self) -> tuple[Service, ...]:
        """See `Registry.list`."""
        await trio.lowlevel.checkpoint()
        with self._in_use():
            await self._follow(self._ports)
        return merge(self._records())

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[Event]]:
        """See `Registry.watch`. What came and went between two questions is not told."""
        await trio.lowlevel.checkpoint()
        with self._in_use():
            watch = _Watch(self)
        yield watch

    async def _refuse(self, service: Service) -> Never:
        await trio.lowlevel.checkpoint()
        with self._in_use():
            split(service)  # what is no record at all is told first
        raise Forbidden(
            f"{service.name!r} cannot be registered in {self.address}: DNS is written elsewhere. Choose another "
            "registry with --registry (MICRO_REGISTRY)"
        )

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Raises `trio.ClosedResourceError` where the registry is not open, or is closed meanwhile."""
        with trio.CancelScope() as scope:
            if not self._open:
                raise _closed()
            self._uses.add(scope)
            try:
                yield
            finally:
                self._uses.discard(scope)
        if scope.cancelled_caught:
            raise _closed()

    async def _follow(self, names: Iterable[str]) -> Mapping[str, float]:
        """Takes in what these names stand for now: for how many seconds that is good of each that was answered.

        Raises `Unavailable` when none of all names is answered.
        """
        good_for: dict[str, float] = {}
        failed: dict[str, str] = {}

        async def ask(name: str) -> None:
            try:
                self._known[name], good_for[name] = await self._ask(name)
            except Unavailable as error:
                failed[name] = str(error)

        others = [name for name in self._ports if name not in names]
        with trio.move_on_after(2 * PATIENCE):
            await at_once(ask, names, limit=_NAMES_AT_ONCE)
            # Whether the servers are there, one of the other names says, or else any of them.
            for witnesses in (others[:1], others[1:]):
                if not good_for:
                    await at_once(ask, witnesses, limit=_NAMES_AT_ONCE)
        if not good_for:
            raise self._away(next(iter(failed.values()), _too_slow()))
        for name in names:
            if name not in good_for:
                self._tell(name, [f"what was known of it stays: {failed.get(name, _too_slow())}"])
        return good_for

    async def _ask(self, name: str) -> tuple[tuple[Service, ...], float]:
        """The records of one name, one for each instance, and for how many seconds they are good."""
        found = await self._names.find(name, self._domain, self._ports.get(name, 0))
        self._tell(name, [f"a record is skipped: {why}" for why in found.bad])
        metadata = {**self._metadata, **found.labels}
        version = metadata.pop("version", "") or "latest"
        pieces = tuple(
            Service(name=name, version=version, instances=(Instance(id=place, address=place, metadata=metadata),))
            for place in sorted(found.places)
        )
        return pieces, bounded(found.good_for)

    def _tell(self, name: str, wrong: Sequence[str]) -> None:
        """Says in the log what is wrong with a name that was said, once for as long as it is."""
        if name not in self._ports:  # anybody may ask for any other
            return
        for text in wrong:
            if text not in self._told.get(name, ()):
                logger.warning("Registry %s: the service %r: %s", self.address, name, text)
        self._told[name] = frozenset(wrong)

    def _records(self) -> tuple[Service, ...]:
        return tuple(piece for pieces in self._known.values() for piece in pieces)

    def _away(self, why: str) -> Unavailable:
        return Unavailable(
            f"the registry {self.address} cannot be used: {why}; see --registry-address (MICRO_REGISTRY_ADDRESS)"
        )


class _Watch(Watch):
    def __init__(self, registry: DnsRegistry) -> None:
        super().__init__()
        self._registry = registry
        self._due = dict.fromkeys(registry._ports, trio.current_time())
        """When each name is asked for again."""

    async def _learn(self) -> None:
        with self._registry._in_use():
            await trio.sleep_until(min(self._due.values()))
            await self._ask()

    async def _ask(self) -> None:
        now = trio.current_time()
        # Those that have waited longest, and not all: what some say is told before the next are asked.
        due = [name for at, name in sorted((at, name) for name, at in self._due.items() if at <= now)][:_NAMES_AT_ONCE]
        try:
            good_for = await self._registry._follow(due)
        except Unavailable:
            self._due = dict.fromkeys(self._due, trio.current_time() + SHORTEST)
            raise
        now = trio.current_time()
        self._due |= dict.fromkeys(due, now + SHORTEST)
        self._due |= {name: now + seconds for name, seconds in good_for.items()}
        self._events += self._view.replace({key_of(piece): piece for piece in self._registry._records()})


def bounded(good_for: float) -> float:
    """After how many seconds a name is asked for again whose answers are good for so many."""
    return min(max(good_for, SHORTEST), LONGEST)


def _too_slow() -> str:
    return f"no answer to all questions within {2 * PATIENCE:g} s"


def _closed() -> trio.ClosedResourceError:
    return trio.ClosedResourceError("the registry is not open: use it inside `async with`")


def _servers(text: str) -> Sequence[tuple[str, int]] | None:
    """Address and port of each server; None where one is no IP address."""
    try:
        servers = [split_host(one) for one in text.split(",")] if text else []
        for host, _ in servers:
            ipaddress.ip_address(host)
    except (BadRequest, ValueError):
        return None
    return [(host, port or _PORT) for host, port in servers]


def _services(text: str) -> Mapping[str, int]:
    """The port of each name, 0 where SRV records say it; empty where the text cannot be read."""
    found = {}
    for one in filter(None, text.split(",")):
        name, mark, port = one.partition(":")
        if not name or (mark and not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536)):
            return {}
        found[name] = int(port or 0)
    return found
