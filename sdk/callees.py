"""Whom a client calls: which targets take a call, and the connections to them."""

from random import Random

import trio

from .config import ClientConfig
from .directory import Directory, Filter, Target, Targets
from .errors import NotFound, Unavailable
from .options import GRPC, Way, split_addresses
from .pool import Connection, Pool
from .registry import Registry, open_registry

MOST_FIXED = 1024
"""Addresses that calls were given are remembered with what is known of them, so many at a time."""


class Callees:
    """Those of one client."""

    def __init__(self, config: ClientConfig, registry: Registry | None, random: Random) -> None:
        """`registry` is one that is open already, else the one of the configuration is opened when it is needed."""
        self._config = config
        self._registry = registry
        self._random = random
        self._fixed: dict[str, Targets] = {}

    def choose_registry(self, way: Way) -> Registry | None:
        """The registry of a client whose calls go this way as a rule; None where they need none. Raises `BadRequest`
        for a configuration that names none."""
        if self._registry is None and way.fixed is None:
            return open_registry(self._config.registry, self._config.registry_address)
        return self._registry

    def enter(self, nursery: trio.Nursery, registry: Registry | None) -> None:
        """From now on, until the nursery ends, there may be calls."""
        self._nursery = nursery
        self.instances = Pool(nursery)
        token = self._config.proxy_token.encode(errors="surrogateescape")
        self.nodes = Pool(nursery, token) if token else self.instances  # instances are not shown the token
        self._directory: Directory | None = None
        if registry is not None:
            self._directory = Directory(registry, nursery, enter=self._registry is None)

    def pool_for(self, way: Way) -> Pool:
        """The connections that such calls go on."""
        return self.nodes if way.through_node else self.instances

    def at(self, addresses: str) -> Targets:
        """The targets at these addresses, with what is known of them; those behind `grpc://` are called in gRPC. Raises
        `BadRequest`."""
        targets = self._fixed.get(addresses)
        if targets is None:
            if len(self._fixed) >= MOST_FIXED:
                del self._fixed[next(iter(self._fixed))]
            grpc = {each.strip().removeprefix(GRPC): each.strip().startswith(GRPC) for each in addresses.split(",")}
            targets = Targets([Target(each, grpc=grpc[each]) for each in split_addresses(",".join(grpc))])
            self._fixed[addresses] = targets
        return targets

    def known(self, service: str, way: Way, wanted: Filter | None) -> Targets | None:
        """Who takes the call, as far as that is known without asking."""
        targets = way.fixed
        if targets is None and self._directory is not None:
            targets = self._directory.known.get(way.node or service)
            if wanted is not None and targets is not None:
                return targets.matching(wanted)
        return targets

    async def find(self, service: str, way: Way, wanted: Filter | None) -> Targets:
        """Asks the registry who takes the call. Raises `NotFound` where nobody offers the service, or nobody who is
        wanted; `Unavailable` where there is no node, or the registry cannot be asked."""
        if self._directory is None:  # the client goes through a node at an address, this call does not
            registry = open_registry(self._config.registry, self._config.registry_address)
            self._directory = Directory(registry, self._nursery, enter=True)
        try:
            found = await self._directory.find(way.node or service)
        except NotFound as error:
            if not way.through_node:
                raise NotFound(f"{error.detail}; `micro list services` shows those that are there") from None
            raise Unavailable(
                f"no node to call through: {error}. Start one with `micro network` (go.micro.network) or "
                "`micro tunnel` (go.micro.tunnel), or give MICRO_PROXY as host:port"
            ) from None
        if wanted is None:
            return found
        if (passing := found.matching(wanted)) is None:
            raise NotFound(f"{service} is in the registry, but no instance of {wanted}")
        return passing

    async def connect(self, service: str, way: Way, wanted: Filter | None) -> tuple[Connection, Target]:
        """A connection that stands, to any target: a stream cannot be opened twice. Raises what `find` does, and
        `Unavailable` when nobody answers."""
        targets = self.known(service, way, wanted) or await self.find(service, way, wanted)
        pool = self.pool_for(way)
        tried: list[Target] = []
        others: Targets | None = targets
        while others is not None:
            target = others.choose(self._random, trio.current_time(), way.strategy, way.key)
            connection = pool.connection_to(target.address, grpc=target.grpc)
            await connection.settled.wait()
            if connection.usable:
                return connection, target
            now = trio.current_time()
            target.load.observe(now, False, now)
            tried.append(target)
            others = targets.without(tried)
        raise Unavailable(f"{service}: no connection to {', '.join(target.address for target in tried)}")
