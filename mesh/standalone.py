"""`micro router`: the routing table of an environment as a service of its own, without links and without a proxy.

For programs that want to know routes and go there themselves. It follows the registry, takes routes that are put in by
hand, and registers as `go.micro.router`, so that whoever looks in the registry finds it.
"""

import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Final

import trio

from proxy.jsonbridge import JsonBridge
from proxy.listener import ProxyListener
from proxy.switch import Switch
from router.gossip import Gossip
from router.table import RoutingTable
from sdk.errors import BadRequest
from sdk.rawsocket import bound_address
from sdk.registry import Registry, open_registry
from sdk.timers import Timers
from sdk.types import Instance, Service
from tunnel.identity import NodeKey, format_id, node_id, verify
from tunnel.transport.tls import Tls

from .addresses import check_address, local_address
from .config import MAX_NAME
from .local import LocalServices
from .only import Only
from .presence import Presence
from .reload import ReloadProxyTokens
from .router_service import ROUTER_SERVICE, WRITES, RouterService
from .serving import answer_inside, bind, idle
from .steps import Steps
from .tokens import to_bytes
from .watching import Watching

ADDRESS: Final = "--address (MICRO_ROUTER_ADDRESS)"

GOODBYE = 0.4
"""Seconds for taking the record out of the registry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterConfig:
    """What the router is told before it starts. Raises `BadRequest` naming flag and variable of what cannot be used."""

    address: str = ":8084"
    """Where programs reach it: `host:port`."""
    proxy_tokens: tuple[str, ...] = field(default=(), repr=False)
    """What programs of other hosts show, any of these; with none, private peers need not and others are not let in."""
    proxy_token_file: str = ""
    """The file they stand in, if they do, to be read again."""
    network: str = "go.micro"
    """The network's name, which stands in its routes."""
    registry: str = field(default="", repr=False)
    """Kind of the local registry; empty for the built-in default."""
    registry_address: str = field(default="", repr=False)
    """Where that registry is; empty for its default."""

    def __post_init__(self) -> None:
        check_address(self.address, ADDRESS, bind=True)
        if not 0 < len(self.network) <= MAX_NAME or not self.network.isprintable():
            raise BadRequest(f"--network (MICRO_NETWORK) is empty, longer than {MAX_NAME} characters or not printable")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterReady:
    """What the router says when it has started."""

    id: str
    """Its id as text, which stands in its routes."""
    address: tuple[str, ...]
    """Addresses it is bound to."""


class Router:
    """The routing table of one environment. `run` it once."""

    def __init__(self, config: RouterConfig, *, registry: Registry | None = None) -> None:
        """`registry` takes the place of the one in the configuration."""
        self._config = config
        self._registry = registry or open_registry(config.registry, config.registry_address)
        self._key = NodeKey(secrets.token_bytes(32))
        self._timers = Timers()
        self._switch = Switch(me=self._key.id, name=ROUTER_SERVICE)
        self._listener = ProxyListener(self._switch, self._timers, to_bytes(config.proxy_tokens))
        self.reload = ReloadProxyTokens(config.proxy_token_file, self._listener)
        """Reads the tokens of programs again."""
        self._presence: Presence | None = None
        self._watching: Watching | None = None

    async def run(self, *, task_status: trio.TaskStatus[RouterReady] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled. Raises `Conflict` when the port is taken, `Unavailable` when the registry cannot be
        opened."""
        async with AsyncExitStack() as stack:
            registry = await stack.enter_async_context(self._registry)
            listeners = await bind(stack, self._config.address, ADDRESS)
            nursery = await stack.enter_async_context(trio.open_nursery())
            nursery.start_soon(self._timers.run)
            ready = await self._start(registry, nursery, listeners)
            try:
                task_status.started(ready)
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(GOODBYE, shield=True):
                    await self._withdraw()

    async def drain(self) -> None:
        """Takes the record out of the registry, sends callers elsewhere, ends the watches, and returns when what is
        asked is answered."""
        await self._withdraw()
        self._listener.go_away()
        if self._watching is not None:
            self._watching.end()
        self._listener.refuse()
        await idle(self._switch)

    async def _withdraw(self) -> None:
        """Takes the record out of the registry, once."""
        if self._presence is not None:
            presence, self._presence = self._presence, None
            await presence.withdraw()

    async def _start(
        self, registry: Registry, nursery: trio.Nursery, listeners: list[trio.SocketListener]
    ) -> RouterReady:
        id = format_id(self._key.id)
        table = RoutingTable(gossip=self._alone(), format_id=format_id)
        steps = Steps(table)
        nursery.start_soon(steps.run)
        service = RouterService(table, network=self._config.network, router=id, writable=True, changed=steps.poke)
        self._watching = service.watching
        self._switch.ingress = self._switch.egress = Only(
            ROUTER_SERVICE,
            answer_inside(service.server, self._switch, nursery),
            json=JsonBridge(self._switch, me=self._key.id, name=ROUTER_SERVICE, clock=trio.current_time).port,
            writes=WRITES,
            what="this is the routing table, which calls nobody",
        )
        self._timers.watch(self._switch)

        def changed(services: tuple[Service, ...]) -> None:
            table.set_local(services, trio.current_time())

        tls = Tls()
        local = LocalServices(registry, random=Random(), changed=changed, tls=lambda: tls)
        nursery.start_soon(local.run)
        nursery.start_soon(self._listener.serve, listeners)
        bound = tuple(map(bound_address, listeners))
        instance = Instance(
            id=f"{ROUTER_SERVICE}-{id}", address=local_address(bound), metadata={"protocol": "grpc", "native": "1"}
        )
        record = Service(name=ROUTER_SERVICE, endpoints=service.server.endpoints, instances=(instance,))
        self._presence = Presence(registry, record, failed=local.doubt)
        await nursery.start(self._presence.run)
        return RouterReady(id=id, address=bound)

    def _alone(self) -> Gossip:
        """What a node knows that has no neighbours."""
        return Gossip(
            me=self._key.id,
            public=self._key.public,
            name="",
            network=self._config.network,
            addresses=(),
            epoch=int(datetime.now(UTC).timestamp() * 1000),
            sign=self._key.sign,
            verify=verify,
            node_id=node_id,
            random=Random(),
            wake=lambda: None,
        )
